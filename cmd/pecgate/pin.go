package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra" // the command line

	"pecgate/gateway"
	"pecgate/gateway/admin"
	"pecgate/gateway/auth"
	"pecgate/mailbox"
)

func newPINCommand(a *app) *cobra.Command {
	var unlock, codes string
	var asJSON bool
	c := &cobra.Command{
		Use:   "pin",
		Short: "read a PIN and print its hash for policy.yaml; one-time codes in place of it; unlock a PIN",
		Long: fmt.Sprintf(`Reads a PIN of 4 to 12 digits twice from the terminal without showing it, or one line from standard input, and prints its
hash for the key pin of a user in policy.yaml.

After %d wrong PINs in a day a user's PIN is locked until midnight; the user and the administrator of the mailbox are told.
--unlock lets this user try again at once.

--totp gives a user one-time codes of an authenticator app (RFC 6238) in place of the PIN, in every way in which a PIN is
given. It shows a QR code, asks for a first code, and prints the line for policy.yaml, encrypted as pecgate seal does.`, auth.WrongPINs),
		Example: "  pecgate pin\n  pecgate pin --totp mario\n  pecgate pin --unlock mario",
		Args:    noArguments("type the secret when asked, or give it on standard input"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cmd.Flags().Changed("unlock") && cmd.Flags().Changed("totp"):
				return &exitError{exitUsage, "use --totp or --unlock, not both"}
			case cmd.Flags().Changed("unlock"):
				return a.unlockPIN(cmd, unlock, asJSON)
			case asJSON:
				return &exitError{exitUsage, "--json belongs to --unlock"}
			case cmd.Flags().Changed("totp"):
				return a.enrol(cmd, codes)
			}
			return a.printHash(cmd, "PIN", goodPIN)
		},
	}
	c.Flags().StringVar(&unlock, "unlock", "", "forget the wrong PINs that this `USER` gave today")
	c.Flags().StringVar(&codes, "totp", "", "make one-time codes for this `USER`")
	c.Flags().BoolVar(&asJSON, "json", false, "with --unlock: one JSON object")
	return c
}

func goodPIN(s string) error {
	if len(s) < 4 || len(s) > 12 || strings.Trim(s, "0123456789") != "" {
		return errors.New("a PIN has 4 to 12 digits and nothing else")
	}
	return nil
}

// unlockPIN asks the running appliance, or changes the store where nothing runs.
func (a *app) unlockPIN(cmd *cobra.Command, user string, asJSON bool) error {
	if user == "" {
		return &exitError{exitUsage, "--unlock needs a user: the login or the email of one in policy.yaml"}
	}
	who, err := a.named(cmd, asJSON, user)
	if err != nil {
		var exit *exitError
		if errors.As(err, &exit) {
			return &exitError{exitUsage, fmt.Sprintf("--unlock %s: policy.yaml has no such user", user)}
		}
		return err
	}
	var done admin.Unlocked
	err = who.either(func(client *admin.Client) error {
		return client.Change(cmd.Context(), "/v1/pin/unlock", url.Values{"user": {who.login}}, &done)
	}, who.known(func(store *mailbox.Store) error {
		if who.noPIN {
			return admin.NoPIN(who.login)
		}
		n, err := gateway.UnlockPIN(cmd.Context(), store, who.login, who.loc(), who.hand())
		done = admin.Unlocked{User: who.login, Wrong: n}
		return err
	}))
	if err != nil {
		return err
	}
	return who.print(done, func() error {
		_, err := fmt.Fprintf(who.out, "The PIN of %s can be used again (%s today).\n", done.User, count(done.Wrong, "wrong one", "wrong ones"))
		return err
	})
}

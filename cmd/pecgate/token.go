package main

import (
	"fmt"

	"github.com/spf13/cobra" // the command line

	"pecgate/configs"
	"pecgate/gateway/admin/api"
	"pecgate/gateway/auth"
)

func newTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "token NAME",
		Short: "make the token of an application for the HTTP service",
		Long: `Makes a token of 256 random bits for a program that uses the HTTP service, and prints it once, with the lines for
policy.yaml, which hold only its hash. Whoever has the token is the application: keep it as a password. A new one takes
the place of the old when its hash is written into policy.yaml.`,
		Example: "  pecgate token protocollo-app",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return &exitError{exitUsage, "give one name, as in: pecgate token protocollo-app"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			value, hash := auth.NewToken()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), `Token for the application, shown only now:

%s

For policy.yaml, with the user that it acts as and the mailboxes that it may use:

applications:
  - name: %s
    token: %s
    user: LOGIN
    mailboxes: [ADDRESS]
    rights: [send, read]
`, value, args[0], hash)
			return err
		},
	}
}

// applicationsOf are the applications of the policy, as the HTTP service knows them.
func applicationsOf(l *configs.Loaded) (out []api.Application) {
	for _, a := range l.Policy.Applications {
		out = append(out, api.Application{Name: a.Name, Token: a.Token, Networks: a.Prefixes(), Rate: a.Rate})
	}
	return out
}

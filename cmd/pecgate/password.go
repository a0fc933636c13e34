package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra" // the command line
	"golang.org/x/term"      // reads a secret without showing it

	"pecgate/gateway/auth"
)

func newPasswordCommand(a *app) *cobra.Command {
	var apps appFlags
	var secret bool
	c := &cobra.Command{
		Use:   "password",
		Short: "read a password and print its hash for policy.yaml; make, list and revoke app passwords",
		Long: `Reads a password twice from the terminal without showing it, or one line from standard input, and prints its hash for
the key password of a user in policy.yaml.

With --app it makes a password for one mail program or device of a user and prints it once. It works for SMTP and IMAP
beside the user's own password, at once and without a restart, and can be revoked alone: for a phone that is lost, or a
program that keeps its passwords badly. It is no PIN.

With --secret it makes the secret by which a groupware server that cannot log in is known (secret_header of a relay), and
prints once the value for the rule of that server, and what belongs into policy.yaml.`,
		Example: "  pecgate password\n  pecgate password --user mario --app telefono\n  pecgate password --list\n  pecgate password --user mario --app telefono --revoke\n  pecgate password --secret",
		Args:    noArguments("type the secret when asked, or give it on standard input"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked, err := apps.asked(); err != nil {
				return err
			} else if asked && secret {
				return &exitError{exitUsage, "--secret goes with no other option"}
			} else if secret {
				return printRelaySecret(cmd.OutOrStdout())
			} else if asked {
				return a.appPassword(cmd, apps)
			}
			return a.printHash(cmd, "password", goodPassword)
		},
	}
	apps.add(c)
	c.Flags().BoolVar(&secret, "secret", false, "make the secret of a relay (secret_header)")
	return c
}

// printRelaySecret makes a secret and shows it, which nothing can do again.
func printRelaySecret(out io.Writer) error {
	value, hash := auth.NewRelaySecret()
	_, err := fmt.Fprintf(out, `Value of the field for the rule of the mail server, shown only now:

%s

For the relay in policy.yaml, once the rule is in force:

    secret_header:
      name: X-Pecgate-Secret
      value: %s
`, value, hash)
	return err
}

func (a *app) printHash(cmd *cobra.Command, what string, good func(string) error) error {
	secret, err := readSecret(cmd.InOrStdin(), cmd.ErrOrStderr(), what)
	if err == nil {
		err = good(secret)
	}
	if err != nil {
		return &exitError{exitUsage, err.Error()}
	}
	if what == "password" && utf8.RuneCountInString(secret) < shortPassword {
		fmt.Fprintf(cmd.ErrOrStderr(), "pecgate: warning: shorter than %d characters: a stranger can guess it\n", shortPassword)
	}
	hash, err := a.hash(secret)
	if err != nil {
		return fmt.Errorf("make the hash: %w", err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), hash)
	return err
}

// shortPassword is the length in characters below which a warning is given.
const shortPassword = 10

// maxSecretLine is more than the longest password in octets.
const maxSecretLine = 4096

func goodPassword(s string) error {
	switch {
	case len(s) > 1024:
		return errors.New("the password is longer than 1024 octets")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("the password holds a character that mail programs cannot send")
	case strings.TrimSpace(s) != s:
		return errors.New("the password begins or ends with a blank")
	}
	return nil
}

// readSecret asks twice at a terminal, and otherwise takes the first line. The prompts go to prompt, so that standard output
// holds the hash alone.
func readSecret(in io.Reader, prompt io.Writer, what string) (string, error) {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return askTwice(f, prompt, what)
	}
	r := bufio.NewReaderSize(io.LimitReader(in, maxSecretLine+1), maxSecretLine+1)
	line, err := r.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the %s: %w", what, err)
	}
	if len(line) > maxSecretLine {
		return "", fmt.Errorf("the %s is too long", what)
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if secret == "" {
		return "", fmt.Errorf("the %s is empty", what)
	}
	return secret, nil
}

// askTwice has a secret typed twice.
func askTwice(f *os.File, prompt io.Writer, what string) (secret string, err error) {
	typed, err := askHidden(f, prompt, what, what+": ", what+" again: ")
	if err == nil && typed[0] != typed[1] {
		return "", fmt.Errorf("the two are not the same %s", what)
	}
	if err != nil {
		return "", err
	}
	return typed[0], nil
}

// readOnce is readSecret for one that exists already: it is asked for once.
func readOnce(in io.Reader, prompt io.Writer, what string) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return readSecret(in, prompt, what)
	}
	typed, err := askHidden(f, prompt, what, what+": ")
	if err != nil {
		return "", err
	}
	return typed[0], nil
}

// askHidden reads one line for each text without echo. The terminal is raw meanwhile, so Ctrl-C is a character that ends the
// reading, and not a signal that would leave the echo off.
func askHidden(f *os.File, prompt io.Writer, what string, texts ...string) (typed []string, err error) {
	before, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("read from the terminal: %w", err)
	}
	defer func() {
		if back := term.Restore(int(f.Fd()), before); err == nil && back != nil {
			err = fmt.Errorf("give the terminal its echo back: %w", back)
		}
	}()
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{f, prompt}, "")
	for _, text := range texts {
		line, err := t.ReadPassword(text)
		switch {
		case errors.Is(err, io.EOF):
			return nil, errors.New("interrupted")
		case err != nil:
			return nil, fmt.Errorf("read from the terminal: %w", err)
		case line == "" && len(typed) == 0: // later ones are compared with it
			return nil, fmt.Errorf("the %s is empty", what)
		}
		typed = append(typed, line)
	}
	return typed, nil
}

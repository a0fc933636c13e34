package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra" // the command line

	"pecgate/configs"
)

func newCheckCommand(a *app) *cobra.Command {
	var asJSON, online bool
	c := &cobra.Command{
		Use:     "check",
		Short:   "read both YAML files and print every fault with its position",
		Example: "  pecgate check\n  pecgate check --online --json",
		Long: `Reads pecgate.yaml, the environment and policy.yaml as the appliance would, and prints every fault and warning with
file, line and column. It contacts nobody and changes nothing. Exit status 2 if there are faults; warnings alone are good.

--online also logs in at the providers of all active mailboxes, for sending and for fetching, and reports TLS version, end of
the certificate, quota and result of each login; exit status 1 if one fails. A login that was refused before is not sent
again (see ` + "`pecgate provider resume`" + `). It can be used before the first start, and then keeps nothing of what it found.`,
		Args: noArguments("use --config FILE for another configuration"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := configs.Check(a.config)
			show := showText
			if asJSON {
				show = showJSON
			}
			if err := show(cmd.OutOrStdout(), r); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			if len(r.Faults) > 0 {
				return &exitError{exitUsage, fmt.Sprintf("%s in the configuration: mend them before the next start; an appliance that runs keeps what it has",
					count(len(r.Faults), "fault", "faults"))}
			}
			if online {
				return checkOnline(cmd.Context(), r.Loaded, asJSON, cmd.OutOrStdout(), newBar(cmd.ErrOrStderr()))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line: severity, file, line, column, message; with --online also mailbox, service, host, tls, certificate_expires, login, quota, error")
	c.Flags().BoolVar(&online, "online", false, "also log in at each provider")
	return c
}

func showText(w io.Writer, r configs.Report) error {
	for _, f := range r.Faults {
		if _, err := fmt.Fprintf(w, "%s: error: %s\n", f.Position, f.Message); err != nil {
			return err
		}
	}
	for _, f := range r.Warnings {
		if _, err := fmt.Fprintf(w, "%s: warning: %s\n", f.Position, f.Message); err != nil {
			return err
		}
	}
	if r.Loaded == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "good: %s, %s, %s\n", count(len(r.Loaded.Policy.Users), "user", "users"),
		count(len(r.Loaded.Policy.Mailboxes), "mailbox", "mailboxes"), count(len(r.Warnings), "warning", "warnings"))
	return err
}

// finding is one line of `check --json`. A fault of a file as a whole or of an environment variable has line 0.
type finding struct {
	Severity string `json:"severity"` // error, warning
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Message  string `json:"message"`
}

func showJSON(w io.Writer, r configs.Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, l := range []struct {
		severity string
		faults   []configs.Fault
	}{{"error", r.Faults}, {"warning", r.Warnings}} {
		for _, f := range l.faults {
			if err := e.Encode(finding{l.severity, f.File, f.Line, f.Column, f.Message}); err != nil {
				return err
			}
		}
	}
	return nil
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

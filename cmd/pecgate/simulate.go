package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/relay/providersim"
)

func newSimulateCommand(*app) *cobra.Command {
	var domain, smtp, imap, ca string
	var accounts []string
	var faults []string
	c := &cobra.Command{
		Use:   "simulate",
		Short: "the simulated PEC provider alone",
		Long: `Runs a PEC provider on this machine: SMTP and IMAP over TLS, its own
certificate authority, real signatures. It runs until Ctrl-C.`,
		Example: `  pecgate simulate --mailbox protocollo@pec.example.org:password --ca ca.pem`,
		Args:    noArguments("use --config FILE for another configuration"),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			o := providersim.Options{Domain: domain, SMTPAddr: smtp, IMAPAddr: imap, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
			for _, a := range accounts {
				address, password, ok := strings.Cut(a, ":")
				if !ok || password == "" {
					return &exitError{exitUsage, "--mailbox needs ADDRESS:PASSWORD"}
				}
				o.Mailboxes = append(o.Mailboxes, providersim.Mailbox{Address: address, Username: address, Password: password})
			}
			p, err := providersim.Start(o)
			if err != nil {
				return err
			}
			defer func() {
				if cerr := p.Close(); err == nil {
					err = cerr
				}
			}()
			for _, f := range faults {
				name, value, _ := strings.Cut(f, "=")
				if err := p.Faults().Set(name, value); err != nil {
					return &exitError{exitUsage, err.Error() + "; known: " + strings.Join(p.Faults().Names(), ", ")}
				}
			}
			if ca != "" {
				if err := os.WriteFile(ca, p.CAPEM(), 0o644); err != nil {
					return fmt.Errorf("write the provider's CA: %w", err)
				}
				abs, err := filepath.Abs(ca)
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "CA (for ca: and provider_trust:)  %s\n", abs)
			}
			fmt.Fprintf(c.OutOrStdout(), "SMTP over TLS  %s\nIMAP over TLS  %s\n", p.SMTPAddr(), p.IMAPAddr())
			<-c.Context().Done()
			return nil
		},
	}
	c.Flags().StringVar(&domain, "domain", "pec.gestore-simulato.example", "the provider's own domain; posta-certificata@ it signs")
	c.Flags().StringArrayVar(&accounts, "mailbox", nil, "ADDRESS:PASSWORD of a PEC mailbox; may be repeated")
	c.Flags().StringVar(&smtp, "smtp", "127.0.0.1:0", "address for SMTP over TLS")
	c.Flags().StringVar(&imap, "imap", "127.0.0.1:0", "address for IMAP over TLS")
	c.Flags().StringVar(&ca, "ca", "", "file for the provider's CA certificates")
	c.Flags().StringArrayVar(&faults, "fault", nil, "NAME or NAME=VALUE of a fault to switch on; may be repeated")
	return c
}

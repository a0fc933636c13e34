package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/relay/providersim"
)

func newSimulateCommand(*app) *cobra.Command {
	f := &simulateFlags{}
	c := &cobra.Command{
		Use:   "simulate",
		Short: "the simulated PEC provider alone",
		Long: `Runs a PEC provider on this machine: SMTP, IMAP and POP3 over TLS, its own
certificate authority, real signatures, every kind of receipt, and faults to
switch on. It runs until Ctrl-C. Nothing leaves this machine.

Without --mailbox and --mailboxes it makes two mailboxes and prints their
passwords. A password given with --mailbox can be seen by other users of this
machine; --mailboxes reads them from a file:

  # address                     password   user name (if not the address)
  protocollo@pec.example.org    geheim77   M123456

Faults (--list-faults) are switched on with --fault, or while it runs at the
page that --control opens; the page also shows what was sent and received:

  curl -d cut-after-dot=1 http://127.0.0.1:8025/fault
  curl http://127.0.0.1:8025/state

Warnings come after 12 and 24 hours of the provider: --hour 5s makes them come
after one and two minutes.`,
		Example: `  pecgate simulate --dir sim --control 127.0.0.1:8025
  pecgate simulate --mailboxes boxes.txt --smtp 127.0.0.1:4465 --imap 127.0.0.1:4993 --ca ca.pem
  pecgate simulate --mailbox a@pec.example.org:secret --style old --hour 5s \
      --recipient b@pec.other.example=silent --fault duplicate-receipts --fault hold-dot=30s`,
		Args: noArguments("a mailbox is given with --mailbox ADDRESS:PASSWORD"),
		RunE: func(c *cobra.Command, _ []string) error {
			if f.listFaults {
				return listFaults(c.OutOrStdout(), f.json)
			}
			return f.run(c.Context(), c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f.register(c.Flags())
	return c
}

// listFaults prints every switch: a table, or one JSON object a line.
func listFaults(out io.Writer, asJSON bool) error {
	list := new(providersim.Faults).Describe()
	if asJSON {
		e := json.NewEncoder(out)
		for _, f := range list {
			line := struct {
				Name  string `json:"name"`
				Kind  string `json:"kind"`
				Text  string `json:"text"`
				Value string `json:"value"`
			}{f.Name, f.Kind, f.Text, f.Value}
			if err := e.Encode(line); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, f.Kind, f.Text)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "\nA switch is on, off or a number of uses; without a value --fault switches it on. A duration is written as 30s or 2m.")
	return err
}

// simulation is a running provider with the folder that keeps its messages.
type simulation struct {
	provider *providersim.Provider
	dir      *simulateDir // nil: none
	facts    simulateFacts
}

// simulateFacts is what --json prints, one object, when everything answers.
type simulateFacts struct {
	Domain    string            `json:"domain"`
	Name      string            `json:"name"`
	Style     string            `json:"style"`
	SMTP      string            `json:"smtp"`
	IMAP      string            `json:"imap"`
	POP3      string            `json:"pop3"`
	Control   string            `json:"control,omitempty"` // address of the page
	CA        string            `json:"ca,omitempty"`      // file
	Dir       string            `json:"dir,omitempty"`
	Mailboxes []simulateMailbox `json:"mailboxes"`
}

// simulateMailbox is one mailbox. The password is told only where the command
// made it up.
type simulateMailbox struct {
	Address  string `json:"address"`
	Username string `json:"username"`
	Password string `json:"password,omitempty"`
}

func (f *simulateFlags) run(ctx context.Context, in io.Reader, out, errs io.Writer) (err error) {
	o, made, err := f.options(in)
	if err != nil {
		return &exitError{exitUsage, err.Error()}
	}
	o.Log = slog.New(slog.NewTextHandler(errs, nil))
	s := &simulation{}
	if f.dir != "" {
		if s.dir, err = openSimulateDir(f.dir); err != nil {
			return err
		}
		now := o.Now
		if now == nil {
			now = time.Now
		}
		if o.CA, err = s.dir.authority(o.Domain, now()); err != nil {
			return err
		}
	}
	if s.provider, err = providersim.Start(o); err != nil {
		var listening *net.OpError
		if errors.As(err, &listening) {
			return fmt.Errorf("%w: choose another address, or port 0 for any that is free", err)
		}
		return &exitError{exitUsage, err.Error()}
	}
	defer func() {
		err = errors.Join(err, s.provider.Close())
		if s.dir != nil {
			err = errors.Join(err, s.dir.keep(s.provider))
		}
	}()
	if err := f.prepare(s, o, made); err != nil {
		return err
	}
	if err := s.tell(out, f.json); err != nil {
		return err
	}
	if s.dir == nil {
		<-ctx.Done()
		return nil
	}
	return s.dir.follow(ctx, s.provider)
}

// prepare switches the faults on, writes the files and collects the facts.
func (f *simulateFlags) prepare(s *simulation, o providersim.Options, made bool) error {
	p := s.provider
	for _, fault := range f.faults {
		name, value := splitFault(fault)
		if err := p.Faults().Set(name, value); err != nil {
			return err
		}
	}
	if len(f.hosts) > 0 {
		cert, err := p.CA().TLSLeaf(providersim.TLSLeafOptions{Hosts: append([]string{"localhost", "127.0.0.1", "::1"}, f.hosts...)})
		if err != nil {
			return err
		}
		p.SetTLS(providersim.TLSOptions{Certificate: &cert})
	}
	s.facts = simulateFacts{
		Domain: o.Domain, Name: o.Name, Style: o.Style.String(),
		SMTP: p.SMTPAddr(), IMAP: p.IMAPAddr(), POP3: p.POP3Addr(), Control: p.ControlAddr(),
	}
	for _, m := range o.Mailboxes {
		box := simulateMailbox{Address: m.Address, Username: m.Username}
		if made {
			box.Password = m.Password
		}
		s.facts.Mailboxes = append(s.facts.Mailboxes, box)
	}
	if s.dir != nil {
		s.facts.Dir = s.dir.path
		s.facts.CA = filepath.Join(s.dir.path, "ca.pem")
		if err := s.dir.write("ca.pem", p.CAPEM()); err != nil {
			return err
		}
		if err := s.dir.write("accounts.txt", s.accounts(o.Mailboxes)); err != nil {
			return err
		}
	}
	if f.ca != "" {
		abs, err := filepath.Abs(f.ca)
		if err != nil {
			return err
		}
		if err := writeWhole(abs, p.CAPEM(), 0o644); err != nil {
			return fmt.Errorf("write the provider's CA: %w", err)
		}
		s.facts.CA = abs
	}
	return nil
}

// tell prints what a person or a script needs, and that everything answers.
func (s *simulation) tell(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(s.facts)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(what, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", what, value)
		}
	}
	f := s.facts
	line("Provider", f.Name+", domain "+f.Domain+", engine style "+f.Style)
	line("SMTP over TLS", f.SMTP)
	line("IMAP over TLS", f.IMAP)
	line("POP3 over TLS", f.POP3)
	if f.Control != "" {
		line("Switches", "http://"+f.Control+"/")
	}
	line("CA (for ca: and provider_trust:)", f.CA)
	line("Every message is kept in", f.Dir)
	for _, m := range f.Mailboxes {
		value := m.Address
		if m.Username != m.Address {
			value += ", user name " + m.Username
		}
		if m.Password != "" {
			value += ", password " + m.Password
		}
		line("Mailbox", value)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, b.String()+"Ready. Ctrl-C ends it.\n")
	return err
}

// accounts is accounts.txt: what is typed into a mail client or a gateway.
func (s *simulation) accounts(boxes []providersim.Mailbox) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "Simulated PEC provider %s. Connection SSL/TLS, authentication: normal password.\n", s.facts.Domain)
	fmt.Fprintf(&b, "SMTP %s\nIMAP %s\nPOP3 %s\n", s.facts.SMTP, s.facts.IMAP, s.facts.POP3)
	fmt.Fprintf(&b, "Certificate authority: ca.pem\nSent folder: %s\n\n", s.provider.SentFolder())
	for _, m := range boxes {
		fmt.Fprintf(&b, "%s   user name  %s   password  %s\n", m.Address, m.Username, m.Password)
	}
	return []byte(b.String())
}

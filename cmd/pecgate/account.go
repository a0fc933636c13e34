package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/gateway/autoconfig"
	"pecgate/policy"
)

func newAccountCommand(app *app) *cobra.Command {
	var asJSON bool
	var language, profile string
	c := &cobra.Command{
		Use:     "account USER",
		Short:   "the settings sheet of a user, to print or to send",
		Example: "  pecgate account mario\n  pecgate account mario --mobileconfig protocollo@pec.example.org > mario.mobileconfig",
		Long: `Prints what a user types into a mail program: servers, ports, user names, how
to give the PIN, and every PEC mailbox with what the user may do there. USER is
a login, an email, or LOGIN/MAILBOX for one mailbox only. It reads the two YAML
files and contacts nobody. No password and no PIN is ever in it.

--mobileconfig MAILBOX prints a profile for Apple's devices instead: send it as a
file that ends in .mobileconfig. The device asks for the password.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("account needs one USER: a login, an email, or LOGIN/MAILBOX")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if language != "" && language != "it" && language != "en" {
				return &exitError{exitUsage, "--lang needs it or en"}
			}
			if asJSON && profile != "" {
				return &exitError{exitUsage, "use --json or --mobileconfig, not both"}
			}
			l, err := configs.Load(app.config)
			if err != nil {
				return err
			}
			s, err := sheetOf(l, args[0], language, time.Now())
			if err != nil {
				return err
			}
			switch {
			case profile != "":
				return printProfile(c, l.Appliance, s, profile)
			case asJSON:
				e := json.NewEncoder(c.OutOrStdout())
				e.SetEscapeHTML(false)
				return e.Encode(s)
			}
			return s.print(c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	c.Flags().StringVar(&language, "lang", "", "`LANGUAGE` of the sheet: it or en (default: that of the appliance)")
	c.Flags().StringVar(&profile, "mobileconfig", "", "the profile for Apple's devices of one `MAILBOX`")
	return c
}

// printProfile prints the profile of a mailbox on which the user has a right.
func printProfile(c *cobra.Command, a *configs.Appliance, s sheet, box string) error {
	settings := autoconfig.Settings{Hostname: a.Hostname, Language: s.Language}
	for _, v := range s.IMAP[:min(1, len(s.IMAP))] {
		settings.IMAPS = v.Port
	}
	for _, v := range s.SMTP {
		switch {
		case v.Security == "tls" && settings.Submissions == 0:
			settings.Submissions = v.Port
		case v.Security == "starttls" && settings.Submission == 0:
			settings.Submission = v.Port
		}
	}
	if settings.IMAPS == 0 || settings.Submissions+settings.Submission == 0 {
		return errors.New("a profile needs an IMAP listener and a submission listener in pecgate.yaml")
	}
	var known []string
	for _, m := range s.Mailboxes {
		if strings.EqualFold(m.Address, box) {
			b, err := autoconfig.Profile(settings, autoconfig.Account{Address: m.Address, Login: s.User})
			if err == nil {
				_, err = c.OutOrStdout().Write(b)
			}
			return err
		}
		known = append(known, m.Address)
	}
	if len(known) == 0 {
		return fmt.Errorf("%s has no right on any mailbox", s.User)
	}
	return fmt.Errorf("%s has no right on a mailbox of this name: use one of %s", s.User, strings.Join(known, ", "))
}

// sheet is what a user needs to know to set up a mail program. It holds no
// secret. Its keys in JSON are stable.
type sheet struct {
	User        string         `json:"user"`
	Name        string         `json:"name"`
	Language    string         `json:"language"`
	Logins      []string       `json:"logins"` // for all mailboxes in one account
	PasswordSet bool           `json:"password_set"`
	PINSet      bool           `json:"pin_set"`
	Codes       bool           `json:"one_time_codes"` // in place of the PIN
	IMAP        []sheetServer  `json:"imap"`
	SMTP        []sheetServer  `json:"smtp"` // the first is the one to prefer
	Mailboxes   []sheetMailbox `json:"mailboxes"`

	sent, receipts, outcomes string // folders, in the language of the appliance
}

type sheetServer struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Security string `json:"security"` // tls: from the first byte; or starttls
}

type sheetMailbox struct {
	Address      string   `json:"address"`
	Name         string   `json:"name"`
	Active       bool     `json:"active"`
	Login        string   `json:"login"`                   // for this mailbox alone
	ArchiveLogin string   `json:"archive_login,omitempty"` // for its archive by day, read-only
	Rights       []string `json:"rights"`                  // send, receive, anomalies, delete
	RightsText   string   `json:"rights_text"`             // the same in words
	Expires      string   `json:"expires,omitempty"`       // the last day, YYYY-MM-DD
	PINRequired  bool     `json:"pin_required"`
	PINMethods   []string `json:"pin_methods"`
	Profile      string   `json:"profile,omitempty"` // address of the profile for Apple's devices
}

// sheetOf gathers what concerns a user. An empty language is that of the
// appliance.
func sheetOf(l *configs.Loaded, name, language string, now time.Time) (sheet, error) {
	a, p := l.Appliance, policyOf(l)
	id, ok := p.Resolve(name)
	u, known := p.User(id.User)
	if !ok || !known {
		return sheet{}, fmt.Errorf("%q is no login and no email of policy.yaml, nor LOGIN/MAILBOX of a member", name)
	}
	if language == "" {
		language = a.Language
	}
	s := sheet{User: u.Login, Name: u.Name, Language: language, Logins: []string{u.Login},
		PasswordSet: u.Password != "", PINSet: u.HasPIN(), Codes: u.TOTP != "", Mailboxes: []sheetMailbox{},
		IMAP: serversOf(a.Hostname, "tls", a.IMAP.IMAPS),
		SMTP: append(serversOf(a.Hostname, "tls", a.SMTP.Submissions), serversOf(a.Hostname, "starttls", a.SMTP.Submission)...),
	}
	s.sent, s.receipts, s.outcomes = "Posta inviata", "Ricevute", "Esiti"
	if a.Language == "en" {
		s.sent, s.receipts, s.outcomes = "Sent", "Receipts", "Outcomes"
	}
	if u.Email != "" {
		s.Logins = append(s.Logins, u.Email)
	}
	for _, m := range p.Boxes(u.Login, now) {
		if id.Box != "" && m.Address != id.Box {
			continue
		}
		r := p.Rights(u.Login, m.Address, now)
		b := sheetMailbox{Address: m.Address, Name: m.Name, Active: m.Active, Login: u.Login + "/" + m.Address,
			Rights: rightsOf(r), RightsText: sheetWords(language).rights(r, m.Active), PINRequired: m.PINRequired && m.Active && r.Send, PINMethods: m.PINMethods,
			Expires: lastDay(p, a.Location(), m.Address, u.Login), Profile: profileURL(a, u.Login, m.Address)}
		if archive := b.Login + "#archivio"; resolves(p, archive) {
			b.ArchiveLogin = archive
		}
		s.Mailboxes = append(s.Mailboxes, b)
	}
	return s, nil
}

func resolves(p *policy.Policy, name string) bool {
	_, ok := p.Resolve(name)
	return ok
}

// serversOf are the servers that a client reaches by the listeners of one kind.
func serversOf(host, security string, listeners []string) []sheetServer {
	out := []sheetServer{}
	seen := map[int]bool{}
	for _, address := range listeners {
		if _, port, err := splitPort(address); err == nil && port != 0 && !seen[port] {
			seen[port] = true
			out = append(out, sheetServer{Host: host, Port: port, Security: security})
		}
	}
	return out
}

// rightsOf are the rights by the words of policy.yaml.
func rightsOf(r policy.Rights) []string {
	out := []string{}
	for _, x := range []struct {
		word string
		has  bool
	}{{"send", r.Send}, {"receive", r.Receive}, {"anomalies", r.Anomalies}, {"compose", r.Compose}, {"approve", r.Approve}, {"delete", r.Delete}, {"send only", r.SendOnly}} {
		if x.has {
			out = append(out, x.word)
		}
	}
	return out
}

// lastDay is the last day of a user on a mailbox, or "".
func lastDay(p *policy.Policy, zone *time.Location, box, login string) string {
	e := p.Explain(login, box)
	if e.Expires.IsZero() {
		return ""
	}
	return e.Expires.Add(-1).In(zone).Format(time.DateOnly)
}

// profileURL is where the user's device finds the profile of a mailbox; "" where
// the appliance does not serve it.
func profileURL(a *configs.Appliance, login, box string) string {
	_, port, err := splitPort(a.Autoconfig.Listen)
	if err != nil || port == 0 {
		return ""
	}
	host := a.Hostname
	if port != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	u := url.URL{Scheme: "https", Host: host, Path: autoconfig.ProfilePath,
		RawQuery: url.Values{"emailaddress": {box}, "login": {login}}.Encode()}
	return u.String()
}

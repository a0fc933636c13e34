package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"pecgate/configs"
	"pecgate/relay"
	"pecgate/relay/submit"
)

// accountsOf turns the mailboxes of the policy into accounts at their
// providers.
func accountsOf(l *configs.Loaded) ([]relay.Account, error) {
	var out []relay.Account
	pools := map[string]*x509.CertPool{}
	roots := func(file string) (*x509.CertPool, error) {
		if file == "" {
			return nil, nil // the system's
		}
		if p := pools[file]; p != nil {
			return p, nil
		}
		b, err := os.ReadFile(l.Appliance.Path(file))
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		p := x509.NewCertPool()
		if !p.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("ca: %s holds no certificate", file)
		}
		pools[file] = p
		return p, nil
	}
	for _, m := range l.Policy.Mailboxes {
		smtpRoots, err1 := roots(m.SMTP.CA)
		inRoots, err2 := roots(m.Incoming.CA)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("mailbox %s: %w", m.Address, err)
		}
		a := relay.Account{
			Box: m.Address, Active: m.Active, Admin: m.Admin, Username: m.Username, Password: m.Password.Resolve,
			SMTP:  relay.Endpoint{Host: m.SMTP.Host, Port: m.SMTP.Port, Security: m.SMTP.Security, Roots: smtpRoots, Timeout: m.SMTP.Timeout},
			Every: m.Incoming.Every, UncertainAfter: m.UncertainAfter, Resend: m.Uncertain == "resend", PerMinute: m.Limits.PerMinute, Connections: m.Limits.Connections,
			OrdinaryTo: m.Ordinary.ForwardTo, Watch: watchOf(m.Watch), Copy: copyRuleOf(m.ProviderCopy), CopyReceipts: copyRuleOf(m.ProviderCopyReceipts),
		}
		a.PasswordFile = m.Password.File
		a.XOAuth2, a.Replies, a.SentCopy, a.SentFolder = m.Auth == "xoauth2", repliesOf(m.Replies), m.ProviderSentCopy, m.SentFolder
		a.Hours = relay.Hours{Receive: relay.Span(m.Hours.Receive), Send: relay.Span(m.Hours.Send)}
		a.HistoryUnseen, a.SharedSeen = m.History == "unseen", m.SharedSeen
		a.Expires, a.SMTPLogin, a.FetchLogin = m.Password.Expires.End(l.Appliance.Location()), loginOf(l, m.SMTP.Username, m.SMTP.Password), loginOf(l, m.Incoming.Username, m.Incoming.Password)
		a.Receipt, a.ProviderQuota, a.WhenFullSend, a.QuotaWarnings = m.Receipt, int64(m.ProviderQuota), m.WhenFull == "send", m.QuotaWarnings
		if m.ReceiptChoice {
			a.Receipt = "complete" // the sender may ask for the largest
		}
		in := relay.Endpoint{Host: m.Incoming.Host, Port: m.Incoming.Port, Security: m.Incoming.Security, Roots: inRoots, Timeout: m.Incoming.Timeout}
		if m.Incoming.Protocol == "pop3" {
			a.POP3 = in
		} else {
			a.IMAP = in
			if len(m.Incoming.Folders) > 0 {
				a.Folders = append([]string{"INBOX"}, m.Incoming.Folders...)
			}
		}
		out = append(out, a)
	}
	return out, nil
}

// watchOf are the watchdogs of a mailbox.
func watchOf(w configs.Watchdogs) relay.Watch {
	out := relay.Watch{Acceptance: time.Duration(w.Acceptance), Unread: time.Duration(w.Unread), Fetch: time.Duration(w.Fetch)}
	for _, d := range []configs.Patience{w.DeliveryWarning, w.Delivery} {
		if d != 0 {
			out.Delivery = append(out.Delivery, time.Duration(d))
		}
	}
	return out
}

// loginOf is the login of a server where it differs from the mailbox's.
func loginOf(l *configs.Loaded, username string, s configs.Secret) relay.Login {
	out := relay.Login{Username: username}
	if !s.IsZero() {
		out.Password, out.File, out.Expires = s.Resolve, s.File, s.Expires.End(l.Appliance.Location())
	}
	return out
}

// repliesOf is what a provider means by replies of its own.
func repliesOf(all []configs.Reply) (out []submit.ReplyRule) {
	for _, r := range all {
		class := submit.Temporary
		if r.Means == "permanent" {
			class = submit.Permanent
		}
		out = append(out, submit.ReplyRule{Code: r.Code, Words: r.Words, Class: class})
	}
	return out
}

// copyRuleOf is what becomes of the provider's copy.
func copyRuleOf(c configs.CopyRule) relay.CopyRule {
	return relay.CopyRule{Delete: c.Mode == "delete" || c.Mode == "after", After: c.After}
}

// smarthostOf is the way to ordinary mailboxes; nil: there is none.
func smarthostOf(l *configs.Loaded) (*relay.Smarthost, error) {
	h := l.Appliance.Outgoing.Smarthost
	if h.Host == "" {
		return nil, nil
	}
	out := &relay.Smarthost{Endpoint: relay.Endpoint{Host: h.Host, Port: h.Port, Security: h.Security, Timeout: time.Minute}, Username: h.Username}
	if h.Username != "" {
		out.Password = h.Password
	}
	if h.CA == "" {
		return out, nil
	}
	b, err := os.ReadFile(h.CA)
	if err != nil {
		return nil, fmt.Errorf("outgoing.smarthost.ca: %w", err)
	}
	out.Roots = x509.NewCertPool()
	if !out.Roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("outgoing.smarthost.ca: %s holds no certificate", h.CA)
	}
	return out, nil
}

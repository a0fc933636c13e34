package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"pecgate/configs"
	"pecgate/gateway"
	"pecgate/policy"
	"pecgate/relay"
)

// source is the configuration in use. A reload swaps it whole.
type source struct {
	now atomic.Pointer[inUse]
}

// inUse is one good configuration in the forms that the rooms want.
type inUse struct {
	loaded   *configs.Loaded
	policy   *policy.Policy
	accounts []relay.Account
}

// newSource returns a source of a loaded configuration.
func newSource(l *configs.Loaded) (*source, error) {
	s := new(source)
	return s, s.use(l)
}

// use swaps the configuration, or leaves it as it was and says why.
func (s *source) use(l *configs.Loaded) error {
	accounts, err := accountsOf(l)
	if err != nil {
		return err
	}
	s.now.Store(&inUse{loaded: l, policy: policyOf(l), accounts: accounts})
	return nil
}

func (s *source) appliance() *configs.Appliance { return s.now.Load().loaded.Appliance }

// gatewayOptions are the options of a gateway on this configuration.
func (s *source) gatewayOptions(log *slog.Logger) (gateway.Options, error) {
	a := s.appliance()
	var trust [][]byte
	for _, name := range a.ProviderTrust {
		b, err := os.ReadFile(a.Path(name))
		if err != nil {
			return gateway.Options{}, fmt.Errorf("provider_trust: %w", err)
		}
		trust = append(trust, b)
	}
	return gateway.Options{
		Hostname: a.Hostname, Language: a.Language, Location: a.Location(), Address: a.Address,
		DataDir: a.Path(a.DataDir), MinFree: int64(a.MinFree),
		Certificate: a.Path(a.TLS.Certificate), Key: a.Path(a.TLS.Key),
		Submissions: a.SMTP.Submissions, Submission: a.SMTP.Submission, IMAPS: a.IMAP.IMAPS,
		MaxMessage: int64(a.SMTP.MaxMessageSize), Trust: trust, Log: log,
		Policy:   func() *policy.Policy { return s.now.Load().policy },
		Accounts: func() []relay.Account { return s.now.Load().accounts },
	}, nil
}

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
		imapRoots, err2 := roots(m.Incoming.CA)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("mailbox %s: %w", m.Address, err)
		}
		out = append(out, relay.Account{
			Box: m.Address, Active: m.Active, Admin: m.Admin, Username: m.Username, Password: m.Password.Resolve,
			SMTP:  relay.Endpoint{Host: m.SMTP.Host, Port: m.SMTP.Port, Security: m.SMTP.Security, Roots: smtpRoots, Timeout: m.SMTP.Timeout},
			IMAP:  relay.Endpoint{Host: m.Incoming.Host, Port: m.Incoming.Port, Security: m.Incoming.Security, Roots: imapRoots, Timeout: m.Incoming.Timeout},
			Every: m.Incoming.Every, UncertainAfter: m.UncertainAfter,
		})
	}
	return out, nil
}

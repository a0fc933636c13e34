package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/gateway"
	"pecgate/gateway/admin/api"
	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
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
	peers    []smtpd.Peer
	// smarthost is that of the start: pecgate.yaml is not read again.
	smarthost *relay.Smarthost
	imap      *relay.IMAPDelivery
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
	peers, err := peersOf(l)
	if err != nil {
		return err
	}
	direct, err := imapDeliveryOf(l)
	if err != nil {
		return err
	}
	smarthost, err := smarthostOf(l)
	if err != nil {
		return err
	}
	s.now.Store(&inUse{loaded: l, policy: policyOf(l), accounts: accounts, peers: peers, smarthost: smarthost, imap: direct})
	return nil
}

func (s *source) appliance() *configs.Appliance { return s.now.Load().loaded.Appliance }

// named is a user whom a command is about.
type named struct {
	*operator
	login string
	// faulty: the policy cannot be read, and login is what was typed. The appliance
	// that runs knows whom it means; where none runs, nobody does.
	faulty error
	noPIN  bool
}

// known is what either does on the store, where nobody but policy.yaml knows the user.
func (who named) known(fn func(*mailbox.Store) error) func(*mailbox.Store) error {
	return func(store *mailbox.Store) error {
		if who.faulty != nil && who.login != "" {
			return who.faulty
		}
		return fn(store)
	}
}

// named looks for a user by login or email in the policy. The error is that of
// loginsOf.
func (a *app) named(c *cobra.Command, asJSON bool, user string) (who named, err error) {
	l, faulty := configs.Load(a.config)
	if who.operator, err = a.operator(c, asJSON); err != nil {
		return who, cmp.Or(faulty, err) // all that is wrong, in both files
	}
	if faulty != nil {
		who.login, who.faulty = user, faulty
		return who, nil
	}
	if user == "" {
		return who, nil
	}
	logins, err := loginsOf(l, user)
	if err != nil {
		return who, err
	}
	who.login = logins[0]
	for _, u := range l.Policy.Users {
		if u.Login == who.login {
			who.noPIN = u.PIN == "" && u.TOTP.Sealed == ""
		}
	}
	return who, nil
}

// trustOf reads the CAs of provider_trust.
func trustOf(a *configs.Appliance) (trust [][]byte, err error) {
	for _, name := range a.ProviderTrust {
		b, err := os.ReadFile(a.Path(name))
		if err != nil {
			return nil, fmt.Errorf("provider_trust: %w", err)
		}
		trust = append(trust, b)
	}
	return trust, nil
}

// gatewayOptions are the options of a gateway on this configuration.
func (s *source) gatewayOptions(log *slog.Logger) (gateway.Options, error) {
	a := s.appliance()
	trust, err := trustOf(a)
	if err != nil {
		return gateway.Options{}, err
	}
	return gateway.Options{
		Hostname: a.Hostname, Language: a.Language, Location: a.Location(), Address: a.Address,
		DataDir: a.Path(a.DataDir), MinFree: int64(a.MinFree),
		Certificate: a.Path(a.TLS.Certificate), Key: a.Path(a.TLS.Key),
		Submissions: a.SMTP.Submissions, Submission: a.SMTP.Submission, IMAPS: a.IMAP.IMAPS,
		API: a.API.Listen, Applications: func() []api.Application { return applicationsOf(s.now.Load().loaded) },
		Autoconfig: a.Autoconfig.Listen, ProxyFrom: a.ProxyProtocol.Networks(),
		MaxMessage: int64(a.SMTP.MaxMessageSize), Trust: trust, Revocation: a.Revocation, Log: log,
		Retrust: func() ([][]byte, error) { return trustOf(s.appliance()) },
		Sums: func() gateway.Sums {
			s := s.now.Load().loaded.Sums
			return gateway.Sums{Config: s.Config, Policy: s.Policy}
		},
		Relay:     a.SMTP.Relay,
		Relays:    func() []smtpd.Peer { return s.now.Load().peers },
		Policy:    func() *policy.Policy { return s.now.Load().policy },
		Accounts:  func() []relay.Account { return s.now.Load().accounts },
		Smarthost: s.now.Load().smarthost, IMAPDelivery: s.now.Load().imap,
		Codes: func(login, sealed string) ([]byte, error) { return s.now.Load().loaded.OpenCode(login, sealed) },
	}, nil
}

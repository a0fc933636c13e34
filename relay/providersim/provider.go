package providersim

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Mailbox is one PEC mailbox of the provider.
type Mailbox struct {
	Address            string
	Username, Password string   // Provider.SetPassword changes the latter
	Folders            []string // further ones besides INBOX and Sent, full names in the layout's form
}

// Options of Start; only Domain is needed.
type Options struct {
	Domain     string               // of the provider: messages are signed by posta-certificata@Domain
	Name       string               // gestore-emittente; default Gestore Simulato S.p.A.
	Mailboxes  []Mailbox            // their domains are PEC domains
	PECDomains []string             // further domains in which every address counts as PEC; unknown ones get an error receipt
	External   []string             // addresses of other providers' PEC users that exist: they take delivery, their mail is kept nowhere
	Behaviour  map[string]Behaviour // what happens at single recipient addresses; SetBehaviour changes it
	Service    ServiceLogin         // of the mailbox that kinds 5 and 7 go to; zero: Emitted alone shows it

	SMTPAddr, IMAPAddr string        // default 127.0.0.1:0
	POP3Addr           string        // default 127.0.0.1:0
	ControlAddr        string        // HTTP page of the switches, on loopback only; empty: none
	Folders            Folders       // default FoldersAruba
	Style              Style         // default StyleOld
	Digest             crypto.Hash   // default SHA-256; Style.Digest is what real engines of that style use
	ECDSA              bool          // sign with P-256 keys; default RSA-2048
	Hour               time.Duration // length of the provider's hour: warnings come after 12 and 24; default a real one
	Delay              time.Duration // between the acceptance and the receipts of delivery
	MaxSize            int64         // bytes of a message, default 100 MiB; announced as SIZE
	MaxProduct         int64         // bytes times recipients, default MaxSize; beyond it: non-acceptance
	MaxRecipients      int           // default 50

	Now func() time.Time // for dates and signing times; delays run by the real clock
	Log *slog.Logger     // default: none. Never gets a password or content
	CA  *Authority       // nil: a new one for Domain
	TLS TLSOptions
}

// TLSOptions of the provider's sockets; the zero value is TLS 1.2 and later with
// the authority's certificate.
type TLSOptions struct {
	MinVersion, MaxVersion uint16
	CipherSuites           []uint16 // for TLS 1.2 and below
	Certificate            *tls.Certificate
}

// Submission is one message that the provider accepted after the final dot.
type Submission struct {
	ID         string // as in the 250
	At         time.Time
	Username   string
	From       string // reverse path
	Recipients []string
	MessageID  string // as the client wrote it, with brackets; empty if none
	Raw        []byte // after dot-unstuffing; shared, not to be changed
	Size       int64
	SHA256     string // of Raw, lower-case hex
	Answered   bool   // the 250 was written; false while held, and for ever when the connection was cut
}

// Emitted is one message that the provider put into a mailbox.
type Emitted struct {
	Mailbox string // address
	Kind    Kind
	Number  int    // of the twelve kinds of RFC 6109; 0 for what is no PEC
	UID     uint32 // in INBOX at that time
	At      time.Time
	Raw     []byte // shared, not to be changed
	SHA256  string // of Raw, lower-case hex
	MsgID   string // the client's Message-ID that it is about
	About   string // the recipient that it is about, if one
}

// LoginAttempt is one try to log in, with what came of it.
type LoginAttempt struct {
	At       time.Time
	Protocol string // smtp, imap or pop3
	Username string
	OK       bool
}

// Provider is a running simulated provider. All methods are safe for concurrent use.
type Provider struct {
	o        Options
	ca       *Authority
	log      *slog.Logger
	zone     *time.Location
	accounts []*account
	service  *account // takes kinds 5 and 7; not in accounts
	behave   behaviours
	layout   layout
	external map[string]bool
	domains  map[string]bool // PEC domains
	own      map[string]bool // domains of own mailboxes
	faults   Faults
	tls      atomic.Pointer[tls.Config]
	jobs     *schedule
	seq      atomic.Uint64
	notices  atomic.Uint64 // ordinary mails of the provider's own
	instance uint32

	ctx       context.Context
	cancel    context.CancelFunc
	running   sync.WaitGroup
	smtp      *listener
	imap      *listener
	pop3      *listener
	control   *control // nil: none
	closeOnce sync.Once

	mu       sync.Mutex
	ledger   []Submission
	emitted  []Emitted
	logins   []LoginAttempt
	recent   map[string][]time.Time // submissions of the last minute by mailbox
	changed  chan struct{}          // closed and replaced at every change
	sessions int                    // IMAP sessions that the library still runs
	closed   bool
}

// Start listens and serves until Close.
func Start(o Options) (*Provider, error) {
	if o.Domain == "" {
		return nil, errors.New("simulated provider: no domain given")
	}
	defaults(&o)
	ca := o.CA
	if ca == nil {
		var err error
		if ca, err = NewAuthority(o.Domain, o.Now()); err != nil {
			return nil, fmt.Errorf("simulated provider: %w", err)
		}
	}
	p := &Provider{
		o: o, ca: ca, log: o.Log,
		external: map[string]bool{}, domains: map[string]bool{}, own: map[string]bool{},
		recent: map[string][]time.Time{}, changed: make(chan struct{}),
		instance: uint32(time.Now().UnixNano() % 100000),
	}
	// Providers write Italian local time; without zone data the clock's own does.
	if zone, err := time.LoadLocation("Europe/Rome"); err == nil {
		p.zone = zone
	} else {
		p.zone = o.Now().Location()
	}
	var err error
	if p.layout, err = o.Folders.layout(); err != nil {
		return nil, fmt.Errorf("simulated provider: %w", err)
	}
	// Rising from start to start, so a new provider never repeats UIDs of an older one.
	validity := uint32(time.Now().Unix())
	for _, m := range o.Mailboxes {
		if !compliant(m.Address) || p.account(m.Address) != nil {
			return nil, fmt.Errorf("simulated provider: mailbox %q is no address or given twice", m.Address)
		}
		a, err := newAccount(m, p.layout, validity)
		if err != nil {
			return nil, fmt.Errorf("simulated provider: %w", err)
		}
		p.accounts = append(p.accounts, a)
		p.domains[domainOf(m.Address)] = true
		p.own[domainOf(m.Address)] = true
	}
	for _, d := range o.PECDomains {
		p.domains[fold(d)] = true
	}
	for _, a := range o.External {
		p.external[fold(a)] = true
	}
	if p.service, err = newAccount(Mailbox{Address: p.ServiceAddress(), Username: o.Service.Username, Password: o.Service.Password}, p.layout, validity); err != nil {
		return nil, fmt.Errorf("simulated provider: %w", err)
	}
	for address, b := range o.Behaviour {
		if err := p.SetBehaviour(address, b); err != nil {
			return nil, fmt.Errorf("simulated provider: %w", err)
		}
	}
	p.SetTLS(o.TLS)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.jobs = newSchedule(p.notify)
	if err := p.listen(); err != nil {
		p.cancel()
		return nil, fmt.Errorf("simulated provider: %w", err)
	}
	for range 2 {
		p.running.Go(func() { p.jobs.work(p.ctx) })
	}
	return p, nil
}

func defaults(o *Options) {
	if o.Name == "" {
		o.Name = "Gestore Simulato S.p.A."
	}
	if o.SMTPAddr == "" {
		o.SMTPAddr = "127.0.0.1:0"
	}
	if o.IMAPAddr == "" {
		o.IMAPAddr = "127.0.0.1:0"
	}
	if o.POP3Addr == "" {
		o.POP3Addr = "127.0.0.1:0"
	}
	if o.MaxSize <= 0 {
		o.MaxSize = 100 << 20
	}
	if o.MaxProduct <= 0 {
		o.MaxProduct = o.MaxSize
	}
	if o.MaxRecipients <= 0 {
		o.MaxRecipients = 50
	}
	if o.Hour <= 0 {
		o.Hour = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Close stops at once: connections are cut, receipts not yet made are dropped.
// It returns when all goroutines have ended.
func (p *Provider) Close() error {
	p.closeOnce.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cancel()
		p.closeListeners()
		p.running.Wait()
		if p.control != nil {
			p.control.wait()
		}
		p.waitSessions()
	})
	return nil
}

// SMTPAddr is host:port of submission over implicit TLS.
func (p *Provider) SMTPAddr() string { return p.smtp.addr() }

// IMAPAddr is host:port of IMAP over implicit TLS.
func (p *Provider) IMAPAddr() string { return p.imap.addr() }

// POP3Addr is host:port of POP3 over implicit TLS.
func (p *Provider) POP3Addr() string { return p.pop3.addr() }

// ControlAddr is host:port of the HTTP page, empty if there is none.
func (p *Provider) ControlAddr() string {
	if p.control == nil {
		return ""
	}
	return p.control.ln.Addr().String()
}

// CAPEM is root and intermediate in PEM: for `openssl smime -verify -CAfile` and
// as the root file for the provider's TLS.
func (p *Provider) CAPEM() []byte { return p.ca.CAPEM() }

// CA is the authority, to start another provider with or to make certificates.
func (p *Provider) CA() *Authority { return p.ca }

// Faults are the switches.
func (p *Provider) Faults() *Faults { return &p.faults }

// SetTLS changes versions and certificate for connections from now on.
func (p *Provider) SetTLS(o TLSOptions) {
	cert := p.ca.tls
	if o.Certificate != nil {
		cert = *o.Certificate
	}
	if o.MinVersion == 0 {
		o.MinVersion = tls.VersionTLS12
	}
	p.tls.Store(&tls.Config{
		MinVersion: o.MinVersion, MaxVersion: o.MaxVersion, CipherSuites: o.CipherSuites,
		Certificates: []tls.Certificate{cert},
	})
}

// Ledger lists every submission accepted after the final dot, in that order.
func (p *Provider) Ledger() []Submission {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.ledger)
}

// Emitted lists every message put into a mailbox, in that order.
func (p *Provider) Emitted() []Emitted {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.emitted)
}

// Logins lists every try to log in.
func (p *Provider) Logins() []LoginAttempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.logins)
}

func (p *Provider) account(address string) *account {
	for _, a := range p.accounts {
		if fold(a.Address) == fold(address) {
			return a
		}
	}
	return nil
}

// login checks a name and password and keeps the attempt; nil is a refusal and
// text the reason that the client gets to see.
func (p *Provider) login(protocol, username, password string) (found *account, text string) {
	text = "authentication failed"
	for _, a := range p.accounts {
		if a.Username == username && a.checkPassword(password) {
			found = a
		}
	}
	if s := p.service; s.Username != "" && s.Username == username && s.checkPassword(password) {
		found = s
	}
	if p.faults.RefuseLogin.fires() {
		found = nil
	}
	if p.faults.PasswordExpired.fires() {
		found, text = nil, "password scaduta: impostarne una nuova dalla webmail (password expired)"
	}
	p.mu.Lock()
	p.logins = append(p.logins, LoginAttempt{At: p.o.Now(), Protocol: protocol, Username: username, OK: found != nil})
	p.mu.Unlock()
	p.notify()
	return found, text
}

// Wait returns nil as soon as ok is true. It is asked again after every
// submission, emission, login and finished piece of work; it may call any method.
func (p *Provider) Wait(ctx context.Context, ok func() bool) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ctx.Done():
			return net.ErrClosed
		}
	}
}

// Settle waits until everything accepted has got all its receipts, those that
// come by the clock (12 and 24 of Options.Hour) among them.
func (p *Provider) Settle(ctx context.Context) error { return p.Wait(ctx, p.jobs.idle) }

// notify wakes those who Wait.
func (p *Provider) notify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Provider) now() time.Time { return p.o.Now().In(p.zone) }

func sum(raw []byte) string {
	h := sha256.Sum256(raw)
	return hex.EncodeToString(h[:])
}

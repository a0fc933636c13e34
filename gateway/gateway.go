// Package gateway puts the appliance together and runs it: start, ready,
// drain, stop.
//
// It owns the wiring of all rooms and the order in which they begin and end.
//
// Invariants:
//
//   - What listens is ready to serve; what is not ready does not listen.
//   - Stopping lets go in the opposite order: no new connections, then those
//     that are open, then sending and fetching, then the store.
//   - A part that fails for good ends the whole: half an appliance is worse
//     than one that systemd starts again.
//
// It must not import cmd or configs: it is told everything by Options.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"pecgate/gateway/admin"
	"pecgate/gateway/admin/api"
	"pecgate/gateway/auth"
	"pecgate/gateway/autoconfig"
	"pecgate/gateway/gate"
	"pecgate/gateway/imapd"
	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/mailbox/pec"
	"pecgate/policy"
	"pecgate/relay"
)

// Options is everything that a gateway is told.
type Options struct {
	Hostname string
	Language string         // of folders and notices: it or en
	Location *time.Location // in which days begin
	Address  string         // From of notices

	DataDir string
	MinFree int64 // bytes
	// Free asks the disk of DataDir; nil: the disk itself. Tests give another.
	Free func() (mailbox.DiskFree, error)

	Revocation                     bool     // ask about the certificates of providers: relay.Options.Revocation
	Certificate, Key               string   // PEM files
	Submissions, Submission, IMAPS []string // addresses to listen on
	Relay                          []string // the same for groupware servers, once there are any
	Autoconfig                     string   // address to tell mail programs their settings on; "": none
	API                            string   // address of the HTTP service for applications; "": none
	Applications                   func() []api.Application
	MaxMessage                     int64          // bytes
	ProxyFrom                      []netip.Prefix // load balancers, which name their clients

	Trust [][]byte // PEM of CAs for PEC signatures
	// Retrust reads them again at a reload; nil: they stay as they are.
	Retrust  func() ([][]byte, error)
	Sums     func() Sums // of the configuration in use, for the audit log; nil: none
	Policy   func() *policy.Policy
	Accounts func() []relay.Account
	Relays   func() []smtpd.Peer                        // groupware servers; nil: there are none
	Codes    func(login, sealed string) ([]byte, error) // opens the secret of a user's one-time codes; nil: there are none
	// Smarthost is the way to ordinary mailboxes; nil: there is none.
	Smarthost *relay.Smarthost
	// IMAPDelivery is the way to those of some domains, in place of it; nil: there is none.
	IMAPDelivery *relay.IMAPDelivery
	Schedule     relay.Schedule // zero: the default
	Log          *slog.Logger
}

// drainTime is how long open connections may finish what they are doing.
const drainTime = 10 * time.Second

// Gateway is a running appliance.
type Gateway struct {
	store   *mailbox.Store
	relay   *relay.Service
	control *admin.Control
	imap    *imapd.Server
	smtp    *smtpd.Server
	auto    *autoconfig.Server // nil: none
	api     *api.Server        // nil: none
	cert    *gate.Certificate
	events  *events.Log
	trail   *trail
	sums    func() Sums
	people  *people
	retrust func() ([][]byte, error)

	groupware *groupware // nil: none
	relays    func() []smtpd.Peer
	sockets   *sockets   // of systemd
	mu        sync.Mutex // of listeners
	listeners []*gate.Listener
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	failed    chan error
	closing   sync.Once
	closeErr  error
}

// Start brings everything up. When it returns without an error the appliance
// serves; it stops by Close only.
func Start(ctx context.Context, o Options) (_ *Gateway, err error) {
	g := &Gateway{events: events.New(o.Log), retrust: o.Retrust, failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	if g.sockets, err = inheritSockets(); err != nil {
		return nil, err
	}
	trust, err := pec.NewTrust(o.Trust...)
	if err != nil {
		return nil, fmt.Errorf("provider_trust: %w", err)
	}
	if g.cert, err = gate.LoadCertificate(o.Certificate, o.Key); err != nil {
		return nil, err
	}
	if g.store, err = mailbox.Open(mailbox.Options{
		Dir: o.DataDir, MinFree: o.MinFree, Free: o.Free, Name: o.Hostname, Zone: o.Location, Events: g.events, Clock: mailbox.SystemClock(),
	}); err != nil {
		return nil, err
	}
	if err := g.openTrail(ctx, o.Sums); err != nil {
		return nil, err
	}
	g.people = newPeople(g.store, g.events, o.Policy)
	login := auth.New(auth.Options{Policy: o.Policy, Events: g.events, Location: o.Location, Counters: counters{g.store}, Codes: o.Codes, Apps: apps{g.store, g.events}, People: g.people, Locked: g.pinLocked})
	g.relay = relay.New(relay.Options{
		Store: g.store, Reader: pec.NewReader(pec.Options{Trust: trust}), Accounts: o.Accounts,
		Hello: o.Hostname, Address: o.Address, Language: o.Language, Location: o.Location, Schedule: o.Schedule, Events: g.events,
		MayApprove: func(login, box string, own bool) bool {
			return o.Policy().DecideApproval(policy.Identity{User: login}, box, own, time.Now()).Allow
		},
		Policy:      o.Policy,
		Readers:     func(box string) []relay.Reader { return readers(o.Policy(), box, time.Now()) },
		Revocation:  asker(o.Revocation),
		Certificate: g.cert.Expires, Smarthost: o.Smarthost, IMAP: o.IMAPDelivery,
		Digests:         func() map[string]time.Duration { return digests(o.Policy()) },
		DeliveryReports: func(name string) bool { r, ok := o.Policy().Relay(name); return ok && r.Delivery },
		Person:          func(login string) relay.Correspondent { return correspondent(o.Policy(), login) },
	})
	// Before anything is accepted: what comes in now is not of the backup.
	if err := g.relay.Restored(ctx); err != nil {
		return nil, err
	}
	// And before anybody logs in: a new person may have the login of one who left.
	if err := g.people.settle(ctx); err != nil && !errors.Is(err, mailbox.ErrNoSpace) {
		return nil, err
	}
	g.fault("known devices", knownDevices(ctx, g.store, login.Seen)) // without them nobody is known: no more than that
	held := confirm{store: g.store, domain: o.Address[strings.LastIndexByte(o.Address, '@')+1:]}
	g.smtp, err = smtpd.New(smtpd.Options{
		Hostname: o.Hostname, MaxSize: o.MaxMessage, Policy: o.Policy, Auth: login,
		Intake: &intake{store: g.store}, Confirm: held, Events: g.events,
	})
	if err != nil {
		return nil, err
	}
	g.imap = imapd.New(imapd.Options{
		Store: g.store, Policy: o.Policy, Login: login.Login, Language: o.Language, MaxAppend: o.MaxMessage,
		Location: o.Location, Events: g.events, Withdraw: held.Withdraw, Approvals: approvals{g.store, g.relay, o.Policy},
		Occupied: func(box string) imapd.Occupied {
			used, limit, known := g.relay.Occupied(box)
			return imapd.Occupied{Used: used, Limit: limit, Known: known}
		},
	})
	// What runs is not tied to ctx, which bounds only the start: Close ends it
	// in its order.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g.cancel = cancel
	if g.control, err = admin.Listen(admin.Options{
		DataDir: o.DataDir, Store: g.store, Relay: g.relay, Events: g.events, User: g.people.User,
		UnlockPIN: func(ctx context.Context, login string, by relay.Hand) (int, error) {
			return UnlockPIN(ctx, g.store, login, o.Location, by)
		},
	}); err != nil {
		return nil, err
	}
	g.run("store", func() error {
		select {
		case err := <-g.store.Failed():
			return err
		case <-run.Done():
			return nil
		}
	})
	g.run("relay", func() error { return g.relay.Run(run) })
	g.wg.Go(func() { g.keep(run, o.Policy, o.Location) })
	g.wg.Go(func() { g.people.keep(run) })
	g.wg.Go(func() { g.cert.Watch(run, time.Minute, g.events) })
	limits := gate.NewLimits(0, 0)
	ports := map[string]int{} // the first of each kind
	for _, l := range []struct {
		name      string
		addresses []string
		mode      gate.Mode
		alpn      string
		busy      string
		filter    func(*gate.Conn) net.Conn
		serve     func(net.Listener) error
	}{
		{"submissions", o.Submissions, gate.ImplicitTLS, "smtp", smtpd.Busy, g.smtp.Filter, g.smtp.Serve},
		{"submission", o.Submission, gate.StartTLSSMTP, "smtp", smtpd.Busy, g.smtp.Filter, g.smtp.Serve},
		{"imaps", o.IMAPS, gate.ImplicitTLS, "imap", imapd.Busy, nil, g.imap.Serve},
	} {
		for _, address := range l.addresses {
			ln, err := g.listen(ctx, gate.Options{
				Name: l.name, Address: address, Mode: l.mode, Hostname: o.Hostname, Certificate: g.cert,
				ALPN: []string{l.alpn}, Limits: limits, Busy: l.busy, Filter: l.filter, Events: g.events,
				ProxyFrom: o.ProxyFrom,
			})
			if err != nil {
				return nil, fmt.Errorf("listen on %s for %s: %w", address, l.name, err)
			}
			g.listeners = append(g.listeners, ln)
			g.run(l.name, func() error { return l.serve(ln) })
			if ports[l.name] == 0 {
				ports[l.name] = portOf(ln)
			}
		}
	}
	if err := g.prepareRelay(o, login, held); err != nil {
		return nil, err
	}
	if err := g.listenRelay(ctx); err != nil {
		return nil, err
	}
	if err := g.tellSettings(ctx, o, limits, ports); err != nil {
		return nil, err
	}
	if err := g.serveApplications(ctx, run, o, login); err != nil {
		return nil, err
	}
	if unused := g.sockets.unused(); len(unused) > 0 {
		g.events.SocketsUnused(strings.Join(unused, " "))
	}
	notify("READY=1")
	return g, nil
}

// run keeps a part going; one that ends with an error before Close fails the
// gateway.
func (g *Gateway) run(name string, fn func() error) {
	g.wg.Go(func() {
		if err := fn(); err != nil && !errors.Is(err, net.ErrClosed) {
			select {
			case g.failed <- fmt.Errorf("%s: %w", name, err):
			default: // one is told already, and one is enough
			}
		}
	})
}

// Failed tells the first error of a part that ended for good. The caller then
// closes the gateway.
func (g *Gateway) Failed() <-chan error { return g.failed }

// Reload takes over what changed in policy, accounts and certificate.
func (g *Gateway) Reload() {
	notify("RELOADING=1")
	if _, err := g.cert.Reload(); err != nil {
		g.events.Fault("certificate", "", err)
	}
	g.fault("provider_trust", g.trustAgain())
	_ = g.configured(context.Background(), "reloaded") // the log tells it
	g.fault("people", g.people.settle(context.Background()))
	g.relay.Reload()
	g.fault("relay", g.listenRelay(context.Background()))
	notify("READY=1")
}

// trustAgain takes over what provider_trust names by now.
func (g *Gateway) trustAgain() error {
	if g.retrust == nil {
		return nil
	}
	pems, err := g.retrust()
	if err != nil {
		return err
	}
	trust, err := pec.NewTrust(pems...)
	if err != nil {
		return fmt.Errorf("provider_trust: %w", err)
	}
	if r := pec.NewReader(pec.Options{Trust: trust}); g.relay.Trust(r) {
		g.events.Trusted(r.Anchors())
	}
	return nil
}

// NotReloaded notes that a changed configuration is faulty: the one in use
// stays.
func (g *Gateway) NotReloaded() { _ = g.configured(context.Background(), "refused") }

// Close stops everything in its order and waits for it. It may be called more
// than once.
func (g *Gateway) Close() error {
	g.closing.Do(func() { g.closeErr = g.close() })
	return g.closeErr
}

func (g *Gateway) close() error {
	notify("STOPPING=1")
	if g.cancel != nil {
		g.cancel() // nothing new is sent or fetched while the listeners drain
	}
	var errs []error
	g.mu.Lock()
	listeners := g.listeners
	g.mu.Unlock()
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	errs = append(errs, g.sockets.close())
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var drains sync.WaitGroup
	// What does not end in time is cut by the drain of its listener.
	if g.imap != nil {
		drains.Go(func() { _ = g.imap.Shutdown(ctx) })
	}
	if g.smtp != nil {
		drains.Go(func() { _ = g.smtp.Shutdown(ctx) })
	}
	if g.groupware != nil {
		drains.Go(func() { _ = g.groupware.smtp.Shutdown(ctx) })
	}
	if g.auto != nil {
		drains.Go(func() { _ = g.auto.Shutdown(ctx) })
	}
	if g.api != nil {
		drains.Go(func() { _ = g.api.Shutdown(ctx) })
	}
	for _, l := range listeners {
		drains.Go(func() { l.Drain(ctx) })
	}
	drains.Wait()
	if g.control != nil {
		errs = append(errs, g.control.Close())
	}
	g.wg.Wait()
	if g.trail != nil {
		g.events.AuditTo(nil)
		g.trail.close()
	}
	if g.store != nil {
		// What happened since the last head is signed too. Where that fails (a full
		// disk), the next start does it.
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		g.fault("audit", g.store.SignAudit(ctx))
		cancel()
		errs = append(errs, g.store.Close())
	}
	return errors.Join(errs...)
}

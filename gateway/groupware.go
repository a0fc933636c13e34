package gateway

import (
	"context"
	"fmt"
	"net"
	"strings"

	"pecgate/gateway/auth"
	"pecgate/gateway/gate"
	"pecgate/gateway/smtpd"
)

// Limits of the listener for groupware servers: they are few, and a flood of theirs
// must not take the places of people.
const (
	relayConns   = 256
	relayPerHost = 64
)

// groupware is the listener for groupware servers, once there is any.
type groupware struct {
	smtp    *smtpd.Server
	addrs   []string
	options gate.Options
	started bool
}

// prepareRelay makes the service that groupware servers talk to.
func (g *Gateway) prepareRelay(o Options, login *auth.Service, held smtpd.Confirm) (err error) {
	if o.Relays == nil || len(o.Relay) == 0 {
		return nil
	}
	w := &groupware{addrs: o.Relay}
	w.smtp, err = smtpd.New(smtpd.Options{
		Hostname: o.Hostname, MaxSize: o.MaxMessage, Policy: o.Policy, Auth: login,
		Intake: &intake{store: g.store}, Confirm: held, Events: g.events,
		Relay: &smtpd.Relay{Peers: o.Relays, Auth: login, Strays: strays{g.store, g.relay}, Looped: g.relay.Looped, Passing: passing{g.store, g.relay}, Journals: journals{g.relay}, JournalDomain: o.Address[strings.LastIndexByte(o.Address, '@')+1:]},
	})
	if err != nil {
		return err
	}
	w.options = gate.Options{
		Name: "relay", Mode: gate.StartTLSSMTP, Hostname: o.Hostname, Certificate: g.cert, ALPN: []string{"smtp"},
		Limits: gate.NewLimits(relayConns, relayPerHost), Busy: smtpd.Busy, Filter: w.smtp.Filter, Events: g.events,
		ProxyFrom: o.ProxyFrom, Admit: w.smtp.Admit, AskCertificate: true,
	}
	g.groupware, g.relays = w, o.Relays
	return nil
}

// listenRelay begins to listen for groupware servers once the policy has any. Where
// it has none any more, nobody is admitted.
func (g *Gateway) listenRelay(ctx context.Context) error {
	w := g.groupware
	if w == nil || w.started || len(g.relays()) == 0 {
		return nil
	}
	var all []*gate.Listener
	for _, address := range w.addrs {
		o := w.options
		o.Address = address
		ln, err := g.listen(ctx, o)
		if err != nil {
			for _, l := range all {
				_ = l.Close() // nobody was served
			}
			return fmt.Errorf("listen on %s for relay (smtp.relay): %w", address, err)
		}
		all = append(all, ln)
	}
	w.started = true
	g.mu.Lock()
	g.listeners = append(g.listeners, all...)
	g.mu.Unlock()
	for _, ln := range all {
		g.run("relay", func() error { return w.smtp.Serve(net.Listener(ln)) })
	}
	return nil
}

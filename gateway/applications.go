package gateway

import (
	"context"
	"fmt"
	"time"

	"pecgate/gateway/admin/api"
	"pecgate/gateway/admin/metrics"
	"pecgate/gateway/auth"
	"pecgate/gateway/gate"
	"pecgate/mailbox"
)

// serveApplications starts the HTTP service, where one is wanted.
// run ends when the appliance stops.
func (g *Gateway) serveApplications(ctx, run context.Context, o Options, login *auth.Service) (err error) {
	const name = "api"
	if o.API == "" || o.Applications == nil {
		return nil
	}
	if g.api, err = api.New(api.Options{
		Probe: metrics.Is, Probes: metrics.New(metrics.Options{
			Status: g.relay.Status, Oldest: g.relay.Oldest, Occupied: g.relay.Occupied, Certificate: g.cert.Expires,
			Logins: g.events.LoginsRefused, Panics: g.events.Panics, Ready: func(ctx context.Context) error { return g.ready(ctx, run) }, Now: time.Now,
		}),
		Policy: o.Policy, Applications: o.Applications, Store: g.store, Auth: login, SMTP: g.smtp, Events: g.events, MaxMessage: o.MaxMessage,
		Closed: func(login string) bool {
			u, ok := o.Policy().User(login)
			return !ok || g.people.Closed(u)
		},
	}); err != nil {
		return err
	}
	ln, err := g.listen(ctx, gate.Options{
		Name: name, Address: o.API, Mode: gate.ImplicitTLS, Hostname: o.Hostname, Certificate: g.cert,
		ALPN: []string{"http/1.1"}, Limits: gate.NewLimits(api.MaxConns, api.MaxPerHost), ProxyFrom: o.ProxyFrom, Events: g.events,
	})
	if err != nil {
		return fmt.Errorf("listen on %s for %s: %w", o.API, name, err)
	}
	g.listeners = append(g.listeners, ln)
	g.run(name, func() error { return g.api.Serve(ln) })
	return nil
}

// ready tells whether the appliance serves: it is not stopping, the store answers, and
// there is room for what comes.
func (g *Gateway) ready(ctx, run context.Context) error {
	if err := run.Err(); err != nil {
		return err
	}
	if err := g.store.View(ctx, func(*mailbox.Tx) error { return nil }); err != nil {
		return err
	}
	return g.store.Room()
}

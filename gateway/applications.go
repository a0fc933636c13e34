package gateway

import (
	"context"
	"fmt"

	"pecgate/gateway/admin/api"
	"pecgate/gateway/auth"
	"pecgate/gateway/gate"
)

// serveApplications starts the HTTP service, where one is wanted.
func (g *Gateway) serveApplications(ctx context.Context, o Options, login *auth.Service) (err error) {
	const name = "api"
	if o.API == "" || o.Applications == nil {
		return nil
	}
	if g.api, err = api.New(api.Options{
		Policy: o.Policy, Applications: o.Applications, Store: g.store, Auth: login, SMTP: g.smtp, Events: g.events, MaxMessage: o.MaxMessage,
		Closed: func(login string) bool {
			u, ok := o.Policy().User(login)
			return !ok || g.people.Closed(u)
		},
	}); err != nil {
		return err
	}
	ln, err := gate.Listen(ctx, gate.Options{
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

package gateway

import (
	"context"
	"fmt"
	"net"
	"time"

	"pecgate/gateway/autoconfig"
	"pecgate/gateway/gate"
)

// tellSettings starts the service that tells mail programs which servers to use,
// where one is wanted. ports are those of the listeners, by their names.
func (g *Gateway) tellSettings(ctx context.Context, o Options, limits *gate.Limits, ports map[string]int) (err error) {
	const name = "autoconfig"
	if o.Autoconfig == "" {
		return nil
	}
	if g.auto, err = autoconfig.New(autoconfig.Options{
		Settings: autoconfig.Settings{Hostname: o.Hostname, Language: o.Language,
			IMAPS: ports["imaps"], Submissions: ports["submissions"], Submission: ports["submission"]},
		Events: g.events,
	}); err != nil {
		return err
	}
	// Nobody logs in here, so PreLogin is the whole life of a connection.
	ln, err := g.listen(ctx, gate.Options{
		Name: name, Address: o.Autoconfig, Mode: gate.ImplicitTLS, Hostname: o.Hostname, Certificate: g.cert,
		ALPN: []string{"http/1.1"}, PreLogin: time.Minute, Limits: limits, ProxyFrom: o.ProxyFrom, Events: g.events,
	})
	if err != nil {
		return fmt.Errorf("listen on %s for %s: %w", o.Autoconfig, name, err)
	}
	g.listeners = append(g.listeners, ln)
	g.run(name, func() error { return g.auto.Serve(ln) })
	return nil
}

// portOf is the port that a listener really has.
func portOf(ln *gate.Listener) int {
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

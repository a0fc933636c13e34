package submit

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"pecgate/relay/upstream"
	"pecgate/relay/upstream/upstreamtest"
)

// TestB19_NextAddress: names that are not found, addresses that are dead and a
// provider that moves are temporary at worst; the next address is tried, and the
// name is asked for again at every attempt.
func TestB19_NextAddress(t *testing.T) {
	names := upstreamtest.NewNames(t)
	p := newProvider(t)
	at := "127.0.0.2:0"
	// The same port on the second address, so that only the name says where it is.
	p.ln.Close()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	p.ln = ln
	srv := p.server()
	port := ln.Addr().(*net.TCPAddr).Port
	srv.Timeout = 5 * time.Second
	srv.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		o := upstream.Options{Host: srv.Host, Port: port, Timeout: srv.Timeout, Resolver: names.Resolver()}
		return upstream.Dial(ctx, o)
	}
	handed := 0
	for _, tt := range []struct {
		name  string
		set   func()
		class Class
	}{
		{"SERVFAIL", func() { names.Fail(upstreamtest.ServFail) }, Temporary},
		{"no such name", func() { names.Fail(upstreamtest.NXDomain) }, Temporary},
		{"silent name server", func() { names.Fail(0) }, Temporary},
		{"name without addresses", func() { names.Set() }, Temporary},
		{"not where it was", func() { names.Set("127.0.0.3") }, Temporary},
		{"found again", func() { names.Set("127.0.0.2") }, HandedOver},
		{"dead IPv6 first", func() { names.Set("::1", "127.0.0.2") }, HandedOver},
		{"dead IPv6 only", func() { names.Set("::1") }, Temporary},
		{"dead IPv4 first", func() { names.Set("127.0.0.3", "127.0.0.4", "127.0.0.2") }, HandedOver},
		{"gone again", func() { names.Set("127.0.0.4") }, Temporary},
	} {
		tt.set()
		srv.Timeout = 5 * time.Second
		if strings.HasPrefix(tt.name, "silent") {
			srv.Timeout = 200 * time.Millisecond
		}
		before := names.Asked()
		res := Send(t.Context(), srv, from, to, hello, Hooks{})
		if res.Class != tt.class || tt.class == Temporary && res.Stage != StageConnect {
			t.Errorf("%s: %+v", tt.name, res)
		}
		if names.Asked() == before {
			t.Errorf("%s: the name was not looked up", tt.name)
		}
		if tt.class == HandedOver {
			handed++
		}
	}
	if got := len(p.accepted()); got != handed {
		t.Errorf("%d messages accepted, want %d", got, handed)
	}
}

package providersim

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxControlConns = 64
	maxControlForm  = 256 << 10 // bytes of a form; a message may be Options.MaxSize
	controlTime     = time.Minute
)

// control is the HTTP page at which a running provider is watched and switched.
// It has no password: it listens on loopback only, answers only under a loopback
// name (so that no web site can reach it by a name of its own that leads here),
// and takes nothing that another site's page sends.
type control struct {
	p     *Provider
	ln    net.Listener
	srv   *http.Server
	conns sync.WaitGroup
	open  atomic.Int32
}

func (p *Provider) newControl(addr string) (*control, error) {
	if err := CheckControlAddr(addr); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	// A name may have been led elsewhere.
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		ln.Close()
		return nil, fmt.Errorf("%s leads to %s, which is no loopback address", addr, ln.Addr())
	}
	c := &control{p: p, ln: ln}
	c.srv = &http.Server{
		Handler:           c.guard(c.routes()),
		ReadHeaderTimeout: handshakeTime, ReadTimeout: controlTime, WriteTimeout: controlTime, IdleTimeout: controlTime,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		ConnState:      c.count,
	}
	return c, nil
}

// CheckControlAddr says why the control page may not listen at an address; nil
// for localhost:PORT, 127.x.x.x:PORT and [::1]:PORT.
func CheckControlAddr(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("control address %q is not HOST:PORT, for example 127.0.0.1:8025", addr)
	}
	if !loopback(host) {
		return fmt.Errorf("control address %q is not on loopback: the page has no password, so it may be reached from this machine only; use 127.0.0.1:PORT, and a tunnel (ssh -L) from another machine", addr)
	}
	return nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// count keeps the number of connections bounded and lets close wait for them.
func (c *control) count(conn net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		c.conns.Add(1)
		// A connection that was accepted while the server closed is not in its list.
		if c.open.Add(1) > maxControlConns || c.p.ctx.Err() != nil {
			conn.Close()
		}
	case http.StateClosed, http.StateHijacked:
		c.open.Add(-1)
		c.conns.Done()
	}
}

func (c *control) serve() {
	if err := c.srv.Serve(c.ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		c.p.log.Error("control page ended", "error", err)
	}
}

// close cuts everything; serve ends.
func (c *control) close() {
	c.ln.Close() // also before serve took it over
	c.srv.Close()
}

// wait returns when the last connection has ended; serve has returned before.
func (c *control) wait() { c.conns.Wait() }

func (c *control) routes() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", c.page)
	m.HandleFunc("GET /state", c.state)
	m.HandleFunc("GET /emitted/{file}", c.emitted)
	m.HandleFunc("GET /submitted/{file}", c.submitted)
	for path, do := range c.actions() {
		m.HandleFunc("POST "+path, c.action(do))
	}
	return m
}

// guard lets only this machine's own requests through and gives every answer
// the headers that keep a browser from doing more than show it.
func (c *control) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // not no-referrer: with that, forms would send Origin: null
		h.Set("Cache-Control", "no-store")
		if why := foreign(r); why != "" {
			http.Error(w, why, http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, max(maxControlForm, c.p.o.MaxSize))
		next.ServeHTTP(w, r)
	})
}

// foreign says why a request is not one of this machine's own; empty if it is.
func foreign(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		host = h
	}
	if !loopback(strings.Trim(host, "[]")) {
		return "this page answers under localhost, 127.0.0.1 and [::1] only"
	}
	for _, origin := range r.Header.Values("Origin") {
		if origin != "http://"+r.Host {
			return "the request was sent by a page of another site"
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" && r.Method != http.MethodGet {
		return "the request was sent by a page of another site"
	}
	return ""
}

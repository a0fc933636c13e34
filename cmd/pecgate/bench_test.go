package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/smtp"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/gateway/admin"
	"pecgate/relay"
)

// BenchmarkSubmission sends messages of 10 KB over TLS sessions that stay
// open, as a groupware server does. Each 250 means synced. The provider refuses
// the gateway's login, so that the relay waits and only the way in is measured.
func BenchmarkSubmission(b *testing.B) {
	for _, sessions := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) { benchmarkSubmission(b, sessions) })
	}
}

func benchmarkSubmission(b *testing.B, sessions int) {
	w, roots := idleDemo(b)
	clients := make([]*smtp.Client, sessions)
	for i := range clients {
		clients[i] = w.session(b, roots)
	}
	body := strings.Repeat(strings.Repeat("x", 74)+"\r\n", 10_000/76)
	var next atomic.Int64
	took := make([][]time.Duration, sessions)
	errs := make([]error, sessions)
	b.SetBytes(10_000)
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N) && errs[i] == nil; n = next.Add(1) {
				start := time.Now()
				errs[i] = submitOn(c, fmt.Sprintf("n%d@beta.example", n), body)
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	for _, c := range clients {
		if err := c.Quit(); err != nil {
			b.Error(err)
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	ms := func(share float64) float64 {
		return float64(all[int(share*float64(len(all)-1))]) / float64(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(ms(0.50), "p50-ms")
	b.ReportMetric(ms(0.99), "p99-ms")
}

// idleDemo starts the demo's gateway with passwords that its provider refuses,
// and waits until the relay has given up for good.
func idleDemo(b *testing.B) (*demoWorld, *x509.CertPool) {
	b.Helper()
	w, err := buildDemo(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := w.provider.Close(); err != nil {
			b.Error(err)
		}
	})
	for _, box := range []string{demoBoxMario, demoBoxLucia} {
		if err := w.write(filepath.Join("secrets", box), "refused\n"); err != nil {
			b.Fatal(err)
		}
	}
	g, _, err := w.gateway(context.Background(), slog.New(slog.NewJSONHandler(io.Discard, nil)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := g.Close(); err != nil {
			b.Error(err)
		}
	})
	client := admin.NewClient(filepath.Join(w.dir, "data"))
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var st relay.Status
		if err := client.JSON(context.Background(), "/v1/status", nil, &st); err != nil {
			b.Fatal(err)
		}
		if !slices.ContainsFunc(st.Mailboxes, func(m relay.BoxStatus) bool { return m.Suspended == "" }) {
			break
		}
		if time.Now().After(end) {
			b.Fatalf("the relay is not idle: %+v", st)
		}
	}
	roots, err := w.roots()
	if err != nil {
		b.Fatal(err)
	}
	return w, roots
}

// session logs Lucia in, who needs no PIN.
func (w *demoWorld) session(b *testing.B, roots *x509.CertPool) *smtp.Client {
	b.Helper()
	conn, err := tls.Dial("tcp", w.smtps, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			b.Error(err)
		}
	})
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(c.Hello("client.example"), c.Auth(smtp.PlainAuth("", "lucia", w.luciaPassword, "localhost"))); err != nil {
		b.Fatal(err)
	}
	return c
}

func submitOn(c *smtp.Client, msgid, body string) error {
	if err := errors.Join(c.Mail(demoBoxLucia), c.Rcpt(demoBoxMario)); err != nil {
		return err
	}
	d, err := c.Data()
	if err != nil {
		return err
	}
	_, err = io.WriteString(d, "From: <"+demoBoxLucia+">\r\nTo: <"+demoBoxMario+">\r\nSubject: benchmark\r\n"+
		"Date: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <"+msgid+">\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"+body)
	return errors.Join(err, d.Close()) // its answer is the 250
}

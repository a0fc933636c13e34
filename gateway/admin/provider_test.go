package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay"
	"pecgate/relay/upstream/upstreamtest"
)

// ponderer is a submission server that never answers a login. It tells when one
// has come.
func ponderer(t *testing.T, ca *upstreamtest.CA) (at relay.Endpoint, asked chan struct{}) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.Server(t, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })}})
	if err != nil {
		t.Fatal(err)
	}
	asked = make(chan struct{}, 1)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				fmt.Fprint(conn, "220 ponderer\r\n")
				for in := bufio.NewScanner(conn); in.Scan(); {
					if !strings.HasPrefix(in.Text(), "AUTH") {
						fmt.Fprint(conn, "250-ponderer\r\n250 AUTH PLAIN\r\n")
						continue
					}
					select {
					case asked <- struct{}{}:
					default:
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return relay.Endpoint{Host: "localhost", Port: ln.Addr().(*net.TCPAddr).Port, Security: "tls", Roots: ca.Roots(), Timeout: 20 * time.Second}, asked
}

// TestB10_StopDuringCheckOnline: a login that the gateway did not live to see the end
// of stays on record where the gateway stops, and does not where the peer goes.
func TestB10_StopDuringCheckOnline(t *testing.T) {
	for what, stops := range map[string]bool{"the gateway stops": true, "the peer goes": false} {
		t.Run(what, func(t *testing.T) {
			d := newDesk(t, 0, 0)
			at, asked := ponderer(t, upstreamtest.NewCA(t, "ponderer"))
			nobody := at
			nobody.Port = 1
			log := d.control.opt.Events
			d.control.opt.Relay = relay.New(relay.Options{Store: d.store, Events: log, Accounts: func() []relay.Account {
				return []relay.Account{{Box: box, Active: true, Username: "x", Password: func() (string, error) { return "y", nil }, SMTP: at, IMAP: nobody}}
			}})
			d.control.wait = time.Millisecond
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			ask := make(chan error, 1)
			go func() {
				ask <- d.client.Change(ctx, "/v1/provider/try", url.Values{"mailbox": {box}}, new([]relay.Online))
			}()
			select {
			case <-asked:
			case err := <-ask:
				t.Fatalf("it ended before: %v", err)
			}
			tries := func() (n int) {
				err := d.store.View(t.Context(), func(tx *mailbox.Tx) error {
					return tx.Space("relay").Scan("login/"+box+"/", func(string, []byte) (bool, error) { n++; return true, nil })
				})
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			if n := tries(); n != 1 {
				t.Fatalf("%d logins on record while one is under way", n)
			}
			if stops {
				if err := d.control.Close(); err != nil {
					t.Error(err)
				}
			} else {
				hangUp()
			}
			<-ask // whatever it says
			if stops {
				if n := tries(); n != 1 {
					t.Errorf("%d logins on record", n)
				}
				return
			}
			for end := time.Now().Add(20 * time.Second); tries() != 0; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the login is still on record")
				}
			}
		})
	}
}

package autoconfig

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/events"
)

// TestL4_PanicInOneRequest: a fault in one answer ends that connection alone; it
// is counted, and what it panicked with is not told.
func TestL4_PanicInOneRequest(t *testing.T) {
	log := new(lines)
	ev := events.New(slog.New(slog.NewTextHandler(log, nil)))
	var once sync.Once
	s, err := New(Options{Settings: settings("it"), Events: ev, Now: func() time.Time {
		once.Do(func() { panic("secret of a peer") })
		return time.Now()
	}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func() error {
		r, err := client.Post("http://"+ln.Addr().String()+pathAutodiscover, "text/xml", bytes.NewReader([]byte(question("nobody"))))
		if err == nil {
			err = r.Body.Close()
		}
		return err
	}
	if ask() == nil {
		t.Error("the request that met the fault was answered")
	}
	for range 3 {
		if err := ask(); err != nil {
			t.Errorf("the next one: %v", err)
		}
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
	if n := ev.Panics(); n != 1 || strings.Contains(log.String(), "secret") {
		t.Errorf("%d counted:\n%s", n, log.String())
	}
}

package imapd

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/policy"
)

// TestL4_PanicInOneSession: a fault while a command is handled, or while the
// watch looks at a session, ends that connection alone; it is counted, and what it
// panicked with is not told.
func TestL4_PanicInOneSession(t *testing.T) {
	var armed atomic.Bool
	h := newHouseWatching(t, time.Hour, func(o *Options) {
		now := o.Policy
		o.Policy = func() *policy.Policy {
			if armed.CompareAndSwap(true, false) {
				panic("secret of a peer")
			}
			return now()
		}
	})
	h.furnish()
	other, faulted, idle := h.login("mario"), h.login("mario"), h.login("lucia")
	other.ok(`SELECT "PEC/` + protocollo + `/Posta in arrivo"`)
	ends := func(c *client) {
		t.Helper()
		if _, err := io.Copy(io.Discard, c.r); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	}
	armed.Store(true)
	faulted.send("x NOOP\r\n")
	ends(faulted)

	// The watch meets it at one session; the others are looked at all the same.
	idle.send("x IDLE\r\n")
	if l := idle.read(); l != "+ idling" {
		t.Fatal(l)
	}
	for _, ses := range h.srv.connections() {
		if ses != nil && ses.id.User == "lucia" {
			armed.Store(true)
			h.srv.recheck(ses)
		}
	}
	ends(idle)

	other.ok("FETCH 1 UID")
	h.login("lucia").ok("NOOP")
	// The library tells of the first one when the connection has gone.
	for end := time.Now().Add(20 * time.Second); h.srv.opt.Events.Panics() < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := h.srv.opt.Events.Panics(); n != 2 || strings.Contains(h.log.String(), "secret") {
		t.Errorf("%d counted:\n%s", n, h.log.String())
	}
	h.log.mu.Lock()
	h.log.b.Reset() // the house wants none at its end
	h.log.mu.Unlock()
}

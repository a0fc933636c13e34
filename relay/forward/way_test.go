package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
	"pecgate/relay/submit/smarthosttest"
)

// past gives the house a way past the smarthost for direct.example.
type past struct {
	away    error // all of it
	brought []string
	tries   int
	told    []error
}

func (h *house) past() *past {
	p := &past{}
	o := h.s.opt
	o.Takes = func(a string) bool { return strings.HasSuffix(a, "@direct.example") }
	o.Direct = func(_ context.Context, it Item, _ bool, _ io.ReaderAt, _ int64) (Brought, bool) {
		h.mu.Lock()
		defer h.mu.Unlock()
		p.tries++
		if p.away != nil {
			return Brought{Result: submit.Result{Class: submit.Temporary, Stage: "imap", Err: p.away}, Away: true}, true
		}
		p.brought = append(p.brought, it.To)
		return Brought{Result: submit.Result{Class: submit.HandedOver, Stage: "imap"}}, true
	}
	o.DirectDown = func(_ context.Context, why error) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		p.told = append(p.told, why)
		return nil
	}
	h.s = NewSender(o)
	return p
}

// What goes past the smarthost does not wait for one that is away, nor the other way
// round; what is away is asked by one message, counts for none, and all goes when it is
// back.
func TestNoWayWaitsForAnother(t *testing.T) {
	h := newHouse(t)
	p := h.past()
	addr, _ := h.away(3, time.Hour) // for mario@example.org
	if wait, err := h.s.Round(t.Context()); err != nil || wait < 10*time.Minute {
		t.Fatalf("the smarthost is asked again in %v, %v", wait, err)
	}
	h.put(strings.Replace(envelope, "x\r\n", "direct\r\n", 1), "anna@direct.example")
	h.round()
	if !slices.Equal(p.brought, []string{"anna@direct.example"}) {
		t.Fatalf("brought %q while the smarthost is away", p.brought)
	}
	h.waiting(3)
	h.host = smarthosttest.On(t, addr)
	h.now = h.now.Add(hostMost)
	h.round()
	h.waiting(0)
	// The other way round.
	p.away, p.tries = errors.New("nobody listens"), 0
	for i := range 20 {
		h.put(strings.Replace(envelope, "x\r\n", fmt.Sprintf("%d\r\n", i), 1), "anna@direct.example", "mario@example.org")
	}
	rounds := 0
	for end := h.now.Add(6 * 24 * time.Hour); h.now.Before(end); rounds++ {
		wait, err := h.s.Round(t.Context())
		if err != nil || wait > hostMost {
			t.Fatalf("%v, %v", wait, err)
		}
		h.now = h.now.Add(wait)
	}
	if n := len(h.host.All()); n != 23 || p.tries > atOnce+rounds {
		t.Errorf("%d by the smarthost; %d attempts past it in %d rounds", n, p.tries, rounds)
	}
	h.waiting(20)
	if len(h.failed) != 0 || p.told[len(p.told)-1] == nil {
		t.Errorf("given up %d, told %v", len(h.failed), p.told[len(p.told)-1])
	}
	shown := h.all()
	for _, it := range shown {
		if it.Answered != 0 || it.Days != 0 || it.Due.After(h.now.Add(hostMost)) {
			t.Errorf("%+v", it)
		}
	}
	p.away = nil
	h.hand(Retry, shown[7].ID) // nobody has to wait for it
	h.round()
	h.waiting(0)
	if n := len(p.brought); n != 21 || p.told[len(p.told)-1] != nil {
		t.Errorf("%d brought, told %v", n, p.told[len(p.told)-1])
	}
}

func (h *house) all() (all []Item) {
	h.t.Helper()
	if err := h.store.View(h.t.Context(), func(tx *mailbox.Tx) (err error) { all, err = Shown(tx, 100); return err }); err != nil {
		h.t.Fatal(err)
	}
	return all
}

// An item of which the way has changed since it was queued goes by the one that is right
// now.
func TestTheWayChangesWhileItWaits(t *testing.T) {
	h := newHouse(t)
	addr, _ := h.away(2, time.Minute)
	p := h.past()
	h.to = func(Item) (string, string, error) { return "mario@direct.example", "", nil }
	h.host = smarthosttest.On(t, addr)
	h.now = h.now.Add(hostMost)
	for range 3 {
		h.round()
	}
	h.waiting(0)
	if len(p.brought) != 2 || len(h.host.All()) != 0 {
		t.Errorf("brought %q, %d by the smarthost", p.brought, len(h.host.All()))
	}
}

package forward

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit/smarthosttest"
)

// away has some messages wait for a smarthost that is not there, for so long.
func (h *house) away(messages int, long time.Duration) (addr string, ids []string) {
	h.t.Helper()
	addr = h.host.Addr()
	h.host.Close()
	for i := range messages {
		h.put(strings.Replace(envelope, "x\r\n", fmt.Sprintf("%d\r\n", i), 1), "mario@example.org")
	}
	for end := h.now.Add(long); h.now.Before(end); {
		wait, err := h.s.Round(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if wait > hostMost {
			h.t.Fatalf("it is asked again in %v", wait)
		}
		h.now = h.now.Add(wait)
	}
	return addr, h.ids()
}

// ids are those of what waits.
func (h *house) ids() (ids []string) {
	h.t.Helper()
	err := h.store.View(h.t.Context(), func(tx *mailbox.Tx) error {
		all, err := List(tx, 100)
		for _, it := range all {
			ids = append(ids, it.ID)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return ids
}

// hand does what a person asks of an item.
func (h *house) hand(do func(*mailbox.Tx, string) (*Item, error), id string) {
	h.t.Helper()
	if err := h.store.Update(h.t.Context(), func(tx *mailbox.Tx) error { _, err := do(tx, id); return err }); err != nil {
		h.t.Fatal(err)
	}
}

// What waited while the smarthost was away goes as soon as that is there again,
// whatever became of what stood before it.
func TestAllGoesWhenTheSmarthostIsBack(t *testing.T) {
	h := newHouse(t)
	addr, ids := h.away(3, 24*time.Hour)
	h.hand(Drop, ids[0])
	h.host = smarthosttest.On(t, addr)
	wait, err := h.s.Round(t.Context())
	if err != nil || wait > hostMost {
		t.Fatalf("%v, %v", wait, err)
	}
	h.now = h.now.Add(wait)
	h.round()
	h.waiting(0)
	if n := len(h.host.All()); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// A person who has one tried now does not wait for the smarthost's turn, and one that
// is still away is asked no more often for that.
func TestRetryByHandAsksTheSmarthostAtOnce(t *testing.T) {
	h := newHouse(t)
	addr, ids := h.away(2, 6*time.Hour)
	h.round()
	fails := h.s.failing(h.s.ways[0])
	h.hand(Retry, ids[1])
	h.round()
	if n := h.s.failing(h.s.ways[0]); n != fails+1 {
		t.Errorf("asked %d times", n-fails)
	}
	h.round()
	if n := h.s.failing(h.s.ways[0]); n != fails+1 {
		t.Errorf("asked %d times", n-fails)
	}
	h.host = smarthosttest.On(t, addr)
	h.hand(Retry, ids[1])
	h.round()
	h.waiting(0)
}

// What the smarthost put off waits longer each time, and not for the time in which it
// was not there.
func TestTheWaitOfAMessageCountsAnswers(t *testing.T) {
	h := newHouse(t)
	addr, _ := h.away(1, 24*time.Hour)
	h.host = smarthosttest.On(t, addr)
	h.host.Answer = func(string) string { return "451 4.7.1 later" }
	h.now = h.now.Add(hostMost)
	h.round()
	if wait, err := h.s.Round(t.Context()); err != nil || wait > first {
		t.Errorf("%v, %v", wait, err)
	}
}

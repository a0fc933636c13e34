package relay

import (
	"testing"
	"time"
)

// closedNow is a span that begins in two hours and ends an hour later.
func closedNow(now time.Time) Span {
	from := time.Duration(now.Hour()*60+now.Minute()+120) * time.Minute % (24 * time.Hour)
	return Span{From: from, To: (from + time.Hour) % (24 * time.Hour)}
}

// TestOutOfHours: outside its hours a mailbox makes no login and says when it goes on;
// receipts of what was just sent, and what is uncertain, are fetched all the same.
func TestOutOfHours(t *testing.T) {
	g := newGate(t, false)
	ctx := t.Context()
	id := "0123456789abcdefghijklmnop"
	g.k.password = "vecchia"
	span := closedNow(g.store.Now().UTC())
	g.acc.Hours = Hours{Receive: span, Send: span}
	seen := func(service string) int { g.k.mu.Lock(); defer g.k.mu.Unlock(); return g.k.seen[service] }
	worker := func() (w *worker) { g.s.mu.Lock(); defer g.s.mu.Unlock(); return g.s.workers[testBox] }
	waits := func() bool {
		q, err := ShowQueued(ctx, g.store, id)
		if err != nil {
			t.Fatal(err)
		}
		page, err := Queue(ctx, g.store, QueueFilter{})
		if err != nil {
			t.Fatal(err)
		}
		soon := g.store.Now().Add(time.Hour)
		return q.State == Queued && q.StateReason == "" && q.Hours != nil && q.Hours.After(soon) && q.Next != nil && q.Next.Equal(*q.Hours) &&
			len(page.Items) > 0 && page.Items[0].Next != nil && page.Items[0].Next.Equal(*q.Hours)
	}
	g.run(func() {
		g.until("it waits", func() bool { w := worker(); return w != nil && w.isShut() && waits() })
		if n := g.k.logins(); n != 0 {
			t.Errorf("%d logins out of hours", n)
		}
		worker().hurryUp()
		g.until("receipts of what was sent", func() bool { return seen(serviceIMAP) > 1 })
		if n := seen(serviceSMTP); n != 0 {
			t.Errorf("%d logins to send", n)
		}
		// The hours of the policy change while it runs.
		g.mu.Lock()
		g.acc.Hours = Hours{Receive: span}
		g.mu.Unlock()
		g.s.Reload()
		g.until("it is sent", func() bool { return seen(serviceSMTP) > 0 && !waits() })
	})
	before := seen(serviceIMAP)
	g.put("1123456789abcdefghijklmnop", Uncertain, "", nil)
	g.run(func() { g.until("what is uncertain is looked for", func() bool { return seen(serviceIMAP) > before }) })
}

// TestNotFetchedOutOfHours: nobody is told of a mailbox that is not to be read, and once
// its hours have begun the term begins.
func TestNotFetchedOutOfHours(t *testing.T) {
	g := newGate(t, false)
	w := aWorker(g.acc)
	ran := time.Duration(0)
	later := func(d time.Duration, want int) {
		t.Helper()
		for end := ran + d; ran < end; {
			ran += time.Minute
			if err := g.s.watchFetch(t.Context(), testBox, w, time.Hour, runClock{Ran: ran}); err != nil {
				t.Fatal(err)
			}
		}
		if n := g.told(); n != want {
			t.Errorf("after %s: %d alarms instead of %d", ran, n, want)
		}
	}
	later(30*time.Minute, 0)
	w.setShut(true)
	later(10*time.Hour, 0)
	g.s.fetched = map[string]*fetchWatch{} // a restart
	later(time.Minute, 0)
	w.setShut(false)
	later(59*time.Minute, 0)
	g.s.fetched = map[string]*fetchWatch{}
	later(2*time.Minute, 1)
}

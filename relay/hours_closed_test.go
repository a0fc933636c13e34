package relay

import (
	"testing"
	"time"

	"pecgate/relay/providersim" // composes and signs receipts as a provider does
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
		if st, err := g.s.Status(ctx); err != nil || len(st.Mailboxes) != 1 || st.Mailboxes[0].Hours == nil || !st.Mailboxes[0].Hours.After(g.store.Now().Add(time.Hour)) {
			t.Errorf("status %+v, %v", st.Mailboxes, err)
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

// TestReceiptsOutOfHours: what was sent before a restart is looked for as before it, and
// an acceptance that has not come within the hour is looked for rarely, until it came.
func TestReceiptsOutOfHours(t *testing.T) {
	x, ctx := newTimed(t), t.Context()
	now := x.clock.now().UTC()
	x.w.acc.Hours.Receive = closedNow(now)
	shut := func() bool { return x.s.receivesIn(ctx, x.w, x.s.sentLast(ctx, x.w)) > 0 }
	x.put("one", HandedOver, "", func(s *Submission) { s.HandedOver = now.Add(-10 * time.Minute) })
	if shut() {
		t.Error("ten minutes after it was sent nobody looks")
	}
	x.clock.add(55 * time.Minute)
	if !shut() {
		t.Error("an hour later the provider is asked as always")
	}
	looked := time.Time{}
	var at []time.Duration
	for range 70 {
		if x.s.looksRarely(ctx, x.w, looked) {
			looked = x.clock.now()
			at = append(at, looked.Sub(now))
		}
		x.clock.add(time.Minute)
	}
	if len(at) != 3 {
		t.Errorf("in 70 minutes it was looked at %v", at)
	}
	x.about("one", providersim.Acceptance)
	if x.s.looksRarely(ctx, x.w, time.Time{}) {
		t.Error("the acceptance is here, and it is looked for")
	}
}

// TestAcceptanceOutOfHours: the fetcher makes its rare round, and goes on being shut.
func TestAcceptanceOutOfHours(t *testing.T) {
	g := newGate(t, false)
	g.k.password = "vecchia"
	now := g.store.Now().UTC()
	g.acc.Hours = Hours{Receive: closedNow(now), Send: closedNow(now)}
	seen := func() int { g.k.mu.Lock(); defer g.k.mu.Unlock(); return g.k.seen[serviceIMAP] }
	shut := func() bool {
		g.s.mu.Lock()
		defer g.s.mu.Unlock()
		w := g.s.workers[testBox]
		return w != nil && w.isShut()
	}
	g.put("1123456789abcdefghijklmnop", HandedOver, "", func(s *Submission) { s.HandedOver = now.Add(-3 * time.Hour) })
	g.run(func() { g.until("it is looked for", func() bool { return seen() > 0 && shut() }) })
	if n := seen(); n > 2 {
		t.Errorf("%d logins", n)
	}
}

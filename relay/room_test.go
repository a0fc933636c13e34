package relay

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// TestB11_FullMailbox: without room for its receipts a submission waits, loudly,
// and leaves by itself when there is room; where the policy says so it is sent.
func TestB11_FullMailbox(t *testing.T) {
	g := newGate(t, false)
	ctx := t.Context()
	id := "0123456789abcdefghijklmnop"
	w := aWorker(g.acc)
	w.acc.QuotaWarnings = []int{70, 90}
	quota := func(used int64) {
		t.Helper()
		if err := g.s.occupied(ctx, w, fetch.Quota{Used: used, Limit: 10 << 20, Known: true}); err != nil {
			t.Fatal(err)
		}
	}
	stand := func() (out []string) {
		t.Helper()
		err := g.store.View(ctx, func(tx *mailbox.Tx) error {
			out = nil
			all, err := Alarms(tx, 100)
			for _, a := range all {
				out = append(out, a.Kind+" "+a.About)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(out)
		return out
	}
	expect := func(want ...string) {
		t.Helper()
		if got := stand(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("alarms %q, not %q", got, want)
		}
	}
	again := func() {
		t.Helper()
		g.update(func(tx *mailbox.Tx) error {
			return tx.Space(room).Put(queueKey(testBox, id), due{At: tx.Now().Add(-time.Second)})
		})
	}
	lease := func() error { again(); _, _, err := g.s.leaseDue(ctx, id, 0); return err }
	quota(10<<20 - 1000)
	for range 3 {
		if err := lease(); !errors.Is(err, errLease) {
			t.Fatalf("it was taken: %v", err)
		}
	}
	if s := stored(t, g.store, id); s.State != Queued || s.StateReason != ReasonRoom || s.Attempts != 0 {
		t.Errorf("it is %s (%s), %d attempts", s.State, s.StateReason, s.Attempts)
	}
	expect("quota 70", "quota 90", "room ", "room mario")
	q, err := ShowQueued(ctx, g.store, id)
	if err != nil || q.Next == nil || q.StateReason != ReasonRoom {
		t.Errorf("%+v, %v", q, err)
	}
	// Another word of the provider while it waits changes nothing.
	quota(10<<20 - 2000)
	expect("quota 70", "quota 90", "room ", "room mario")
	// With room it goes, and all is over.
	quota(1 << 20)
	if err := lease(); err != nil {
		t.Fatal(err)
	}
	quota(1 << 20)
	expect()
	if s := stored(t, g.store, id); s.State != Attempting || s.StateReason != "" {
		t.Errorf("it is %s (%s)", s.State, s.StateReason)
	}
	// Where the policy says so it is sent into a full mailbox, with the alarms of it.
	id = "1123456789abcdefghijklmnop"
	g.queue(id)
	g.acc.WhenFullSend = true
	quota(10 << 20)
	if err := lease(); err != nil {
		t.Fatal(err)
	}
	expect("quota 70", "quota 90")
	// What nobody knows holds nothing back.
	id = "2123456789abcdefghijklmnop"
	g.queue(id)
	g.acc.WhenFullSend = false
	if err := g.s.occupied(ctx, w, fetch.Quota{}); err != nil {
		t.Fatal(err)
	}
	if err := lease(); err != nil {
		t.Fatal(err)
	}
	expect()
}

// TestRoomUnderWay: the receipts of what is under way count until they are here,
// and each message of a batch is judged by itself.
func TestRoomUnderWay(t *testing.T) {
	i := newIntake(t)
	acc := Account{Box: testBox, Active: true, Admin: "capo", Receipt: "synthetic"}
	i.s.opt.Accounts = func() []Account { return []Account{acc} }
	i.s.opt.Address = "pecgate@gateway.example"
	i.putBatch(SplitAlways, 0, numbered(5)...)
	w := aWorker(acc)
	if err := i.s.occupied(t.Context(), w, fetch.Quota{Used: 0, Limit: 5*receiptOverhead + 100, Known: true}); err != nil {
		t.Fatal(err)
	}
	under := func() (n int64) {
		t.Helper()
		i.update(func(tx *mailbox.Tx) (err error) {
			n, err = outstanding(tx, testBox, acc.Receipt, recountEvery)
			return err
		})
		return n
	}
	for n := range 2 {
		sub, err := i.s.leaseNext(t.Context(), batchID, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := under(); got != int64(n+1)*2*receiptOverhead {
			t.Errorf("%d bytes are to come", got)
		}
		i.update(func(tx *mailbox.Tx) error {
			s, err := load(tx, sub.ID)
			if err != nil {
				return err
			}
			s.HandedOver = tx.Now()
			return errors.Join(s.move(HandedOver, ""), save(tx, s, nil))
		})
	}
	if _, err := i.s.leaseNext(t.Context(), batchID, 0); !errors.Is(err, errLease) {
		t.Fatalf("the third has no room: %v", err)
	}
	if b := stored(t, i.store, batchID); b.RestReason != ReasonRoom || b.Next > 3 {
		t.Errorf("the batch: %s, next %d", b.RestReason, b.Next)
	}
	i.update(func(tx *mailbox.Tx) error { // all receipts of the first came
		s, err := load(tx, childID(batchID, 1))
		if err != nil {
			return err
		}
		s.Recipients[0].Told = Delivered
		return errors.Join(s.move(Accepted, ""), save(tx, s, nil))
	})
	if got := under(); got != 2*receiptOverhead {
		t.Errorf("%d bytes are to come", got)
	}
	if _, err := i.s.leaseNext(t.Context(), batchID, 0); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if b := stored(t, i.store, batchID); b.RestReason != "" {
		t.Errorf("the batch waits: %s", b.RestReason)
	}
}

func TestReceiptSize(t *testing.T) {
	for _, c := range []struct {
		kind       string
		size, want int64
	}{{"", 5 << 20, 5<<20 + receiptOverhead}, {"complete", 100, 100 + receiptOverhead}, {"brief", 5 << 20, briefMost + receiptOverhead}, {"brief", 10, 10 + receiptOverhead}, {"synthetic", 5 << 20, receiptOverhead}} {
		if got := receiptSize(c.kind, c.size); got != c.want {
			t.Errorf("%s of %d: %d", c.kind, c.size, got)
		}
	}
	// At the provider's word, the smaller of both; else what is counted.
	a := Account{ProviderQuota: 100}
	count := func() (int64, error) { return 7, nil }
	for _, c := range []struct{ in, want fetch.Quota }{
		{fetch.Quota{Used: 1, Limit: 50, Known: true}, fetch.Quota{Used: 1, Limit: 50, Known: true}},
		{fetch.Quota{Used: 1, Limit: 500, Known: true}, fetch.Quota{Used: 1, Limit: 100, Known: true}},
		{fetch.Quota{}, fetch.Quota{Used: 7, Limit: 100, Known: true}},
	} {
		if got, err := a.quotaOf(c.in, count); err != nil || got != c.want {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// TestExpectedReceiptsAreForgotten: what never came keeps no room and no record for
// ever.
func TestExpectedReceiptsAreForgotten(t *testing.T) {
	i := newIntake(t)
	left := func() (n int) {
		i.update(func(tx *mailbox.Tx) error {
			n = 0
			return tx.Space(room).Scan(expectKey(testBox, ""), func(string, []byte) (bool, error) { n++; return true, nil })
		})
		return n
	}
	i.update(func(tx *mailbox.Tx) error {
		now := tx.Now()
		for n := range 3 {
			at := now.Add(-expectFor * time.Duration(n))
			if err := tx.Space(room).Put(expectKey(testBox, fmt.Sprint(n)), expected{At: at, Receipts: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	if n := left(); n != 3 {
		t.Fatalf("%d records", n)
	}
	i.update(func(tx *mailbox.Tx) error { _, err := outstanding(tx, testBox, "brief", recountEvery); return err })
	if n := left(); n != 1 {
		t.Errorf("%d records are left", n)
	}
}

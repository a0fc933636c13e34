package relay

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // receipts as a provider makes them
)

// TestC18_ReceiptsGoSooner: while many messages are being sent receipts go after an
// hour, and at once where room is short, if they may go at all; messages never do.
func TestC18_ReceiptsGoSooner(t *testing.T) {
	i := intake{t: t}
	i.sim, _ = authority()
	receipt := string(i.receipt(providersim.Acceptance, nil))
	line := func(d due) func(tx *mailbox.Tx, now time.Time) error {
		return func(tx *mailbox.Tx, now time.Time) error {
			d.At = now.Add(1000 * time.Hour)
			return tx.Space(room).Put(queueKey(testBox, "x"), d)
		}
	}
	nothing := func(*mailbox.Tx, time.Time) error { return nil }
	total := int64(len(letter(0)) + len(receipt))
	under := func(n int) func(tx *mailbox.Tx, now time.Time) error {
		return func(tx *mailbox.Tx, now time.Time) error {
			return tx.Space(room).Put(sumKey(testBox), expectedSum{Receipts: n, At: now})
		}
	}
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		for _, c := range []struct {
			name         string
			now, hour    []uint32 // left, at once and after an hour
			set          func(tx *mailbox.Tx, now time.Time) error
			share        int64 // per cent of the room that is used; 0: nobody knows
			keepReceipts bool
		}{
			{"nothing", []uint32{1, 2}, []uint32{1, 2}, nothing, 0, false},
			{"a message waits", []uint32{1, 2}, []uint32{1, 2}, line(due{}), 0, false},
			{"a batch", []uint32{1, 2}, []uint32{1}, line(due{Batch: true}), 0, false},
			{"many", []uint32{1, 2}, []uint32{1}, under(bulkReceipts), 0, false},
			{"not many", []uint32{1, 2}, []uint32{1, 2}, under(bulkReceipts - 1), 0, false},
			{"full", []uint32{1}, []uint32{1}, nothing, 71, false},
			{"not full", []uint32{1, 2}, []uint32{1, 2}, nothing, 69, false},
			{"full, but receipts stay", []uint32{1, 2}, []uint32{1, 2}, nothing, 71, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				p, imap, pop3 := simulated(t)
				acc := acc
				if acc.POP3.Host != "" {
					acc.POP3 = pop3
				} else {
					acc.IMAP = imap
				}
				acc.Copy, acc.CopyReceipts = CopyRule{Delete: true, After: 30 * day}, CopyRule{Delete: !c.keepReceipts, After: 20 * day}
				acc.QuotaWarnings = []int{70, 90}
				if c.share > 0 {
					acc.ProviderQuota = total * 100 / c.share
				}
				f := newFetched(t, acc)
				f.round()
				f.days(3)
				put(t, p, letter(0), receipt)
				after := func() []uint32 {
					for range 3 { // by IMAP the room is asked for at the end of a round
						err := f.store.Update(context.Background(), func(tx *mailbox.Tx) error { return c.set(tx, tx.Now()) })
						if err != nil {
							t.Fatal(err)
						}
						f.later(time.Second)
						f.round()
					}
					return left(t, p)
				}
				if got := after(); !slices.Equal(got, c.now) {
					t.Errorf("at once left are %v instead of %v\n%s", got, c.now, f.log)
				}
				f.later(bulkAfter + time.Minute)
				if got := after(); !slices.Equal(got, c.hour) {
					t.Errorf("after an hour left are %v instead of %v\n%s", got, c.hour, f.log)
				}
			})
		}
	})
}

// TestKeepShorterThanProviderCopy: our message stays until the provider's copy has gone,
// is removed then, and is neither fetched nor told again.
func TestKeepShorterThanProviderCopy(t *testing.T) {
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		acc.Copy = CopyRule{Delete: true, After: 15 * day}
		f := newFetched(t, acc)
		f.round()
		put(t, p, letter(0))
		keep := mailbox.Retention{Needed: Needed, Keep: func(string) (time.Duration, bool) { return 5 * day, true }}
		gone := 0
		for range 40 {
			f.days(1)
			out, err := f.store.Retain(t.Context(), keep)
			if err != nil {
				t.Fatal(err)
			}
			if gone += out.Removed; gone > 0 && len(left(t, p)) > 0 {
				t.Fatal("ours was removed before the provider's")
			}
		}
		if gone != 1 || len(left(t, p)) != 0 {
			t.Errorf("%d removed, left are %v\n%s", gone, left(t, p), f.log)
		}
		if got := f.audited("arrival"); len(got) != 1 {
			t.Errorf("arrivals: %q", got)
		}
		if got := f.audited("provider-copy"); len(got) != 2 {
			t.Errorf("%q", got)
		}
	})
}

// TestRemovedHereIsNotFetchedAgain: where the provider keeps its copies, what keep
// removed here is fetched again only when all ids are given anew, and then it is
// history: nobody is told twice.
func TestRemovedHereIsNotFetchedAgain(t *testing.T) {
	p, in, _ := simulated(t)
	f := newFetched(t, Account{IMAP: in})
	f.round()
	put(t, p, letter(0))
	keep := mailbox.Retention{Needed: Needed, Keep: func(string) (time.Duration, bool) { return 5 * day, true }}
	gone := 0
	for range 10 {
		f.days(1)
		out, err := f.store.Retain(t.Context(), keep)
		if err != nil {
			t.Fatal(err)
		}
		gone += out.Removed
	}
	if got := f.audited("arrival"); gone != 1 || len(got) != 1 {
		t.Fatalf("%d removed, %q", gone, got)
	}
	if err := p.Renumber(testBox, "INBOX"); err != nil {
		t.Fatal(err)
	}
	f.round()
	if m := f.message(letter(0)); !m.History {
		t.Errorf("%+v", m)
	}
	if got := f.alarms(); got != "" {
		t.Error(fmt.Sprint("alarms: ", got))
	}
}

package relay

import (
	"crypto/sha256"
	"slices"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // the provider, and receipts as one makes them
)

// TestRow: messages that are prepared together are filed in the order of the
// provider. When one of them cannot be filed, those before it are there, none behind
// it is, and what was made durable of those is taken away: nothing is recovered. Once
// the cause has gone all are there, once, and still in order.
func TestRow(t *testing.T) {
	const n, bad = 30, 13
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		f := newFetched(t, acc)
		f.round()
		i := intake{t: t, store: f.store, acc: f.w.acc}
		i.sim, _ = authority()
		i.send("one", testMsgID, sentText, "a@pec.example", "b@pec.example")
		var whole Submission
		i.update(func(tx *mailbox.Tx) error {
			if err := tx.Space(room).Get("s/one", &whole); err != nil {
				return err
			}
			return tx.Space(room).Put("s/one", "damaged")
		})
		all := raws(letters(n))
		receipt := string(i.receipt(providersim.Acceptance, nil))
		put(t, p, slices.Insert(slices.Clone(all), bad, receipt)...)
		there := func(raw string) (is bool) {
			err := f.store.View(t.Context(), func(tx *mailbox.Tx) error {
				ids, err := tx.ByContent(sha256.Sum256([]byte(raw)))
				is = len(ids) > 0
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return is
		}
		if _, err := f.poll(); err == nil {
			t.Fatal("no error")
		}
		for k, raw := range all {
			if there(raw) != (k < bad) {
				t.Errorf("message %d is there: %t", k, there(raw))
			}
		}
		found, err := f.store.Recover(t.Context(), func(string) string { return "capo" })
		if err != nil || found.Filed != 0 {
			t.Errorf("%+v %v", found, err)
		}
		i.update(func(tx *mailbox.Tx) error { return tx.Space(room).Put("s/one", whole) })
		f.round()
		var uids []mailbox.UID
		for _, raw := range all {
			at := f.places(raw)
			if len(at) != 1 {
				t.Fatalf("%d places", len(at))
			}
			uids = append(uids, at[0].UID)
			if m := f.message(raw); m.Ref.Sum != sha256.Sum256([]byte(raw)) {
				t.Error("other bytes")
			}
		}
		if !slices.IsSorted(uids) || !there(receipt) || len(f.w.tries) > 0 {
			t.Errorf("in the order %v, receipt %t, tries %v", uids, there(receipt), f.w.tries)
		}
		if s := i.shown("one"); s.State != Accepted {
			t.Errorf("the submission is %s", s.State)
		}
	})
}

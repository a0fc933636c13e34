package relay

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// tellings are the records about what was told of batches.
func (w *watched) tellings() (keys []string) {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(tx *mailbox.Tx) error {
		for _, p := range []string{"wm/", "wt/"} {
			if err := tx.Space(room).Scan(p, func(k string, _ []byte) (bool, error) { keys = append(keys, k); return true, nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

// A batch that is late at its pace is told twice, however long it takes: with the first
// of its messages, and in a summary when the last one had its time. Restarts tell
// nothing again.
func TestB13_LateBatchIsToldOnceAndInASummary(t *testing.T) {
	w := newWatched(t)
	w.withMail()
	w.putBatch(SplitAlways, 0, numbered(40)...)
	for range 40 {
		w.handOver()
		w.pass(5 * time.Minute)
		w.s = New(w.s.opt)
	}
	for _, who := range []string{"mario", "capo"} {
		w.told(who, "nessuna accettazione entro 30 min")
	}
	w.pass(34 * time.Minute)
	w.pass(5 * time.Hour)
	for _, who := range []string{"mario", "capo"} {
		w.told(who, "nessuna accettazione entro 30 min", "Riepilogo")
		all := w.texts(who)
		if !strings.Contains(all[0], "riepilogo") {
			t.Errorf("the first does not say that a summary comes:\n%s", all[0])
		}
		if !strings.Contains(all[1], "(40)") || !strings.Contains(all[1], "r0000@pec.example") || !strings.Contains(all[1], "r0039@pec.example") {
			t.Errorf("the summary:\n%s", all[1])
		}
	}
	if left := w.tellings(); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

// The summary names what is still awaited; where nothing is, and where nothing came to
// what was told first, there is none.
func TestSummaryOfALateBatchNamesWhatIsAwaited(t *testing.T) {
	for name, tt := range map[string]struct {
		late, accepted int // so many hand-overs, of which in the end so many are accepted
		apart          time.Duration
		want           []string
	}{
		"all come":    {late: 4, accepted: 4, apart: 5 * time.Minute, want: []string{"nessuna accettazione"}},
		"some come":   {late: 4, accepted: 2, apart: 5 * time.Minute, want: []string{"nessuna accettazione entro 30 min (1)", "Riepilogo dell'invio multiplo: nessuna accettazione entro 30 min (2)"}},
		"all at once": {late: 4, apart: 0, want: []string{"nessuna accettazione entro 30 min (4)"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatched(t)
			w.putBatch(SplitAlways, 0, numbered(4)...)
			var subs []*Submission
			for range tt.late {
				subs = append(subs, w.handOver())
				w.pass(tt.apart)
			}
			w.pass(33*time.Minute - 4*tt.apart)
			for _, s := range subs[len(subs)-tt.accepted:] {
				w.take(w.receipt(providersim.Acceptance, func(n *providersim.Notice) {
					n.MsgID, n.Identifier, n.Recipients = "<"+s.MsgID+">", "opec."+s.ID+"@pec.gestore.example", []providersim.Recipient{{Address: s.Recipients[0].Address}}
				}))
			}
			w.pass(10 * time.Hour)
			w.told("capo", tt.want...)
			for _, k := range w.tellings() {
				if !strings.Contains(k, "/delivery") {
					t.Errorf("left is %q", k)
				}
			}
		})
	}
}

// While messages of a batch are still to leave, its summary waits.
func TestSummaryWaitsForTheRestOfTheBatch(t *testing.T) {
	w := newWatched(t)
	w.putBatch(SplitAlways, 0, numbered(3)...)
	w.handOver()
	w.pass(5 * time.Minute)
	w.handOver()
	w.pass(24 * time.Hour)
	w.told("capo", "nessuna accettazione entro 30 min (2)")
	w.handOver()
	w.pass(20 * time.Minute)
	w.told("capo", "nessuna accettazione entro 30 min (2)")
	w.pass(35 * time.Minute)
	w.pass(time.Hour)
	w.told("capo", "nessuna accettazione entro 30 min (2)", "Riepilogo")
}

// A batch whose mailbox cannot be read meanwhile is told of in the same way: what is not
// known of it takes longer to be told, and its summary waits for that.
func TestB13_UnreadableBatchIsToldOnceAndInASummary(t *testing.T) {
	const unseen = "accettazione non vista entro 30 min"
	w := newWatched(t)
	minutes := unreadable(w)
	minutes(1, nil)
	down := errors.New("connection refused")
	w.putBatch(SplitAlways, 0, numbered(30)...)
	for range 30 {
		w.handOver()
		minutes(5, down)
	}
	w.told("capo", unseen)
	minutes(300, down)
	w.told("capo", unseen, "Riepilogo dell'invio multiplo: "+unseen)
	if all := w.texts("capo"); !strings.Contains(all[1], "(30)") {
		t.Errorf("the summary:\n%s", all[1])
	}
}

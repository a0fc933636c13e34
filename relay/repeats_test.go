package relay

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pecgate/mailbox"
)

// TestFingerprintsGo: what a retry would be known by goes once none would be, however
// many there are, and not by a clock that has jumped; what is younger stays, and what a
// newer submission has taken over.
func TestFingerprintsGo(t *testing.T) {
	w := newWatched(t)
	w.pass(5 * time.Minute)
	put := func(id, fingerprint string) {
		t.Helper()
		w.update(func(tx *mailbox.Tx) error {
			sub := Submission{ID: id, Box: testBox, User: "mario", State: Accepted, SubmittedAt: tx.Now()}
			return errors.Join(tx.Space(room).Put("s/"+id, sub), tx.Space(room).Put("t/"+fingerprint, id))
		})
	}
	count := func() (n int) {
		t.Helper()
		err := w.store.View(t.Context(), func(tx *mailbox.Tx) error {
			n = 0
			return tx.Space(room).Scan("t/", func(string, []byte) (bool, error) { n++; return true, nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for n := range 2*repeatsInGo + 50 {
		put(fmt.Sprintf("old%04d", n), fmt.Sprintf("%04d", n))
	}
	w.s.repeats.next = 0
	w.now = w.now.Add(30 * 24 * time.Hour) // at once: the clock is not believed
	for range 3 {
		w.round()
	}
	if n := count(); n != 2*repeatsInGo+50 {
		t.Fatalf("%d are left after a jump", n)
	}
	put("new", "0007")
	w.update(func(tx *mailbox.Tx) error {
		c, err := readRunClock(tx)
		c.Doubt = 0
		return errors.Join(err, tx.Space(room).Put(runKey, c))
	})
	w.s.repeats.next = 0
	w.pass(10 * time.Minute)
	if n := count(); n != 1 {
		t.Errorf("%d are left", n)
	}
	if id, err := retryOf(w, "0007"); err != nil || id != "new" {
		t.Errorf("%q, %v", id, err)
	}
}

func retryOf(w *watched, fingerprint string) (id string, err error) {
	err = w.store.View(w.t.Context(), func(tx *mailbox.Tx) error { return tx.Space(room).Get("t/"+fingerprint, &id) })
	return id, err
}

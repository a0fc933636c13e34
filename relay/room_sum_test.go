package relay

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pecgate/mailbox"
)

// TestExpectedSum: whatever submissions do, what is kept of their receipts is what
// counting them gives, for every kind.
func TestExpectedSum(t *testing.T) {
	i := newIntake(t)
	rapid.Check(t, func(r *rapid.T) {
		i.update(func(tx *mailbox.Tx) error { // what is left of the run before is counted, too
			_, err := recount(tx, testBox)
			return err
		})
		kinds := []string{"", "complete", "brief", "synthetic"}
		for range rapid.IntRange(1, 20).Draw(r, "steps") {
			id := fmt.Sprint("s", rapid.IntRange(0, 4).Draw(r, "which"))
			to := rapid.SampledFrom([]State{Queued, Attempting, Uncertain, HandedOver, Accepted, NotAccepted}).Draw(r, "state")
			told := rapid.IntRange(0, 3).Draw(r, "told")
			size := rapid.Int64Range(1, 100_000).Draw(r, "size")
			age := rapid.SampledFrom([]time.Duration{0, time.Hour, 2 * expectFor}).Draw(r, "age")
			i.update(func(tx *mailbox.Tx) error {
				s := &Submission{ID: id, Box: testBox, State: to, Size: size, HandedOver: tx.Now().Add(-age)}
				for n := range 3 {
					state := Waiting
					if n < told {
						state = Delivered
					}
					s.Recipients = append(s.Recipients, Recipient{State: state})
				}
				return noteExpected(tx, s)
			})
			i.update(func(tx *mailbox.Tx) error {
				kept, err := sumOf(tx, testBox)
				if err != nil {
					return err
				}
				counted, err := recount(tx, testBox)
				for _, kind := range kinds {
					if a, b := kept.bytes(kind), counted.bytes(kind); a != b {
						r.Fatalf("%q: %d bytes are kept, %d counted", kind, a, b)
					}
				}
				return err
			})
		}
	})
}

// TestManyExpectedAreForgotten: also more than one count takes, without any word of the
// provider about its room.
func TestManyExpectedAreForgotten(t *testing.T) {
	i := newIntake(t)
	const many = 2*forgetAtOnce + 10
	i.update(func(tx *mailbox.Tx) error {
		for n := range many {
			e := expected{At: tx.Now().Add(-expectFor), Receipts: 1}
			if err := tx.Space(room).Put(expectKey(testBox, fmt.Sprint(n)), e); err != nil {
				return err
			}
		}
		return nil
	})
	for n := range 3 { // three messages leave
		i.update(func(tx *mailbox.Tx) error {
			return noteExpected(tx, &Submission{ID: fmt.Sprint("new", n), Box: testBox, State: Attempting, Size: 100})
		})
	}
	i.update(func(tx *mailbox.Tx) error {
		n := 0
		err := tx.Space(room).Scan(expectKey(testBox, ""), func(string, []byte) (bool, error) { n++; return true, nil })
		if n != 3 {
			t.Errorf("%d records are left", n)
		}
		sum, err2 := sumOf(tx, testBox)
		if sum.Acceptances != 3 || sum.Receipts != 0 || sum.At.IsZero() {
			t.Errorf("%+v", sum)
		}
		return errors.Join(err, err2)
	})
}

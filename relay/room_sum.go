package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// What the receipts under way of a mailbox amount to is kept beside their records, so
// that a hand-over of a batch does not read those of all the others:
//
//	expectsum/<mailbox>   expectedSum
//
// It changes in the transaction of the records, and is counted anew from them where it
// is not there, once in recountEvery, and before anything waits for want of room. With
// that the records go whose receipts are waited for no more.

const (
	recountEvery = time.Hour
	// recountSoon is for a mailbox that seems to have no room.
	recountSoon = 20 * time.Second
	// forgetAtOnce bounds how many receipts that never came one count forgets.
	forgetAtOnce = 200
)

// expectedSum is what all records of a mailbox amount to, for every kind of receipts.
type expectedSum struct {
	Acceptances int       `json:"acceptances"`
	Receipts    int       `json:"receipts"`
	Full        int64     `json:"full"`  // bytes of the originals in them
	Brief       int64     `json:"brief"` // the same of brief ones
	At          time.Time `json:"at"`    // when it was counted
}

func sumKey(box string) string { return "expectsum/" + strings.ToLower(box) }

// add counts the receipts of one submission, n times: 1, or -1 for no more.
func (t *expectedSum) add(e expected, n int) {
	if e.Acceptance {
		t.Acceptances += n
	}
	t.Receipts += n * e.Receipts
	of := int64(n) * int64(e.Receipts)
	t.Full += of * (receiptSize("complete", e.Size) - receiptOverhead)
	t.Brief += of * (receiptSize("brief", e.Size) - receiptOverhead)
}

// bytes is the room that they take, for a kind of receipts.
func (t *expectedSum) bytes(kind string) int64 {
	n := int64(t.Acceptances+t.Receipts) * receiptOverhead
	switch kind {
	case "synthetic":
		return n
	case "brief":
		return n + t.Brief
	}
	return n + t.Full
}

// old tells whether a count is to be made anew after some time.
func (t *expectedSum) old(now time.Time, after time.Duration) bool {
	return t.At.IsZero() || now.Before(t.At) || now.Sub(t.At) >= after
}

// sumOf is the sum as it was counted last; its zero value where it is not kept.
func sumOf(tx *mailbox.Tx, box string) (t expectedSum, err error) {
	if err = tx.Space(room).Get(sumKey(box), &t); errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return t, err
}

// changeSum takes what was expected of one submission out of the sum and what is now
// into it.
func changeSum(tx *mailbox.Tx, box string, was, is expected) error {
	t, err := sumOf(tx, box)
	if err != nil {
		return err
	}
	if t.old(tx.Now(), recountEvery) {
		_, err = recount(tx, box)
		return err
	}
	t.add(was, -1)
	t.add(is, 1)
	return tx.Space(room).Put(sumKey(box), t)
}

// recount makes the sum anew from the records, and forgets those whose receipts are
// waited for no more.
func recount(tx *mailbox.Tx, box string) (t expectedSum, err error) {
	t.At = tx.Now().UTC()
	var over []string
	err = tx.Space(room).Scan(expectKey(box, ""), func(k string, raw []byte) (bool, error) {
		var e expected
		if err := json.Unmarshal(raw, &e); err != nil {
			return false, fmt.Errorf("record of receipts that are to come: %w", err)
		}
		if t.At.Sub(e.At) < expectFor {
			t.add(e, 1)
		} else if len(over) < forgetAtOnce {
			over = append(over, k)
		}
		return true, nil
	})
	if err != nil {
		return t, err
	}
	for _, k := range over {
		if err := tx.Space(room).Delete(k); err != nil {
			return t, err
		}
	}
	kept := t
	if len(over) == forgetAtOnce {
		kept.At = time.Time{} // there are more: counted anew at once
	}
	return t, tx.Space(room).Put(sumKey(box), kept)
}

// scanExpected calls fn for the receipts that are to come for each submission of a
// mailbox, until it returns false.
func scanExpected(tx *mailbox.Tx, box string, fn func(expected) bool) error {
	return tx.Space(room).Scan(expectKey(box, ""), func(_ string, raw []byte) (bool, error) {
		var e expected
		if err := json.Unmarshal(raw, &e); err != nil {
			return false, fmt.Errorf("record of receipts that are to come: %w", err)
		}
		return fn(e), nil
	})
}

// outstanding is the room that the receipts under way of a mailbox will take,
// by a count that is not older than after.
func outstanding(tx *mailbox.Tx, box, kind string, after time.Duration) (int64, error) {
	t, err := sumOf(tx, box)
	if err == nil && t.old(tx.Now(), after) {
		t, err = recount(tx, box)
	}
	return t.bytes(kind), err
}

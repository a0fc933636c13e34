package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
)

// Receipts of a bulk sending fill the mailbox at the provider, so where they may be
// deleted there at all (provider_copy_receipts) they go sooner:
//
//   - while a batch is being handed over, or bulkReceipts are under way: bulkAfter
//     after our copy came to be;
//   - while the mailbox is filled beyond the first of quota_warnings, or something waits
//     for room in it: as soon as ours is read back.
//
// All else holds as for every copy: the clock, the cap of a round, our bytes read back
// and hashed, what stands there compared. A rule that is keep stays keep.

const (
	// bulkAfter leaves the webmail some time.
	bulkAfter = time.Hour
	// bulkReceipts under way are many, however they were sent.
	bulkReceipts = 200
	// bulkLines of the queue are looked at for a batch: single messages that wait stand
	// among them.
	bulkLines = 2000
)

// The reasons why receipts go sooner.
const (
	soonerBulk = "bulk"
	soonerRoom = "room"
)

// sooner tells why receipts at the provider go sooner, or "".
func (a Account) sooner(tx *mailbox.Tx) (string, error) {
	if !a.CopyReceipts.Delete || a.CopyReceipts.After <= 0 {
		return "", nil
	}
	filled, err := a.filled(tx)
	if err != nil || filled {
		return soonerRoom, err
	}
	many, err := bulk(tx, a.Box)
	if err != nil || !many {
		return "", err
	}
	return soonerBulk, nil
}

// filled tells whether the mailbox is short of room at the provider.
func (a Account) filled(tx *mailbox.Tx) (bool, error) {
	waits := false
	err := tx.Space(room).Scan(alarmsOf(a.Box, kindRoom), func(string, []byte) (bool, error) { waits = true; return false, nil })
	if err != nil || waits {
		return waits, err
	}
	var q quotaNote
	err = tx.Space(room).Get(quotaKey(a.Box), &q)
	if errors.Is(err, mailbox.ErrNotFound) {
		return false, nil
	}
	if since := tx.Now().Sub(q.At); err != nil || q.Limit <= 0 || since < 0 || since > max(roomBelieved, 3*a.Every) {
		return false, err
	}
	for _, share := range a.QuotaWarnings {
		if float64(q.Used) >= float64(q.Limit)*float64(share)/100 {
			return true, nil
		}
	}
	return false, nil
}

// bulk tells whether many messages of a mailbox are being sent.
func bulk(tx *mailbox.Tx, box string) (bool, error) {
	t, err := sumOf(tx, box)
	if err != nil || !t.old(tx.Now(), 2*recountEvery) && t.Acceptances+t.Receipts >= bulkReceipts {
		return err == nil, err
	}
	found, n := false, 0
	err = tx.Space(room).Scan(queueBox(box), func(_ string, raw []byte) (bool, error) {
		var line due
		if err := json.Unmarshal(raw, &line); err != nil {
			return false, fmt.Errorf("line of the queue: %w", err)
		}
		n++
		found = line.Batch
		return !found && n < bulkLines, nil
	})
	return found, err
}

// copyGrace is how much longer than provider_copy our own message stays, whatever
// keep says: the clock has to be believed and the provider to be there.
const copyGrace = 7 * 24 * time.Hour

// copyMayGo tells whether the provider's copy of a message may still be deleted: that
// needs ours, to be compared with. A message that is removed here before stays there
// for good.
func copyMayGo(tx *mailbox.Tx, m *mailbox.Message) (bool, error) {
	var c clearing
	err := tx.Space(room).Get(clearingKey(m.Box), &c)
	if errors.Is(err, mailbox.ErrNotFound) || err == nil && !c.Deletes {
		return false, nil
	}
	now := tx.Now()
	return now.Sub(m.Arrived) < c.Longest+copyGrace || now.Sub(c.Since) < copyGrace, err
}

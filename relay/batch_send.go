package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
)

// maxPace bounds how many hand-overs of a mailbox are remembered, and with that
// how many there are in a minute where the provider limits them at all.
const maxPace = 1000

// pace is when a mailbox handed over in the last minute, milliseconds since 1970,
// oldest first. It is kept in the store: a provider counts on while the gateway
// starts anew.
type pace struct {
	At []int64 `json:"at"`
}

// errPace says that the provider's limit forbids another hand-over for a while.
type errPace struct {
	wait time.Duration
	shut bool // it is not that limit, but the hours of the mailbox
}

func (e *errPace) Error() string {
	if e.shut {
		return fmt.Sprintf("relay: outside the hours of sending; next in %s", e.wait)
	}
	return fmt.Sprintf("relay: the provider's limit a minute is reached; next in %s", e.wait)
}

// paced notes a hand-over of a mailbox, or returns *errPace where it would be one
// too many for the minute. Those of a batch (even) keep even distances, so that a
// message of its own never waits longer than such a one.
func paced(tx *mailbox.Tx, box string, perMinute int, even bool) error {
	if perMinute <= 0 {
		return nil
	}
	most := min(perMinute, maxPace)
	now := tx.Now()
	var p pace
	k := "n/" + strings.ToLower(box)
	if err := tx.Space(room).Get(k, &p); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	ms := now.UnixMilli()
	// What is not of the last minute is over; what is of later is of a clock that
	// was put back.
	p.At = slices.DeleteFunc(p.At, func(at int64) bool { return at <= ms-time.Minute.Milliseconds() || at > ms })
	var free int64
	if n := len(p.At); n >= most {
		free = p.At[n-most] + time.Minute.Milliseconds()
	}
	if n := len(p.At); even && n > 0 {
		free = max(free, p.At[n-1]+time.Minute.Milliseconds()/int64(most))
	}
	if free > ms {
		return &errPace{wait: time.Duration(free-ms) * time.Millisecond}
	}
	p.At = append(p.At, ms)
	return tx.Space(room).Put(k, p)
}

// leaseNext takes the next message of a batch for an attempt. Its record is made
// in the same transaction in which the batch goes on to the one behind it.
func (s *Service) leaseNext(ctx context.Context, batch string, perMinute int) (*Submission, error) {
	var sub *Submission
	var lack *shortage
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		sub, lack = nil, nil
		b, err := headOf(tx, batch)
		if errors.Is(err, ErrNotFound) {
			return errLease
		}
		if err != nil {
			return err
		}
		if b.Next == 0 {
			b.Next = 1
		}
		if !b.batch() || !b.toMake() {
			return errLease
		}
		if removed, err := b.userRemoved(tx); err != nil || removed {
			return errors.Join(err, holdOfRemoved(tx, b))
		}
		if err := s.mayLeave(b); err != nil {
			return err
		}
		for ; b.Next <= b.Tally.Messages; b.Next++ {
			// One that a receipt or a person has concerned already has its record,
			// and where something is to be done for it a line in the queue.
			switch _, err := headOf(tx, childID(batch, b.Next)); {
			case errors.Is(err, ErrNotFound):
			case err != nil:
				return err
			default:
				continue
			}
			if sub, err = unmade(tx, childID(batch, b.Next)); err != nil {
				return err
			}
			break
		}
		if sub == nil {
			return errLease // cannot be: one without a record is left
		}
		if lack, err = s.noRoom(tx, sub); err != nil {
			return err
		}
		if lack != nil {
			sub = nil
			if lack.never {
				return nil // held below
			}
			return waitForRoomBatch(tx, b, lack)
		}
		if err := paced(tx, b.Box, perMinute, true); err != nil {
			return err
		}
		if b.RestReason == ReasonRoom {
			b.StateReason, b.RestReason = "", ""
			b.Released = tx.Now().UTC() // the time of trying begins now
			if err := b.begins(tx); err != nil {
				return err
			}
			sub.StateReason, sub.Released, sub.Began, sub.Away = "", b.Released, b.Began, b.Away
		}
		b.Next++
		b.Attempts++
		if err := putHead(tx, b); err != nil {
			return err
		}
		text := fmt.Sprintf("message %d of %d of batch %s", sub.Number, b.Tally.Messages, b.ID)
		if sub.mayHaveLeft() {
			text += ", although it may have left already: this may be a second hand-over"
		}
		if err := happened(tx, sub, "made", text); err != nil {
			return err
		}
		return s.takeForAttempt(tx, sub)
	})
	if err == nil && lack != nil {
		err = s.tellRoom(ctx, lack)
	}
	if err == nil && sub == nil {
		err = errLease // it is held now
	}
	return sub, err
}

// stopped puts a child that waits for its next attempt where its batch was put
// meanwhile, and tells whether it did.
func (s *Service) stopped(tx *mailbox.Tx, sub *Submission) (bool, error) {
	if !sub.child() {
		return false, nil
	}
	b, err := headOf(tx, sub.Batch)
	if err != nil {
		return false, err
	}
	if b.Rest != Held && b.Rest != Cancelled || sub.Released.After(b.RestSince) {
		return false, nil
	}
	why := b.RestReason
	if b.Rest == Cancelled && sub.mayHaveLeft() {
		why = ReasonUncertain
	}
	if err := s.step(tx, sub, b.Rest, why, "with its batch"); err != nil {
		return false, err
	}
	sub.WithBatch = b.Rest == Held
	return true, save(tx, sub, nil)
}

// inTurn orders the work that batches have: the one behind the last that had its
// turn comes first, so that none waits for another's end.
func (w *worker) inTurn(many []task) []task {
	k := slices.IndexFunc(many, func(t task) bool { return t.line() > w.turn })
	if k <= 0 {
		return many
	}
	return append(slices.Clone(many[k:]), many[:k]...)
}

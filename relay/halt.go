package relay

import (
	"context"
	"errors"
	"strings"
	"time"

	"pecgate/mailbox"
)

// Why a mailbox sends nothing at all, for who asks what a queued submission waits
// for:
//
//	halt/<mailbox>   halt
//
// The sender writes it when it halts and takes it away when it goes on, so that
// nothing is written of each submission. It decides nothing: the sender looks by
// itself each time.

// halt is what holds back everything that is queued in a mailbox.
type halt struct {
	Suspended bool      `json:"suspended,omitempty"` // the provider refused the login
	Until     time.Time `json:"until,omitzero"`      // its hours of sending begin then
	Down      time.Time `json:"down,omitzero"`       // the provider did not answer, and is asked again then
}

func haltKey(box string) string { return "halt/" + strings.ToLower(box) }

func haltOf(tx *mailbox.Tx, box string) (h halt, err error) {
	if err = tx.Space(room).Get(haltKey(box), &h); errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return h, err
}

// noteHalt keeps what holds a mailbox back, where that has changed.
func (s *Service) noteHalt(ctx context.Context, box string, h halt) error {
	var old halt
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { old, err = haltOf(tx, box); return err })
	if err != nil || old.same(h) {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if h.same(halt{}) {
			return tx.Space(room).Delete(haltKey(box))
		}
		return tx.Space(room).Put(haltKey(box), h)
	})
}

// same tells whether nothing has changed: a clock that is set while the mailbox waits
// moves the beginning of its hours a little.
func (h halt) same(o halt) bool {
	d := h.Until.Sub(o.Until)
	return h.Suspended == o.Suspended && h.Until.IsZero() == o.Until.IsZero() && d > -time.Minute && d < time.Minute && h.Down.Equal(o.Down)
}

// next is when something that is due at a time goes on.
func (h halt) next(s *Submission, at *time.Time) *time.Time {
	if s.State != Queued || at == nil {
		return at
	}
	for _, held := range []struct {
		until time.Time
		binds bool
	}{{h.Until, !s.AnyHours}, {h.Down, true}} {
		if held.binds && held.until.After(*at) {
			at = &held.until
		}
	}
	return at
}

// reason is why something is in its state, with what holds the mailbox back.
func (h halt) reason(state State, why Reason) Reason {
	if state == Queued && why == "" && h.Suspended {
		return ReasonSuspended
	}
	return why
}

// Asleep says why nothing of a mailbox leaves as the policy in use has it: the mailbox is not there, or not active. It is empty
// where the mailbox works. Hours, suspensions and a provider that is down are told elsewhere.
func (s *Service) Asleep(box string) string {
	for _, a := range s.opt.Accounts() {
		switch {
		case !strings.EqualFold(a.Box, box):
		case a.Active:
			return ""
		default:
			return "the mailbox is not active in policy.yaml: it waits until it is, or is cancelled"
		}
	}
	return "the mailbox is not in policy.yaml: it waits until it is, or is cancelled"
}

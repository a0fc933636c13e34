package relay

import (
	"errors"
	"time"

	"pecgate/mailbox"
)

// Needed tells whether the relay needs a message still, so that it stays
// however old it is (mailbox.Retention): it is, or is about, a submission that
// is not over, or it is a receipt that may still find its submission,
// or the provider's copy is to be compared with it before that goes.
func Needed(tx *mailbox.Tx, m *mailbox.Message) (bool, error) {
	if m.Direction == mailbox.In {
		if stays, err := copyMayGo(tx, m); err != nil || stays {
			return stays, err
		}
	}
	if m.Submission == "" {
		return m.Direction == mailbox.In && aboutSending(m.Kind) && tx.Now().Sub(m.Arrived) < waitFor, nil
	}
	s, err := load(tx, m.Submission)
	if errors.Is(err, ErrNotFound) {
		return false, nil // bytes that were recovered, of what never came into the queue
	}
	if err != nil {
		return false, err
	}
	return !s.over(tx.Now()), nil
}

// over tells whether nothing more is done about a submission and nothing more
// is expected. Providers tell within 24 hours that a delivery failed; a receipt
// that comes later is compared with what was sent, and what has not come within
// waitFor does not come.
func (s *Submission) over(now time.Time) bool {
	quiet := now.Sub(s.Since) >= waitFor
	switch s.State {
	case NotAccepted, Cancelled:
		return quiet || !s.mayHaveLeft()
	case HandedOver:
		return quiet
	case Accepted:
		return quiet || s.told()
	}
	return false
}

// told tells whether every recipient's end is known.
func (s *Submission) told() bool {
	for _, r := range s.Recipients {
		if r.State == Waiting || r.State == Late {
			return false
		}
	}
	return true
}

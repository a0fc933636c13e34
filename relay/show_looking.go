package relay

import (
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
)

// ShownLooking is how far the search for the receipt of an uncertain submission is.
type ShownLooking struct {
	Until  time.Time `json:"until"`  // when it is over, if the mailbox stays readable
	Seen   time.Time `json:"seen"`   // last good look at the mailbox
	Read   string    `json:"read"`   // so long it was readable since: a term as in policy.yaml
	Blind  string    `json:"blind"`  // why the last look failed; empty: it did not
	Gap    string    `json:"gap"`    // why it was not readable throughout; empty: it was
	Quote  string    `json:"quote"`  // why it may have left, so that it is not sent again by itself; empty: nothing is known
	Unread string    `json:"unread"` // what was set aside and is read once more before the search ends; empty: nothing
}

// showLooking returns how far the search is; nil where none is under way.
func showLooking(tx *mailbox.Tx, s *Submission) (*ShownLooking, error) {
	if s.State != Uncertain || s.batch() {
		return nil, nil
	}
	l, err := lookingFor(tx, s)
	if err != nil || l.Seen.IsZero() || l.Over {
		return nil, err
	}
	return &ShownLooking{Until: l.End, Seen: l.Seen, Read: policy.Term(l.Read), Blind: l.Blind, Gap: l.Gap, Quote: l.Seek, Unread: l.Unread}, nil
}

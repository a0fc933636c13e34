package mailbox

import "errors"

// Messages on their way: ordinary mail of others that only passes through. Such a
// message stands in no folder (Message.Transit says so, set by who records it), and
// goes with its bytes as soon as its next host has it. It belongs to no mailbox and
// to nobody: bytes of which the records are lost come to the administrator (Recover),
// since nobody can say whether the next host has them.

// errTransit says that a message is no passing one.
var errTransit = errors.New("mailbox: the message does not only pass through")

// RemoveTransit removes a message that was on its way, with its bytes. One that is
// gone already is none to remove; one that somebody has filed meanwhile, or on which
// a legal hold lies, stays.
func (tx *Tx) RemoveTransit(id MessageID) error {
	m, err := tx.Message(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !m.Transit {
		return errTransit
	}
	places, err := tx.allPlaces(m.ID, 1)
	if err != nil || len(places) > 0 {
		return err
	}
	if held, err := tx.held(m.ID); err != nil || held {
		return err
	}
	return tx.erase(m, "passed on")
}

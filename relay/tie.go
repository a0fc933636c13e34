package relay

import (
	"errors"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// tie finds the submission that a believed receipt in a mailbox is about and
// the recipient it names: by the Message-ID in the signed data, and where those
// name none of this mailbox (some provider mangles long ones) by the provider's
// identifier, once an acceptance told it. It returns ErrNotFound where the signed
// data name another mailbox, or no submission of this one, or a stranger as
// recipient.
func tie(tx *mailbox.Tx, box string, r *pec.Report) (*Submission, string, error) {
	known := false
	for _, id := range r.MsgIDs() {
		s, err := byMsgID(tx, box, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if s.batch() {
			// Its own Message-ID is on the wire only where one message goes to those
			// whom everybody sees.
			if s, err = visibleOf(tx, s); errors.Is(err, ErrNotFound) {
				continue
			} else if err != nil {
				return nil, "", err
			}
		}
		known = true
		if recipient, ok := r.About(s.sent(tx.Now(), "")); ok {
			return s, recipient, nil
		}
	}
	if known {
		return nil, "", ErrNotFound
	}
	s, err := byIdentifier(tx, box, idKey(r.Identifier))
	if err != nil {
		return nil, "", err
	}
	if recipient, ok := r.About(s.sent(tx.Now(), r.Identifier)); ok {
		return s, recipient, nil
	}
	return nil, "", ErrNotFound
}

// visibleOf is the child of a batch that goes to those whom everybody sees.
func visibleOf(tx *mailbox.Tx, b *Submission) (*Submission, error) {
	if !b.visible(1) {
		return nil, ErrNotFound
	}
	return load(tx, childID(b.ID, 1))
}

// sent is the submission as receipts are compared with it.
func (s *Submission) sent(now time.Time, identifier string) pec.Sent {
	out := pec.Sent{Box: s.Box, MsgID: s.MsgID, Identifier: identifier, At: s.SubmittedAt}
	if !s.HandedOver.IsZero() && s.HandedOver.Before(out.At) {
		out.At = s.HandedOver // the clock stood ahead when it was submitted
	}
	if s.Recovered != "" || out.At.After(now) {
		out.At = time.Time{} // nobody knows when it was submitted: the clock was wrong then, or is now
	}
	for _, x := range s.Recipients {
		out.Recipients = append(out.Recipients, x.Address)
	}
	return out
}

// applyReceipt ties a believed receipt, changes the outcome, and returns the
// submission, or nil where it is about none of ours. found is what comparing the
// receipt with our own copy has shown, or nil.
func applyReceipt(tx *mailbox.Tx, box string, r *pec.Report, m *mailbox.Message, found *finding) (*Submission, error) {
	s, recipient, err := tie(tx, box, r)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// A receipt counts once, whatever brings it a second time.
	k := receiptKey(s.ID, s.index(recipient), m.SHA256())
	var known ReceiptRef
	if err := tx.Space(room).Get(k, &known); !errors.Is(err, mailbox.ErrNotFound) {
		return s, err
	}
	now := tx.Now().UTC()
	at := r.When().UTC()
	if at.IsZero() {
		at = m.Arrived.UTC()
	}
	err = tx.Space(room).Put(k, ReceiptRef{
		Kind: r.Kind, Verdict: r.Verdict, At: at, SHA256: m.SHA256(), Message: m.ID, Error: plain(r.ErrorText, maxWords),
	})
	if err != nil {
		return nil, err
	}
	if at.After(now) {
		at = now
	}
	of, err := providerOf(tx, box)
	if err != nil {
		return nil, err
	}
	told := receipt{Report: r, recipient: recipient, at: at.Truncate(time.Second), provider: of.Signer}
	before, held := s.State, s.State == Held && s.StateReason == ReasonUncertain
	out := s.apply(told)
	if s.State != before {
		s.Since = now
	}
	if held && s.State != Held {
		out.text += ", although it was held"
		if err := tellSettled(tx, s); err != nil {
			return nil, err
		}
	}
	if out.what == "acceptance" || out.what == "duplicate" {
		// Only an acceptance tells the identifier: other receipts are signed by
		// providers that could name anybody's.
		if err := errors.Join(learn(tx, s, r.Identifier), noteProvider(tx, box, told)); err != nil {
			return nil, err
		}
	}
	if err := happened(tx, s, out.what, out.text); err != nil {
		return nil, err
	}
	if out.twice {
		if err := tellTwice(tx, s); err != nil {
			return nil, err
		}
	}
	if found.about(s) {
		if err := happened(tx, s, "differs", found.text); err != nil {
			return nil, err
		}
	}
	if err := s.show(tx); err != nil {
		return nil, err
	}
	return s, save(tx, s, nil)
}

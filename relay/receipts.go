package relay

import (
	"errors"
	"slices"
	"strings"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// outcome is what a receipt did to a submission.
type outcome struct {
	what string // the word for the story
	text string
}

// apply changes a submission by a believed receipt about it, whatever order
// receipts come in (pec-format: state of one sent message). recipient is the
// address of the envelope that the receipt is about, "" for receipts about the
// whole. Applying a receipt twice leaves the same states as once.
func (s *Submission) apply(r *pec.Report, recipient string) outcome {
	switch r.Kind {
	case pec.Acceptance:
		return s.accepted(r)
	case pec.NonAcceptance:
		return s.refused(r)
	case pec.Delivery, pec.DeliveryError, pec.DeliveryWarning:
		return s.delivery(r, recipient)
	}
	return outcome{}
}

func (s *Submission) accepted(r *pec.Report) outcome {
	if s.Identifier == "" {
		s.Identifier = pec.NormalizeID(r.Identifier)
	} else if s.Identifier != pec.NormalizeID(r.Identifier) {
		// Two acceptances with different identifiers: the message went out
		// twice. Both receipts are kept and the story says so.
		return outcome{what: "duplicate", text: "a second acceptance with identifier " + r.Identifier}
	}
	external := map[string]bool{}
	for _, x := range r.Recipients {
		if x.Type == pec.External {
			external[strings.ToLower(x.Address)] = true
		}
	}
	for i := range s.Recipients {
		if s.Recipients[i].State == Waiting && external[strings.ToLower(s.Recipients[i].Address)] {
			s.Recipients[i].State = Uncertified
		}
	}
	_ = s.move(Accepted, "") // an end stays what it is; the receipt is kept
	return outcome{what: "acceptance", text: r.Identifier}
}

func (s *Submission) refused(r *pec.Report) outcome {
	why := ReasonFormal
	if r.Error == "virus" {
		why = ReasonVirus
	}
	if s.move(NotAccepted, why) == nil {
		for i := range s.Recipients {
			s.Recipients[i].State = Failed
		}
	}
	return outcome{what: "non-acceptance", text: r.ErrorCode}
}

// index returns the number of a recipient, or -1.
func (s *Submission) index(address string) int {
	return slices.IndexFunc(s.Recipients, func(x Recipient) bool { return strings.EqualFold(x.Address, address) })
}

func (s *Submission) delivery(r *pec.Report, recipient string) outcome {
	i := s.index(recipient)
	if i < 0 {
		return outcome{}
	}
	to := &s.Recipients[i]
	out := outcome{what: string(r.Kind), text: to.Address}
	switch {
	case r.Kind == pec.Delivery:
		to.State = Delivered // also after a failure: providers stop tracking after 24 h
	case to.State == Delivered:
	case r.Kind == pec.DeliveryError || r.Final:
		to.State = Failed
	case to.State == Waiting:
		to.State = Late
	}
	// A signed receipt of the recipient's provider proves the hand-over, also
	// where the acceptance has not come yet.
	if s.State == Queued || s.State == Attempting || s.State == Uncertain || (s.State == Held && s.StateReason == ReasonUncertain) {
		_ = s.move(HandedOver, "") // the table has these edges
	}
	return out
}

// keywords are what the sent copy shows of the outcome.
func (s *Submission) keywords() (set, clear []string) {
	has := map[string]bool{
		"$PecAccepted":  s.State == Accepted,
		"$PecUncertain": s.State == Uncertain || (s.State == Held && s.StateReason == ReasonUncertain),
		"$PecFailed":    s.State == NotAccepted,
	}
	certified, delivered := 0, 0
	for _, r := range s.Recipients {
		switch r.State {
		case Failed:
			has["$PecFailed"] = true
		case Late:
			has["$PecOverdue"] = true
		case Delivered:
			delivered++
		}
		if r.State != Uncertified {
			certified++
		}
	}
	has["$PecDelivered"] = certified > 0 && delivered == certified
	for _, k := range []string{"$PecAccepted", "$PecDelivered", "$PecFailed", "$PecOverdue", "$PecUncertain"} {
		if has[k] {
			set = append(set, k)
		} else {
			clear = append(clear, k)
		}
	}
	return set, clear
}

// sentCopies bounds on how many copies the outcome is shown: the gateway files
// two, and a person who removed them gets others.
const sentCopies = 16

// show writes the outcome's keywords on the sent copies of this submission.
// Copies that people made elsewhere keep what they had.
func (s *Submission) show(tx *mailbox.Tx) error {
	places, err := tx.PlacesIn(s.Message, mailbox.RoleSent, sentCopies)
	if err != nil {
		return err
	}
	set, clear := s.keywords()
	for _, p := range places {
		if err := tx.SetKeywords(p, set, clear); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return err
		}
	}
	return nil
}

// tie finds the submission that a believed receipt in a mailbox is about and
// the recipient it names. It returns ErrNotFound where the signed data name
// another mailbox, or no submission of this one, or a stranger as recipient.
func tie(tx *mailbox.Tx, box string, r *pec.Report) (*Submission, string, error) {
	s, err := byMsgID(tx, box, r.MsgID)
	if err != nil {
		return nil, "", err
	}
	to := make([]string, 0, len(s.Recipients))
	for _, x := range s.Recipients {
		to = append(to, x.Address)
	}
	recipient, ok := r.Matches(box, s.MsgID, to)
	if !ok {
		return nil, "", ErrNotFound
	}
	return s, recipient, nil
}

// applyReceipt ties a believed receipt, changes the outcome, and returns the
// submission, or nil where it is about none of ours.
func applyReceipt(tx *mailbox.Tx, box string, r *pec.Report, m *mailbox.Message) (*Submission, error) {
	s, recipient, err := tie(tx, box, r)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	at := r.SignedAt
	if at.IsZero() {
		at = m.Arrived
	}
	// A receipt counts once, whatever brings it a second time.
	k := receiptKey(s.ID, s.index(recipient), m.SHA256())
	var known ReceiptRef
	if err := tx.Space(room).Get(k, &known); !errors.Is(err, mailbox.ErrNotFound) {
		return s, err
	}
	err = tx.Space(room).Put(k, ReceiptRef{Kind: r.Kind, Verdict: r.Verdict, At: at.UTC(), SHA256: m.SHA256(), Message: m.ID})
	if err != nil {
		return nil, err
	}
	before := s.State
	out := s.apply(r, recipient)
	if s.State != before {
		s.Since = tx.Now().UTC()
	}
	if s.Identifier != "" {
		if err := tx.Space(room).Put("p/"+strings.ToLower(s.Identifier), s.ID); err != nil {
			return nil, err
		}
	}
	if err := happened(tx, s, out.what, out.text); err != nil {
		return nil, err
	}
	if err := s.show(tx); err != nil {
		return nil, err
	}
	return s, save(tx, s, nil)
}

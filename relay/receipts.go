package relay

import (
	"errors"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// outcome is what a receipt did to a submission.
type outcome struct {
	what string // the word for the story
	text string
	// twice: it shows for the first time that the message went out twice.
	twice bool
}

// receipt is a believed receipt about a submission.
type receipt struct {
	*pec.Report
	recipient string    // of the envelope, "" for receipts about the whole
	at        time.Time // when it says it was made, not after now; zero if unknown
	provider  string    // who signed the mailbox's last acceptance, "" if unknown
}

// apply changes a submission by a receipt about it.
//
// Receipts come in any order, some twice, and the end must not depend on it. So
// each one only adds to what is known: whose acceptance came, what each
// recipient's own notices said at best and who warned of a delay, whether a
// non-acceptance came; the states follow from that. Proof that the provider took
// the message in (an acceptance, or any notice about a recipient) stands above
// what says that it did not.
func (s *Submission) apply(r receipt) outcome {
	defer s.derive()
	switch r.Kind {
	case pec.Acceptance:
		return s.accepted(r)
	case pec.NonAcceptance:
		return s.refused(r)
	case pec.DeliveryWarning:
		return s.warned(r)
	case pec.Delivery, pec.DeliveryError:
		return s.delivery(r)
	}
	return outcome{}
}

func (s *Submission) accepted(r receipt) outcome {
	if s.Signer != "" && !pec.SameAddress(s.Signer, r.Signer) {
		return foreign(r)
	}
	out := outcome{what: "acceptance", text: r.Identifier}
	if s.Identifier == "" {
		s.Identifier = pec.NormalizeID(r.Identifier)
	} else if !pec.SameID(s.Identifier, r.Identifier) {
		// The message went out twice. Both receipts are kept.
		first := s.Twice == ""
		if first {
			s.Twice = pec.NormalizeID(r.Identifier)
		}
		out = outcome{what: "duplicate", text: "a second acceptance with identifier " + r.Identifier, twice: first}
	}
	s.acceptedBy(r.Signer)
	s.AcceptedAt = earlier(s.AcceptedAt, r.at)
	external := map[string]bool{}
	for _, x := range r.Recipients {
		if x.Type == pec.External {
			external[pec.AddressKey(x.Address)] = true
		}
	}
	for i := range s.Recipients {
		if external[pec.AddressKey(s.Recipients[i].Address)] {
			s.Recipients[i].External = true
		}
	}
	out.text += s.prove(Accepted)
	return out
}

// prove moves a submission that the provider has taken in, and returns what to
// add to the story where it was thought that nothing had left.
func (s *Submission) prove(to State) string {
	if before := s.State; s.move(to, "") == nil && (before == NotAccepted || before == Cancelled) {
		return ", although it was " + string(before)
	}
	return ""
}

func (s *Submission) refused(r receipt) outcome {
	if !s.heeds(r) {
		return foreign(r)
	}
	why := ReasonFormal
	if r.Error == "virus" {
		why = ReasonVirus
	}
	switch {
	case s.taken():
		// Two hand-overs with different ends, or a provider that errs: what was
		// certainly accepted must not look as if it could be sent again.
		return outcome{what: "contradiction", text: "a non-acceptance, although the provider had taken the message: " + r.ErrorCode}
	case s.State == NotAccepted && s.StateReason == ReasonVirus:
	default:
		_ = s.move(NotAccepted, why) // a cancelled submission stays one
	}
	return outcome{what: "non-acceptance", text: r.ErrorCode}
}

// taken tells whether a signed receipt proves that the provider took the
// message in.
func (s *Submission) taken() bool {
	if s.State == Accepted {
		return true
	}
	for i := range s.Recipients {
		if r := &s.Recipients[i]; r.Told != "" || s.late(r) != "" {
			return true
		}
	}
	return false
}

// index returns the number of a recipient, or -1.
func (s *Submission) index(address string) int {
	for i := range s.Recipients {
		if pec.SameAddress(s.Recipients[i].Address, address) {
			return i
		}
	}
	return -1
}

func (s *Submission) delivery(r receipt) outcome {
	if s.index(r.recipient) < 0 {
		return outcome{}
	}
	told := Failed
	if r.Kind == pec.Delivery {
		told = Delivered // also after a failure: providers stop tracking after 24 h
	}
	for i := range s.Recipients {
		// One address may stand twice in an envelope, in another case.
		if to := &s.Recipients[i]; pec.SameAddress(to.Address, r.recipient) && told.above(to.Told) {
			to.Told = told
		}
	}
	s.ProvedAt = earlier(s.ProvedAt, r.at)
	out := outcome{what: string(r.Kind), text: r.recipient}
	if told == Failed && r.ErrorCode != "" {
		out.text += " " + r.ErrorCode
	}
	out.text += s.notice()
	return out
}

// notice is prove for a notice about a recipient, which shows the hand-over also
// where the acceptance has not come yet.
func (s *Submission) notice() string {
	if s.State == HandedOver || s.State == Accepted {
		return ""
	}
	return s.prove(HandedOver)
}

// earlier is the earlier of two times that may be unknown.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// above tells whether a notice says more than another: a delivery more than a
// failure, a failure more than a delay.
func (s RecipientState) above(other RecipientState) bool {
	rank := func(s RecipientState) int {
		switch s {
		case Delivered:
			return 3
		case Failed:
			return 2
		case Late:
			return 1
		}
		return 0
	}
	return rank(s) > rank(other)
}

// derive makes the recipients' states from what is known.
func (s *Submission) derive() {
	if s.batch() {
		return // what it shows follows from its children
	}
	s.timeOfHandOver()
	if s.Overdue != "" && s.Overdue != s.awaits() {
		s.Overdue = ""
	}
	for i := range s.Recipients {
		r := &s.Recipients[i]
		told := r.Told
		if late := s.late(r); late.above(told) {
			told = late
		}
		switch {
		case told == Delivered, told == Failed:
			r.State = told
		case s.State == NotAccepted:
			r.State = Failed
		case r.External:
			r.State = Uncertified // final: no delivery receipt comes
		case told == Late, s.Overdue != "":
			r.State = Late
		default:
			r.State = Waiting
		}
	}
}

// keywords are what the sent copy shows of the outcome.
func (s *Submission) keywords() (set, clear []string) {
	has := map[string]bool{
		"$PecAccepted":  s.State == Accepted,
		"$PecUncertain": s.State == Uncertain || !s.Resent.IsZero() || (s.State == Held || s.State == Cancelled) && s.mayHaveLeft(),
		"$PecFailed":    s.State == NotAccepted,
		"$PecOverdue":   s.Overdue != "",
	}
	certified, delivered := 0, 0
	if s.batch() {
		has = s.batchKeywords()
	}
	for _, r := range s.Recipients {
		if s.batch() {
			break
		}
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
	if !s.batch() {
		has["$PecDelivered"] = certified > 0 && delivered == certified
	}
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

// show writes the outcome's keywords on the sent copies of this submission, and
// where it stands among what was approved.
// Copies that people made elsewhere keep what they had.
func (s *Submission) show(tx *mailbox.Tx) error {
	if s.child() {
		return nil // the sent copy is the batch's
	}
	places, err := tx.PlacesIn(s.Message, mailbox.RoleSent, sentCopies)
	if err == nil && s.Approval {
		var approved []mailbox.Place
		approved, err = tx.PlacesIn(s.Message, mailbox.RoleApproved, 1)
		places = append(places, approved...)
	}
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

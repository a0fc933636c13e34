package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// The report of an outcome: one message for each submission, and one for all
// messages of a batch (batch_outcome.go), in the folder of outcomes, written from the submission's state. A change of state notes in its
// own transaction when the report is due (noteOutcome); the reporter writes it a
// moment later and replaces the one before (outcome_reporter.go). So a crash
// between the two loses nothing: what is due is found again.
//
//	o/<id>           reported
//	od/<time>/<id>   nothing: when the report of a submission is due; milliseconds
//	                 since 1970, 16 hexadecimal digits
//	bell-outcomes    written to wake the reporter
const (
	outcomeDue  = "od/"
	outcomeBell = "bell-outcomes"
)

// Times of reports.
const (
	// firstReport is how long the first report waits for an acceptance, so that
	// what goes well at once has no report of having been queued.
	firstReport = 5 * time.Second
	// reportEvery is how often a report is replaced at most, but for what a person
	// waits for (told.urgent).
	reportEvery = time.Minute
)

// told is how far a report tells of the outcome.
type told struct {
	Digest   string `json:"digest,omitempty"` // of all that it tells
	Accepted bool   `json:"accepted,omitempty"`
	Ended    bool   `json:"ended,omitempty"` // nothing more is expected
	Doubt    bool   `json:"doubt,omitempty"` // nobody knows whether it left, or it was stopped
	Failed   int    `json:"failed,omitempty"`
	Late     int    `json:"late,omitempty"`
}

// urgent tells whether a report that tells t is to be replaced at once by one
// that tells now: at the acceptance, the first failure and the end.
func (t told) urgent(now told) bool {
	return now.Accepted && !t.Accepted || now.Failed > 0 && t.Failed == 0 || now.Ended && !t.Ended
}

// worse tells whether now is worse news than t.
func (t told) worse(now told) bool {
	return now.Failed > t.Failed || now.Doubt && !t.Doubt || now.Late > t.Late
}

// tells is what a report of the submission would tell.
func (s *Submission) tells() told {
	if s.batch() {
		return s.batchTells()
	}
	t := told{Accepted: s.State == Accepted}
	switch s.State {
	case NotAccepted, Cancelled:
		t.Ended = true
	case Accepted:
		t.Ended = s.told()
	}
	t.Doubt = s.State == Uncertain || s.State == Held || s.State == Cancelled || s.Twice != ""
	state := s.State
	if state == Attempting {
		state = Queued // nobody waits for that
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%t\n", state, s.StateReason, s.Identifier, s.lost())
	if s.Twice != "" || !s.Resent.IsZero() {
		fmt.Fprintf(h, "%s %t\n", s.Twice, s.Resent.IsZero())
	}
	for _, r := range s.Recipients {
		switch r.State {
		case Failed:
			t.Failed++
		case Late:
			t.Late++
		}
		fmt.Fprintf(h, "%s %t\n", r.State, r.External)
	}
	t.Digest = hex.EncodeToString(h.Sum(nil)[:16])
	return t
}

// lost tells whether the submission is stopped here although it may have left.
func (s *Submission) lost() bool {
	if s.batch() {
		return s.batchLost()
	}
	return s.State == Uncertain || (s.State == Held || s.State == Cancelled) && s.mayHaveLeft()
}

// reported is what is known of the report of a submission.
type reported struct {
	Message mailbox.MessageID `json:"message,omitempty"` // the one that stands; 0: none yet
	Made    time.Time         `json:"made,omitzero"`
	Shown   told              `json:"shown,omitzero"`   // by the one that stands
	Changed time.Time         `json:"changed,omitzero"` // when what is to be told changed last
	Wanted  string            `json:"wanted,omitempty"` // Digest of the next one, while it is due
	Due     time.Time         `json:"due,omitzero"`     // zero: nothing is
}

func outcomeKey(id string) string { return "o/" + id }

func dueKey(at time.Time, id string) string {
	return fmt.Sprintf("%s%016x/%s", outcomeDue, max(at.UnixMilli(), 0), id)
}

// readReported returns what is known of a submission's report.
func readReported(tx *mailbox.Tx, id string) (r reported, err error) {
	err = tx.Space(room).Get(outcomeKey(id), &r)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return r, err
}

// noteOutcome notes when the report of a submission is due, where what it would
// tell has changed. save calls it.
func noteOutcome(tx *mailbox.Tx, s *Submission) error {
	if s.Recovered != "" {
		return nil // it was not sent from here
	}
	r, err := readReported(tx, s.ID)
	if err != nil {
		return err
	}
	now := s.tells()
	if r.Message == 0 && r.Due.IsZero() {
		if s.unreleased() {
			return nil
		}
		if old, err := madeAnew(tx, s); err != nil || old {
			return err // it has no report; what leaves from here later has
		}
	}
	sp := tx.Space(room)
	if now.Digest == r.Shown.Digest && r.Message != 0 {
		if r.Due.IsZero() {
			return nil
		}
		old := r.Due
		r.Due, r.Wanted = time.Time{}, ""
		return errors.Join(sp.Delete(dueKey(old, s.ID)), sp.Put(outcomeKey(s.ID), r))
	}
	due := r.dueFor(now, tx.Now().UTC())
	if now.Digest == r.Wanted && !due.Before(r.Due) {
		return nil
	}
	if now.Digest != r.Wanted {
		r.Changed = tx.Now().UTC()
	}
	if !r.Due.IsZero() {
		if r.Due.Before(due) {
			due = r.Due
		}
		if err := sp.Delete(dueKey(r.Due, s.ID)); err != nil {
			return err
		}
	}
	r.Due, r.Wanted = due.Truncate(time.Millisecond), now.Digest
	return errors.Join(
		sp.Put(outcomeKey(s.ID), r),
		sp.Put(dueKey(r.Due, s.ID), nil),
		sp.Put(outcomeBell, s.ID))
}

// unreleased tells whether a submission still waits for its PIN or for approval,
// or was cancelled while it did: that concerns its sender and who approves, who
// have a folder for it, and not everybody who reads the reports.
func (s *Submission) unreleased() bool {
	switch s.State {
	case Held:
		return s.StateReason == ReasonPIN
	case ToApprove:
		return true
	case Cancelled:
		return s.Released.IsZero() // and it had no report: it never was in the queue
	}
	return false
}

// madeAnew tells whether a submission was made anew from its bytes.
func madeAnew(tx *mailbox.Tx, s *Submission) (bool, error) {
	if s.StateReason == ReasonRestored {
		return true, nil
	}
	m, err := tx.Message(s.Message)
	if errors.Is(err, mailbox.ErrNotFound) {
		return false, nil // its record is being made
	}
	return err == nil && m.History, err
}

// dueFor is when a report is due that tells t.
func (r *reported) dueFor(t told, now time.Time) time.Time {
	switch {
	case r.Shown.urgent(t):
		return now
	case r.Message == 0:
		return now.Add(firstReport)
	case r.Made.After(now): // the clock was put back
		return now.Add(reportEvery)
	}
	if at := r.Made.Add(reportEvery); at.After(now) {
		return at
	}
	return now
}

// dueReport is a line of the list of reports that are due.
type dueReport struct {
	At time.Time
	ID string // of the submission
}

// postpone puts a report off that could not be made, or that none is to be made
// of for a zero time. The line goes in any case: one that the report's own
// record does not know would be due for ever.
func postpone(tx *mailbox.Tx, d dueReport, to time.Time) error {
	sp := tx.Space(room)
	if err := sp.Delete(dueKey(d.At, d.ID)); err != nil {
		return err
	}
	id := d.ID
	r, err := readReported(tx, id)
	if err != nil || !r.Due.Equal(d.At) {
		return err
	}
	r.Due = to.Truncate(time.Millisecond)
	if to.IsZero() {
		r.Wanted = ""
		return sp.Put(outcomeKey(id), r)
	}
	return errors.Join(sp.Put(outcomeKey(id), r), sp.Put(dueKey(r.Due, id), nil))
}

// dueOutcomes returns the reports that are due, at most most, and when the next
// of the others will be.
func dueOutcomes(tx *mailbox.Tx, most int) (due []dueReport, next time.Time, err error) {
	now := tx.Now()
	err = tx.Space(room).Scan(outcomeDue, func(k string, _ []byte) (bool, error) {
		var ms int64
		var id string
		if _, err := fmt.Sscanf(k[len(outcomeDue):], "%16x/%s", &ms, &id); err != nil {
			return false, fmt.Errorf("record of a report that is due: %w", err)
		}
		at := time.UnixMilli(ms)
		if at.After(now) {
			next = at
			return false, nil
		}
		due = append(due, dueReport{At: at, ID: id})
		return len(due) < most, nil
	})
	return due, next, err
}

// lastReceipt is what the report tells of the receipt that decided about one
// recipient, or about the whole.
type lastReceipt struct {
	At    time.Time
	Error string // the provider's words
}

// maxRefs bounds how many receipts of one submission a report looks at.
const maxRefs = 20000

// deciding returns the receipts that a report names: by the recipient's number,
// -1 for the whole. It follows the states; of several equal receipts the earliest
// counts.
func deciding(tx *mailbox.Tx, s *Submission) (map[int]lastReceipt, error) {
	out := map[int]lastReceipt{}
	prefix, seen := "x/"+s.ID+"/", 0
	err := tx.Space(room).Scan(prefix, func(k string, raw []byte) (bool, error) {
		seen++
		n := -1
		if rest := k[len(prefix):]; rest[0] != '-' {
			if _, err := fmt.Sscanf(rest, "%d/", &n); err != nil || n < 0 || n >= len(s.Recipients) {
				return true, nil
			}
		}
		var ref ReceiptRef
		if err := json.Unmarshal(raw, &ref); err != nil {
			return false, err
		}
		if !s.decided(n, ref) {
			return seen < maxRefs, nil
		}
		if old, ok := out[n]; !ok || ref.At.Before(old.At) {
			out[n] = lastReceipt{At: ref.At, Error: ref.Error}
		}
		return seen < maxRefs, nil
	})
	return out, err
}

// decided tells whether a receipt is one of those that the state of recipient n,
// or of the whole for -1, follows from.
func (s *Submission) decided(n int, ref ReceiptRef) bool {
	if n < 0 {
		return s.State == Accepted && ref.Kind == pec.Acceptance || s.State == NotAccepted && ref.Kind == pec.NonAcceptance
	}
	switch r := s.Recipients[n]; r.State {
	case Delivered:
		return ref.Kind == pec.Delivery
	case Failed:
		if r.Told == Failed {
			return ref.Kind == pec.DeliveryError
		}
		return ref.Kind == pec.DeliveryWarning
	case Late:
		return ref.Kind == pec.DeliveryWarning
	}
	return false
}

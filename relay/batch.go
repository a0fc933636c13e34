package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// A batch is one message that a client submitted once and that leaves as
// several: one for each recipient, or one for those whom everybody sees and one
// for each blind one. It is a Submission whose Split says so; its children are
// Submissions of their own, each with its own Message-ID, receipts and end.
//
// Everything about a child follows from its batch and its number: its id, its
// Message-ID, its recipients, its bytes (batch_bytes.go). So there is no record of
// a child before its first attempt, or before a receipt or a person concerns it;
// until then load gives it as the batch says (unmade). The record is made in the
// transaction that takes it for the attempt (batch_send.go), which also moves the
// batch on: after a crash nothing is left out and nothing made twice.
//
// The batch keeps a tally of its children and a copy of how each recipient
// stands, written in the transaction of every change of a child (mirror). What is
// shown of a batch follows from these alone.

// How a message is split.
const (
	SplitBlind  = "blind"  // one message for those in To and Cc, one for each other recipient
	SplitAlways = "always" // one message for each recipient
)

// MaxBatch is how many recipients a batch may have.
const MaxBatch = 1000

// Tally counts the children of a batch.
type Tally struct {
	Messages   int           `json:"messages"`
	Recipients int           `json:"recipients"`
	States     map[State]int `json:"states,omitempty"` // of the children that have a record
	To         map[where]int `json:"to,omitempty"`     // of their recipients
	Lost       int           `json:"lost,omitempty"`   // children that are stopped although they may have left
	Room       int           `json:"room,omitempty"`   // children that are held since their receipts have no room
	Told       bool          `json:"told,omitempty"`   // the sender has got a notice of a child that failed
	Rev        int           `json:"rev"`              // number of changes
	// The sender has got a notice of a child that was handed over a second time, or
	// that went out twice.
	ToldResent bool `json:"told_resent,omitempty"`
	ToldTwice  bool `json:"told_twice,omitempty"`
}

// where is where a recipient of a batch stands: the state of a recipient once the
// provider has the message, before that the state of the message.
type where string

const (
	whereQueued    where = "queued"
	whereHeld      where = "held"
	whereUncertain where = "uncertain"
	whereSent      where = "sent"     // the provider has the message
	whereAccepted  where = "accepted" // and has signed the acceptance
	whereCancelled where = "cancelled"
	whereGivenUp   where = "given-up" // nothing is sent from here any more, but it may have left
	whereDelivered where = where(Delivered)
	whereFailed    where = where(Failed)
	whereLate      where = where(Late)
	whereOutside   where = where(Uncertified)
)

// whereOf is where a recipient stands; lost says that the message may have left.
func whereOf(of State, to RecipientState, lost bool) where {
	switch to {
	case Delivered, Failed, Late, Uncertified:
		return where(to)
	}
	switch of {
	case Held, ToApprove:
		return whereHeld
	case Uncertain:
		return whereUncertain
	case HandedOver:
		return whereSent
	case Accepted:
		return whereAccepted
	case NotAccepted:
		return whereFailed
	case Cancelled:
		if lost {
			return whereGivenUp
		}
		return whereCancelled
	}
	return whereQueued
}

// made is how many children have a record.
func (t *Tally) made() (n int) {
	for _, k := range t.States {
		n += k
	}
	return n
}

// child and batch tell the two apart from a submission of its own.
func (s *Submission) child() bool { return s.Batch != "" }
func (s *Submission) batch() bool { return s.Split != "" }

// unmade is how many children of a batch have no record.
func (s *Submission) unmade() int { return s.Tally.Messages - s.Tally.made() }

// places counts the recipients of a batch, all of them.
func (s *Submission) places() map[where]int {
	out, known := map[where]int{}, 0
	for p, n := range s.Tally.To {
		out[p] += n
		known += n
	}
	if rest := s.Tally.Recipients - known; rest > 0 {
		out[whereOf(s.Rest, Waiting, s.Doubt)] += rest
	}
	return out
}

// childID is the id of a child: it sorts behind its batch.
func childID(batch string, n int) string { return fmt.Sprintf("%s-%04d", batch, n) }

// batchOf splits the id of a child.
func batchOf(id string) (batch string, n int, ok bool) {
	at := len(id) - 5
	if at < 1 || id[at] != '-' {
		return "", 0, false
	}
	for _, c := range id[at+1:] {
		if c < '0' || c > '9' {
			return "", 0, false
		}
		n = n*10 + int(c-'0')
	}
	return id[:at], n, n > 0
}

// childMsgID is the Message-ID of a child, without brackets.
func childMsgID(box, id string) string { return "pg." + id + "@" + domainOf(box) }

// childOfMsgID is the id of the child that a Message-ID of ours names.
func childOfMsgID(msgid string) (id string, ok bool) {
	local, _, ok := strings.Cut(pec.NormalizeID(msgid), "@")
	id, mine := strings.CutPrefix(strings.ToLower(local), "pg.")
	_, _, child := batchOf(id)
	return id, ok && mine && child
}

// visible tells whether a child is the one that goes to those whom everybody
// sees: it keeps the message as the client wrote it, with its Message-ID.
func (s *Submission) visible(n int) bool { return s.Visible > 0 && n == 1 }

// span is which recipients of a batch child n has: from, and the one behind the
// last.
func (s *Submission) span(n int) (from, to int) {
	switch {
	case s.visible(n):
		return 0, s.Visible
	case s.Visible > 0:
		return s.Visible + n - 2, s.Visible + n - 1
	}
	return n - 1, n
}

// newTally is that of a batch of which nothing has happened.
func newTally(split string, visible, recipients int) *Tally {
	t := &Tally{Messages: recipients, Recipients: recipients}
	if split == SplitBlind && visible > 0 {
		t.Messages = recipients - visible + 1
	}
	return t
}

// headOf reads the record of a submission without its recipients.
func headOf(tx *mailbox.Tx, id string) (*Submission, error) {
	s := new(Submission)
	err := tx.Space(room).Get("s/"+id, s)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, ErrNotFound
	}
	return s, err
}

// unmade gives a child that has no record as its batch says; ErrNotFound where
// the id is of none.
func unmade(tx *mailbox.Tx, id string) (*Submission, error) {
	batch, n, ok := batchOf(id)
	if !ok {
		return nil, ErrNotFound
	}
	b, err := headOf(tx, batch)
	if err != nil {
		return nil, err
	}
	if !b.batch() || n > b.Tally.Messages {
		return nil, ErrNotFound
	}
	s := &Submission{
		ID: id, MsgID: childMsgID(b.Box, id), Box: b.Box, User: b.User, Person: b.Person, Message: b.Message, Size: b.Size,
		SubmittedAt: b.SubmittedAt, State: b.Rest, StateReason: b.RestReason, Doubt: b.Doubt, Released: b.Released, Began: b.Began, Away: b.Away,
		Since: b.RestSince, Batch: batch, Number: n, Unconfirmed: b.Unconfirmed,
	}
	if b.visible(n) {
		s.MsgID, s.Alias = b.MsgID, b.Alias
	}
	from, to := b.span(n)
	for c := from / chunk; c*chunk < to; c++ {
		var part []Recipient
		if err := tx.Space(room).Get(recipientsKey(batch, c), &part); err != nil {
			return nil, err
		}
		for i, r := range part {
			if k := c*chunk + i; k >= from && k < to {
				s.Recipients = append(s.Recipients, Recipient{Address: r.Address, State: Waiting})
			}
		}
	}
	if len(s.Recipients) != to-from {
		return nil, fmt.Errorf("relay: batch %s has not the recipients of its message %d", batch, n)
	}
	s.derive()
	return s, nil
}

// mirror brings the batch up to date after a change of a child. before is the
// child's record as it was, nil where there was none.
func mirror(tx *mailbox.Tx, s, before *Submission) error {
	b, err := headOf(tx, s.Batch)
	if err != nil {
		return err
	}
	t := b.Tally
	rev, was := t.Rev, b.stage()
	shownBefore, _ := b.keywords()
	count := func(c *Submission, by int) {
		if t.States == nil {
			t.States = map[State]int{}
		}
		if t.States[c.State] += by; t.States[c.State] == 0 {
			delete(t.States, c.State)
		}
		if c.lost() {
			t.Lost += by
		}
		if c.heldForRoom() {
			t.Room = max(0, t.Room+by)
		}
	}
	if before == nil || before.State != s.State || before.lost() != s.lost() || before.heldForRoom() != s.heldForRoom() {
		if before != nil {
			count(before, -1)
		}
		count(s, 1)
		t.Rev++
	}
	if err := b.mirrorRecipients(tx, s, before == nil); err != nil {
		return err
	}
	if !s.HandedOver.IsZero() && earlier(b.HandedOver, s.HandedOver) != b.HandedOver {
		b.HandedOver = s.HandedOver
		t.Rev++
	}
	if err := b.releasedAfterAll(tx, s); err != nil {
		return err
	}
	if t.Rev == rev {
		return nil
	}
	state := b.State
	b.sum()
	if b.State != state {
		b.Since = tx.Now().UTC()
	}
	if err := b.goesOn(tx, s, before, was); err != nil {
		return err
	}
	if shown, _ := b.keywords(); strings.Join(shown, " ") != strings.Join(shownBefore, " ") {
		if err := b.show(tx); err != nil {
			return err
		}
	}
	return save(tx, b, nil)
}

// mirrorRecipients copies how the recipients of a child stand into the batch.
func (b *Submission) mirrorRecipients(tx *mailbox.Tx, s *Submission, first bool) error {
	t := b.Tally
	if t.To == nil {
		t.To = map[where]int{}
	}
	from, to := b.span(s.Number)
	if to-from != len(s.Recipients) {
		return fmt.Errorf("relay: %s has other recipients than its batch says", s.ID)
	}
	gone := s.State == Cancelled && s.lost()
	for c := from / chunk; c*chunk < to; c++ {
		var part []Recipient
		k := recipientsKey(b.ID, c)
		if err := tx.Space(room).Get(k, &part); err != nil {
			return err
		}
		changed := false
		for i := range part {
			at := c*chunk + i
			if at < from || at >= to {
				continue
			}
			old, now := part[i], s.Recipients[at-from]
			if !first && old.Of == s.State && old.Lost == gone && old.State == now.State && old.Told == now.Told && old.External == now.External {
				continue
			}
			if !first {
				p := whereOf(old.Of, old.State, old.Lost)
				if t.To[p]--; t.To[p] == 0 {
					delete(t.To, p)
				}
			}
			t.To[whereOf(s.State, now.State, gone)]++
			part[i] = Recipient{Address: old.Address, State: now.State, Told: now.Told, External: now.External, Of: s.State, Lost: gone}
			changed = true
		}
		if !changed {
			continue
		}
		t.Rev++
		if err := tx.Space(room).Put(k, part); err != nil {
			return err
		}
	}
	return nil
}

// sum makes the state of a batch from those of its children, once it has any.
func (s *Submission) sum() {
	if s.Tally.made() == 0 {
		s.Rest, s.RestReason = s.State, s.StateReason
		return
	}
	n := map[State]int{}
	for state, k := range s.Tally.States {
		n[state] = k
	}
	if rest := s.unmade(); rest > 0 {
		n[s.Rest] += rest
	}
	n[Queued] += n[Attempting]
	for _, state := range []State{Queued, Held, ToApprove, Uncertain, HandedOver, Accepted, NotAccepted, Cancelled} {
		if n[state] == 0 {
			continue
		}
		s.State, s.StateReason = state, ""
		switch {
		case s.Rest == state && (s.unmade() > 0 || state == Cancelled):
			s.StateReason = s.RestReason
		case state == Held && s.Tally.Lost > 0:
			s.StateReason = ReasonUncertain
		case state == Held && s.Tally.Room >= n[Held]:
			s.StateReason = ReasonRoom
		case state == Held:
			s.StateReason = ReasonOperator
		case state == NotAccepted:
			s.StateReason = ReasonRefused
		}
		return
	}
}

// rest moves those messages of a batch that have no record yet.
func (s *Submission) rest(to State, why Reason, now time.Time) {
	s.Rest, s.RestReason, s.RestSince = to, why, now
	s.AnyRoom, s.AnyHours = s.AnyRoom && to != Held, s.AnyHours && to == Queued
	s.Doubt = s.Doubt || why == ReasonRestored
	if s.Tally.made() == 0 {
		s.State, s.StateReason = to, why
	}
	s.Tally.Rev++
	s.sum()
}

// toMake tells whether the sender has to go on with a batch.
func (s *Submission) toMake() bool { return s.Rest == Queued && s.unmade() > 0 }

// batchKeywords are what the sent copy of a batch shows: what all of its messages
// came to, and whether something is wrong with one.
func (s *Submission) batchKeywords() map[string]bool {
	to, t := s.places(), s.Tally
	certified := t.Recipients - to[whereOutside]
	return map[string]bool{
		"$PecAccepted":  t.States[Accepted] == t.Messages,
		"$PecDelivered": certified > 0 && to[whereDelivered] == certified,
		"$PecFailed":    to[whereFailed] > 0,
		"$PecOverdue":   to[whereLate] > 0,
		"$PecUncertain": s.lost(),
	}
}

// batchLost is lost for a batch: of one of its messages nobody knows whether it
// left.
func (s *Submission) batchLost() bool {
	return s.Tally.Lost > 0 || s.Doubt && s.unmade() > 0 && (s.Rest == Held || s.Rest == Cancelled)
}

// eachChild calls fn for the children of a batch that have a record, from a
// number on, until it returns false.
func eachChild(tx *mailbox.Tx, batch string, from int, fn func(*Submission) bool) error {
	prefix := "s/" + batch + "-"
	return tx.Space(room).ScanFrom(prefix, fmt.Sprintf("%s%04d", prefix, from), func(_ string, raw []byte) (bool, error) {
		c := new(Submission)
		if err := json.Unmarshal(raw, c); err != nil {
			return false, err
		}
		return fn(c), nil
	})
}

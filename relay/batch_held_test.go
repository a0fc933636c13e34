package relay

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
	"pecgate/relay/submit"
)

// keptBatch puts a batch into the store that waits for a PIN or for approval, as
// the gateway does.
func (i *intake) keptBatch(lack Lack, to ...string) {
	i.t.Helper()
	in, err := i.store.Begin(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := io.WriteString(in, batchText); err != nil {
		i.t.Fatal(err)
	}
	st, err := in.Store(i.t.Context(), mailbox.Origin{
		Box: testBox, Direction: mailbox.Out, User: "mario", Submission: batchID, From: testBox, To: to, Split: SplitAlways,
	})
	if err != nil {
		i.t.Fatal(err)
	}
	defer st.Close()
	_, err = i.store.Record(i.t.Context(), st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		p, err := tx.EnsurePerson("mario")
		if err != nil {
			return err
		}
		m.Author, m.Submission = p, batchID
		_, err = Enqueue(tx, Ticket{ID: batchID, Box: testBox, User: "mario", Person: p, MsgID: batchMsgID, To: to, Split: SplitAlways, Held: lack}, m)
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

// storyOf is what happened to a submission, a line for each event.
func (i *intake) storyOf(id string) string {
	i.t.Helper()
	text := ""
	for _, e := range i.shown(id).Events {
		text += e.What + ": " + e.Text + "\n"
	}
	return text
}

// TestApprovalOfABatchInPart: one message of a batch that waits for approval was
// cancelled; an approver's PIN is asked for and releases the others all the same.
func TestApprovalOfABatchInPart(t *testing.T) {
	i := newIntake(t)
	a := i.anApprover("lucia", true)
	i.keptBatch(ForApproval, numbered(3)...)
	if _, err := i.s.Cancel(t.Context(), childID(batchID, 2), false, Hand{}); err != nil {
		t.Fatal(err)
	}
	m := []mailbox.MessageID{stored(t, i.store, batchID).Message}
	if _, err := Approve(t.Context(), i.store, a, m, Hand{}); err != nil {
		t.Fatal(err)
	}
	s := stored(t, i.store, batchID)
	if !s.approverAsked() || s.RestReason != ReasonPIN || !s.RestSince.After(s.SubmittedAt) {
		t.Fatalf("%s (%s), rest %s (%s) since %s", s.State, s.StateReason, s.Rest, s.RestReason, s.RestSince)
	}
	if _, err := Confirm(t.Context(), i.store, i.asked(a), a.Person, Hand{}); err != nil {
		t.Fatal(err)
	}
	if s := stored(t, i.store, batchID); s.State != Queued || s.Rest != Queued {
		t.Errorf("%s, rest %s", s.State, s.Rest)
	}
	i.handOver()
	if sub := i.handOver(); sub.Number != 3 || i.next() != nil {
		t.Errorf("message %d goes out", sub.Number)
	}
}

// TestK9_PINOfABatchAfterARestore: a receipt has come of one message of a batch
// that the backup calls held for its PIN. The PIN is taken note of, and a person
// decides on the others.
func TestK9_PINOfABatchAfterARestore(t *testing.T) {
	i := newIntake(t)
	i.keptBatch(PINMissing, numbered(3)...)
	token := i.token()
	var raw []byte
	i.restore(func() {
		if _, err := Confirm(t.Context(), i.store, token, 1, Hand{}); err != nil {
			t.Fatal(err)
		}
		i.handOver()
		raw = i.receipt(providersim.Acceptance, func(x *providersim.Notice) {
			x.MsgID, x.Identifier = "<"+childMsgID(testBox, childID(batchID, 1))+">", pecID
			x.Recipients = []providersim.Recipient{{Address: numbered(1)[0]}}
		})
	})
	if err := i.s.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.take(raw)
	if _, err := Confirm(t.Context(), i.store, token, 1, Hand{}); err != nil {
		t.Fatal(err)
	}
	s := stored(t, i.store, batchID)
	if s.State != Held || s.StateReason != ReasonRestored || s.RestReason != ReasonRestored || s.Hold || !s.Doubt {
		t.Fatalf("%s (%s), rest %s (%s), hold %t", s.State, s.StateReason, s.Rest, s.RestReason, s.Hold)
	}
	if _, err := i.s.Retry(t.Context(), batchID, Hand{}); err != nil {
		t.Fatal(err)
	}
	i.handOver()
	if sub := i.handOver(); sub.Number != 3 || i.next() != nil {
		t.Errorf("message %d goes out", sub.Number)
	}
	if story := i.storyOf(childID(batchID, 3)); !strings.Contains(story, "may be a second hand-over") {
		t.Error(story)
	}
}

// TestCancelBatchMeanwhile: the notice that no recipient gets it is not filed once
// a message of the batch was taken for its hand-over.
func TestCancelBatchMeanwhile(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(3)...)
	before := stored(t, i.store, batchID)
	i.handOver()
	if err := i.s.cancelBatch(t.Context(), before, false, Hand{}); !errors.As(err, new(*Refusal)) {
		t.Errorf("%v", err)
	}
	if s := stored(t, i.store, batchID); s.Rest != Queued {
		t.Errorf("rest %s", s.Rest)
	}
	if _, err := i.s.Cancel(t.Context(), batchID, false, Hand{}); err != nil {
		t.Error(err)
	}
	if _, text := i.told(); strings.Contains(text, "no recipient gets it") || !strings.Contains(text, "has stopped this batch") {
		t.Error(text)
	}
}

// uncertain hands the next message of the batch over without an answer, and has
// it held for a person.
func (i *intake) uncertain() *Submission {
	i.t.Helper()
	sub := i.next()
	if err := i.s.intend(i.t.Context(), sub); err != nil {
		i.t.Fatal(err)
	}
	i.end(sub, submit.Result{Class: submit.Uncertain, Stage: submit.StageDot})
	i.update(func(tx *mailbox.Tx) error {
		c, err := load(tx, sub.ID)
		if err != nil {
			return err
		}
		return errors.Join(i.s.step(tx, c, Held, ReasonUncertain, "no receipt came"), save(tx, c, nil))
	})
	return sub
}

// TestBatchGivenUp: what was given up although it may have left is called neither
// cancelled nor unsent, a message of its own and what was never tried alike.
func TestBatchGivenUp(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(3)...)
	sub := i.uncertain()
	report := func() string {
		t.Helper()
		s := stored(t, i.store, batchID)
		o := outcomeReport{sub: s, zone: i.s.opt.Location, words: wordsOf("en"), at: i.store.Now()}
		if !s.lost() || !s.tells().Doubt {
			t.Errorf("lost %t, doubt %t", s.lost(), s.tells().Doubt)
		}
		return o.text()
	}
	if _, err := i.s.Cancel(t.Context(), sub.ID, true, Hand{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		i.handOver()
	}
	text := report()
	if strings.Contains(text, "cancelled") || !strings.Contains(text, numbered(1)[0]+": no longer sent from here, may have left") ||
		!strings.Contains(text, "sent 2, no longer sent from here, may have left 1") || !strings.Contains(text, "the rest given up") {
		t.Error(text)
	}
	// A receipt that comes still counts, and nothing of it is left in the tally.
	i.take(i.receipt(providersim.Acceptance, func(x *providersim.Notice) {
		x.MsgID, x.Identifier = "<"+childMsgID(testBox, sub.ID)+">", pecID
		x.Recipients = []providersim.Recipient{{Address: numbered(1)[0]}}
	}))
	if to := stored(t, i.store, batchID).places(); to[whereGivenUp] != 0 || to[whereAccepted] != 1 || to[whereSent] != 2 {
		t.Errorf("%v", to)
	}

	i = newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(3)...)
	i.restore(func() {})
	if err := i.s.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := i.s.Cancel(t.Context(), batchID, true, Hand{}); err != nil {
		t.Fatal(err)
	}
	if text := report(); strings.Contains(text, "cancelled") || !strings.Contains(text, "may have left 3") {
		t.Error(text)
	}
}

// TestRetryOfABatchIsOfWhatNeverLeft: what may have left of a batch, and what was
// held one by one, is not sent with it. How much stays is told.
func TestRetryOfABatchIsOfWhatNeverLeft(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(5)...)
	sub := i.next()
	if err := i.s.intend(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	i.restore(func() {}) // the backup holds it after its intent
	if err := i.s.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := i.s.Retry(t.Context(), batchID, Hand{}); err != nil {
		t.Fatal(err)
	}
	if c := stored(t, i.store, sub.ID); c.State != Held || c.StateReason != ReasonRestored {
		t.Errorf("%s (%s)", c.State, c.StateReason)
	}
	if story := i.storyOf(batchID); !strings.Contains(story, "1 of its messages stay held") || !strings.Contains(story, "may be a second hand-over") {
		t.Error(story)
	}
	if n := i.shown(batchID).Batch; n.Held != 1 || n.Queued != 4 {
		t.Errorf("%+v", n)
	}
	for range 4 {
		i.handOver()
	}
	if _, err := i.s.Retry(t.Context(), batchID, Hand{}); !errors.As(err, new(*Refusal)) || !strings.Contains(fmt.Sprint(err), "id of its own") {
		t.Errorf("%v", err)
	}
	if _, err := i.s.Retry(t.Context(), sub.ID, Hand{}); err != nil {
		t.Fatal(err)
	}
	if c := stored(t, i.store, sub.ID); c.State != Queued {
		t.Errorf("%s (%s)", c.State, c.StateReason)
	}

	i = newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(3)...)
	for range 2 {
		i.end(i.next(), submit.Result{Class: submit.Temporary, Stage: submit.StageDot, Code: 451})
	}
	for _, id := range []string{childID(batchID, 1), batchID} { // the first by itself, the second with its batch
		if _, err := i.s.Hold(t.Context(), id, Hand{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := i.s.Retry(t.Context(), batchID, Hand{}); err != nil {
		t.Fatal(err)
	}
	if a, b := stored(t, i.store, childID(batchID, 1)), stored(t, i.store, childID(batchID, 2)); a.State != Held || b.State != Queued || b.WithBatch {
		t.Errorf("%s and %s", a.State, b.State)
	}
}

// TestBatchReportNamesWhatWentAgain: the report of a batch names the recipients whose
// message was handed over a second time, or went out twice, and is due for each of them.
func TestBatchReportNamesWhatWentAgain(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(4)...)
	for range 4 {
		i.handOver()
	}
	again := func(n int, what string, change func(*Submission)) {
		t.Helper()
		before := stored(t, i.store, batchID).tells().Digest
		i.update(func(tx *mailbox.Tx) error {
			c, err := load(tx, childID(batchID, n))
			if err != nil {
				return err
			}
			change(c)
			return errors.Join(toTell(tx, c, what), save(tx, c, nil))
		})
		if stored(t, i.store, batchID).tells().Digest == before {
			t.Errorf("no report is due of message %d", n)
		}
	}
	report := func() string {
		t.Helper()
		o := outcomeReport{sub: stored(t, i.store, batchID), zone: i.s.opt.Location, words: wordsOf("en"), at: i.store.Now()}
		err := i.store.View(t.Context(), func(tx *mailbox.Tx) (err error) {
			o.again, err = o.sub.handedOverAgain(tx, o.words)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return o.text()
	}
	if text := report(); strings.Contains(text, "second time") {
		t.Errorf("nothing went again:\n%s", text)
	}
	again(2, toldResent, func(c *Submission) { c.Resent = i.store.Now() })
	again(3, toldResent, func(c *Submission) { c.Resent = i.store.Now() })
	again(3, toldTwice, func(c *Submission) { c.Twice = "opec2@gestore.example" })
	text := report()
	lines := strings.Split(text, "\n")
	for n, to := range numbered(4) {
		want := []string{"", "handed over a second time, may have gone out twice", "went out twice", ""}[n]
		for _, line := range lines {
			if strings.Contains(line, to+":") && (strings.Contains(line, "time") || strings.Contains(line, "twice")) != (want != "") || strings.Contains(line, to+":") && !strings.HasSuffix(line, want) {
				t.Errorf("%s: %q", to, line)
			}
		}
	}
	if !strings.Contains(text, "Some messages of this batch were handed over a second time") || strings.Count(text, "went out twice") != 1 {
		t.Error(text)
	}
}

package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// TestHoldEndsInDoubt: after a restore nobody can say that what waited had not
// left before. When its time is over it ends, and nobody is told that no
// recipient gets it.
func TestHoldEndsInDoubt(t *testing.T) {
	for _, lack := range []Lack{PINMissing, ForApproval} {
		t.Run(string(lack), func(t *testing.T) {
			i := newIntake(t)
			i.s.opt.Address = "pecgate@gateway.example"
			i.keep("one", lack)
			i.restore(func() {
				release := func(tx *mailbox.Tx) error { return ConfirmHeld(tx, "one", Hand{}) }
				if lack == ForApproval {
					release = func(*mailbox.Tx) error { return nil }
					if _, err := i.s.ApproveByHand(t.Context(), "one", Hand{}); err != nil {
						t.Fatal(err)
					}
				}
				i.update(release)
				sub, err := i.s.lease(t.Context(), "one")
				if err != nil {
					t.Fatal(err)
				}
				i.end(sub, submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250})
			})
			if err := i.s.Restored(t.Context()); err != nil {
				t.Fatal(err)
			}
			i.overdue("one")
			if s := stored(t, i.store, "one"); s.State != Cancelled || s.StateReason != ReasonUncertain || !s.lost() {
				t.Errorf("%s (%s), lost %t", s.State, s.StateReason, s.lost())
			}
			_, text := i.told()
			if strings.Contains(text, "nessun destinatario") || !strings.Contains(text, "forse era già partito") {
				t.Errorf("the notice says\n%s", text)
			}
		})
	}
}

// TestHoldEndsOnlyAsItWasDue: between the look and the end somebody approved: an
// approval that waits for its PIN has a time of its own.
func TestHoldEndsOnlyAsItWasDue(t *testing.T) {
	i := newIntake(t)
	i.s.opt.Address = "pecgate@gateway.example"
	a := i.anApprover("lucia", true)
	i.keep("one", ForApproval)
	var h hold
	i.update(func(tx *mailbox.Tx) error { return tx.Space(room).Get(holdKey("one"), &h) })
	d := dueHold{key: holdDueKey(h.Until, "one"), id: "one"}
	time.Sleep(2 * time.Millisecond) // holds are told apart by the millisecond in which they end
	if _, err := Approve(t.Context(), i.store, a, []mailbox.MessageID{stored(t, i.store, "one").Message}, Hand{}); err != nil {
		t.Fatal(err)
	}
	if err := i.s.endOne(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if s := stored(t, i.store, "one"); !s.approverAsked() {
		t.Errorf("it is %s (%s)", s.State, s.StateReason)
	}
	if got := len(i.messages(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox})); got != 0 {
		t.Errorf("%d notices to the author", got)
	}
	if _, err := Confirm(t.Context(), i.store, i.asked(a), a.Person, Hand{}); err != nil {
		t.Errorf("the approver cannot confirm: %v", err)
	}
}

// TestHoldNoticeGoesToWhoIsAsked: while the message is read for the notice another
// approver comes in place of the first.
func TestHoldNoticeGoesToWhoIsAsked(t *testing.T) {
	i := newIntake(t)
	i.s.opt.Address = "pecgate@gateway.example"
	lucia, anna := i.anApprover("lucia", true), i.anApprover("anna", true)
	i.keep("one", ForApproval)
	m := []mailbox.MessageID{stored(t, i.store, "one").Message}
	if _, err := Approve(t.Context(), i.store, lucia, m, Hand{}); err != nil {
		t.Fatal(err)
	}
	read := stored(t, i.store, "one")
	var h hold
	i.update(func(tx *mailbox.Tx) error { return tx.Space(room).Get(holdKey("one"), &h) })
	if _, err := Withdraw(t.Context(), i.store, lucia.Person, m, mailbox.FolderKey{}, Hand{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Approve(t.Context(), i.store, anna, m, Hand{}); err != nil {
		t.Fatal(err)
	}
	if err := i.s.tellHoldAs(t.Context(), read, h); !errors.Is(err, errHoldMoved) {
		t.Errorf("%v", err)
	}
	token := i.asked(anna)
	if _, err := Confirm(t.Context(), i.store, token, anna.Person, Hand{}); err != nil {
		t.Error(err)
	}
	snap, err := i.store.Snapshot(t.Context(), mailbox.FolderKey{Owner: lucia.Person, Role: mailbox.RoleInbox}, mailbox.Viewer{Person: lucia.Person})
	if err != nil || len(snap.UIDs) != 0 {
		t.Errorf("%d notices to the first, %v", len(snap.UIDs), err)
	}
}

// TestWithdrawTooLate: what was released before is not taken back, and whoever
// tries is told so; what was taken back before is no harm.
func TestWithdrawTooLate(t *testing.T) {
	i := newIntake(t)
	a := i.anApprover("lucia", false)
	trash := mailbox.FolderKey{Box: testBox, Owner: 1, Role: mailbox.RoleTrash}
	var m []mailbox.MessageID
	for k, lack := range []Lack{PINMissing, PINMissing, ForApproval} {
		id := []string{"one", "two", "three"}[k]
		i.keep(id, lack)
		m = append(m, stored(t, i.store, id).Message)
	}
	i.update(func(tx *mailbox.Tx) error { return ConfirmHeld(tx, "one", Hand{}) })
	if _, err := Withdraw(t.Context(), i.store, 1, m[:1], trash, Hand{}); !errors.As(err, new(*Refusal)) {
		t.Errorf("what was confirmed: %v", err)
	}
	if places, err := Withdraw(t.Context(), i.store, 1, m[:2], trash, Hand{}); err != nil || places[0].UID != 0 || places[1].UID == 0 {
		t.Errorf("one of two: %v, %v", places, err)
	}
	if _, err := Withdraw(t.Context(), i.store, 1, m[1:2], trash, Hand{}); err != nil {
		t.Errorf("what was taken back: %v", err)
	}
	if _, err := Approve(t.Context(), i.store, a, m[2:], Hand{}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.s.Reject(t.Context(), Approver{Person: 1, Login: "mario"}, m[2:], trash, Hand{}); !errors.As(err, new(*Refusal)) {
		t.Errorf("what was approved: %v", err)
	}
}

// TestHoldNoticeTellsTheEnvelope: who gets it is told, whatever the header says;
// of many the first, and how many there are.
func TestHoldNoticeTellsTheEnvelope(t *testing.T) {
	var many []Recipient
	for _, a := range numbered(120) {
		many = append(many, Recipient{Address: a})
	}
	for name, c := range map[string]struct {
		sub        Submission
		want, lack []string
	}{
		"one message": {Submission{Recipients: many[:2]}, []string{"Recipients (2):\n- " + many[0].Address + "\n- " + many[1].Address + "\n"}, []string{"hidden", "split"}},
		"blind": {Submission{Recipients: many[:3], Split: SplitBlind, Visible: 1, Tally: newTally(SplitBlind, 1, 3)},
			[]string{"Recipients (3):", "not in To and Cc): 2\n", "it is split: 3\n"}, []string{"more recipients"}},
		"a list": {Submission{Recipients: many, Split: SplitAlways, Tally: newTally(SplitAlways, 0, 120)},
			[]string{"Recipients (120)", "- " + many[49].Address, "and 70 more recipients", "it is split: 120\n"}, []string{many[50].Address, "hidden"}},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIntake(t)
			i.s.opt.Language = "en"
			text := holdNotice(&c.sub, hold{Lack: PINMissing}, digest{to: "somebody@else.example"}, "token", i.s.opt).text
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("it lacks %q:\n%s", w, text)
				}
			}
			for _, w := range c.lack {
				if strings.Contains(text, w) {
					t.Errorf("it has %q:\n%s", w, text)
				}
			}
		})
	}
}

// TestNoReportOfWhatWaits: what waits for its PIN or for approval has no report
// among those that all who receive can read, and none when it is withdrawn;
// when it is released it gets one.
func TestNoReportOfWhatWaits(t *testing.T) {
	i := newIntake(t)
	due := func(id string) (due bool) {
		i.update(func(tx *mailbox.Tx) error {
			r, err := readReported(tx, id)
			due = !r.Due.IsZero() || r.Message != 0
			return err
		})
		return due
	}
	for n, lack := range []Lack{PINMissing, ForApproval} {
		for _, end := range []State{Queued, Cancelled} {
			id := fmt.Sprint(n, end)
			i.keep(id, lack)
			if due(id) {
				t.Errorf("%s: a report while it waits", id)
			}
			i.update(func(tx *mailbox.Tx) error {
				s, err := load(tx, id)
				if err != nil {
					return err
				}
				if end == Queued {
					s.Released = tx.Now().UTC()
				}
				return errors.Join(s.move(end, ""), save(tx, s, nil))
			})
			if due(id) != (end == Queued) {
				t.Errorf("%s: report at the end: %t", id, due(id))
			}
		}
	}
}

package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
)

// anApprover makes a login somebody who approves; Mario is the author of all
// that keep makes.
func (i *intake) anApprover(login string, pin bool) Approver {
	i.t.Helper()
	if _, err := i.store.Person(i.t.Context(), "mario"); err != nil { // the first person
		i.t.Fatal(err)
	}
	p, err := i.store.Person(i.t.Context(), login)
	if err != nil {
		i.t.Fatal(err)
	}
	return Approver{Person: p, Login: login, PIN: pin}
}

// stands lists the roles of the folders in which a submission's message stands.
func (i *intake) stands(id string) (roles []string) {
	i.t.Helper()
	m := stored(i.t, i.store, id).Message
	err := i.store.View(i.t.Context(), func(tx *mailbox.Tx) error {
		roles = nil
		for _, r := range []mailbox.Role{mailbox.RoleToConfirm, mailbox.RoleToApprove, mailbox.RoleApproved, mailbox.RoleSent, mailbox.RoleTrash} {
			at, err := tx.PlacesIn(m, r, 10)
			if err != nil {
				return err
			}
			for range at {
				roles = append(roles, string(r))
			}
		}
		return nil
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return roles
}

// overdue makes the time of a hold be over, and has the keeper look.
func (i *intake) overdue(id string) {
	i.t.Helper()
	i.evenClock(3)
	i.update(func(tx *mailbox.Tx) error {
		sp := tx.Space(room)
		var h hold
		if err := sp.Get(holdKey(id), &h); err != nil {
			return err
		}
		past := h
		past.Until = tx.Now().Add(-time.Second)
		return errors.Join(sp.Delete(holdDueKey(h.Until, id)), sp.Put(holdKey(id), past), sp.Put(holdDueKey(past.Until, id), h.Token))
	})
	if _, err := i.s.lookAtHolds(i.t.Context()); err != nil {
		i.t.Fatal(err)
	}
}

// asked looks at the holds and returns the token of the notice to an approver.
func (i *intake) asked(a Approver) string {
	i.t.Helper()
	i.s.opt.Address = "pecgate@gateway.example"
	if _, err := i.s.lookAtHolds(i.t.Context()); err != nil {
		i.t.Fatal(err)
	}
	header := i.newest(mailbox.FolderKey{Owner: a.Person, Role: mailbox.RoleInbox})
	m := replyTo.FindStringSubmatch(header)
	if m == nil {
		i.t.Fatalf("no token in\n%s", header)
	}
	return m[1]
}

// TestApprovalSteps takes every step from what waits for an approver, and from
// what waits for an approver's PIN.
func TestApprovalSteps(t *testing.T) {
	hand := Hand{Actor: "lucia", From: "192.0.2.1"}
	trash := func(p mailbox.Person) mailbox.FolderKey {
		return mailbox.FolderKey{Box: testBox, Owner: p, Role: mailbox.RoleTrash}
	}
	type at struct {
		i     *intake
		a     Approver // lucia
		m     []mailbox.MessageID
		token string // of the approver's notice, while asked
	}
	check := func(x at, err error) {
		x.i.t.Helper()
		if err != nil {
			x.i.t.Fatal(err)
		}
	}
	type end struct {
		state  State
		why    Reason
		stands []string
		event  string // audited
		told   bool   // the author is
	}
	waits := end{ToApprove, ReasonApproval, []string{"to-approve"}, "", false}
	asked := end{ToApprove, ReasonPIN, []string{"to-confirm", "to-approve"}, "", false}
	left := end{Queued, "", []string{"approved", "sent", "sent"}, "submission approved", false}
	for _, c := range []struct {
		name        string
		do          func(x at)
		waits, asks end // from each of the two
	}{
		{"approved", func(x at) {
			_, err := Approve(x.i.t.Context(), x.i.store, x.a, x.m, hand)
			check(x, err)
		}, left, asked}, // whoever has been asked confirms by PIN, not by a second move
		{"approved with a PIN", func(x at) {
			a := x.a
			a.PIN = true
			places, err := Approve(x.i.t.Context(), x.i.store, a, x.m, hand)
			check(x, err)
			if places[0].UID != 0 {
				x.i.t.Error("it stands somewhere before it is confirmed")
			}
		}, end{ToApprove, ReasonPIN, []string{"to-confirm", "to-approve"}, "submission approval", false}, asked},
		{"approved by its author", func(x at) {
			a := Approver{Person: 1, Login: "mario"}
			if _, err := Approve(x.i.t.Context(), x.i.store, a, x.m, hand); x.token == "" && !errors.Is(err, ErrOwnApproval) {
				x.i.t.Errorf("%v", err)
			}
		}, waits, asked},
		{"approved by its author, who may", func(x at) {
			_, err := Approve(x.i.t.Context(), x.i.store, Approver{Person: 1, Login: "mario", Own: true}, x.m, hand)
			check(x, err)
		}, left, asked},
		{"confirmed", func(x at) {
			for range 2 {
				if _, err := Confirm(x.i.t.Context(), x.i.store, x.token, x.a.Person, hand); (err == nil) != (x.token != "") {
					x.i.t.Errorf("%v", err)
				}
			}
		}, waits, left},
		{"confirmed by its author", func(x at) {
			if _, err := Confirm(x.i.t.Context(), x.i.store, x.token, 1, hand); !errors.Is(err, ErrNotFound) {
				x.i.t.Errorf("%v", err)
			}
			x.i.update(func(tx *mailbox.Tx) error { return ConfirmHeld(tx, "one", hand) })
		}, waits, asked},
		{"the approval taken back", func(x at) {
			places, err := Withdraw(x.i.t.Context(), x.i.store, x.a.Person, x.m, trash(x.a.Person), hand)
			check(x, err)
			if places[0].UID != 0 {
				x.i.t.Error("it stands in the trash")
			}
			if _, err := Confirm(x.i.t.Context(), x.i.store, x.token, x.a.Person, hand); !errors.Is(err, ErrNotFound) {
				x.i.t.Errorf("its token is still good: %v", err)
			}
		}, waits, end{ToApprove, ReasonApproval, []string{"to-approve"}, "approval withdrawn", false}},
		{"rejected into the trash", func(x at) {
			places, err := x.i.s.Reject(x.i.t.Context(), x.a, x.m, trash(x.a.Person), hand)
			check(x, err)
			if (places[0].UID == 1) != (x.token == "") {
				x.i.t.Errorf("%v", places)
			}
		}, end{Cancelled, ReasonApproval, []string{"trash", "trash"}, "submission rejected", true}, asked},
		{"rejected", func(x at) {
			for range 2 {
				_, err := x.i.s.Reject(x.i.t.Context(), x.a, x.m, mailbox.FolderKey{}, hand)
				check(x, err)
			}
		}, end{Cancelled, ReasonApproval, []string{"trash"}, "submission rejected", true}, asked},
		{"taken back by its author", func(x at) {
			_, err := x.i.s.Reject(x.i.t.Context(), Approver{Person: 1, Login: "mario"}, x.m, mailbox.FolderKey{}, hand)
			check(x, err)
		}, end{Cancelled, "", nil, "submission withdrawn", false}, end{Cancelled, "", nil, "submission withdrawn", false}},
		{"taken back by its author into the trash", func(x at) {
			places, err := x.i.s.Reject(x.i.t.Context(), Approver{Person: 1, Login: "mario"}, x.m, trash(1), hand)
			check(x, err)
			if places[0].UID != 1 {
				x.i.t.Errorf("%v", places)
			}
		}, end{Cancelled, "", []string{"trash"}, "submission withdrawn", false}, end{Cancelled, "", []string{"trash"}, "submission withdrawn", false}},
		{"time is over", func(x at) { x.i.overdue("one") },
			end{Cancelled, ReasonExpired, []string{"trash"}, "state", true}, end{Cancelled, ReasonExpired, []string{"trash"}, "state", true}},
		{"queue approve", func(x at) { _, err := x.i.s.ApproveByHand(x.i.t.Context(), "one", hand); check(x, err) },
			end{Queued, "", left.stands, "queue approve", false}, end{Queued, "", left.stands, "queue approve", false}},
		{"queue reject", func(x at) { _, err := x.i.s.RejectByHand(x.i.t.Context(), "one", hand); check(x, err) },
			end{Cancelled, ReasonApproval, []string{"trash"}, "queue reject", true}, end{Cancelled, ReasonApproval, []string{"trash"}, "queue reject", true}},
		{"queue cancel", func(x at) { _, err := x.i.s.Cancel(x.i.t.Context(), "one", false, hand); check(x, err) },
			end{Cancelled, ReasonOperator, []string{"trash"}, "queue cancel", true}, end{Cancelled, ReasonOperator, []string{"trash"}, "queue cancel", true}},
		{"queue retry", func(x at) {
			if _, err := x.i.s.Retry(x.i.t.Context(), "one", hand); !errors.As(err, new(*Refusal)) {
				x.i.t.Errorf("%v", err)
			}
		}, waits, asked},
	} {
		for phase, want := range map[string]end{"waits": c.waits, "asks": c.asks} {
			t.Run(c.name+", "+phase, func(t *testing.T) {
				i := newIntake(t)
				x := at{i: i, a: i.anApprover("lucia", false)}
				i.keep("one", ForApproval)
				x.m = []mailbox.MessageID{stored(t, i.store, "one").Message}
				if phase == "asks" {
					a := x.a
					a.PIN = true
					if _, err := Approve(t.Context(), i.store, a, x.m, hand); err != nil {
						t.Fatal(err)
					}
					x.token = i.asked(x.a)
				}
				before := len(i.messages(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox}))
				c.do(x)
				s := stored(t, i.store, "one")
				if s.State != want.state || s.StateReason != want.why || s.Hold != s.kept() {
					t.Errorf("%s (%s), hold %t", s.State, s.StateReason, s.Hold)
				}
				if got := i.stands("one"); !slices.Equal(got, want.stands) {
					t.Errorf("it stands in %v", got)
				}
				if got := len(i.messages(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox})) - before; (got == 1) != want.told || got > 1 {
					t.Errorf("%d notices to the author", got)
				}
				if want.event != "" {
					if lines := i.audited(want.event); len(lines) != 1 || !strings.Contains(lines[0], "|one|"+string(want.state)) {
						t.Errorf("audited as %q", lines)
					}
				}
				due, _, err := i.s.dueTasks(t.Context(), testBox)
				if err != nil || len(due) != map[bool]int{true: 1}[s.State == Queued] {
					t.Errorf("the sender has %v to do, %v", due, err)
				}
				// Whatever it became, the keeper has nothing to stumble over.
				if _, err := i.s.lookAtHolds(t.Context()); err != nil {
					t.Error(err)
				}
				lines := 0
				for _, k := range i.keysOf() {
					if strings.HasPrefix(k, holdDue) {
						lines++
					}
				}
				if lines > 1 || s.kept() && lines != 1 {
					t.Errorf("%d lines of what ends", lines)
				}
			})
		}
	}
}

// TestApprovalOnce: however many approve, confirm and reject at the same moment,
// each submission is released once or ended once.
func TestApprovalOnce(t *testing.T) {
	i := newIntake(t)
	lucia, anna := i.anApprover("lucia", false), i.anApprover("anna", true)
	hand := Hand{Actor: "test"}
	const n = 12
	var all []mailbox.MessageID
	for k := range n {
		i.keep(fmt.Sprint("s", k), ForApproval)
		all = append(all, stored(t, i.store, fmt.Sprint("s", k)).Message)
	}
	var wg sync.WaitGroup
	errs := make([]error, 12)
	for k := range errs {
		wg.Go(func() {
			ctx := context.Background()
			order := slices.Clone(all)
			if k%2 == 1 {
				slices.Reverse(order)
			}
			switch k % 4 {
			case 0, 1:
				_, errs[k] = Approve(ctx, i.store, lucia, order, hand)
			case 2:
				_, errs[k] = i.s.Reject(ctx, lucia, order[:n/2], mailbox.FolderKey{}, hand)
			case 3:
				_, errs[k] = Approve(ctx, i.store, anna, order, hand)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	approved, rejected, asked := len(i.audited("submission approved")), len(i.audited("submission rejected")), 0
	for k := range n {
		s := stored(t, i.store, fmt.Sprint("s", k))
		want := map[State][]string{Queued: {"approved", "sent", "sent"}, Cancelled: {"trash"}, ToApprove: {"to-confirm", "to-approve"}}[s.State]
		if got := i.stands(s.ID); !slices.Equal(got, want) {
			t.Errorf("%s is %s and stands in %v", s.ID, s.State, got)
		}
		if s.State == ToApprove {
			asked++
		}
	}
	if approved+rejected+asked != n || asked > 0 && len(i.audited("submission approval")) != asked {
		t.Errorf("%d approved, %d rejected, %d asked for a PIN", approved, rejected, asked)
	}
}

// TestK9_ApprovalAfterARestore: the store is that of a backup, and the message
// may have been approved and have left since: an approval does not send it again.
func TestK9_ApprovalAfterARestore(t *testing.T) {
	for _, pin := range []bool{false, true} {
		i := newIntake(t)
		a := i.anApprover("lucia", pin)
		i.keep("one", ForApproval)
		m := []mailbox.MessageID{stored(t, i.store, "one").Message}
		i.update(func(tx *mailbox.Tx) error {
			s, err := load(tx, "one")
			if err != nil {
				return err
			}
			return i.s.holdOne(tx, s)
		})
		if s := stored(t, i.store, "one"); s.State != ToApprove || !s.Doubt {
			t.Fatalf("%+v", s)
		}
		if _, err := Approve(t.Context(), i.store, a, m, Hand{Actor: "lucia"}); err != nil {
			t.Fatal(err)
		}
		if pin {
			if _, err := Confirm(t.Context(), i.store, i.asked(a), a.Person, Hand{Actor: "lucia"}); err != nil {
				t.Fatal(err)
			}
		}
		s := stored(t, i.store, "one")
		if s.State != Held || s.StateReason != ReasonRestored {
			t.Errorf("%s (%s)", s.State, s.StateReason)
		}
		if due, _, err := i.s.dueTasks(t.Context(), testBox); err != nil || len(due) != 0 {
			t.Errorf("the sender has %v to do, %v", due, err)
		}
	}
}

// TestA4_RetryOfWhatWaitsForApproval: the client's retry is known as such.
func TestA4_RetryOfWhatWaitsForApproval(t *testing.T) {
	i := newIntake(t)
	i.keep("one", ForApproval)
	err := i.store.View(t.Context(), func(tx *mailbox.Tx) error {
		id, err := Repeated(tx, "retry-one")
		held, err1 := HeldForPIN(tx, "one")
		waits, err2 := WaitsForApproval(tx, "one")
		if id != "one" || held || !waits {
			t.Error(id, held, waits)
		}
		return errors.Join(err, err1, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestApprovalNotice: what the approver is asked says whose message it is and how
// to take the approval back, in both languages.
func TestApprovalNotice(t *testing.T) {
	i := newIntake(t)
	a := i.anApprover("lucia", true)
	i.keep("one", ForApproval)
	if _, err := Approve(t.Context(), i.store, a, []mailbox.MessageID{stored(t, i.store, "one").Message}, Hand{}); err != nil {
		t.Fatal(err)
	}
	sub := stored(t, i.store, "one")
	d, err := i.s.digest(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	for language, want := range map[string][]string{
		"it": {"scritto da mario", "Per ritirare l'autorizzazione", `"PEC/` + testBox + `/Da confermare"`, "Oggetto: Offerta n° 7"},
		"en": {"which mario wrote", "To take the approval back", `"PEC/` + testBox + `/To confirm"`, "Subject: Offerta n° 7"},
	} {
		o := i.s.opt
		o.Language = language
		n := holdNotice(sub, hold{Lack: ForApproval}, d, "token", o)
		for _, w := range want {
			if !strings.Contains(n.text, w) {
				t.Errorf("the notice lacks %q:\n%s", w, n.text)
			}
		}
		if n.user != "lucia" || n.person != a.Person || strings.Contains(n.text, "%!") {
			t.Errorf("to %s:\n%s", n.user, n.text)
		}
	}
}

// TestApprovalTokenEnds: the token of an approval that was taken back is good for
// nothing, although the same person has approved again.
func TestApprovalTokenEnds(t *testing.T) {
	i := newIntake(t)
	a := i.anApprover("lucia", true)
	i.keep("one", ForApproval)
	m := []mailbox.MessageID{stored(t, i.store, "one").Message}
	approve := func() string {
		if _, err := Approve(t.Context(), i.store, a, m, Hand{}); err != nil {
			t.Fatal(err)
		}
		return i.asked(a)
	}
	first := approve()
	if _, err := Withdraw(t.Context(), i.store, a.Person, m, mailbox.FolderKey{}, Hand{}); err != nil {
		t.Fatal(err)
	}
	second := approve()
	if _, err := Confirm(t.Context(), i.store, first, a.Person, Hand{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("the first token: %v", err)
	}
	if _, err := Confirm(t.Context(), i.store, second, a.Person, Hand{}); err != nil || stored(t, i.store, "one").State != Queued {
		t.Errorf("the second token: %v", err)
	}
}

// TestOwnApprovalChangesNothing: among several that are moved at once is the
// approver's own; none is released.
func TestOwnApprovalChangesNothing(t *testing.T) {
	i := newIntake(t)
	i.keep("one", ForApproval)
	i.keep("two", ForApproval)
	other := stored(t, i.store, "one")
	i.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, "one")
		if err != nil {
			return err
		}
		s.Person = 7
		return save(tx, s, nil)
	})
	_, err := Approve(t.Context(), i.store, Approver{Person: 1, Login: "mario"}, []mailbox.MessageID{other.Message, stored(t, i.store, "two").Message}, Hand{})
	if !errors.Is(err, ErrOwnApproval) || stored(t, i.store, "one").State != ToApprove {
		t.Errorf("%v, and another's is %s", err, stored(t, i.store, "one").State)
	}
}

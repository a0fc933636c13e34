package relay

import (
	"errors"
	"strings"
	"testing"

	"pecgate/mailbox"
)

// leaves takes a login out of the policy, as the relay learns it.
func (i *intake) leaves(login string) {
	i.t.Helper()
	if _, err := i.store.Part(i.t.Context(), []mailbox.Leaving{{Login: login}}, nil); err != nil {
		i.t.Fatal(err)
	}
}

// TestUserRemovedWhileApproving: an approval that nobody can confirm any more is
// taken back, and another member may approve.
func TestUserRemovedWhileApproving(t *testing.T) {
	for name, gone := range map[string]func(*intake){
		"left": func(i *intake) { i.leaves("lucia") },
		"lost right": func(i *intake) {
			i.s.opt.MayApprove = func(login, box string, own bool) bool { return login != "lucia" || box != testBox || own }
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIntake(t)
			lucia, anna := i.anApprover("lucia", true), i.anApprover("anna", false)
			i.keep("one", ForApproval)
			m := []mailbox.MessageID{stored(t, i.store, "one").Message}
			if _, err := Approve(t.Context(), i.store, lucia, m, Hand{}); err != nil {
				t.Fatal(err)
			}
			i.s.opt.MayApprove = func(string, string, bool) bool { return true }
			for _, waits := range []bool{false, true} {
				if err := i.s.holdRemoved(t.Context()); err != nil {
					t.Fatal(err)
				}
				if s := stored(t, i.store, "one"); s.State != ToApprove || s.approverAsked() == waits {
					t.Fatalf("%s (%s) of %q", s.State, s.StateReason, s.ApproverUser)
				}
				if !waits {
					gone(i)
				}
			}
			if lines := i.audited("approval withdrawn"); len(lines) != 1 || !strings.HasPrefix(lines[0], "relay|") {
				t.Errorf("audited as %q", lines)
			}
			if _, err := Approve(t.Context(), i.store, anna, m, Hand{}); err != nil || stored(t, i.store, "one").State != Queued {
				t.Errorf("another approver: %v", err)
			}
		})
	}
}

// TestUserRemovedBeforeApproval: what somebody wrote who has left since leaves by
// no member's approval; the approver is told, and an administrator may release it.
func TestUserRemovedBeforeApproval(t *testing.T) {
	i := newIntake(t)
	lucia, anna := i.anApprover("lucia", true), i.anApprover("anna", false)
	i.keep("one", ForApproval)
	i.keep("two", ForApproval)
	m := stored(t, i.store, "one").Message
	if _, err := Approve(t.Context(), i.store, lucia, []mailbox.MessageID{m}, Hand{}); err != nil {
		t.Fatal(err)
	}
	token := i.asked(lucia)
	i.leaves("mario")
	if _, err := Approve(t.Context(), i.store, anna, []mailbox.MessageID{stored(t, i.store, "two").Message}, Hand{}); !errors.As(err, new(*Refusal)) {
		t.Errorf("approved all the same: %v", err)
	}
	if s := stored(t, i.store, "two"); s.State != ToApprove {
		t.Errorf("it is %s", s.State)
	}
	if _, err := i.s.ApproveByHand(t.Context(), "two", Hand{}); err != nil || stored(t, i.store, "two").State != Queued {
		t.Errorf("by an administrator: %v", err)
	}
	if sub, err := i.s.lease(t.Context(), "two"); err != nil || sub.State != Attempting {
		t.Errorf("it does not leave: %v", err)
	}
	// Whoever has been asked for a PIN before: it does not leave either.
	if _, err := Confirm(t.Context(), i.store, token, lucia.Person, Hand{Actor: "lucia"}); err != nil {
		t.Fatal(err)
	}
	if s := stored(t, i.store, "one"); s.State != Held || s.StateReason != ReasonUserRemoved {
		t.Errorf("it is %s (%s)", s.State, s.StateReason)
	}
	if _, err := i.s.Retry(t.Context(), "one", Hand{}); err != nil || stored(t, i.store, "one").State != Queued {
		t.Errorf("an administrator cannot send it on: %v", err)
	}
}

package relay

import (
	"errors"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// unconfirmed makes a batch or a single message anew that waited for its PIN or
// for approval when it was accepted, and returns its id.
func (i *intake) unconfirmed(lack Lack, many bool) string {
	i.t.Helper()
	dir := i.t.TempDir()
	i.in(dir)
	id := "s1"
	waited := func(o *mailbox.Origin) { o.Held = string(lack.Reason()) }
	if many {
		id = batchID
		i.submit(id, batchMsgID, func(o *mailbox.Origin) { waited(o); o.Split = SplitAlways }, numbered(3)...)
	} else {
		i.submit(id, testMsgID, waited, "a@pec.example")
	}
	i.rebuilt(dir)
	if err := i.s.Restored(i.t.Context()); err != nil {
		i.t.Fatal(err)
	}
	return id
}

// TestRebuiltHoldIsNotReleased: the records that say whether a PIN or an approval
// was given are lost. What waited for it is not sent by a plain retry, stands in
// nobody's sent mail, and says what is missing; only who asks for just that sends it.
func TestRebuiltHoldIsNotReleased(t *testing.T) {
	for _, c := range []struct {
		lack Lack
		many bool
		role mailbox.Role
	}{
		{PINMissing, false, mailbox.RoleToConfirm}, {PINLocked, true, mailbox.RoleToConfirm},
		{ForApproval, false, mailbox.RoleToApprove}, {ForApproval, true, mailbox.RoleToApprove},
	} {
		i := newIntake(t)
		id := i.unconfirmed(c.lack, c.many)
		s := stored(t, i.store, id)
		if s.State != Held || s.StateReason != ReasonRestored || !s.Doubt || !s.Hold || s.Unconfirmed != c.lack.Reason() {
			t.Fatalf("%s (%s), hold %t, unconfirmed %q", s.State, s.StateReason, s.Hold, s.Unconfirmed)
		}
		if at := strings.Join(i.stands(id), " "); at != string(c.role) {
			t.Errorf("it stands in %s", at)
		}
		lucia, err := i.store.Person(t.Context(), "lucia")
		if err != nil {
			t.Fatal(err)
		}
		if n := i.inFolder(c.role, lucia, mailbox.ScopeAll); c.lack == ForApproval && n != 0 {
			t.Errorf("others see it in %s", c.role)
		}
		if _, err := i.s.lookAtHolds(t.Context()); err != nil { // no notice, no token, no end
			t.Fatal(err)
		}
		if keys := i.keysOf(); len(keys) != 0 {
			t.Error(keys)
		}
		if story := i.storyOf(id); !strings.Contains(story, "waited for "+s.lacked()) {
			t.Error(story)
		}
		names := []string{id}
		if c.many {
			names = append(names, childID(id, 2))
		}
		for _, name := range names {
			if _, err := i.s.Retry(t.Context(), name, Hand{}); !errors.As(err, new(*Refusal)) || !strings.Contains(err.Error(), "--unconfirmed") {
				t.Errorf("%s: %v", name, err)
			}
			q, err := ShowQueued(t.Context(), i.store, name)
			if can := strings.Join(q.Can, ","); err != nil || q.Unconfirmed != c.lack.Reason() || can != "retry --unconfirmed,cancel --may-have-left" {
				t.Errorf("%s: %q, %s, %v", name, q.Unconfirmed, can, err)
			}
		}
		page, err := Queue(t.Context(), i.store, QueueFilter{})
		if err != nil || len(page.Items) != 1 || page.Items[0].Unconfirmed != c.lack.Reason() {
			t.Errorf("%+v, %v", page.Items, err)
		}
		if due, _, err := i.s.dueTasks(t.Context(), testBox); err != nil || len(due) != 0 {
			t.Errorf("the sender has %v to do, %v", due, err)
		}
		if _, err := i.s.RetryUnconfirmed(t.Context(), id, Hand{Actor: "test"}); err != nil {
			t.Fatal(err)
		}
		s = stored(t, i.store, id)
		at := strings.Join(i.stands(id), " ")
		if s.State != Queued || s.Hold || s.Unconfirmed != "" || !strings.HasSuffix(at, "sent sent") && !strings.HasSuffix(at, "Sent Sent") {
			t.Errorf("%s, hold %t, unconfirmed %q, in %s", s.State, s.Hold, s.Unconfirmed, at)
		}
		if story := i.storyOf(id); !strings.Contains(story, "nobody knows whether that was given") || !strings.Contains(story, "second hand-over") {
			t.Error(story)
		}
		if lines := i.audited("queue retry"); len(lines) != 1 || !strings.Contains(lines[0], "not confirmed ("+string(c.lack.Reason())+")") {
			t.Error(lines)
		}
	}
}

// TestRebuiltHoldIsSettled: a receipt tells that it had been released, and its
// author may withdraw it.
func TestRebuiltHoldIsSettled(t *testing.T) {
	i := newIntake(t)
	id := i.unconfirmed(PINMissing, true)
	// One that a person sends all the same proves nothing of the others.
	if _, err := i.s.RetryUnconfirmed(t.Context(), childID(id, 2), Hand{}); err != nil {
		t.Fatal(err)
	}
	sub, err := i.s.lease(t.Context(), childID(id, 2))
	if err != nil {
		t.Fatal(err)
	}
	accepted := func(n int) []byte {
		return i.receipt(providersim.Acceptance, func(x *providersim.Notice) {
			x.MsgID, x.Identifier = "<"+childMsgID(testBox, childID(id, n))+">", strings.Repeat("1", n)+pecID
			x.Recipients = []providersim.Recipient{{Address: numbered(3)[n-1]}}
		})
	}
	i.take(accepted(sub.Number))
	if s := stored(t, i.store, id); !s.unconfirmed() || !s.Hold {
		t.Errorf("unconfirmed %q, hold %t", s.Unconfirmed, s.Hold)
	}
	i.take(accepted(1))
	if s := stored(t, i.store, id); s.Unconfirmed != "" || s.Hold || s.State != Held {
		t.Errorf("%s, unconfirmed %q, hold %t, in %s", s.State, s.Unconfirmed, s.Hold, i.stands(id))
	}
	if _, err := i.s.Retry(t.Context(), id, Hand{}); err != nil {
		t.Error(err)
	}

	i = newIntake(t)
	id = i.unconfirmed(PINMissing, false)
	i.take(i.receipt(providersim.Acceptance, func(x *providersim.Notice) { x.Recipients = []providersim.Recipient{{Address: "a@pec.example"}} }))
	if s := stored(t, i.store, id); s.State != Accepted || s.Hold || len(i.stands(id)) != 2 {
		t.Errorf("%s, hold %t, in %s", s.State, s.Hold, i.stands(id))
	}

	for _, lack := range []Lack{PINMissing, ForApproval} {
		i = newIntake(t)
		id = i.unconfirmed(lack, false)
		s := stored(t, i.store, id)
		trash := mailbox.FolderKey{Box: testBox, Owner: s.Person, Role: mailbox.RoleTrash}
		if _, err := Withdraw(t.Context(), i.store, s.Person, []mailbox.MessageID{s.Message}, trash, Hand{}); err != nil {
			t.Fatal(err)
		}
		s = stored(t, i.store, id)
		if at := strings.Join(i.stands(id), " "); s.State != Cancelled || s.StateReason != ReasonUncertain || at != string(mailbox.RoleTrash) {
			t.Errorf("%s (%s), in %s", s.State, s.StateReason, at)
		}
	}
}

package relay

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// put makes a submission that stands in a state, as if it had come there by
// itself.
func (i *intake) put(id string, state State, why Reason, change func(*Submission)) {
	i.t.Helper()
	enqueue(i.t, i.store, id, id+"@alfa.example")
	i.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, id)
		if err != nil {
			return err
		}
		s.State, s.StateReason = state, why
		if change != nil {
			change(s)
		}
		return save(tx, s, &due{At: tx.Now().Add(time.Hour)})
	})
}

func (i *intake) audited(event string) (lines []string) {
	i.t.Helper()
	err := i.store.View(i.t.Context(), func(tx *mailbox.Tx) error {
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if l.Event == event {
				lines = append(lines, strings.Join([]string{l.Actor, l.From, l.Box, l.Subject, l.Result, l.Reason}, "|"))
			}
			return true
		})
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return lines
}

// newest is the newest message that the sender sees in a folder.
func (i *intake) newest(k mailbox.FolderKey) (text string) {
	i.t.Helper()
	ctx, v := i.t.Context(), mailbox.Viewer{Person: k.Owner}
	snap, err := i.store.Snapshot(ctx, k, v)
	if err != nil || len(snap.UIDs) == 0 {
		i.t.Fatalf("%+v, %v", snap, err)
	}
	var id mailbox.MessageID
	err = i.store.Entries(ctx, snap.Folder, v, snap.UIDs[len(snap.UIDs)-1:], mailbox.Want{}, func(e *mailbox.Entry) error { id = e.Message; return nil })
	if err != nil {
		i.t.Fatal(err)
	}
	m, err := i.store.Message(ctx, id)
	if err != nil {
		i.t.Fatal(err)
	}
	r, err := i.store.Open(m)
	if err != nil {
		i.t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(r, 0, m.Size()))
	if err := errors.Join(err, r.Close()); err != nil {
		i.t.Fatal(err)
	}
	return string(b)
}

// TestWhatAPersonMayDo goes through every state: what a person may do to a
// submission there, and where it then is. What is refused changes nothing and
// says what to do.
func TestWhatAPersonMayDo(t *testing.T) {
	i := newIntake(t)
	by := Hand{Actor: "test", From: "uid 7"}
	doubt := func(s *Submission) { s.Doubt = true }
	left := func(s *Submission) { s.HandedOver = time.Now() }
	for n, c := range []struct {
		state                       State
		why                         Reason
		change                      func(*Submission)
		retry, hold, cancel, giveUp string // state and reason afterwards, or a part of the refusal
	}{
		{Queued, "", nil, "=queued", "=held operator", "=cancelled operator", "=cancelled operator"},
		{Queued, "", doubt, "=queued", "=held operator", "may have left", "=cancelled uncertain"},
		{Held, ReasonOperator, nil, "=queued", "is held already (operator)", "=cancelled operator", "=cancelled operator"},
		{Held, ReasonOperator, doubt, "=queued", "is held already", "may have left", "=cancelled uncertain"},
		{Held, ReasonUncertain, nil, "=queued", "is held already (uncertain)", "may have left", "=cancelled uncertain"},
		{Held, ReasonRestored, doubt, "=queued", "is held already (restored)", "may have left", "=cancelled uncertain"},
		{Held, "poison", nil, "=queued", "is held already", "=cancelled operator", "=cancelled operator"},
		{Held, ReasonPIN, nil, "waits for the sender's PIN", "is held already (pin)", "=cancelled operator", "=cancelled operator"},
		{Held, ReasonApproval, nil, "waits for a member", "is held already", "=cancelled operator", "=cancelled operator"},
		{ToApprove, ReasonApproval, nil, "waits for a member", "waits for a member", "=cancelled operator", "=cancelled operator"},
		{Attempting, "", nil, "being handed over", "being handed over", "being handed over", "being handed over"},
		{Uncertain, "", doubt, "receipt is looked for", "receipt is looked for", "receipt is looked for", "receipt is looked for"},
		{HandedOver, "", left, "the provider has it", "the provider has it", "the provider has it", "the provider has it"},
		{Accepted, "", left, "the provider has it", "the provider has it", "the provider has it", "the provider has it"},
		{NotAccepted, ReasonRefused, nil, "a new message is needed", "a new message is needed", "a new message is needed", "a new message is needed"},
		{Cancelled, ReasonOperator, nil, "it was cancelled", "it was cancelled", "it was cancelled", "it was cancelled"},
	} {
		for what, want := range map[string]string{"retry": c.retry, "hold": c.hold, "cancel": c.cancel, "give-up": c.giveUp} {
			id := fmt.Sprintf("s%02d%s", n, strings.ReplaceAll(what, "-", ""))
			name := fmt.Sprintf("%s of %s (%s)", what, c.state, c.why)
			i.put(id, c.state, c.why, c.change)
			before := stored(t, i.store, id)
			do := map[string]func() (string, error){
				"retry":   func() (string, error) { return i.s.Retry(t.Context(), id+"@alfa.example", by) },
				"hold":    func() (string, error) { return i.s.Hold(t.Context(), id, by) },
				"cancel":  func() (string, error) { return i.s.Cancel(t.Context(), id, false, by) },
				"give-up": func() (string, error) { return i.s.Cancel(t.Context(), id, true, by) },
			}[what]
			told, err := do()
			after := stored(t, i.store, id)
			lines := i.audited("queue " + strings.ReplaceAll(what, "give-up", "cancel"))
			if good, ok := strings.CutPrefix(want, "="); ok {
				got := strings.TrimSpace(string(after.State) + " " + string(after.StateReason))
				if err != nil || told != id || got != good {
					t.Errorf("%s: %v, it is %s", name, err, got)
				}
				if len(lines) == 0 || !strings.HasPrefix(lines[0], "test|uid 7|"+testBox+"|"+id+"|"+string(after.State)+"|it was "+string(c.state)) {
					t.Errorf("%s: audit lines %q", name, lines)
				}
				continue
			}
			if !errors.As(err, new(*Refusal)) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), id) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v instead of %q", name, err, want)
			}
			if after.State != before.State || after.StateReason != before.StateReason || after.Events != before.Events || len(lines) > 0 && strings.Contains(lines[0], id) {
				t.Errorf("%s: refused, but it is %s (%s) now, %q", name, after.State, after.StateReason, lines)
			}
		}
	}
	if _, err := i.s.Retry(t.Context(), "none", by); !errors.Is(err, ErrNotFound) {
		t.Errorf("retry of nothing: %v", err)
	}
	if _, err := i.s.Cancel(t.Context(), "none", false, by); !errors.Is(err, ErrNotFound) {
		t.Errorf("cancel of nothing: %v", err)
	}
}

// TestRetryIsDueAtOnce: what is released is tried at once, its time begins anew,
// and the sender is woken.
func TestRetryIsDueAtOnce(t *testing.T) {
	i := newIntake(t)
	i.put("s1", Held, ReasonRestored, func(s *Submission) {
		s.Doubt, s.Intent, s.SubmittedAt = true, true, time.Now().Add(-30*24*time.Hour)
	})
	i.put("s2", Queued, "", nil)
	wake, stop := i.store.WatchSpace(room, queueBell(testBox))
	defer stop()
	if tasks, _, err := i.s.dueTasks(t.Context(), testBox); err != nil || len(tasks) != 0 {
		t.Fatalf("%v, %v", tasks, err)
	}
	for _, id := range []string{"s1", "s2"} {
		if _, err := i.s.Retry(t.Context(), id, Hand{}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-wake:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: nobody is woken", id)
		}
	}
	if tasks, _, err := i.s.dueTasks(t.Context(), testBox); err != nil || len(tasks) != 2 {
		t.Errorf("%v, %v", tasks, err)
	}
	s := stored(t, i.store, "s1")
	if s.Intent || !s.mayHaveLeft() || !strings.Contains(words(i.shown("s1")), "retry") {
		t.Errorf("%+v", s)
	}
	if to, why := outcomeOf(submit.Result{Class: submit.Temporary}, time.Now().Sub(s.begun()), Schedule{}.orDefault()); to != Queued {
		t.Errorf("the first temporary failure after the release makes it %s (%s)", to, why)
	}
}

// TestCancelIsTold: the sender learns what was decided, in words that are true.
func TestCancelIsTold(t *testing.T) {
	i := newIntake(t)
	i.s.opt.Address = "pecgate@gateway.example"
	i.put("s1", Queued, "", nil)
	i.put("s2", Held, ReasonUncertain, func(s *Submission) { s.Doubt = true })
	inbox := mailbox.FolderKey{Owner: sender, Role: mailbox.RoleInbox}
	for n, c := range []struct {
		id   string
		left bool
		want string
	}{{"s1", false, "=?utf-8?q?PEC_annullata:_non_=C3=A8_stata_inviata?="}, {"s2", true, "=?utf-8?q?PEC:_il_gateway_non_la_invier=C3=A0_pi=C3=B9?="}} {
		if _, err := i.s.Cancel(t.Context(), c.id, c.left, Hand{}); err != nil {
			t.Fatal(err)
		}
		st, err := i.store.Status(t.Context(), inbox, mailbox.Viewer{Person: sender})
		if err != nil || int(st.Messages) != n+1 {
			t.Errorf("%s: %d notices, %v", c.id, st.Messages, err)
		}
		if text := i.newest(inbox); !strings.Contains(text, c.want) {
			t.Errorf("%s: the notice is %s", c.id, text)
		}
		// Once: a second one is refused and tells nothing.
		if _, err := i.s.Cancel(t.Context(), c.id, true, Hand{}); err == nil {
			t.Errorf("%s was cancelled twice", c.id)
		}
	}
	if st, err := i.store.Status(t.Context(), inbox, mailbox.Viewer{Person: sender}); err != nil || st.Messages != 2 {
		t.Errorf("%d notices, %v", st.Messages, err)
	}
}

// TestQueueList: the list is what is still to be done, by parts, and each filter
// takes away only what it says.
func TestQueueList(t *testing.T) {
	i := newIntake(t)
	for n, s := range States() {
		i.put(fmt.Sprintf("s%d", n), s, "", nil)
	}
	list := func(f QueueFilter) (ids []string) {
		t.Helper()
		for {
			page, err := Queue(t.Context(), i.store, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range page.Items {
				ids = append(ids, it.ID+" "+string(it.State))
			}
			if f.After = page.After; f.After == "" {
				return ids
			}
		}
	}
	const open = "[s0 held s1 to-approve s2 queued s3 attempting s4 uncertain]"
	for _, most := range []int{0, 1, 2, 5} {
		if got := fmt.Sprint(list(QueueFilter{Most: most})); got != open {
			t.Errorf("%d at a time: %s", most, got)
		}
		if got := list(QueueFilter{Most: most, States: States(), Mailbox: strings.ToUpper(testBox)}); len(got) != len(States()) {
			t.Errorf("%d at a time: %v", most, got)
		}
	}
	if got := fmt.Sprint(list(QueueFilter{States: []State{Cancelled, Held}})); got != "[s0 held s8 cancelled]" {
		t.Error(got)
	}
	if got := list(QueueFilter{Mailbox: "other@pec.example"}); len(got) != 0 {
		t.Error(got)
	}
	page, err := Queue(t.Context(), i.store, QueueFilter{States: []State{Queued}})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if it := page.Items[0]; it.Next == nil || it.Last == nil || it.Last.What != "submitted" || fmt.Sprint(it.Recipients) != "[a@pec.example]" || it.MayHaveLeft {
		t.Errorf("%+v", it)
	}
	for id, want := range map[string]string{"s0": "[retry cancel]", "s2": "[retry hold cancel]", "s3": "[]", "s8": "[]"} {
		if s, err := ShowQueued(t.Context(), i.store, id); err != nil || fmt.Sprint(s.Can) != want || s.ID != id {
			t.Errorf("%s: %v, %v", id, s.Can, err)
		}
	}
}

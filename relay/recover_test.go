package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/submit"
)

// openStore returns a store in a folder of the test.
func openStore(t *testing.T) *mailbox.Store {
	t.Helper()
	store, err := mailbox.Open(mailbox.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	mustList(t, store)
	return store
}

// enqueue puts a submission with one recipient into the queue.
func enqueue(t *testing.T, store *mailbox.Store, id, msgid string) {
	t.Helper()
	enqueueTo(t, store, id, msgid, []string{"a@pec.example"})
}

func enqueueTo(t *testing.T, store *mailbox.Store, id, msgid string, to []string) {
	t.Helper()
	ctx := context.Background()
	in, err := store.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "Message-ID: <"+msgid+">\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	st, err := in.Store(ctx, mailbox.Origin{Box: testBox, Direction: mailbox.Out, Submission: id})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	_, err = store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		_, err := Enqueue(tx, Ticket{ID: id, Box: testBox, User: "mario", Person: 1, MsgID: msgid, To: to}, m)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func stored(t *testing.T, store *mailbox.Store, id string) *Submission {
	t.Helper()
	var s *Submission
	if err := store.View(context.Background(), func(tx *mailbox.Tx) (err error) { s, err = load(tx, id); return err }); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestB1_StopAroundTheIntent puts what a crash leaves behind where it belongs:
// before the intent it is queued again, after it nobody knows.
func TestB1_StopAroundTheIntent(t *testing.T) {
	ctx, store := context.Background(), openStore(t)
	s := New(Options{Store: store, Accounts: func() []Account { return nil }, Schedule: Schedule{First: 1, Most: 1}})
	enqueue(t, store, "before", "before@x")
	enqueue(t, store, "after", "after@x")
	enqueue(t, store, "waiting", "waiting@x")
	for _, id := range []string{"before", "after"} {
		sub, err := s.lease(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if id == "after" {
			if err := s.intend(ctx, sub); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.recover(ctx); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]State{"before": Queued, "after": Uncertain, "waiting": Queued} {
		if got := stored(t, store, id); got.State != want {
			t.Errorf("%s is %s instead of %s", id, got.State, want)
		}
	}
	if _, err := s.lease(ctx, "after"); !errors.Is(err, errLease) {
		t.Errorf("its receipts are still waited for: %v", err)
	}
	// An old lease is worth nothing before the dot.
	old, err := s.lease(ctx, "before")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.recover(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.lease(ctx, "before"); err != nil {
		t.Fatal(err)
	}
	if err := s.intend(ctx, old); err == nil {
		t.Error("an old lease allowed the dot")
	}
}

// TestRecoveryLooksAtEveryLine has more lines in the queue than a sender looks
// at in one go.
func TestRecoveryLooksAtEveryLine(t *testing.T) {
	ctx, store := context.Background(), openStore(t)
	s := New(Options{Store: store, Accounts: func() []Account { return nil }})
	var all sync.WaitGroup
	for i := range inSight + 5 {
		all.Go(func() { enqueue(t, store, fmt.Sprintf("id%05d", i), fmt.Sprintf("m%d@x", i)) })
	}
	all.Wait()
	last := fmt.Sprintf("id%05d", inSight+4)
	sub, err := s.lease(ctx, last)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.intend(ctx, sub); err != nil {
		t.Fatal(err)
	}
	if err := s.recover(ctx); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, store, last).State; got != Uncertain {
		t.Errorf("the last one is %s", got)
	}
}

// TestManyRecipients ties a receipt to each of 1,000 recipients: no record may
// outgrow what the store takes.
func TestManyRecipients(t *testing.T) {
	ctx, store := context.Background(), openStore(t)
	var to []string
	for i := range 1000 {
		to = append(to, fmt.Sprintf("recipient-%04d-%s@pec.example", i, strings.Repeat("x", 40)))
	}
	enqueueTo(t, store, "many", testMsgID, to)
	err := store.Update(ctx, func(tx *mailbox.Tx) error {
		sub, err := load(tx, "many")
		if err != nil {
			return err
		}
		sub.State = HandedOver
		return save(tx, sub, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range to {
		err := store.Update(ctx, func(tx *mailbox.Tx) error {
			m := &mailbox.Message{ID: mailbox.MessageID(i + 10)}
			m.Ref.Sum[0], m.Ref.Sum[1] = byte(i), byte(i>>8)
			sub, err := applyReceipt(tx, testBox, report(pec.Delivery, a), m, nil)
			if err == nil && sub == nil {
				err = errors.New("not tied")
			}
			return err
		})
		if err != nil {
			t.Fatalf("receipt %d: %v", i, err)
		}
	}
	shown, _, err := Show(ctx, store, "many")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range shown.Recipients {
		if r.State != Delivered || len(r.Receipts) != 1 {
			t.Fatalf("%+v", r)
		}
	}
}

// TestOutcomeOf: what is about the connection or the login never ends a
// submission, however old; what ends it always has a notice.
func TestOutcomeOf(t *testing.T) {
	sched := Schedule{}.orDefault()
	old := 2 * sched.GiveUp
	for class, want := range map[submit.Class]State{
		submit.HandedOver: HandedOver, submit.Uncertain: Uncertain, submit.Permanent: NotAccepted,
		submit.Temporary: NotAccepted, submit.TLSFailed: Queued, submit.AuthRefused: Queued,
	} {
		r := submit.Result{Class: class}
		to, _ := outcomeOf(r, old, sched)
		if to != want {
			t.Errorf("%s after a long time: %s instead of %s", class, to, want)
		}
		o := Options{Store: openStore(t)}
		if told := noticeOf(&Submission{Box: testBox}, to, r, o) != nil; told != (to == NotAccepted) {
			t.Errorf("%s: told %t", class, told)
		}
	}
	if to, _ := outcomeOf(submit.Result{Class: submit.Temporary}, time.Hour, sched); to != Queued {
		t.Errorf("temporary after an hour: %s", to)
	}
}

// TestOverdueLease takes back an attempt whose outcome was never recorded: it
// is not held at once, but waits for receipts.
func TestOverdueLease(t *testing.T) {
	ctx, store := context.Background(), openStore(t)
	s := New(Options{Store: store, Accounts: func() []Account { return nil }})
	enqueue(t, store, "o", "o@x")
	sub, err := s.lease(ctx, "o")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.intend(ctx, sub); err != nil {
		t.Fatal(err)
	}
	if _, err := s.lease(ctx, "o"); !errors.Is(err, errLease) {
		t.Errorf("a lease that holds was given away: %v", err)
	}
	err = store.Update(ctx, func(tx *mailbox.Tx) error {
		sub, err := load(tx, "o")
		if err != nil {
			return err
		}
		return save(tx, sub, &due{At: tx.Now(), Lease: tx.Now().Add(-time.Second)})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.lease(ctx, "o"); !errors.Is(err, errLease) {
		t.Errorf("%v", err)
	}
	if got := stored(t, store, "o").State; got != Uncertain {
		t.Errorf("it is %s", got)
	}
}

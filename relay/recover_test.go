package relay

import (
	"context"
	"io"
	"testing"

	"pecgate/mailbox"
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
	return store
}

// enqueue puts a submission with one recipient into the queue.
func enqueue(t *testing.T, store *mailbox.Store, id, msgid string) {
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
		_, err := Enqueue(tx, Ticket{ID: id, Box: testBox, User: "mario", Person: 1, MsgID: msgid, To: []string{"a@pec.example"}}, m)
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
	s := New(Options{Store: store, Accounts: func() []Account { return nil }})
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
	// An old lease is worth nothing before the dot.
	if _, err := s.lease(ctx, "after"); err != nil {
		t.Fatal(err)
	}
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

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/policy"
	"pecgate/relay"
)

const (
	boxShort   = "breve@pec.example.org"   // keeps ten days
	boxForever = "sempre@pec.example.org"  // keeps everything
	boxGone    = "lontana@pec.example.org" // left the policy
)

// stored puts a message into a store, as if it had arrived now.
func stored(t *testing.T, s *mailbox.Store, o mailbox.Origin, with func(*mailbox.Tx, *mailbox.Message) error) mailbox.MessageID {
	t.Helper()
	ctx := context.Background()
	in, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, fmt.Sprintf("Message-ID: <%d@pec.example>\r\n\r\n%s\r\n", s.Now().UnixNano(), o.Submission)); err != nil {
		t.Fatal(err)
	}
	st, err := in.Store(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close() // read-only handle: nothing to lose
	m, err := s.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		if with != nil {
			if err := with(tx, m); err != nil {
				return err
			}
		}
		_, _, err := tx.File(mailbox.FolderKey{Box: o.Box, Role: mailbox.RoleInbox}, m, mailbox.Filing{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// TestRetention lives through some weeks with a policy that keeps the messages
// of one mailbox for ten days.
func TestRetention(t *testing.T) {
	ctx := context.Background()
	now := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	s := storeWith(t, mailbox.Options{Now: func() time.Time { return now }})
	in := func(box string) mailbox.MessageID {
		now = now.Add(time.Second)
		return stored(t, s, mailbox.Origin{Box: box, Direction: mailbox.In}, func(_ *mailbox.Tx, m *mailbox.Message) error {
			m.Kind = pec.Transport
			return nil
		})
	}
	goes := []mailbox.MessageID{in(boxShort), in(boxShort), in(boxShort)}
	stays := map[string]mailbox.MessageID{
		"of another mailbox":          in(boxForever),
		"of a mailbox without policy": in(boxGone),
		"on hold":                     in(boxShort),
		"of no mailbox":               stored(t, s, mailbox.Origin{Direction: mailbox.Own}, nil),
		"receipt that waits": stored(t, s, mailbox.Origin{Box: boxShort, Direction: mailbox.In}, func(_ *mailbox.Tx, m *mailbox.Message) error {
			m.Kind = pec.Delivery
			return nil
		}),
		"queued": stored(t, s, mailbox.Origin{Box: boxShort, Direction: mailbox.Out, Submission: "one"}, func(tx *mailbox.Tx, m *mailbox.Message) error {
			_, err := relay.Enqueue(tx, relay.Ticket{ID: "one", Box: boxShort, User: "mario", MsgID: "one@pec.example", To: []string{"a@pec.example"}}, m)
			return err
		}),
	}
	if _, err := s.PlaceHold(ctx, mailbox.Hold{ID: "lite", Reason: "causa", Who: "lucia"}, []mailbox.MessageID{stays["on hold"]}); err != nil {
		t.Fatal(err)
	}
	rules := &policy.Policy{Mailboxes: []policy.Mailbox{{Address: boxForever}}}
	r := retention{store: s, policy: func() *policy.Policy { return rules }, most: 2}
	run := func() int {
		t.Helper()
		n, err := r.run(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	there := func(id mailbox.MessageID) bool {
		t.Helper()
		_, err := s.Message(ctx, id)
		if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}

	// Nothing is removed while the policy keeps everything, however old it gets.
	for range 20 {
		now = now.Add(24 * time.Hour)
		if n := run(); n != 0 {
			t.Fatalf("%d removed", n)
		}
	}
	fresh := in(boxShort)
	// With a policy that keeps for ten days it takes three days until the clock
	// is believed, however often it is asked.
	rules = &policy.Policy{Mailboxes: []policy.Mailbox{{Address: boxForever}, {Address: boxShort, Keep: 10 * 24 * time.Hour}}}
	removed := 0
	for hour := range 60 {
		if n := run(); n > 0 {
			removed += n
			if hour < 46 {
				t.Errorf("removed after %d hours", hour)
			}
		}
		now = now.Add(time.Hour)
	}
	if removed != len(goes) || slices.ContainsFunc(goes, there) {
		t.Errorf("%d removed", removed)
	}
	for what, id := range stays {
		if !there(id) {
			t.Errorf("removed: %s", what)
		}
	}
	if !there(fresh) {
		t.Error("removed: what came later")
	}
	lines := 0
	err := s.View(ctx, func(tx *mailbox.Tx) error {
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if l.Event == "removed" && l.Reason == "keep" && l.Box == boxShort {
				lines++
			}
			return true
		})
	})
	if err != nil || lines != len(goes) {
		t.Errorf("%d lines in the audit log, %v", lines, err)
	}

	// A clock that jumps removes nothing until it is believed again.
	now = now.Add(400 * 24 * time.Hour)
	if n := run(); n != 0 || !there(fresh) {
		t.Errorf("%d removed by a jump of the clock", n)
	}
	// What is needed no more goes too: the receipt found no submission in a month.
	for range 3 {
		now = now.Add(24 * time.Hour)
		run()
	}
	if there(fresh) || there(stays["receipt that waits"]) {
		t.Error("what is old by now was not removed")
	}
	for _, what := range []string{"of another mailbox", "of a mailbox without policy", "on hold", "of no mailbox", "queued"} {
		if !there(stays[what]) {
			t.Errorf("removed in the end: %s", what)
		}
	}
}

package mailbox

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// What is on its way stands in no folder and troubles no check; when it is passed on
// its record and its bytes go, and those of others stay.
func TestTransitGoes(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string, transit bool) *Message {
		t.Helper()
		in, err := s.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write([]byte("Subject: x\r\nMessage-ID: <1@x.example>\r\n\r\n" + text)); err != nil {
			t.Fatal(err)
		}
		st, err := in.Store(ctx, Origin{Direction: Own})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		m, err := s.Record(ctx, st, func(_ *Tx, m *Message) error { m.Transit = transit; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	passing, other := put(strings.Repeat("private words\r\n", 10), true), put("stays\r\n", false)
	closed(t, s)
	clean(t, check(t, dir, FsckOptions{Deep: true}))
	if s, err = Open(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(ctx, func(tx *Tx) error { return tx.RemoveTransit(other.ID) }); !errors.Is(err, errTransit) {
		t.Errorf("a message of the store was removed: %v", err)
	}
	for range 2 { // the second finds nothing
		if err := s.Update(ctx, func(tx *Tx) error { return tx.RemoveTransit(passing.ID) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Message(ctx, passing.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := s.finishRemovals(ctx); err != nil {
		t.Fatal(err)
	}
	recovered(t, s, admin, Found{}) // what was passed on does not come back
	if _, err := s.Message(ctx, other.ID); err != nil {
		t.Error(err)
	}
	closed(t, s)
	clean(t, check(t, dir, FsckOptions{Deep: true}))
}

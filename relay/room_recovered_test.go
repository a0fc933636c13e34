package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// TestRoomOfRecovered: no receipts are to come for originals that are recovered, and
// what an earlier release noted of them is gone at the next start; nothing is held
// back for them.
func TestRoomOfRecovered(t *testing.T) {
	g := newGate(t, false)
	ctx := t.Context()
	for n := range 20 {
		raw := fmt.Sprintf("From: <%s>\r\nTo: <a@pec.altro.example>\r\nMessage-ID: <old%d@x.example>\r\nSubject: x\r\n\r\n%s\r\n", testBox, n, strings.Repeat("x", 1<<18))
		it := fetch.Item{Folder: "Sent", UID: 1, InternalDate: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), Body: strings.NewReader(raw), Size: int64(len(raw))}
		if err := g.s.keepSent(ctx, g.s.account(testBox), it); err != nil {
			t.Fatal(err)
		}
	}
	noted := func() (n int64) {
		g.update(func(tx *mailbox.Tx) (err error) { n, err = outstanding(tx, testBox, "", 0); return err })
		return n
	}
	if n := noted(); n != 0 {
		t.Errorf("%d bytes are to come", n)
	}
	id := "0123456789abcdefghijklmnop"
	g.update(func(tx *mailbox.Tx) error { // of an earlier release
		sub, err := byMsgID(tx, testBox, "old3@x.example")
		if err != nil {
			return err
		}
		e := expected{Acceptance: true, Receipts: 1, Size: 20 << 20, At: tx.Now()}
		if err := tx.Space(room).Put(expectKey(testBox, sub.ID), e); err != nil {
			return err
		}
		e.Size = 1000
		return tx.Space(room).Put(expectKey(testBox, id), e)
	})
	if noted() < 20<<20 {
		t.Fatal("nothing is noted")
	}
	if err := g.s.expectNothingOfOld(ctx); err != nil {
		t.Fatal(err)
	}
	if n := noted(); n == 0 || n > 100<<10 {
		t.Errorf("%d bytes are to come", n)
	}
}

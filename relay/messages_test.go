package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/providersim"
)

// logged takes a message in, with an INTERNALDATE.
func (i *intake) logged(raw []byte, at time.Time) {
	i.t.Helper()
	i.takeAt(raw, at, cursor{})
}

// allPages asks page by page.
func (i *intake) allPages(q MessageQuery) (rows []MessageRow, pages int) {
	i.t.Helper()
	for {
		page, err := i.s.Messages(i.t.Context(), q)
		if err != nil {
			i.t.Fatal(err)
		}
		rows = append(rows, page.Rows...)
		if pages++; page.Next == "" {
			return rows, pages
		}
		if pages > 1000 {
			i.t.Fatal("the pages have no end")
		}
		q.Cursor = page.Next
	}
}

// TestMessageLog: what came is found by day, kind, party, subject, Message-ID,
// identifier and hash; pages together are the whole in both orders.
func TestMessageLog(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, "From: "+testBox+"\r\nTo: a@pec.example\r\nSubject: =?utf-8?Q?Citt=C3=A0?=\r\nMessage-ID: <"+testMsgID+">\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
	noon := i.store.Now().Truncate(time.Second)
	for n := range 40 {
		raw := fmt.Sprintf("From: amico%d@ordinary.example\r\nTo: %s\r\nSubject: saluti %d\r\nMessage-ID: <m%d@ordinary.example>\r\n\r\nx\r\n", n, testBox, n, n)
		i.logged([]byte(raw), noon.AddDate(0, 0, -n))
	}
	i.logged(i.receipt(providersim.Acceptance, nil), noon)
	whole, _ := i.allPages(MessageQuery{})
	if len(whole) != 41 { // what was sent stands in no folder yet
		t.Fatalf("%d messages", len(whole))
	}
	if !slices.IsSortedFunc(whole, func(a, b MessageRow) int {
		return strings.Compare(b.At.Format(time.DateOnly), a.At.Format(time.DateOnly))
	}) {
		t.Error("the newest do not come first")
	}
	for _, oldest := range []bool{false, true} {
		rows, pages := i.allPages(MessageQuery{Oldest: oldest, Limit: 7})
		if oldest {
			// In a day the order is turned round, too.
			slices.Reverse(rows)
		}
		if pages < 6 || !slices.EqualFunc(rows, whole, func(a, b MessageRow) bool { return a.ID == b.ID }) {
			t.Errorf("oldest %t: %d rows on %d pages", oldest, len(rows), pages)
		}
	}
	for _, c := range []struct {
		q    MessageQuery
		want int
	}{
		{MessageQuery{Kinds: []string{string(pec.Acceptance)}}, 1},
		{MessageQuery{Direction: mailbox.Out}, 0},
		{MessageQuery{Party: "AMICO7@"}, 1},
		{MessageQuery{Subject: "Saluti 3"}, 11},
		{MessageQuery{MsgID: "<m5@ordinary.example>"}, 1},
		{MessageQuery{SHA256: whole[4].SHA256}, 1},
		{MessageQuery{From: noon.AddDate(0, 0, -9), To: noon.AddDate(0, 0, -4)}, 5},
		{MessageQuery{Mailboxes: []string{"altro@pec.alfa.example"}}, 0},
		{MessageQuery{Mailboxes: []string{}}, 0},
		{MessageQuery{Mailboxes: []string{strings.ToUpper(testBox)}, Subject: "saluti", Limit: 3}, 40},
	} {
		if rows, _ := i.allPages(c.q); len(rows) != c.want {
			t.Errorf("%+v: %d messages, want %d", c.q, len(rows), c.want)
		}
	}
	// The receipt and what it is about have one Message-ID.
	rows, _ := i.allPages(MessageQuery{MsgID: testMsgID})
	if len(rows) != 2 || rows[0].State != rows[1].State {
		t.Fatalf("%+v", rows)
	}
	for _, r := range rows {
		if r.Direction == mailbox.Out && (r.ID != "s1" || r.Subject != "Città" || r.Sender != testBox || !slices.Equal(r.Recipients, []string{"a@pec.example", "b@pec.example"})) {
			t.Errorf("%+v", r)
		}
		if r.Direction == mailbox.In && (r.Kind != string(pec.Acceptance) || r.MsgID != testMsgID || r.Submission != "s1" || r.Verdict != pec.Valid) {
			t.Errorf("%+v", r)
		}
	}
	for _, q := range []MessageQuery{{Register: "17"}, {SHA256: "abc"}, {Limit: 2000}, {Direction: "up"}, {From: noon, To: noon}, {Cursor: "x"}} {
		if _, err := i.s.Messages(t.Context(), q); err == nil {
			t.Errorf("%+v was answered", q)
		}
	}
}

// TestMessageLogLearns: facts that are missing are made of the bytes, are the same,
// and go with their message.
func TestMessageLogLearns(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, "From: "+testBox+"\r\nSubject: y\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
	i.logged(i.receipt(providersim.Acceptance, nil), i.store.Now())
	i.logged(i.receipt(providersim.Delivery, nil), i.store.Now())
	before, _ := i.allPages(MessageQuery{})
	err := i.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		for _, r := range before {
			if err := tx.DropFacts(r.Message); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	after, _ := i.allPages(MessageQuery{})
	if len(before) != 2 || fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("%+v became %+v", before, after)
	}
	err = i.store.View(t.Context(), func(tx *mailbox.Tx) error {
		_, err := tx.Facts(after[0].Message)
		return err
	})
	if err != nil {
		t.Errorf("what was learnt was not kept: %v", err)
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/archive/bundle"
	"pecgate/relay"
)

// TestJ5_AbsurdDates: whatever the Date of a message says, year 9999 or 1, no zone,
// nonsense or the far past, it stands in the order in which it came, at the time at
// which it came, for who sent it and who got it; its evidence tells that time.
func TestJ5_AbsurdDates(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia")).start()
	h.until("both were met", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
	began := time.Now().Add(-2 * time.Second)
	dates := []string{
		"Fri, 31 Dec 9999 23:59:59 +0000", "Mon, 1 Jan 0001 00:00:00 +0000", "Sat, 21 Nov 2026 10:00:00", "ieri", "Thu, 1 Jan 1970 00:00:00 -0000",
		"Tue, 19 Jan 2038 03:14:08 +0000", "Sat, 31 Dec 2016 23:59:60 +0000",
	}
	var ids []string
	for n, date := range dates {
		text := strings.Replace(mail(boxA, boxB, fmt.Sprintf("Data %d", n), fmt.Sprintf("j5-%d@alfa.example", n)), "Sat, 21 Nov 2026 10:00:00 +0100", date, 1)
		ids = append(ids, accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, text)))
		h.until("it is delivered", func() bool {
			s, err := h.shown(ids[n])
			return err == nil && s.State == relay.Accepted && len(s.Recipients[0].Receipts) == 1 && len(h.folder("lucia", treeB+"Posta in arrivo")) == n+1
		})
	}
	order := func(login, folder string) {
		t.Helper()
		for n, m := range h.folder(login, folder) {
			if !strings.Contains(m, dates[n]) {
				t.Errorf("%s: number %d is not the one of %q", folder, n, dates[n])
			}
		}
		w := h.reading(login, folder)
		defer w.close()
		text, status, err := w.imap("FETCH 1:* INTERNALDATE")
		found := regexp.MustCompile(`INTERNALDATE "([^"]+)"`).FindAllStringSubmatch(text, -1)
		if err != nil || status != "OK" || len(found) != len(dates) {
			t.Fatalf("%s: %s %v %q", folder, status, err, text)
		}
		for _, f := range found {
			at, err := time.Parse("_2-Jan-2006 15:04:05 -0700", f[1])
			if err != nil || at.Before(began) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("%s: INTERNALDATE %s, %v", folder, f[1], err)
			}
		}
	}
	order("mario", treeA+"Posta inviata")
	order("lucia", treeB+"Posta in arrivo")
	file, _, members := h.evidence(ids...)
	var line []bundle.Moment
	if err := json.Unmarshal(members["timeline.json"], &line); err != nil || len(line) < 3*len(dates) {
		t.Fatal(len(line), err)
	}
	for n, m := range line {
		if m.At.Before(began.Add(-time.Minute)) || m.At.After(time.Now().Add(time.Minute)) || n > 0 && m.At.Truncate(time.Second).Before(line[n-1].At.Truncate(time.Second)) {
			t.Errorf("moment %d: %+v", n, m)
		}
	}
	if state, out := h.believes(file); state != exitGood {
		t.Errorf("%d\n%s", state, out)
	}
	// The clock of this machine is what it is: every case says how it was.
	for _, c := range reportOf(t, members).Cases {
		for _, m := range c.Messages {
			if m.Clock != mailbox.SystemClock()() {
				t.Errorf("%s: clock %q", m.File, m.Clock)
			}
		}
	}
}

// TestJ6_TheYear2038: a store whose clock passes the end of 32-bit time goes on: its
// ids, UIDVALIDITY values, log and evidence still rise and verify.
func TestJ6_TheYear2038(t *testing.T) {
	now := time.Unix(1<<31-2, 0).UTC()
	s, err := mailbox.Open(mailbox.Options{Dir: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	last := ""
	for range 5 {
		id, err := relay.NextID(t.Context(), s)
		if err != nil || id <= last {
			t.Errorf("at %s: id %s behind %s, %v", now, id, last, err)
		}
		last = id
		if err := s.Update(context.Background(), func(tx *mailbox.Tx) error { return tx.Audit(mailbox.AuditLine{Event: "login", Subject: id}) }); err != nil {
			t.Fatal(err)
		}
		if err := s.SignAudit(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	r, err := s.VerifyAudit(t.Context(), nil)
	if err != nil || !r.OK() || r.Found > 0 || r.To.Unix() != 1<<31+2 {
		t.Errorf("%+v, %v", r, err)
	}
	x, err := s.ExtractAudit(t.Context(), func(_ int64, l mailbox.AuditLine) mailbox.Mention {
		if l.Event == "login" {
			return mailbox.Mentioned
		}
		return mailbox.NotMentioned
	})
	if err != nil || len(x.Proof.Entries) != 5 {
		t.Fatal(err)
	}
	if _, _, err := x.Proof.Check(x.Public); err != nil {
		t.Error(err)
	}
	if old, newest, err := x.Growth.Check(x.Public); err != nil || old.Number >= newest.Number {
		t.Errorf("heads %d and %d, %v", old.Number, newest.Number, err)
	}
}

package relay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/dsn"
)

func testJournaled(to ...string) Journaled {
	return Journaled{Relay: "exchange", Remote: "192.0.2.10", Sender: "mario@example.org", User: "mario", Box: testBox, MsgID: "<1@ex.example>", To: to}
}

// A recipient is taken once, whatever the number of reports, and what is noted is noted with the submission.
func TestJournalTaken(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	take := func(j Journaled, fail error) error {
		t.Helper()
		return i.store.Update(t.Context(), func(tx *mailbox.Tx) error { return errors.Join(TakeJournal(tx, j, "S1"), fail) })
	}
	left := func(j Journaled) string {
		t.Helper()
		all, err := i.s.JournalLeft(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, " ")
	}
	both := testJournaled("a@x.example", "B@x.example")
	crash := errors.New("the submission failed")
	if err := take(both, crash); !errors.Is(err, crash) || left(both) != "a@x.example B@x.example" {
		t.Fatalf("after a crash: %v, left %s", err, left(both))
	}
	if err := take(both, nil); err != nil || left(both) != "" || left(testJournaled("b@X.example", "c@x.example", "A@x.example")) != "c@x.example" {
		t.Fatalf("%v, left %q", err, left(testJournaled("b@X.example", "c@x.example", "A@x.example")))
	}
	if err := take(testJournaled("b@x.example", "c@x.example"), nil); !errors.Is(err, ErrJournalTaken) || left(testJournaled("c@x.example")) == "" {
		t.Errorf("two at a time: %v", err)
	}
	for name, other := range map[string]func(*Journaled){
		"relay": func(j *Journaled) { j.Relay = "domino" }, "sender": func(j *Journaled) { j.Sender = "lucia@example.org" }, "id": func(j *Journaled) { j.MsgID = "<2@ex.example>" },
	} {
		j := both
		if other(&j); left(j) == "" {
			t.Errorf("another %s is the same message", name)
		}
	}
}

// The records are bounded: the oldest goes, and no clock decides which that is.
func TestJournalRecordsAreBounded(t *testing.T) {
	i := newIntake(t)
	err := i.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		if err := tx.Space(room).Put(journalCount, journalDay{Records: maxJournals - 1}); err != nil {
			return err
		}
		for n := range 3 {
			j := testJournaled("a@x.example")
			j.MsgID = fmt.Sprintf("<%d@ex.example>", n)
			if err := TakeJournal(tx, j, "S"); err != nil {
				return err
			}
		}
		// The place of the second, all the way round.
		if err := tx.Space(room).Put(journalCount, journalDay{Records: maxJournals}); err != nil {
			return err
		}
		j := testJournaled("a@x.example")
		j.MsgID = "<new@ex.example>"
		return TakeJournal(tx, j, "S")
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int{"<0@ex.example>": 0, "<1@ex.example>": 1, "<2@ex.example>": 0, "<new@ex.example>": 0} {
		j := testJournaled("a@x.example")
		j.MsgID = id
		if all, err := i.s.JournalLeft(t.Context(), j); err != nil || len(all) != want {
			t.Errorf("%s: left %q, %v", id, all, err)
		}
	}
}

// A refusal reaches the sender once, as a notification that says why in both languages.
func TestJournalRefusal(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.s.opt.Address = "pecgate@gateway.example"
	why := JournalRefusal{Code: 550, Enhanced: "5.7.1", Italian: "La casella non e' di chi scrive.", English: "The mailbox is not the sender's.", Reason: "not-member",
		Header: []byte("From: mario@example.org\r\nSubject: =?utf-8?Q?citt=C3=A0?=\r\nMessage-ID: <1@ex.example>\r\n")}
	for range 2 {
		if err := i.s.RefuseJournal(t.Context(), testJournaled("a@x.example", "b@x.example"), why); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.s.RefuseJournal(t.Context(), testJournaled("c@x.example", "b@x.example"), why); err != nil {
		t.Fatal(err)
	}
	if got := i.mailed(); !slices.Equal(got, []string{"bounce mario@example.org", "bounce mario@example.org"}) {
		t.Fatalf("mailed %q", got)
	}
	items, err := Forwards(t.Context(), i.store, 10)
	if err != nil {
		t.Fatal(err)
	}
	var to []string
	for _, it := range items {
		var raw []byte
		err := i.store.View(t.Context(), func(tx *mailbox.Tx) error { return tx.Space("forward").Get("b/"+it.ID, &raw) })
		if err != nil {
			t.Fatal(err)
		}
		r, err := dsn.Read(strings.NewReader(string(raw)), int64(len(raw)))
		if err != nil {
			t.Fatalf("%v:\n%s", err, raw)
		}
		for _, one := range r.Recipients {
			to = append(to, one.Final.Addr+" "+string(one.Action)+" "+one.Status)
		}
	}
	slices.Sort(to)
	if !slices.Equal(to, []string{"a@x.example failed 5.7.1", "b@x.example failed 5.7.1", "c@x.example failed 5.7.1"}) {
		t.Errorf("%q", to)
	}
}

// Without a way for ordinary mail the refusal stands in the sender's INBOX.
func TestJournalRefusalWithoutAWay(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.s.opt.Smarthost = nil
	why := JournalRefusal{Code: 550, Enhanced: "5.7.1", Italian: "No.", English: "No.", Reason: "x"}
	for range 2 {
		if err := i.s.RefuseJournal(t.Context(), testJournaled("a@x.example"), why); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(i.inbox("mario")); n != 1 {
		t.Errorf("%d notices", n)
	}
}

// What is dropped is counted, and only the first of a day fill the audit log.
func TestJournalDropped(t *testing.T) {
	i := newIntake(t)
	for range maxJournalTold + 5 {
		if err := i.s.DropJournal(t.Context(), testJournaled("a@x.example"), "not-marked"); err != nil {
			t.Fatal(err)
		}
	}
	err := i.store.View(t.Context(), func(tx *mailbox.Tx) error {
		c, err := journalCounted(tx)
		if c.Dropped != maxJournalTold+5 || c.Records != 0 {
			t.Errorf("%+v", c)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pecgate/mailbox"
)

// Who wrote to people that the gateway gives nothing to hears of it once, whatever
// becomes of the message, in both languages; a crash between the two loses nothing.
func TestRemarkIsToldOnce(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.s.opt.Address = "pecgate@gateway.example"
	enqueue := func(id string, held Lack, fail error) error {
		in, err := i.store.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(in, heldMessage, id+"@alfa.example"); err != nil {
			t.Fatal(err)
		}
		st, err := in.Store(t.Context(), mailbox.Origin{Box: testBox, Direction: mailbox.Out, User: "mario", Submission: id})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		_, err = i.store.Record(t.Context(), st, func(tx *mailbox.Tx, m *mailbox.Message) error {
			who, err := tx.EnsurePerson("mario")
			if err != nil {
				return err
			}
			m.Author, m.Submission = who, id
			_, err = Enqueue(tx, Ticket{ID: id, Box: testBox, User: "mario", Person: who, MsgID: id + "@alfa.example", To: []string{"a@pec.example"}, Relay: "exchange", Held: held,
				Remarks: []Remark{{"In Cc c'e' collega@example.org.", "Cc names collega@example.org."}}}, m)
			return errors.Join(err, fail)
		})
		return err
	}
	look := func() (n int) {
		t.Helper()
		if _, err := i.s.lookAtHolds(t.Context()); err != nil {
			t.Fatal(err)
		}
		return i.noticesOf(1)
	}
	crash := errors.New("crash")
	if err := enqueue("zero", "", crash); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	if n := look(); n != 0 {
		t.Errorf("%d notices of what was not accepted", n)
	}
	if err := enqueue("one", "", nil); err != nil {
		t.Fatal(err)
	}
	if n := look(); n != 1 {
		t.Fatalf("%d notices", n)
	}
	header, text := i.told()
	for _, want := range []string{"In Cc c'e' collega@example.org.", "Cc names collega@example.org.", "a@pec.example", "id: one"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if !strings.Contains(header, "Auto-Submitted: auto-generated") || !strings.Contains(header, "References: <one@alfa.example>") {
		t.Errorf("%s", header)
	}
	if n := look(); n != 1 {
		t.Errorf("%d notices after another look", n)
	}
	// The server has given it to the others already, also while it is held here.
	if err := enqueue("two", PINMissing, nil); err != nil {
		t.Fatal(err)
	}
	if n := look(); n != 3 {
		t.Errorf("%d notices with that of the hold", n)
	}
	left := 0
	err := i.store.View(t.Context(), func(tx *mailbox.Tx) error {
		return tx.Space(room).Scan(remarkTell, func(string, []byte) (bool, error) { left++; return true, nil })
	})
	if err != nil || left != 0 {
		t.Errorf("%d left, %v", left, err)
	}
}

package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes receipts as a provider does
)

// record puts a submission into the store as the gateway does, with an origin
// from which it can be made anew.
func (i *intake) record(id string, to ...string) {
	i.t.Helper()
	in, err := i.store.Begin(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := io.WriteString(in, sentText); err != nil {
		i.t.Fatal(err)
	}
	st, err := in.Store(i.t.Context(), mailbox.Origin{Box: testBox, Direction: mailbox.Out, User: "mario", Submission: id, From: testBox, To: to})
	if err != nil {
		i.t.Fatal(err)
	}
	defer st.Close()
	_, err = i.store.Record(i.t.Context(), st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		p, err := tx.EnsurePerson("mario")
		if err != nil {
			return err
		}
		t := Ticket{ID: id, Box: testBox, User: "mario", Person: p, MsgID: testMsgID, To: to}
		s, err := Enqueue(tx, t, m)
		if err != nil {
			return err
		}
		s.State = HandedOver
		m.Author, m.Submission = p, id
		return errors.Join(FileSent(tx, t, m), save(tx, s, nil))
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

// TestOutcomeAnew makes all records anew: the report that stood stands, seen and
// once, and is written again only when something becomes of its submission.
func TestOutcomeAnew(t *testing.T) {
	r := &reports{intake: newIntake(t)}
	dir := t.TempDir()
	r.in(dir)
	r.record("s1", "a@pec.example", "b@pec.example")
	r.take(r.receipt(providersim.Acceptance, nil))
	r.work()
	r.take(r.receipt(providersim.Delivery, nil))
	r.take(r.receipt(providersim.DeliveryError, func(n *providersim.Notice) { n.Recipient = "b@pec.example" }))
	r.work()
	before := r.one()
	done := r.rebuilt(dir)
	// The bytes of the first report were not swept yet: of two one stands.
	if done.Filed[mailbox.Own] != 2 || done.Left != 0 {
		t.Errorf("%+v", done)
	}
	after := r.one()
	if !bytes.Equal(after.raw, before.raw) || fmt.Sprint(after.flags) != `[\Seen]` {
		t.Errorf("%q\n%s", after.flags, after.raw)
	}
	if err := r.s.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	if wait := r.work(); wait != reportIdle || r.one().uid != after.uid {
		t.Errorf("history: due in %s", wait)
	}
	r.take(r.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Recipient = "b@pec.example" }))
	r.update(func(tx *mailbox.Tx) error { return hurry(tx, "s1") })
	r.work()
	last := r.one()
	if header, _, _ := parts(t, last.raw); header["X-PEC-Esito"] != "D=2 A=1 C=2 E=0" || last.uid <= after.uid {
		t.Errorf("%q", header)
	}
	r.gone(after)
}

// hurry makes the report of a submission due now.
func hurry(tx *mailbox.Tx, id string) error {
	r, err := readReported(tx, id)
	if err != nil || r.Due.IsZero() {
		return err
	}
	return postpone(tx, dueReport{At: r.Due, ID: id}, tx.Now())
}

// killAfter runs a relay and kills it a moment after the end of a message that
// it fetches.
func (c *crash) killAfter(uid int, d time.Duration) {
	c.t.Helper()
	r := startChild(c.t, c.order)
	passed := answered(fmt.Sprintf("UID FETCH %d (UID BODY.PEEK[])", uid), "\x00")
	c.tap.set(func(l line) (string, bool) {
		if passed(l) {
			time.AfterFunc(d, func() { _ = r.cmd.Process.Kill() })
		}
		return "", false
	})
	<-r.ended
	c.tap.cut()
	c.tap.set(nil)
	if r.cmd.ProcessState.Exited() {
		c.t.Fatalf("the relay was not killed:\n%s", &r.log)
	}
}

// TestOutcomeOverAKill kills the relay at moments between the state that a
// receipt made and its report: afterwards there is one report, it tells what the
// state is, and nothing of the others is left or shown to anybody.
func TestOutcomeOverAKill(t *testing.T) {
	c := newCrash(t, false, CopyRule{})
	sim, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	c.order.Trust = filepath.Join(t.TempDir(), "pec.pem")
	if err := os.WriteFile(c.order.Trust, sim.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *reports {
		r := &reports{intake: newIntake(t)}
		r.in(c.order.Dir)
		return r
	}
	r := open()
	var to []string
	for n := range 8 {
		to = append(to, fmt.Sprintf("r%d@pec.example", n))
	}
	r.record("s1", to...)
	receipt := func(k providersim.Kind, n int) string {
		return string(r.receipt(k, func(x *providersim.Notice) {
			x.Recipients = nil
			for _, a := range to {
				x.Recipients = append(x.Recipients, providersim.Recipient{Address: a})
			}
			if k != providersim.Acceptance {
				x.Recipient = to[n]
			}
		}))
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	// Three letters stand there already. The acceptance, the first failure and the
	// end make a report at once.
	for n, k := range []providersim.Kind{providersim.Acceptance, providersim.DeliveryError, providersim.Delivery, providersim.Delivery} {
		c.put(receipt(k, n))
		c.killAfter(4+n, time.Duration(n*n*3)*time.Millisecond)
		r := open()
		all := r.seen(mailbox.Viewer{Person: 1})
		if len(all) > 1 {
			t.Errorf("%d reports after kill %d", len(all), n)
		}
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A receipt that was being read at three of the kills looks as if it were their
	// cause, and has its next try a day later: here it has it at once.
	r = open()
	r.update(func(tx *mailbox.Tx) error {
		var again []string
		err := tx.Space(room).Scan("a/", func(k string, _ []byte) (bool, error) { again = append(again, k); return true, nil })
		for _, k := range again {
			var a aside
			err = errors.Join(err, tx.Space(room).Get(k, &a))
			a.Next = time.Time{}
			err = errors.Join(err, tx.Space(room).Put(k, a))
		}
		return errors.Join(err, tx.Space(room).Delete(boxLeaseKey(testBox)))
	})
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	c.rounds(startChild(t, c.order), 2).stop(t)
	r = open()
	r.update(func(tx *mailbox.Tx) error { return hurry(tx, "s1") })
	r.work()
	found, err := r.store.Recover(t.Context(), func(string) string { return "capo" })
	if err != nil {
		t.Fatal(err)
	}
	all := r.seen(mailbox.Viewer{Person: 1})
	if len(all) != 1 {
		t.Fatalf("%d reports", len(all))
	}
	if header, _, _ := parts(t, all[0].raw); header["X-PEC-Esito"] != "D=8 A=1 C=2 E=1" {
		t.Errorf("%q", header)
	}
	// Receipts whose records the kills prevented are shown to the administrator,
	// and came again; reports are not.
	for id := mailbox.MessageID(1); id < 100; id++ {
		m, err := r.store.Message(t.Context(), id)
		if errors.Is(err, mailbox.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Generated && id != all[0].id || m.Direction == mailbox.Recovered && m.Was != mailbox.In {
			t.Errorf("message %d stays: %+v, %+v", id, m, found)
		}
	}
}

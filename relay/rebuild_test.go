package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// in moves the intake to a store in a folder, with an administrator.
func (i *intake) in(dir string) {
	i.t.Helper()
	store, err := mailbox.Open(mailbox.Options{Dir: dir})
	if err != nil {
		i.t.Fatal(err)
	}
	i.store = store
	i.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			i.t.Error(err)
		}
	})
	i.s = i.on(store)
}

func (i *intake) on(store *mailbox.Store) *Service {
	o := i.s.opt
	o.Store = store
	o.Accounts = func() []Account { return []Account{i.acc} }
	return New(o)
}

// rebuilt deletes the records and makes them anew.
func (i *intake) rebuilt(dir string) mailbox.Rebuilt {
	i.t.Helper()
	if err := i.store.Close(); err != nil {
		i.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "records")); err != nil {
		i.t.Fatal(err)
	}
	r, err := mailbox.Rebuild(i.t.Context(), mailbox.Options{Dir: dir},
		func(store *mailbox.Store) (mailbox.Look, error) { return i.on(store).Look, nil }, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	i.in(dir)
	return r
}

// submit stores a submission as the gateway does.
func (i *intake) submit(id, msgid string, change func(*mailbox.Origin), to ...string) {
	i.t.Helper()
	in, err := i.store.Begin(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := in.Write([]byte(strings.ReplaceAll(sentText, testMsgID, msgid))); err != nil {
		i.t.Fatal(err)
	}
	o := mailbox.Origin{Box: testBox, Direction: mailbox.Out, User: "mario", Submission: id, From: testBox, To: to}
	if change != nil {
		change(&o)
	}
	st, err := in.Store(i.t.Context(), o)
	if err != nil {
		i.t.Fatal(err)
	}
	if err := st.Close(); err != nil { // its record is not wanted: it will be lost
		i.t.Fatal(err)
	}
}

// TestRebuildTiesReceipts makes everything anew from the segments: receipts that
// name a Message-ID or only the provider's identifier, in whatever order, give
// the outcome that they gave; what has no receipt is held; nothing has a register
// number, and nothing is due.
func TestRebuildTiesReceipts(t *testing.T) {
	i := newIntake(t)
	dir := t.TempDir()
	i.in(dir)
	i.submit("s1", testMsgID, nil, "a@pec.example", "b@pec.example")
	i.submit("s2", "m2@alfa.example", func(o *mailbox.Origin) { o.Alias = "client@alfa.example" }, "a@pec.example")
	// Bytes that the client was never told 250 for, and what it sent instead.
	i.submit("s3", "m3@alfa.example", func(o *mailbox.Origin) { o.At = time.Now().Add(-time.Minute) }, "a@pec.example")
	i.submit("s4", "m3@alfa.example", nil, "a@pec.example")
	i.submit("", "m5@alfa.example", nil, "a@pec.example") // of no submission
	envelope := i.receipt(providersim.Transport, func(n *providersim.Notice) {
		n.Attached, n.MsgID, n.Sender = []byte("From: x@pec.beta.example\r\nSubject: x\r\n\r\nx\r\n"), "<in@pec.beta.example>", "x@pec.beta.example"
	})
	i.take(i.receipt(providersim.Delivery, noMsgID)) // it waits for the acceptance
	i.take(i.receipt(providersim.Acceptance, nil))
	i.take(i.receipt(providersim.DeliveryError, func(n *providersim.Notice) { n.Recipient = "b@pec.example" }))
	i.take(i.receipt(providersim.TakenInCharge, nil))
	i.take(envelope)
	i.take(i.receipt(providersim.Anomaly, nil))
	i.take([]byte("From: x@ordinary.example\r\nSubject: ciao\r\n\r\nciao\r\n"))
	r := i.rebuilt(dir)
	if r.Filed[mailbox.Out] != 4 || r.Filed[mailbox.In] != 7 || r.Left != 1 || r.Damaged != 0 {
		t.Errorf("%+v", r)
	}
	if err := i.s.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := i.s.claimAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := i.shown("s1")
	if s.State != Accepted || s.User != "mario" || s.Recipients[0].State != Delivered || s.Recipients[1].State != Failed {
		t.Errorf("%s, %+v, %s", s.State, s.Recipients, words(s))
	}
	for name, want := range map[string]string{"m2@alfa.example": "s2", "client@alfa.example": "s2", "m3@alfa.example": "s3", pecID: "s1"} {
		if s := i.shown(name); s.ID != want {
			t.Errorf("%s is %s", name, s.ID)
		}
	}
	for _, id := range []string{"s2", "s3"} {
		if s := stored(t, i.store, id); s.State != Held || s.StateReason != ReasonRestored || !s.mayHaveLeft() || s.Alias == "" == (id == "s2") {
			t.Errorf("%s: %+v", id, s)
		}
	}
	if _, _, err := Show(t.Context(), i.store, "s4"); err == nil {
		t.Error("two submissions have one Message-ID")
	}
	if tasks, _, err := i.s.dueTasks(t.Context(), ""); err != nil || len(tasks) != 0 {
		t.Errorf("due: %v, %v", tasks, err)
	}
	if in, out := i.registered(mailbox.In), i.registered(mailbox.Out); len(in)+len(out) != 0 {
		t.Errorf("register numbers %v and %v", in, out)
	}
	mario, err := i.store.Person(t.Context(), "mario")
	if err != nil {
		t.Fatal(err)
	}
	capo, err := i.store.Person(t.Context(), "capo")
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[mailbox.Role][3]int{ // mario's own, all, the administrator's
		mailbox.RoleSent: {3, 3, 0}, mailbox.RoleAcceptance: {1, 1, 0}, mailbox.RoleDelivery: {1, 1, 0}, mailbox.RoleErrors: {1, 1, 0},
		mailbox.RoleInbox: {0, 1, 0}, mailbox.RoleAnomalies: {0, 3, 2},
	} {
		got := [3]int{i.inFolder(role, mario, mailbox.ScopeOwn), i.inFolder(role, mario, mailbox.ScopeAll), i.inFolder(role, capo, mailbox.ScopeOwn)}
		if got != want {
			t.Errorf("%s: %v instead of %v", role, got, want)
		}
	}
	// What leaves now gets the next number of the register.
	if _, err := i.s.Retry(t.Context(), "s2", Hand{}); err != nil {
		t.Fatal(err)
	}
	sub, err := i.s.lease(t.Context(), "s2")
	if err != nil {
		t.Fatal(err)
	}
	i.update(func(tx *mailbox.Tx) error {
		if sub, err = load(tx, "s2"); err != nil {
			return err
		}
		sub.HandedOver = tx.Now()
		return save(tx, sub, nil)
	})
	if out := i.registered(mailbox.Out); fmt.Sprint(out) != "[1]" {
		t.Errorf("register numbers %v", out)
	}
}

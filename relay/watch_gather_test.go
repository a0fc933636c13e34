package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

// What leaves at a pace and is late at the same pace is gathered: a first notice,
// and then one an hour.
func TestB13_LateMessagesAtAPaceAreGathered(t *testing.T) {
	w := newWatched(t)
	w.withMail()
	for n := range 60 {
		id := fmt.Sprintf("sub%03d", n)
		w.send(id, id+"@alfa.example", fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", n), "a@pec.example")
		if n%2 == 1 {
			w.now = w.now.Add(time.Minute)
			w.round()
		}
	}
	for range 100 {
		w.now = w.now.Add(time.Minute)
		w.round()
	}
	w.told("mario", "entro 30 min (2)", "entro 30 min (58)")
	w.told("capo", "entro 30 min (2)", "entro 30 min (58)")
}

// Times in notices are those of the appliance's zone (J4).
func TestJ4_LateNoticeInTheZone(t *testing.T) {
	w := newWatched(t)
	w.s.opt.Location = time.FixedZone("there", 5*3600)
	w.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example")
	want := stored(t, w.store, "one").SubmittedAt.In(w.s.opt.Location).Format("02/01/2006 15:04")
	w.pass(35 * time.Minute)
	if text := decoded(t, w.newest(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox})); !strings.Contains(text, want) {
		t.Errorf("lacks %q:\n%s", want, text)
	}
}

// Whoever sees a mailbox in all is told of all that waits there, others of their own.
func TestAwaitingIsCountedByWhoSeesIt(t *testing.T) {
	w := newWatched(t)
	for n := range 3 {
		id := fmt.Sprintf("sub%d", n)
		w.send(id, id+"@alfa.example", "Subject: x\r\n\r\nx\r\n", "a@pec.example")
	}
	w.pass(35 * time.Minute)
	all, err := w.s.awaiting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seeing := func(scope mailbox.Scope) Reader {
		return Reader{Sees: func(mailbox.Role) (mailbox.Scope, bool) { return scope, true }}
	}
	for _, c := range []struct {
		box    string
		scope  mailbox.Scope
		person mailbox.Person
		want   waitCount
	}{
		{testBox, mailbox.ScopeAll, 99, waitCount{3, 3}},
		{testBox, mailbox.ScopeOwn, 1, waitCount{3, 3}},
		{testBox, mailbox.ScopeOwn, 99, waitCount{}},
		{"another@pec.example", mailbox.ScopeAll, 1, waitCount{}},
	} {
		if got := all.of(c.box, seeing(c.scope), c.person); got != c.want {
			t.Errorf("%s, scope %v, person %d: %v", c.box, c.scope, c.person, got)
		}
	}
}

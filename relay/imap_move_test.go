package relay

import (
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/forward"
	"pecgate/relay/providersim" // an IMAP server, and receipts as a provider makes them
)

// movedAway are the audit lines of what was moved.
func (i *intake) movedAway() []string { i.t.Helper(); return i.audited("moved") }

// sees counts what mario and capo see of a folder.
func (i *intake) sees(role mailbox.Role) (mario, capo int) {
	i.t.Helper()
	for login, n := range map[string]*int{"mario": &mario, "capo": &capo} {
		who, err := i.store.Person(i.t.Context(), login)
		if err != nil {
			i.t.Fatal(err)
		}
		snap, err := i.store.Snapshot(i.t.Context(), mailbox.FolderKey{Box: testBox, Role: role}, mailbox.Viewer{Person: who, Scope: mailbox.ScopeOwnOrCommon})
		if err != nil {
			i.t.Fatal(err)
		}
		*n = len(snap.UIDs)
	}
	return mario, capo
}

// What is moved into an ordinary mailbox goes out of that person's folders once it was
// found again there, and out of nobody else's; it stays in the store.
func TestMoveByIMAP(t *testing.T) {
	for _, c := range []struct {
		name          string
		move          bool
		change        func(*intake, *IMAPDelivery)
		mario         int // sees so many afterwards
		waits, audits int
	}{
		{"copy", false, nil, 2, 0, 0},
		{"move", true, nil, 0, 0, 2},
		{"the mailbox takes nothing", true, func(_ *intake, w *IMAPDelivery) { w.Password = func() (string, error) { return "other", nil } }, 2, 2, 0},
		{"the right was lost meanwhile", true, func(i *intake, _ *IMAPDelivery) {
			all := i.s.opt.Readers
			i.s.opt.Readers = func(box string) []Reader { return all(box)[1:] }
		}, 2, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newIntake(t)
			i.withMail()
			way, stands := i.byIMAP(t)
			way.Move = c.move
			i.s.opt.Smarthost, i.s.opt.IMAP = nil, way
			i.take(i.envelope())
			i.take(i.receipt(providersim.Delivery, nil))
			i.mailed()
			if c.change != nil {
				c.change(i, way)
			}
			if _, err := i.s.forwarder().Round(t.Context()); err != nil {
				t.Fatal(err)
			}
			envelopes, others := i.sees(mailbox.RoleInbox)
			receipts, more := i.sees(mailbox.RoleDelivery)
			if envelopes+receipts != c.mario || others+more != 2 {
				t.Errorf("mario sees %d envelopes and %d receipts, capo %d and %d", envelopes, receipts, others, more)
			}
			waits, err := Forwards(t.Context(), i.store, 100)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, it := range waits {
				if it.To == "mario@example.org" {
					n++
				}
			}
			if n != c.waits {
				t.Errorf("%d wait: %+v", n, waits)
			}
			if got := i.movedAway(); len(got) != c.audits || c.audits > 0 && !strings.Contains(strings.Join(got, " "), "hidden") {
				t.Errorf("told: %q", got)
			}
			if c.audits > 0 && len(stands()) < 2 {
				t.Errorf("%d stand there", len(stands()))
			}
			for id := range mailbox.MessageID(2) {
				if _, err := i.store.Message(t.Context(), id+1); err != nil {
					t.Errorf("message %d: %v", id+1, err)
				}
			}
		})
	}
}

// A copy that came to the mailbox in an attempt of which the end was not recorded is
// found, moved then, and put there once; what is not found again is not moved.
func TestMoveAfterAnAttemptOfWhichNobodyKnows(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	way, stands := i.byIMAP(t)
	way.Move = true
	i.s.opt.Smarthost, i.s.opt.IMAP = nil, way
	i.take(i.envelope())
	i.mailed()
	m, err := i.store.Message(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	body, err := i.store.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	d := &deliverer{s: i.s, way: way, rests: map[string]rest{}}
	first, ok := d.bring(t.Context(), forward.Item{Message: m.ID, To: "mario@example.org"}, false, body, m.Size())
	if !ok || first.Err != nil || first.Taken == nil { // and the gateway ends before Taken is called
		t.Fatalf("%+v", first)
	}
	if n, _ := i.sees(mailbox.RoleInbox); n != 1 {
		t.Fatalf("it went out of sight before that was recorded: %d", n)
	}
	i.s = New(i.s.opt)
	again, ok := (&deliverer{s: i.s, way: way, rests: map[string]rest{}}).bring(t.Context(), forward.Item{Message: m.ID, To: "mario@example.org"}, true, body, m.Size())
	if !ok || again.Err != nil || again.Taken == nil {
		t.Fatalf("%+v", again)
	}
	if all := stands(); len(all) != 1 {
		t.Errorf("%d stand there", len(all))
	}
	// One without a Message-ID cannot be looked for.
	const bare = "Subject: x\r\n\r\nx\r\n"
	got, ok := d.bring(t.Context(), forward.Item{To: "mario@example.org"}, false, strings.NewReader(bare), int64(len(bare)))
	if !ok || got.Err != nil || got.Taken != nil {
		t.Errorf("%+v", got)
	}
}

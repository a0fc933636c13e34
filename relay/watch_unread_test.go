package relay

import (
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

// flag changes \Seen of all that stands in the mailbox's Inbox, as a login does whose
// mailbox has it common.
func (w *watched) flag(login string, op mailbox.FlagOp) {
	w.t.Helper()
	p, err := w.store.Person(w.t.Context(), login)
	if err != nil {
		w.t.Fatal(err)
	}
	v := mailbox.Viewer{Person: p, Scope: mailbox.ScopeAll, SharedSeen: true}
	snap, err := w.store.Snapshot(w.t.Context(), mailbox.FolderKey{Box: testBox, Role: mailbox.RoleInbox}, v)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.SetFlags(w.t.Context(), snap.Folder, v, snap.UIDs, op, []string{"\\Seen"}); err != nil {
		w.t.Fatal(err)
	}
}

// Where \Seen is common, a PEC counts as read when one of those who may read it now
// has read it: not when somebody did who has left since, nor when it was marked as
// unread again.
func TestCommonSeenOfSomebodyWhoLeft(t *testing.T) {
	type step struct {
		login string
		op    mailbox.FlagOp
	}
	for name, tt := range map[string]struct {
		steps []step
		told  bool
	}{
		"by a reader":                        {steps: []step{{"mario", mailbox.FlagsAdd}}},
		"by one who left":                    {steps: []step{{"rosa", mailbox.FlagsAdd}}, told: true},
		"by one who left, then by a reader":  {steps: []step{{"rosa", mailbox.FlagsAdd}, {"mario", mailbox.FlagsAdd}}},
		"by a reader, then marked as unread": {steps: []step{{"mario", mailbox.FlagsAdd}, {"rosa", mailbox.FlagsRemove}}, told: true},
		"unread, then by a reader":           {steps: []step{{"rosa", mailbox.FlagsAdd}, {"rosa", mailbox.FlagsRemove}, {"mario", mailbox.FlagsAdd}}},
		"by nobody":                          {told: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatched(t)
			w.acc.SharedSeen = true
			w.take(w.envelope())
			for _, s := range tt.steps {
				w.flag(s.login, s.op)
			}
			w.pass(80 * time.Hour)
			if tt.told {
				w.told("capo", "non letta")
			} else {
				w.told("capo")
			}
		})
	}
}

// The administrator learns whose PEC nobody has read.
func TestUnreadPECNamesItsSender(t *testing.T) {
	w := newWatched(t)
	w.take(w.envelope())
	w.pass(80 * time.Hour)
	if got := w.texts("capo"); len(got) != 1 || !strings.Contains(got[0], "altri@pec.beta.example") || strings.Contains(got[0], "ricorso") {
		t.Errorf("%q", got)
	}
}

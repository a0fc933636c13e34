package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// TestEnvelopeSignedLongBefore: an envelope that arrives more than a week after
// its signing is shown, marked, and says why; what stood there before the gateway
// did is not.
func TestEnvelopeSignedLongBefore(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		age    time.Duration
		cursor cursor
		marked bool
	}{
		"today":            {0, cursor{UIDValidity: 1}, false},
		"six days":         {6 * day, cursor{UIDValidity: 1}, false},
		"eight days":       {8 * day, cursor{UIDValidity: 1}, true},
		"history":          {8 * day, cursor{UIDValidity: 1, HistoryTo: 1}, false},
		"a clock in front": {-time.Hour, cursor{UIDValidity: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIntake(t)
			raw := i.receipt(providersim.Transport, func(n *providersim.Notice) {
				n.Sender, n.Recipients = "x@pec.example", []providersim.Recipient{{Address: testBox}}
				n.Receipt, n.Attached, n.Header = "completa", []byte(inside(sentText)), []byte(sentText)
			})
			i.takeAt(raw, time.Now().Add(c.age), c.cursor)
			i.common(mailbox.RoleInbox, 1)
			v := mailbox.Viewer{Person: member, Scope: mailbox.ScopeOwnOrCommon}
			snap, err := i.store.Snapshot(t.Context(), mailbox.FolderKey{Box: testBox, Role: mailbox.RoleInbox}, v)
			if err != nil {
				t.Fatal(err)
			}
			var m *mailbox.Message
			err = i.store.Entries(t.Context(), snap.Folder, v, snap.UIDs, mailbox.Want{Flags: true}, func(e *mailbox.Entry) (err error) {
				if got := strings.Contains(fmt.Sprint(e.Flags), unverified); got != c.marked {
					t.Errorf("flags %v", e.Flags)
				}
				m = &mailbox.Message{ID: e.Message}
				return nil
			})
			if err != nil || m == nil {
				t.Fatal(err)
			}
			if m, err = i.store.Message(t.Context(), m.ID); err != nil {
				t.Fatal(err)
			}
			const why = "more than 7 days before it arrived"
			if strings.Contains(m.Reason, why) != c.marked || strings.Contains(i.log.String(), why) != c.marked || m.Verdict != "valid" {
				t.Errorf("%s: %q\n%s", m.Verdict, m.Reason, i.log)
			}
			i.update(func(tx *mailbox.Tx) error {
				return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
					if strings.Contains(l.Reason, why) != c.marked {
						t.Errorf("audited with %q", l.Reason)
					}
					return false
				})
			})
		})
	}
}

// TestRemovedForAllStaysRemoved: what a member has removed for all is not taken
// in again when the provider numbers its mailbox anew.
func TestRemovedForAllStaysRemoved(t *testing.T) {
	i := newIntake(t)
	raw := i.receipt(providersim.Transport, func(n *providersim.Notice) {
		n.Sender, n.Recipients = "x@pec.example", []providersim.Recipient{{Address: testBox}}
		n.Receipt, n.Attached, n.Header = "completa", []byte(inside(sentText)), []byte(sentText)
	})
	i.takeAt(raw, time.Now(), cursor{UIDValidity: 1})
	i.common(mailbox.RoleInbox, 1)
	v := mailbox.Viewer{Person: member, Delete: true}
	snap, err := i.store.Snapshot(t.Context(), mailbox.FolderKey{Box: testBox, Role: mailbox.RoleInbox}, v)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.store.Remove(t.Context(), snap.Folder, v, snap.UIDs); err != nil {
		t.Fatal(err)
	}
	i.common(mailbox.RoleInbox, 0)
	i.takeAt(raw, time.Now(), cursor{UIDValidity: 2})
	i.common(mailbox.RoleInbox, 0)
}

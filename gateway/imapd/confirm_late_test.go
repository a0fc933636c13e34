package imapd

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/policy"
)

// TestTakenBackTooLate: what left the folder of what is to be confirmed before the
// session was told is not taken back, and whoever tries gets no OK; and so where
// the relay says that it was released.
func TestTakenBackTooLate(t *testing.T) {
	asked, answer := 0, error(nil)
	h := newHouse(t, func(o *Options) {
		o.Withdraw = func(_ context.Context, _, _ string, m []mailbox.MessageID, _ mailbox.FolderKey) ([]mailbox.Place, error) {
			asked++
			return make([]mailbox.Place, len(m)), answer
		}
	})
	p := testPolicy()
	p.Mailboxes[0].PINRequired, p.Mailboxes[0].PINMethods = true, []string{policy.PINByReply}
	h.policy.Store(p)
	mario := h.people["mario"]
	k := mailbox.FolderKey{Box: protocollo, Owner: mario, Role: mailbox.RoleToConfirm}
	for _, command := range []string{"UID MOVE %s Cestino", "UID EXPUNGE %s", "EXPUNGE"} {
		uid := h.deliver(k, mail("held@alfa.example", "Diffida"), mailbox.Filing{Audience: mario})
		number := strconv.FormatUint(uint64(uid), 10)
		set := func() string { return strings.Replace(command, "%s", number, 1) }
		c := h.login("mario")
		c.ok(`SELECT "PEC/` + protocollo + `/Da confermare"`)
		c.ok("UID STORE " + number + ` +FLAGS.SILENT (\Deleted)`)
		answer = Refused("It was confirmed before")
		if _, got := c.cmd(set()); asked != 1 || !strings.HasPrefix(got, "NO") || !strings.Contains(got, "confirmed before") {
			t.Errorf("%s, which the relay refuses: %q", command, got)
		}
		asked = 0
		c.ok("UID STORE " + number + ` +FLAGS.SILENT (\Deleted)`)
		snap, err := h.store.Snapshot(t.Context(), k, mailbox.Viewer{Person: mario})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.store.Update(t.Context(), func(tx *mailbox.Tx) error { return tx.Unfile(mailbox.Place{Folder: snap.Folder, UID: uid}) }); err != nil {
			t.Fatal(err)
		}
		if _, got := c.cmd(set()); asked != 0 || !strings.HasPrefix(got, "NO") || !strings.Contains(got, "does not wait here") {
			t.Errorf("%s of what is gone: %q", command, got)
		}
	}
}

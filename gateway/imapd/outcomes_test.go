package imapd

import (
	"context"
	"errors"
	"io"

	"pecgate/mailbox"
)

// becomes does what the relay does when something becomes of what was sent:
//
//	keywords uid word...   of an entry of the sent folder, set by the gateway
//	report subject [worse] of Mario's submission, in place of the one before
func (h *house) becomes(words []string) {
	h.t.Helper()
	ctx := context.Background()
	if words[0] == "keywords" {
		id := h.only(mailbox.RoleSent, words[1])
		err := h.store.Update(ctx, func(tx *mailbox.Tx) error {
			places, err := tx.PlacesIn(id, mailbox.RoleSent, 1)
			if err != nil {
				return err
			}
			if len(places) != 1 {
				return errors.New("no such entry")
			}
			return tx.SetKeywords(places[0], words[2:], nil)
		})
		if err != nil {
			h.t.Fatal(err)
		}
		return
	}
	in, err := h.store.Begin(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.WriteString(in, mail("<esito."+words[1]+"@pec.example.org>", words[1])); err != nil {
		h.t.Fatal(err)
	}
	st, err := in.Store(ctx, mailbox.Origin{
		Box: protocollo, Direction: mailbox.Own, User: "mario", Submission: "s1", Folder: string(mailbox.RoleOutcomes),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	defer st.Close() // read-only handle: nothing to lose
	before := h.only(mailbox.RoleOutcomes, "")
	_, err = h.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		return tx.FileGenerated(shared1(mailbox.RoleOutcomes), m, before, mailbox.Filing{Audience: h.people["mario"]}, len(words) > 2)
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// only returns the message under a UID of a shared folder, or the last one for
// ""; 0 where there is none.
func (h *house) only(role mailbox.Role, uid string) (id mailbox.MessageID) {
	h.t.Helper()
	ctx, v := context.Background(), mailbox.Viewer{Person: h.people["mario"]}
	snap, err := h.store.Snapshot(ctx, shared1(role), v)
	if err != nil {
		h.t.Fatal(err)
	}
	err = h.store.Entries(ctx, snap.Folder, v, snap.UIDs, mailbox.Want{}, func(e *mailbox.Entry) error {
		if uid == "" || uid == string(rune('0'+e.UID)) {
			id = e.Message
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

package relay

import (
	"errors"
	"fmt"
	"strings"

	"pecgate/mailbox"
	"pecgate/relay/forward"
)

// To move a message into an ordinary mailbox (IMAPDelivery.Move) is to copy it there,
// to find it again there, and then to leave it out of the folders in which that one
// person sees it. It is no removal: everybody else sees it as before, the person finds
// it in Archivio, the stored message stays for `show` and for evidence, and no term of
// keeping changes. It is read by nobody for that: who reads elsewhere is not known, so
// a watch for unread PEC goes on.
//
// It happens in the transaction that takes the copy off the queue: a crash before it
// leaves the message in sight and the copy in the queue, which is found again at the
// next attempt. What the server took and that is not found again, or has no Message-ID
// to look for, was copied and stays in sight.
//
// Notices, what stands in a person's INBOX, and reports of outcomes are copied always:
// a notice may ask for an answer, and a report changes.

// moved leaves what was brought to a person's ordinary mailbox out of their folders.
func (s *Service) moved(tx *mailbox.Tx, it forward.Item) error {
	if it.Message == 0 || it.Kind != "copy" || it.Person == 0 || s.opt.Readers == nil {
		return nil
	}
	m, err := tx.Message(it.Message)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil // its time to be kept was over meanwhile
	}
	if err != nil || m.Direction != mailbox.In {
		return err
	}
	login, err := tx.Login(it.Person)
	if err != nil {
		return err
	}
	var reader *Reader
	for _, r := range s.opt.Readers(it.Box) {
		if strings.EqualFold(r.Login, login) {
			reader = &r
		}
	}
	if reader == nil { // since it was queued they lost the right to see it
		return nil
	}
	places, err := tx.Places(m.ID)
	if err != nil {
		return err
	}
	var from []string
	for _, p := range places {
		k, err := tx.FolderKey(p.Folder)
		if err != nil {
			return err
		}
		scope, ok := reader.Sees(k.Role)
		if !ok || !k.Shared() || !strings.EqualFold(k.Box, it.Box) {
			continue
		}
		hid, err := tx.Hide(p, mailbox.Viewer{Person: it.Person, Scope: scope})
		if err != nil {
			return err
		}
		if hid {
			from = append(from, string(k.Role))
		}
	}
	if len(from) == 0 {
		return nil
	}
	return tx.Audit(mailbox.AuditLine{
		Actor: "relay", Event: "moved", Box: it.Box, Subject: m.SHA256(), Result: "hidden",
		Reason: "found in " + it.To + " (outgoing.imap, rule move)",
		More:   map[string]string{"person": login, "message": fmt.Sprint(uint64(m.ID)), "folders": strings.Join(from, " ")},
	})
}

package imapd

import (
	"slices"

	"github.com/emersion/go-imap/v2"            // sets of UIDs
	"github.com/emersion/go-imap/v2/imapserver" // the interface of the session

	"pecgate/mailbox"
)

// Expunge removes the messages marked \Deleted (RFC 9051 section 6.4.3), with
// uids only those among them. CLOSE comes here too and must do nothing after
// EXAMINE. The answers follow with Poll, which the library calls next.
func (s *session) Expunge(_ *imapserver.ExpungeWriter, uids *imap.UIDSet) error {
	v, err := s.selected()
	if err != nil {
		return err
	}
	if v.readOnly {
		if s.f.cur.name == "CLOSE" {
			return nil
		}
		return s.errReadOnly(v)
	}
	among := v.uids
	if uids != nil {
		spans, err := v.spans(*uids, s.saved)
		if err != nil {
			return err
		}
		among = v.collect(spans)
	}
	var marked []mailbox.UID
	stands := map[mailbox.UID]bool{} // of what waits: the entries that are there still
	waits := v.toConfirm() || v.toApprove()
	err = s.srv.opt.Store.Entries(s.ctx, v.folder, v.viewer, among, mailbox.Want{Flags: true}, func(e *mailbox.Entry) error {
		if waits {
			stands[e.UID] = true
		}
		if slices.Contains(e.Flags, string(imap.FlagDeleted)) {
			marked = append(marked, e.UID)
		}
		return nil
	})
	late := error(nil)
	if err == nil && waits && (uids != nil && len(among) > 0 && len(stands) == 0 || uids == nil && v.late(stands)) {
		late = errNotWaiting()
	}
	if err == nil && len(marked) > 0 && v.toConfirm() {
		_, err = s.withdraw(v, marked, mailbox.FolderKey{})
	} else if err == nil && len(marked) > 0 && v.toApprove() {
		_, err = s.reject(v, marked, mailbox.FolderKey{})
	} else if err == nil && len(marked) > 0 {
		_, err = s.srv.opt.Store.Remove(s.ctx, v.folder, v.viewer, marked)
	}
	if err == nil {
		err = late // the others are taken back all the same
	}
	return s.reply("EXPUNGE", err)
}

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
	stands := false
	err = s.srv.opt.Store.Entries(s.ctx, v.folder, v.viewer, among, mailbox.Want{Flags: true}, func(e *mailbox.Entry) error {
		stands = true
		if slices.Contains(e.Flags, string(imap.FlagDeleted)) {
			marked = append(marked, e.UID)
		}
		return nil
	})
	if err == nil && uids != nil && len(among) > 0 && !stands && (v.toConfirm() || v.toApprove()) {
		err = errNotWaiting()
	}
	if err == nil && len(marked) > 0 && v.toConfirm() {
		_, err = s.withdraw(v, marked, mailbox.FolderKey{})
	} else if err == nil && len(marked) > 0 && v.toApprove() {
		_, err = s.reject(v, marked, mailbox.FolderKey{})
	} else if err == nil && len(marked) > 0 {
		_, err = s.srv.opt.Store.Remove(s.ctx, v.folder, v.viewer, marked)
	}
	return s.reply("EXPUNGE", err)
}

package imapd

import (
	"github.com/emersion/go-imap/v2" // sets and the COPYUID data

	"pecgate/mailbox"
)

// Copy copies messages into a folder of the person's own (RFC 9051 section
// 6.4.7).
func (s *session) Copy(set imap.NumSet, dest string) (*imap.CopyData, error) {
	v, err := s.selected()
	if err != nil {
		return nil, err
	}
	data, err := s.transfer(v, set, dest, false)
	if err != nil {
		return nil, s.reply("COPY", err)
	}
	return data, nil
}

func (s *session) transfer(v *view, set imap.NumSet, dest string, move bool) (*imap.CopyData, error) {
	to, err := s.target(dest)
	if err != nil {
		return nil, err
	}
	if !to.own() && to.key.Role != mailbox.RoleApproved {
		return nil, s.errNotOwn(to)
	}
	spans, err := v.spans(set, s.saved)
	if err != nil {
		return nil, err
	}
	uids := v.collect(spans)
	if len(uids) == 0 {
		return nil, nil // with an empty set the library's answer would be broken
	}
	if err := s.srv.opt.Store.Room(); err != nil {
		return nil, err
	}
	switch {
	case to.key.Role == mailbox.RoleApproved:
		return s.approve(v, uids, to.key)
	case move && v.toApprove() && to.key.Role == mailbox.RoleTrash:
		return s.reject(v, uids, to.key)
	case move && v.toApprove():
		return nil, errOnlyApproved()
	case move && v.toConfirm() && to.key.Role == mailbox.RoleTrash:
		return s.withdraw(v, uids, to.key)
	case move && v.toConfirm():
		return nil, errOnlyTrash()
	}
	act := s.srv.opt.Store.Copy
	if move {
		act = s.srv.opt.Store.Move
	}
	var done mailbox.Copied
	if v.archive != nil {
		done, err = s.srv.opt.Store.ArchiveCopy(s.ctx, v.archive.sight, v.archive.some(uids), to.key)
	} else {
		done, err = act(s.ctx, v.folder, v.viewer, uids, to.key)
	}
	if err != nil {
		return nil, err
	}
	return copyData(done), nil
}

func copyData(c mailbox.Copied) *imap.CopyData {
	if len(c.From) == 0 {
		return nil
	}
	out := &imap.CopyData{UIDValidity: c.UIDValidity}
	for i := range c.From {
		out.SourceUIDs.AddNum(imap.UID(c.From[i]))
		out.DestUIDs.AddNum(imap.UID(c.To[i]))
	}
	return out
}

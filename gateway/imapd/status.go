package imapd

import (
	"slices"

	"github.com/emersion/go-imap/v2" // the answer of STATUS

	"pecgate/mailbox"
)

// Status counts a folder without opening it (RFC 9051 section 6.3.11).
func (s *session) Status(name string, o *imap.StatusOptions) (*imap.StatusData, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	if o.HighestModSeq {
		return nil, badCommand("Unknown STATUS data item") // of an extension that is not announced
	}
	n, err := s.lookupFolder(name)
	if err != nil {
		return nil, s.reply("STATUS", err)
	}
	data, err := s.count(n, o.Size || o.DeletedStorage)
	if err != nil {
		return nil, s.reply("STATUS", err)
	}
	return data, nil
}

// count fills every item: the library follows the pointers of those asked. size
// tells that sizes are asked for.
func (s *session) count(n node, size bool) (*imap.StatusData, error) {
	viewer, ok := s.viewer(n.key)
	if !ok {
		return nil, errNoFolder()
	}
	var st mailbox.Status
	var err error
	if n.period != nil {
		st, err = s.archiveStatus(n)
	} else {
		st, err = s.srv.opt.Store.Status(s.ctx, n.key, viewer)
	}
	if err == nil && n.inner && size {
		st.Size, st.DeletedSize, err = s.innerSizes(n, viewer)
	}
	if err != nil {
		return nil, err
	}
	number := func(n int) *uint32 { u := uint32(n); return &u }
	limit := s.AppendLimit()
	return &imap.StatusData{
		Mailbox:     n.name,
		NumMessages: number(st.Messages),
		NumRecent:   number(0), // \Recent is never given: it would be one session's only
		UIDNext:     imap.UID(st.UIDNext),
		UIDValidity: st.UIDValidity,
		NumUnseen:   number(st.Unseen),
		NumDeleted:  number(st.Deleted),
		Size:        &st.Size,
		AppendLimit: &limit,
		// RFC 9208 section 4.1.4 wants it of whoever counts storage.
		DeletedStorage: &st.DeletedSize,
	}, nil
}

// innerSizes counts the bytes of the messages inside: of all, and of those with
// \Deleted.
func (s *session) innerSizes(n node, viewer mailbox.Viewer) (all, deleted int64, err error) {
	snap, err := s.srv.opt.Store.Snapshot(s.ctx, n.key, viewer)
	if err != nil {
		return 0, 0, err
	}
	v := &view{inner: true}
	err = s.srv.opt.Store.Entries(s.ctx, snap.Folder, viewer, snap.UIDs, mailbox.Want{Flags: true}, func(e *mailbox.Entry) error {
		if err := s.shown(v, e, mailbox.Want{}); err != nil {
			return err
		}
		if all += e.Size; slices.Contains(e.Flags, string(imap.FlagDeleted)) {
			deleted += e.Size
		}
		return nil
	})
	return all, deleted, err
}

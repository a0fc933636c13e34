package imapd

import (
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
	data, err := s.count(n)
	if err != nil {
		return nil, s.reply("STATUS", err)
	}
	return data, nil
}

// count fills every item: the library follows the pointers of those asked.
func (s *session) count(n node) (*imap.StatusData, error) {
	scope, ok := s.access(n.key)
	if !ok {
		return nil, errNoFolder()
	}
	st, err := s.srv.opt.Store.Status(s.ctx, n.key, mailbox.Viewer{Person: s.person, Scope: scope})
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

package fetch

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2" // commands and answers
)

const (
	// lookFolders bounds the folders that Elsewhere looks into.
	lookFolders = 100
	// lookInto is how many messages of a folder Elsewhere looks at, the newest.
	lookInto = 1000
)

// Elsewhere returns the folders that hold receipts, by their field X-Ricevuta,
// among the newest 1,000 messages, besides those in known, the trash and views of
// other folders; at most 100 folders are looked into. Nothing is changed or
// fetched. A folder that cannot be opened or searched is passed over.
func (s *Session) Elsewhere(ctx context.Context, known []string) (found []string, err error) {
	var list []*imap.ListData
	err = s.do(ctx, "list folders", func() error {
		list, err = s.c.List("", "*", nil).Collect()
		return err
	})
	var no *imap.Error
	if errors.As(err, &no) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	looked := 0
	for _, f := range list {
		if slices.ContainsFunc(known, func(k string) bool { return sameFolder(k, f.Mailbox) }) || passOver(f) {
			continue
		}
		if looked++; looked > lookFolders {
			break
		}
		st, err := s.selectFolder(ctx, f.Mailbox, true)
		if errors.Is(err, ErrNoFolder) || err == nil && st.Exists == 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		from := uint32(1)
		if st.Exists > lookInto {
			from = st.Exists - lookInto + 1
		}
		hits := false
		err = s.do(ctx, "look for receipts in "+f.Mailbox, func() error {
			data, err := s.c.UIDSearch(&imap.SearchCriteria{
				SeqNum: []imap.SeqSet{{imap.SeqRange{Start: from}}},
				Header: []imap.SearchCriteriaHeaderField{{Key: "X-Ricevuta"}},
			}, nil).Wait()
			if err == nil {
				hits = len(data.AllUIDs()) > 0
			}
			return err
		})
		if err != nil && !errors.As(err, &no) {
			return nil, err
		}
		if hits {
			found = append(found, f.Mailbox)
		}
	}
	return found, nil
}

// passOver tells whether a folder is none, or shows what stands elsewhere or was
// thrown away.
func passOver(f *imap.ListData) bool {
	return slices.ContainsFunc(f.Attrs, func(a imap.MailboxAttr) bool {
		switch a {
		case imap.MailboxAttrNoSelect, imap.MailboxAttrNonExistent, imap.MailboxAttrTrash, imap.MailboxAttrAll, imap.MailboxAttrFlagged:
			return true
		}
		return false
	})
}

// sameFolder compares names of folders: INBOX is the same in any case (RFC 9051
// section 5.1).
func sameFolder(a, b string) bool {
	return a == b || strings.EqualFold(a, "INBOX") && strings.EqualFold(b, "INBOX")
}

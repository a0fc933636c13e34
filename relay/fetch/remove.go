package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-imap/v2" // commands and answers
	"github.com/emersion/go-imap/v2/imapclient"
)

// headBytes is how much of a message is looked at to tell whether it is the one
// it is taken for.
const headBytes = 16 << 10

// maxRemove bounds the messages of one call of Remove.
const maxRemove = 1000

// Sameness is how a message at the provider looks beside ours.
type Sameness int

// What Same finds.
const (
	Gone  Sameness = iota // it is not there
	Other                 // another size or other bytes
	Equal                 // the same size and beginning
)

// Same compares size and beginning of a message with ours. Where UIDVALIDITY is
// not the folder's any more it is Other: the UID names another message.
func (s *Session) Same(ctx context.Context, folder string, uidValidity, uid uint32, ours io.ReaderAt, size int64) (Sameness, error) {
	st, err := s.examine(ctx, folder)
	if err != nil {
		return Gone, err
	}
	if st.UIDValidity != uidValidity {
		return Other, nil
	}
	head := make([]byte, min(size, headBytes))
	if _, err := ours.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return Gone, err
	}
	found := Gone
	part := &imap.FetchItemBodySection{Peek: true, Partial: &imap.SectionPartial{Size: max(int64(len(head)), 1)}}
	err = s.do(ctx, fmt.Sprintf("look at message %d", uid), func() error {
		cmd := s.c.Fetch(imap.UIDSetNum(imap.UID(uid)), &imap.FetchOptions{UID: true, RFC822Size: true, BodySection: []*imap.FetchItemBodySection{part}})
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			if n, got, listed := readHead(msg, part); n == uid && listed >= 0 {
				found = Other
				if listed == size && string(got) == string(head) {
					found = Equal
				}
			}
		}
		return cmd.Close()
	})
	if err != nil {
		return Gone, err
	}
	return found, nil
}

func readHead(msg *imapclient.FetchMessageData, part *imap.FetchItemBodySection) (uid uint32, head []byte, size int64) {
	size = -1
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			uid = uint32(item.UID)
		case imapclient.FetchItemDataRFC822Size:
			size = item.Size
		case imapclient.FetchItemDataBodySection:
			if item.MatchCommand(part) && item.Literal != nil {
				// A literal that breaks off is an error of the command.
				head, _ = io.ReadAll(io.LimitReader(item.Literal, headBytes+1))
			}
		}
	}
	return uid, head, size
}

// Remove deletes messages of a folder for good, and tells which of them are
// there still. What others have marked as deleted stays. Errors: ErrRefused,
// ErrNoFolder; after any error some may be gone.
func (s *Session) Remove(ctx context.Context, folder string, uidValidity uint32, uids []uint32) (left []uint32, err error) {
	if len(uids) == 0 {
		return nil, nil
	}
	if len(uids) > maxRemove {
		return nil, fmt.Errorf("remove messages: %d at once, at most %d", len(uids), maxRemove)
	}
	if caps := s.c.Caps(); !caps.Has(imap.CapUIDPlus) {
		return nil, fmt.Errorf("%w: it offers no UIDPLUS", ErrRefused)
	}
	st, err := s.selectFolder(ctx, folder, false)
	if err != nil {
		return nil, err
	}
	if st.UIDValidity != uidValidity {
		return nil, fmt.Errorf("%w: UIDVALIDITY of %s has changed", ErrRefused, folder)
	}
	var set imap.UIDSet
	ours := map[uint32]bool{}
	for _, uid := range uids {
		if uid == 0 {
			return nil, errors.New("remove messages: 0 is no UID")
		}
		set.AddNum(imap.UID(uid))
		ours[uid] = true
	}
	err = s.do(ctx, "mark messages", func() error {
		return s.c.Store(set, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close()
	})
	if err == nil {
		err = s.do(ctx, "expunge messages", func() error { return s.c.UIDExpunge(set).Close() })
	}
	var no *imap.Error
	if errors.As(err, &no) {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	} else if err != nil {
		return nil, err
	}
	err = s.do(ctx, "look what is left", func() error {
		cmd := s.c.Fetch(set, &imap.FetchOptions{UID: true})
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			if m := readListed(msg); ours[m.uid] {
				left = append(left, m.uid)
			}
		}
		return cmd.Close()
	})
	if err != nil {
		return nil, err
	}
	// Reading goes on without the right to change anything.
	_, err = s.examine(ctx, folder)
	return left, err
}

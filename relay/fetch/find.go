package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2" // commands and answers
)

// maxFound bounds the result of FindHeader.
const maxFound = 1000

// FindHeader returns the UIDs of the messages in folder whose header field has
// value in it, ascending. IMAP compares without case
// and by substring, so the caller must look at what it finds. More than 1,000
// are an error: a search that finds so many finds nothing.
func (s *Session) FindHeader(ctx context.Context, folder, header, value string) ([]uint32, error) {
	if header == "" || strings.ContainsFunc(header, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
		return nil, fmt.Errorf("find: %q is not the name of a header field", header)
	}
	if len(value) > 1000 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, errors.New("find: the value has control characters or is too long")
	}
	if _, err := s.examine(ctx, folder); err != nil {
		return nil, err
	}
	return s.search(ctx, folder, &imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: header, Value: value}}}, maxFound)
}

const (
	// findWindow is how many messages, or UIDs, one SEARCH of FindSince looks at: its
	// answer is one line.
	findWindow = 20_000
	// findWindows bounds how many of these there are.
	findWindows = 1000
)

// FindSince returns the UIDs of the messages in folder that have a header field and
// came on the day of since or later, ascending; the zero time is before all.
func (s *Session) FindSince(ctx context.Context, folder, header string, since time.Time) ([]uint32, error) {
	st, err := s.examine(ctx, folder)
	if err != nil || st.Exists == 0 {
		return nil, err
	}
	ask := imap.SearchCriteria{Since: since, Header: []imap.SearchCriteriaHeaderField{{Key: header}}}
	if st.Exists <= findWindow {
		return s.search(ctx, folder, &ask, findWindow)
	}
	if st.UIDNext == 0 || st.UIDNext/findWindow >= findWindows {
		return nil, fmt.Errorf("find in %s: the UIDs are too many, up to %d", folder, st.UIDNext)
	}
	var uids []uint32
	for lo := uint32(1); lo < st.UIDNext; lo += findWindow {
		some := ask
		some.UID = []imap.UIDSet{{imap.UIDRange{Start: imap.UID(lo), Stop: imap.UID(lo + findWindow - 1)}}}
		found, err := s.search(ctx, folder, &some, findWindow)
		if err != nil {
			return nil, err
		}
		uids = append(uids, found...)
	}
	return uids, nil
}

// search returns what a SEARCH in the open folder finds, ascending. More than most
// are an error.
func (s *Session) search(ctx context.Context, folder string, what *imap.SearchCriteria, most int) ([]uint32, error) {
	var found imap.UIDSet
	err := s.do(ctx, "find in "+folder, func() error {
		data, err := s.c.UIDSearch(what, nil).Wait()
		if err != nil {
			return err
		}
		found, _ = data.All.(imap.UIDSet)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var uids []uint32
	for _, r := range found {
		if r.Start == 0 || r.Stop < r.Start || uint64(r.Stop-r.Start)+uint64(len(uids)) >= uint64(most) {
			return nil, fmt.Errorf("find in %s: more than %d messages", folder, most)
		}
		for uid := uint64(r.Start); uid <= uint64(r.Stop); uid++ {
			uids = append(uids, uint32(uid))
		}
	}
	slices.Sort(uids)
	return uids, nil
}

package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	var found imap.UIDSet
	err := s.do(ctx, "find in "+folder, func() error {
		data, err := s.c.UIDSearch(&imap.SearchCriteria{
			Header: []imap.SearchCriteriaHeaderField{{Key: header, Value: value}},
		}, nil).Wait()
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
		if r.Start == 0 || r.Stop < r.Start || uint64(r.Stop-r.Start)+uint64(len(uids)) >= maxFound {
			return nil, fmt.Errorf("find in %s: more than %d messages", folder, maxFound)
		}
		for uid := uint64(r.Start); uid <= uint64(r.Stop); uid++ {
			uids = append(uids, uint32(uid))
		}
	}
	slices.Sort(uids)
	return uids, nil
}

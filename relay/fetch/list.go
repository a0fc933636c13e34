package fetch

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2" // commands and answers
	"github.com/emersion/go-imap/v2/imapclient"
)

// firstWindow is how many UIDs are asked for at first. It doubles while they
// turn out to be unused, so that a folder with few messages over a wide range
// takes few commands and a full one is never listed whole.
const firstWindow = 1 << 10

// listed is a message as the provider lists it.
type listed struct {
	uid   uint32
	size  int64 // RFC822.SIZE; -1: not told
	date  time.Time
	asked int // how often it was listed again
}

// listNew lists the first max messages after the cursor, ascending, each once.
func (s *Session) listNew(ctx context.Context, st State, after uint32, max int) (out []listed, more bool, err error) {
	if st.Exists == 0 {
		return nil, false, nil
	}
	window := uint64(firstWindow)
	for lo := uint64(after) + 1; lo <= math.MaxUint32; {
		hi := lo + window - 1
		// The last window is open, for a UIDNEXT that is missing or wrong.
		if st.UIDNext == 0 || hi+1 >= uint64(st.UIDNext) || hi > math.MaxUint32 {
			hi = 0
		}
		some, cut, err := s.list(ctx, uint32(lo), uint32(hi), max-len(out)+1, false)
		if err != nil {
			return nil, false, err
		}
		out = append(out, some...)
		if cut || len(out) > max {
			return out[:min(len(out), max)], true, nil
		}
		if hi == 0 {
			break
		}
		lo, window = hi+1, window*2
	}
	return out, false, nil
}

// listBefore lists the first max messages up to the UID last, descending, each
// once.
func (s *Session) listBefore(ctx context.Context, st State, last uint32, max int) (out []listed, more bool, err error) {
	if st.Exists == 0 {
		return nil, false, nil
	}
	window := uint64(firstWindow)
	for hi := uint64(last); hi > 0; {
		lo := uint64(1)
		if hi > window {
			lo = hi - window + 1
		}
		some, cut, err := s.list(ctx, uint32(lo), uint32(hi), max-len(out)+1, true)
		if err != nil {
			return nil, false, err
		}
		slices.Reverse(some)
		out = append(out, some...)
		if cut || len(out) > max {
			return out[:min(len(out), max)], true, nil
		}
		hi, window = lo-1, window*2
	}
	return out, false, nil
}

// list asks for size and date of the UIDs lo to hi, where 0 is the last one, and
// keeps the keep lowest of them, or the highest, ascending, each once, whatever
// the order and number of the answers.
func (s *Session) list(ctx context.Context, lo, hi uint32, keep int, highest bool) (out []listed, cut bool, err error) {
	set := imap.UIDSet{imap.UIDRange{Start: imap.UID(lo), Stop: imap.UID(hi)}}
	shrink := func() {
		slices.SortFunc(out, func(a, b listed) int { return int(int64(a.uid) - int64(b.uid)) })
		out = slices.CompactFunc(out, func(a, b listed) bool { return a.uid == b.uid })
		switch {
		case len(out) <= keep:
		case highest:
			out, cut = slices.Clone(out[len(out)-keep:]), true
		default:
			out, cut = out[:keep], true
		}
	}
	err = s.do(ctx, "list messages", func() error {
		cmd := s.c.Fetch(set, &imap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true})
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			m := readListed(msg)
			// lo:* always means at least the last message (RFC 9051 section 9).
			if m.uid < lo || (hi != 0 && m.uid > hi) {
				continue
			}
			if out = append(out, m); len(out) >= 2*keep+1024 {
				shrink()
			}
		}
		return cmd.Close()
	})
	if err != nil {
		return nil, false, err
	}
	shrink()
	return out, cut, nil
}

func readListed(msg *imapclient.FetchMessageData) listed {
	m := listed{size: -1}
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			m.uid = uint32(item.UID)
		case imapclient.FetchItemDataRFC822Size:
			m.size = item.Size
		case imapclient.FetchItemDataInternalDate:
			m.date = item.Time
		}
	}
	return m
}

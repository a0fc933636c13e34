package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// TestAhead: small messages are read while those before them are looked at, never
// more than a few, in order and each once; large ones are not kept in memory. After
// an error of the callback no message is asked for any more.
func TestAhead(t *testing.T) {
	all := map[uint32]string{}
	for uid := uint32(1); uid <= 20; uid++ {
		all[uid] = fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", uid, strings.Repeat("x", 100))
	}
	all[7] = strings.Repeat("y", aheadBytes+1)
	p := newProvider(t, all)
	asked := func() int { return strings.Count(p.seen(), "BODY.PEEK[]") }
	var list []got
	most := 0
	_, err := p.dial(t).New(t.Context(), "INBOX", Cursor{}, 100, func(ctx context.Context, it Item) error {
		most = max(most, asked()-len(list))
		return keep(&list)(ctx, it)
	})
	if err != nil || !slices.Equal(numbers(list), p.uids()) || most > aheadMessages+3 {
		t.Errorf("%v, %v, %d ahead", numbers(list), err, most)
	}
	for _, g := range list {
		if g.body != all[g.uid] {
			t.Errorf("message %d changed", g.uid)
		}
	}
	q := newProvider(t, all)
	enough := errors.New("enough")
	s := q.dial(t)
	_, err = s.New(t.Context(), "INBOX", Cursor{}, 100, func(_ context.Context, it Item) error {
		if it.UID < 3 {
			_, err := io.Copy(io.Discard, it.Body)
			return err
		}
		return enough
	})
	n := strings.Count(q.seen(), "BODY.PEEK[]")
	if !errors.Is(err, enough) || n > 3+aheadMessages+2 {
		t.Errorf("%v, %d asked for", err, n)
	}
	// What was read ahead is over, and the session is in order.
	list = nil
	if _, err := s.New(t.Context(), "INBOX", Cursor{7, 19}, 1, keep(&list)); err != nil || len(list) != 1 {
		t.Errorf("afterwards: %v, %v", numbers(list), err)
	}
}

package relay

import (
	"context"
	"errors"
	"strings"

	"pecgate/mailbox"
)

// expectNothingOfOld takes away what an earlier release noted of recovered originals:
// they were sent long ago, and their receipts are there or went elsewhere.
func (s *Service) expectNothingOfOld(ctx context.Context) error {
	const page = 500
	for from := "expect/"; ; {
		var old []string
		n, last := 0, ""
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			old, n, last = nil, 0, ""
			return tx.Space(room).ScanFrom("expect/", from, func(k string, _ []byte) (bool, error) {
				n++
				last = k
				sub, err := headOf(tx, k[strings.LastIndexByte(k, '/')+1:])
				if err == nil && sub.Recovered != "" {
					old = append(old, k)
				}
				if errors.Is(err, ErrNotFound) {
					err = nil
				}
				return n < page, err
			})
		})
		if err == nil && len(old) > 0 {
			err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
				for _, k := range old {
					box := strings.TrimPrefix(k[:strings.LastIndexByte(k, '/')], "expect/")
					if err := errors.Join(tx.Space(room).Delete(k), tx.Space(room).Delete(sumKey(box))); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil || n < page {
			return err
		}
		from = last + "\x00"
	}
}

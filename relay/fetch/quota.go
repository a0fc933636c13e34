package fetch

import (
	"context"
	"errors"
	"math"

	"github.com/emersion/go-imap/v2" // capabilities and resources
)

// Quota is how full a mailbox is at its provider, in bytes.
type Quota struct {
	Used, Limit int64
	Known       bool // false: the provider does not tell
}

// Quota asks the provider how full the mailbox is (RFC 9208 section 4.1.3, RFC
// 2087). Of several roots that hold the folder the one with the least room
// counts. A refusal is no error: nothing is known then.
func (s *Session) Quota(ctx context.Context, folder string) (Quota, error) {
	var out Quota
	if !s.c.Caps().Has(imap.CapQuota) {
		return out, nil
	}
	err := s.do(ctx, "ask for the quota", func() error {
		roots, err := s.c.GetQuotaRoot(folder).Wait()
		for _, root := range roots {
			r, ok := root.Resources[imap.QuotaResourceStorage]
			if !ok || r.Limit <= 0 || r.Usage < 0 {
				continue
			}
			q := Quota{Used: bytesOf(r.Usage), Limit: bytesOf(r.Limit), Known: true}
			if !out.Known || q.Limit-q.Used < out.Limit-out.Used {
				out = q
			}
		}
		return err
	})
	var no *imap.Error
	if errors.As(err, &no) {
		return Quota{}, nil
	}
	return out, err
}

// bytesOf turns the unit of the protocol, 1,024 bytes, into bytes.
func bytesOf(n int64) int64 {
	if n > math.MaxInt64/1024 {
		return math.MaxInt64
	}
	return n * 1024
}

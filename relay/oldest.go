package relay

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"pecgate/mailbox"
)

// Oldest tells, for each mailbox of the policy from which something waits to leave, when
// the first of that was submitted. Messages of batches stand for their batch.
func (s *Service) Oldest(ctx context.Context) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	for _, a := range s.opt.Accounts() {
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			id := ""
			looked := 0
			err := tx.Space(room).Scan(queueBox(a.Box), func(k string, raw []byte) (bool, error) {
				var d due
				if err := json.Unmarshal(raw, &d); err != nil {
					return false, err
				}
				if looked++; d.Queued {
					id = strings.TrimPrefix(k[strings.LastIndexByte(k, '/')+1:], "~")
				}
				return id == "" && looked < inSight, nil
			})
			if err != nil || id == "" {
				return err
			}
			one, err := load(tx, id)
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			if err == nil {
				out[a.Box] = one.SubmittedAt
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

package forward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// begin puts what a gateway that was killed was working on back into its turn: what
// has opened the store since is the only one that works on it.
func (s *Sender) begin(ctx context.Context) error {
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		for _, way := range ways() { // they were of its servers
			if err := tx.Space(space).Delete("w" + way); err != nil {
				return err
			}
		}
		var cut []Item
		now := tx.Now().UTC()
		err := tx.Space(space).Scan("i/", func(_ string, raw []byte) (bool, error) {
			var it Item
			if err := json.Unmarshal(raw, &it); err != nil {
				return false, fmt.Errorf("record of what is forwarded: %w", err)
			}
			if opened, _, _ := strings.Cut(it.Holder, "/"); !it.Lease.IsZero() && opened != s.opt.Store.Opened() && it.Due.After(now) {
				cut = append(cut, it)
			}
			return len(cut) < mostCut, nil
		})
		for i := range cut {
			cut[i].Lease = time.Time{}
			err = errors.Join(err, cut[i].put(tx, now))
		}
		return err
	})
}

// mostCut bounds what can have been under way; more than atOnce of a few gateways.
const mostCut = 100

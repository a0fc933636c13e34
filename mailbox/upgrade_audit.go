package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"pecgate/mailbox/audit"
	"pecgate/mailbox/kv"
)

// adoptAudit takes the lines of format 0, which stood under plain numbers, into
// the log, in their order and with their times. Each line is in one of both
// places at every moment. The log needs no key for it and is opened later.
func (s *Store) adoptAudit(ctx context.Context) error {
	log, err := audit.New(audit.Options{Prefix: []byte("a/"), Now: s.opt.Now})
	if err != nil {
		return err
	}
	for size := adoptBatch; ; {
		var old [][]byte
		err := s.View(ctx, func(tx *Tx) (err error) { old, _, err = tx.plainLines(1); return err })
		if err == nil && len(old) == 0 {
			return nil
		}
		if err == nil {
			err = s.Update(ctx, func(tx *Tx) error { return tx.adoptLines(log, size) })
		}
		if errors.Is(err, kv.ErrTooBig) && size > 1 {
			size /= 2
			continue
		}
		if err != nil {
			return fmt.Errorf("take over the audit lines of before: %w", err)
		}
	}
}

// adoptBatch is how many lines one commit takes over: four keys each, and as a
// rule less than a kilobyte.
const adoptBatch = 50

// plainLines reads the oldest lines of format 0, and their keys.
func (tx *Tx) plainLines(most int) (old [][]byte, lines []AuditLine, err error) {
	prefix := key("a")
	err = tx.r.Scan(prefix, nil, func(k, v []byte) (bool, error) {
		// A number below 2^56 begins with a zero byte, the log's own keys with a
		// letter.
		if len(k) != len(prefix)+8 || k[len(prefix)] != 0 {
			return false, nil
		}
		var l AuditLine
		if err := json.Unmarshal(v, &l); err != nil {
			return false, fmt.Errorf("line %d: %w", tailUint64(k), err)
		}
		old, lines = append(old, append([]byte(nil), k...)), append(lines, l)
		return len(old) < most, nil
	})
	return old, lines, err
}

func (tx *Tx) adoptLines(log *audit.Log, most int) error {
	old, lines, err := tx.plainLines(most)
	if err != nil {
		return err
	}
	for i, l := range lines {
		if _, err := log.Append(tx.w, l); err != nil {
			return fmt.Errorf("line %d: %w", tailUint64(old[i]), err)
		}
		if err := tx.w.Delete(old[i]); err != nil {
			return err
		}
	}
	return nil
}

package mailbox

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"pecgate/mailbox/audit"
)

// AuditLine is one line of who did what: no content, no secret. It is durable
// with the change that it tells of.
type AuditLine = audit.Entry

// The files of the audit log, beside the folders of records and segments. The
// key must be in no backup; the public keys and the heads should.
const (
	auditKey   = "audit.key"
	auditHeads = "audit.heads"
)

// openAudit opens the log and compares it with the heads that were kept: one
// that was shortened or put back is refused.
func (s *Store) openAudit(ctx context.Context) error {
	name := s.opt.Name
	if name == "" {
		name = "pecgate"
	}
	key, err := audit.OpenKey(filepath.Join(s.opt.Dir, auditKey), name)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	s.audit, err = audit.New(audit.Options{
		Prefix: []byte("a/"), Key: key, File: filepath.Join(s.opt.Dir, auditHeads), Now: s.opt.Now,
	})
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	if err := s.audit.Start(ctx, s.records); err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	if !key.Made() {
		return nil
	}
	return s.Update(ctx, func(tx *Tx) error {
		return tx.Audit(AuditLine{Actor: "store", Event: "audit-key", Result: "made", More: map[string]string{"public": key.Public()}})
	})
}

// Audit appends a line.
func (tx *Tx) Audit(l AuditLine) error {
	l.At = tx.now.UTC()
	_, err := tx.s.audit.Append(tx.w, l)
	return err
}

// AuditTail calls fn for the newest lines, newest first, until it returns
// false. A line whose text was removed is passed over.
func (tx *Tx) AuditTail(fn func(n uint64, l AuditLine) bool) error {
	return tx.s.audit.Tail(tx.r, func(l audit.Line) bool { return fn(uint64(l.Number), l.Entry) })
}

// SignAudit signs the head of the audit log and writes it beside the store.
// Without new lines it does nothing.
func (s *Store) SignAudit(ctx context.Context) error {
	_, err := s.audit.Head(ctx, s.records)
	return s.watch(err)
}

// VerifyAudit re-checks the whole audit log, as it stands at one instant.
// progress, which may be nil, is told the lines checked and their number.
func (s *Store) VerifyAudit(ctx context.Context, progress func(done, total int64)) (*audit.Report, error) {
	return s.audit.Verify(ctx, s.records, progress)
}

// adoptAudit takes the lines of format 0, which stood under plain numbers, into
// the log.
func (s *Store) adoptAudit(ctx context.Context) error {
	for more := true; more; {
		err := s.Update(ctx, func(tx *Tx) error {
			var old [][]byte
			var lines []AuditLine
			prefix := key("a")
			err := tx.r.Scan(prefix, nil, func(k, v []byte) (bool, error) {
				// A number below 2^56 begins with a zero byte, the log's own keys
				// with a letter.
				if len(k) != len(prefix)+8 || k[len(prefix)] != 0 {
					return false, nil
				}
				var l AuditLine
				if err := json.Unmarshal(v, &l); err != nil {
					return false, err
				}
				old, lines = append(old, append([]byte(nil), k...)), append(lines, l)
				return len(old) < 100, nil
			})
			if err != nil {
				return err
			}
			for i, l := range lines {
				if _, err := s.audit.Append(tx.w, l); err != nil {
					return err
				}
				if err := tx.w.Delete(old[i]); err != nil {
					return err
				}
			}
			more = len(old) > 0
			return nil
		})
		if err != nil {
			return fmt.Errorf("take over the audit lines of before: %w", err)
		}
	}
	return nil
}

package mailbox

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"

	"pecgate/mailbox/audit"
	"pecgate/mailbox/kv"
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
		return fmt.Errorf("open the audit log (files %s, %[1]s.pub and %s): %w", auditKey, auditHeads, err)
	}
	s.audit, err = audit.New(audit.Options{
		Prefix: []byte("a/"), Key: key, File: filepath.Join(s.opt.Dir, auditHeads), Now: s.opt.Now,
	})
	if err != nil {
		return fmt.Errorf("open the audit log (files %s, %[1]s.pub and %s): %w", auditKey, auditHeads, err)
	}
	if err := s.startAudit(ctx); err != nil {
		return fmt.Errorf("open the audit log (files %s, %[1]s.pub and %s): %w", auditKey, auditHeads, err)
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
	if how := tx.s.Clock(); how != "" && proves(l.Event) {
		more := maps.Clone(l.More)
		if more == nil {
			more = map[string]string{}
		}
		more[ClockFact] = how
		l.More = more
	}
	_, err := tx.s.audit.Append(tx.w, l)
	return err
}

// AuditTail calls fn for the newest lines, newest first, until it returns
// false. A line whose text was removed is passed over.
func (tx *Tx) AuditTail(fn func(n uint64, l AuditLine) bool) error {
	return tx.s.audit.Tail(tx.r, func(l audit.Line) bool { return fn(uint64(l.Number), l.Entry) })
}

// SignAudit signs the head of the audit log and writes it beside the store.
// Without new lines it does nothing. On a disk that is almost full it answers
// ErrNoSpace, as Update does.
func (s *Store) SignAudit(ctx context.Context) error {
	if err := s.writeRoom(); err != nil {
		return err
	}
	_, err := s.audit.Head(ctx, s.records)
	return s.watch(err)
}

// VerifyAudit re-checks the whole audit log, as it stands at one instant.
// progress, which may be nil, is told the lines checked and their number.
func (s *Store) VerifyAudit(ctx context.Context, progress func(done, total int64)) (*audit.Report, error) {
	return s.audit.Verify(ctx, s.records, progress)
}

// Mention is how an extract of the audit log takes a line.
type Mention int

// The mentions. A line that is withheld is proven to stand there, without its text.
const (
	NotMentioned Mention = iota
	Withheld
	Mentioned
)

// AuditExtract is what shows a part of the audit log to somebody who has no access
// to it.
type AuditExtract struct {
	Proof  *audit.Proof
	Growth *audit.Growth // from the first head that covers the first line, to that of the proof
	Public string        // the key of both, as audit.Key.Public writes it
}

// ExtractAudit signs the head of the audit log and proves the lines that take
// mentions: at most audit.MaxProven, the oldest. It looks at the whole log once.
func (s *Store) ExtractAudit(ctx context.Context, take func(n int64, l AuditLine) Mention) (*AuditExtract, error) {
	if err := s.writeRoom(); err != nil {
		return nil, err
	}
	head, err := s.audit.Head(ctx, s.records)
	if err != nil {
		return nil, s.watch(err)
	}
	out := &AuditExtract{}
	err = s.records.View(ctx, func(r kv.Reader) error {
		var numbers []int64
		withheld := map[int64]bool{}
		err := s.audit.Scan(r, 0, func(l audit.Line) bool {
			how := take(l.Number, l.Entry)
			if how == NotMentioned || l.Number >= head.Size {
				return l.Number < head.Size && ctx.Err() == nil
			}
			withheld[l.Number] = how == Withheld
			numbers = append(numbers, l.Number)
			return len(numbers) < audit.MaxProven && ctx.Err() == nil
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if out.Proof, out.Growth, err = s.audit.Extract(r, head, numbers...); err != nil {
			return err
		}
		for i, e := range out.Proof.Entries {
			if withheld[e.Number] {
				out.Proof.Entries[i].Salt, out.Proof.Entries[i].Text = nil, ""
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.Public = s.audit.Public()
	return out, nil
}

// SignEvidence signs with the key of the audit log: Ed25519 over these bytes. public
// is the key, as audit.Key.Public writes it.
func (s *Store) SignEvidence(b []byte) (sig []byte, public string, err error) { return s.audit.Sign(b) }

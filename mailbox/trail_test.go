package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pecgate/mailbox/audit"
)

func note(t *testing.T, s *Store, event string) {
	t.Helper()
	if err := s.Update(context.Background(), func(tx *Tx) error { return tx.Audit(AuditLine{Actor: "mario", Event: event}) }); err != nil {
		t.Fatal(err)
	}
}

// auditEvents lists the events of the log, newest first.
func auditEvents(t *testing.T, s *Store) (out []string) {
	t.Helper()
	err := s.View(context.Background(), func(tx *Tx) error {
		return tx.AuditTail(func(_ uint64, l AuditLine) bool { out = append(out, l.Event); return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func verified(t *testing.T, s *Store) *audit.Report {
	t.Helper()
	r, err := s.VerifyAudit(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestS7_AuditOfTheStore: the lines of a store are chained and signed, also over
// a restart; one that is changed behind its back is named.
func TestS7_AuditOfTheStore(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := openWith(t, Options{Dir: dir, Name: "pecgate.example"})
	note(t, s, "login")
	if err := s.SignAudit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, Options{Dir: dir, Name: "another.example"}) // the key keeps its name
	note(t, s, "send")
	if got := fmt.Sprint(auditEvents(t, s)); got != "[send login audit-key]" {
		t.Errorf("%s", got)
	}
	if r := verified(t, s); !r.OK() || r.Size != 3 || r.Covered != 2 || r.Heads != 1 {
		t.Errorf("%+v", r)
	}
	err := s.Update(ctx, func(tx *Tx) error {
		return tx.r.Scan([]byte("a/e"), nil, func(k, v []byte) (bool, error) {
			if tail := tailUint64(k); tail != 1 {
				return true, nil
			}
			changed := append([]byte(nil), v...)
			changed[len(changed)-3] ^= 1
			return false, tx.w.Put(append([]byte(nil), k...), changed)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := verified(t, s); r.OK() || r.First().Entry != 1 {
		t.Errorf("a changed line: %+v", r)
	}
}

// TestS7_RecordsPutBack: records of before, beside heads of today, are refused.
func TestS7_RecordsPutBack(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := openWith(t, Options{Dir: dir})
	note(t, s, "login")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := copyDir(t, dir)
	s = openWith(t, Options{Dir: dir})
	note(t, s, "send")
	if err := errors.Join(s.SignAudit(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	heads, err := os.ReadFile(filepath.Join(dir, auditHeads))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(before, auditHeads), heads, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(Options{Dir: before}); !errors.Is(err, audit.ErrRolledBack) {
		t.Errorf("%v, want %v", err, audit.ErrRolledBack)
		if err == nil {
			s.Close()
		}
	}
}

// TestFormat0AuditLines: the plain lines of before are taken into the log, with
// their times.
func TestFormat0AuditLines(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := openWith(t, Options{Dir: dir})
	at := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	err := s.Update(ctx, func(tx *Tx) error {
		for i := range uint64(250) {
			b, err := json.Marshal(AuditLine{At: at, Event: fmt.Sprint("old", i+1)})
			if err != nil {
				return err
			}
			if err := tx.w.Put(key("a", i+1), b); err != nil {
				return err
			}
		}
		return tx.w.Delete(key("n", "plan"))
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, Options{Dir: dir})
	got := auditEvents(t, s)
	if len(got) != 251 || got[0] != "old250" || got[249] != "old1" {
		t.Fatalf("%d lines: %v", len(got), got)
	}
	if r := verified(t, s); !r.OK() || r.Size != 251 || !r.To.Equal(at) {
		t.Errorf("%+v", r)
	}
	n := 0
	err = s.View(ctx, func(tx *Tx) error {
		return tx.r.Scan(append(key("a"), 0), nil, func(_, _ []byte) (bool, error) { n++; return true, nil })
	})
	if err != nil || n != 0 {
		t.Errorf("%d plain lines left, %v", n, err)
	}
}

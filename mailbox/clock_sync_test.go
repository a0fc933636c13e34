package mailbox

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestJ7_EachProofSaysWhetherTheClockWasRight: the lines of the audit log that prove
// something say how the clock was when they were written, others do not, and nothing is
// claimed where it is not known.
func TestJ7_EachProofSaysWhetherTheClockWasRight(t *testing.T) {
	how := ClockUnsynchronised
	s, err := Open(Options{Dir: t.TempDir(), Clock: func() string { return how }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	given := map[string]string{"sha256": "00"}
	for _, now := range []string{ClockUnsynchronised, ClockSynchronised, ""} {
		how = now
		for _, event := range []string{"submission", "arrival", "login"} {
			if err := s.Update(context.Background(), func(tx *Tx) error { return tx.Audit(AuditLine{Event: event, Result: now, More: given}) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(given) != 1 {
		t.Errorf("the caller's facts were changed: %v", given)
	}
	n := 0
	err = s.View(context.Background(), func(tx *Tx) error {
		return tx.AuditTail(func(_ uint64, l AuditLine) bool {
			want := l.Result
			switch l.Event {
			case "login":
				want = ""
			case "submission", "arrival":
				n++
			default:
				return true
			}
			if got, there := l.More[ClockFact]; got != want || there != (want != "") || l.More["sha256"] != "00" {
				t.Errorf("%s while %q: %v", l.Event, l.Result, l.More)
			}
			return true
		})
	})
	if err != nil || n != 6 {
		t.Errorf("%d lines, %v", n, err)
	}
}

// TestJ7_TheClockIsAskedWithoutHarm: under a filter of system calls the kernel is not
// asked, since that could end the process.
func TestJ7_TheClockIsAskedWithoutHarm(t *testing.T) {
	dir := t.TempDir()
	mark, none := filepath.Join(dir, "synchronized"), filepath.Join(dir, "none")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"Name:\tx\nSeccomp:\t0\n": false, "Seccomp:\t2\nSeccomp_filters:\t3\n": true, "Name:\tx\n": true} {
		status := filepath.Join(dir, "status")
		if err := os.WriteFile(status, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := seccompFilter(status); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if !seccompFilter(none) {
		t.Error("what cannot be read is taken for no filter")
	}
	if got := readClock(true, mark); got != ClockSynchronised {
		t.Errorf("with the mark: %q", got)
	}
	if got := readClock(true, none); got != "" {
		t.Errorf("without: %q", got)
	}
	if got := SystemClock()(); got != "" && got != ClockSynchronised && got != ClockUnsynchronised {
		t.Errorf("of this machine: %q", got)
	}
}

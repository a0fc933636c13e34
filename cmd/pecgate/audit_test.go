package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/mailbox/audit"
)

// audit reads the audit lines of an event from the store; the gateway must be
// down.
func (h *house) audit(event string) []mailbox.AuditLine {
	h.t.Helper()
	s, err := mailbox.Open(mailbox.Options{Dir: filepath.Join(h.dir, "data")})
	if err != nil {
		h.t.Fatal(err)
	}
	var out []mailbox.AuditLine
	err = s.View(context.Background(), func(tx *mailbox.Tx) error {
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if l.Event == event {
				out = append(out, l)
			}
			return true
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		h.t.Fatal(err)
	}
	return out
}

func x509Pool(t *testing.T, pem []byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate")
	}
	return p
}

// TestS7_AuditVerify: the log of a running appliance, of a stopped one, and of
// one whose records were put back.
func TestS7_AuditVerify(t *testing.T) {
	h := newHouse(t).start()
	h.send("mario", "mariomario", boxA, []string{boxB}, "From: "+boxA+"\r\nTo: "+boxB+"\r\nSubject: x [PIN:"+pinMario+"]\r\nMessage-ID: <a1@alfa.example>\r\n\r\nciao\r\n")
	for _, running := range []bool{true, false} {
		if !running {
			h.stop()
		}
		state, out, errs := program(t, "", "audit", "verify", "--config", h.config())
		if state != exitGood || !strings.Contains(out, "every line is as it was written") || errs != "" {
			t.Fatalf("running %v: %d, %s%s", running, state, out, errs)
		}
		state, out, errs = program(t, "", "audit", "verify", "--json", "--config", h.config())
		var r audit.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || state != exitGood || r.Size < 3 || r.Faulty != 0 {
			t.Fatalf("running %v: %d, %v, %s%s", running, state, err, out, errs)
		}
		// What was signed while closing covers all.
		if !running && r.Covered < r.Size {
			t.Errorf("%d of %d lines are signed", r.Covered, r.Size)
		}
	}
	// Without the file of heads nobody could tell that records were put back.
	if err := os.Remove(filepath.Join(h.dir, "data", "audit.heads")); err != nil {
		t.Fatal(err)
	}
	state, out, errs := program(t, "", "audit", "verify", "--config", h.config())
	if state != exitFailed || out != "" || !strings.Contains(errs, "audit.heads") {
		t.Errorf("%d, %s%s", state, out, errs)
	}
}

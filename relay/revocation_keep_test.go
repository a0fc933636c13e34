package relay

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/mailbox/archive/bundle"
	"pecgate/relay/providersim"
	"pecgate/relay/revocation"
)

// TestRevocationIsKept: of the certificate that signed what came, the authority is
// asked once a day, and again an hour after an answer that was none; nothing waits for
// it. What it said then, however long, stands in the evidence, byte for byte; where it
// said nothing that stands there instead.
func TestRevocationIsKept(t *testing.T) {
	i := newIntake(t)
	long := bytes.Repeat([]byte("answer"), 20_000) // more than one record takes
	var calls atomic.Int64
	reply := make(chan revocation.Answer, 8)
	i.s.opt.Revocation = func(ctx context.Context, leaf, issuer *x509.Certificate) revocation.Answer {
		if err := leaf.CheckSignatureFrom(issuer); err != nil {
			t.Error(err)
		}
		calls.Add(1)
		select {
		case a := <-reply:
			a.At = time.Now()
			return a
		case <-ctx.Done():
			return revocation.Answer{}
		}
	}
	i.send("s1", testMsgID, "", "a@pec.example", "b@pec.example")
	begin := time.Now()
	i.take(i.receipt(providersim.Acceptance, nil)) // nobody answers
	if d := time.Since(begin); calls.Load() != 0 || d > time.Minute {
		t.Errorf("it was waited for: %s", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { i.s.keepRevocations(ctx); close(ended) }()
	reply <- revocation.Answer{Status: revocation.NotAvailable + ": it rains"}
	look := func(want string) *bundle.Message {
		t.Helper()
		for range 500 {
			m, members := i.evidenceOf()
			text := m.RevocationText
			if len(m.Revocation) > 0 {
				text = m.Revocation[0].Status
				if !bytes.Equal(members[m.Revocation[0].File], long) {
					t.Error("another answer than was given")
				}
			}
			if strings.Contains(text, want) {
				return m
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("never %q", want)
		return nil
	}
	look("it rains")
	i.take(i.receipt(providersim.Delivery, nil))
	look("it rains") // within the hour nobody is asked again
	cancel()
	<-ended
	if n := calls.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// Another service asks again, and then no more.
	ctx, cancel = context.WithCancel(t.Context())
	ended = make(chan struct{})
	i.s.revocations = make(chan signedBy, revocationWaiting)
	i.take(i.receipt(providersim.DeliveryWarning, nil))
	go func() { i.s.keepRevocations(ctx); close(ended) }()
	reply <- revocation.Answer{Kind: revocation.OCSP, Status: "good", Bytes: long}
	if m := look("good"); m.Revocation[0].Kind != revocation.OCSP || !strings.HasSuffix(m.Revocation[0].File, ".ocsp") {
		t.Errorf("%+v", m.Revocation)
	}
	cancel()
	<-ended
	if answered, err := i.s.keepRevocation(t.Context(), 2); err != nil || !answered || calls.Load() != 2 {
		t.Errorf("%v, %v, asked %d times", answered, err, calls.Load())
	}
}

// evidenceOf is the first receipt in the evidence of the one submission.
func (i *intake) evidenceOf() (*bundle.Message, map[string][]byte) {
	i.t.Helper()
	e, err := i.s.Evidence(i.t.Context(), []string{"s1"}, Hand{Actor: "test"})
	if err != nil {
		i.t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := e.Write(i.t.Context(), &b, nil); err != nil {
		i.t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		i.t.Fatal(err)
	}
	members := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			i.t.Fatal(err)
		}
		if members[f.Name], err = io.ReadAll(r); err != nil {
			i.t.Fatal(err)
		}
	}
	c, err := bundle.Check(i.t.Context(), bytes.NewReader(b.Bytes()), int64(b.Len()), bundle.CheckOptions{})
	if err != nil || !c.OK() {
		i.t.Fatalf("%v %+v", err, c.Steps)
	}
	var rep bundle.Report
	if err := json.Unmarshal(members["report.json"], &rep); err != nil {
		i.t.Fatal(err)
	}
	for _, m := range rep.Cases[0].Messages {
		if m.Role == bundle.RoleReceipt {
			return m, members
		}
	}
	i.t.Fatal("no receipt in the evidence")
	return nil, nil
}

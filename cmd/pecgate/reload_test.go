package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// serving runs `pecgate serve` in this process until stop or the end of the
// test.
func (h *house) serving() (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--config", h.config()}, strings.NewReader(""), h.log, h.log)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if state := <-ended; state != 0 {
			h.t.Errorf("serve ended with %d: %s", state, h.log)
		}
	})
	h.t.Cleanup(stop)
	if !listening(h.smtps, 20*time.Second) {
		h.t.Fatal("serve does not listen")
	}
	return stop
}

// TestG12_PolicyChangeTakesEffect edits policy.yaml under a running appliance:
// a right that is taken away is gone within seconds, a faulty file changes
// nothing, SIGHUP reads at once.
func TestG12_PolicyChangeTakesEffect(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario", "lucia"), mailboxText(boxB, false, "", "lucia"))
	h.serving()
	n := 0
	allowed := func() bool {
		n++
		r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "prova", strings.Repeat("m", n)+"@alfa.example"))
		if r.Class != submit.HandedOver && r.Code != 550 {
			t.Fatalf("%+v", r)
		}
		return r.Class == submit.HandedOver
	}
	if !allowed() {
		t.Fatal("mario may not send at first")
	}
	h.writePolicy(h.policy + "    surprise: true\n")
	time.Sleep(4 * time.Second) // longer than a change takes to be read
	if !allowed() {
		t.Error("a faulty file changed something")
	}
	h.writePolicy(strings.Replace(h.policy, "{user: mario}", "{user: mario, send: false}", 1))
	for end := time.Now().Add(20 * time.Second); allowed(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the right was not taken away")
		}
	}
	h.writePolicy(h.policy)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); !allowed(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the right was not given back")
		}
	}
}

// TestReloadedTrust: a CA that is added to provider_trust counts at SIGHUP; what came
// before that is judged again, and its outcome follows.
func TestReloadedTrust(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(h.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	h.write("pecgate.yaml", strings.Replace(read("pecgate.yaml"), "provider_trust: [ca.pem]", "provider_trust: [trust.pem]", 1))
	h.write("trust.pem", read("tls/ca.pem")) // a CA, and not the provider's
	h.serving()
	id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "prova", "fiducia@alfa.example")))
	said := func(what string) func() bool {
		return func() bool { return strings.Contains(h.log.String(), what) }
	}
	h.until("a receipt of an unknown CA", said(`"kind":"unverified"`))
	if s, err := h.shown(id); err == nil && s.State == relay.Accepted {
		t.Fatal("a receipt of an unknown CA is believed")
	}
	h.write("trust.pem", read("ca.pem"))
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	h.until("it is judged again", said("judged again by other CAs"))
	h.until("no receipt is missing", func() bool {
		s, err := h.shown(id)
		return err == nil && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered
	})
}

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// promise is a message for which the gateway said 250.
type promise struct{ msgid, body string }

// TestA1_KillDuringSubmission kills the appliance with SIGKILL 20 times while
// 16 sessions submit and it relays. The judge stands outside: what it was told
// 250 for, and what the provider got. Nothing is lost, nothing torn, nothing
// sent twice.
func TestA1_KillDuringSubmission(t *testing.T) {
	const cycles, sessions, perSession = 20, 16, 4
	h := newHouse(t, mailboxText(boxA, false, "    limits: {per_minute: 0}\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	bin := filepath.Join(t.TempDir(), "pecgate")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	roots := h.roots()
	rnd := rand.New(rand.NewPCG(1, 2026))
	var mu sync.Mutex
	var ledger []promise
	for cycle := range cycles {
		cmd := exec.Command(bin, "serve", "--config", h.config())
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if !listening(h.smtps, 20*time.Second) {
			_ = cmd.Process.Kill() // the test fails below
			_ = cmd.Wait()
			t.Fatalf("cycle %d: it does not start again:\n%s", cycle, &said)
		}
		var wg sync.WaitGroup
		for session := range sessions {
			wg.Go(func() {
				for n := range perSession {
					p := promise{msgid: fmt.Sprintf("c%d.s%d.n%d@alfa.example", cycle, session, n)}
					p.body = fmt.Sprintf("%s %d\r\n.\r\n%s\r\n", p.msgid, n, strings.Repeat("x", 10+session*600))
					head := "From: <" + boxA + ">\r\nTo: <" + boxB + ">\r\nSubject: s\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <" + p.msgid + ">\r\n\r\n"
					r := sendTo(t, h.smtps, roots, "mario", "mariomario", boxA, []string{boxB}, head+p.body)
					if r.Class == submit.HandedOver {
						mu.Lock()
						ledger = append(ledger, p)
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(time.Duration(20+rnd.IntN(400)) * time.Millisecond) // when the kill falls, not what is true
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed: that is what it says
		wg.Wait()
	}
	if len(ledger) < cycles {
		t.Fatalf("only %d messages were accepted in %d cycles: too few to tell anything", len(ledger), cycles)
	}

	h.start()
	// A kill between the intent and the dot leaves a submission that nobody can
	// tell anything of: it stays uncertain, which is no loss.
	h.until("the queue is empty and every receipt is in", func() bool {
		q := h.status().Queue
		return q[relay.Queued]+q[relay.Attempting]+q[relay.HandedOver] == 0 && h.accepted() == len(h.provider.Ledger())
	})
	got := map[string][]string{} // hashes of the bodies that the provider got, by Message-ID
	for _, l := range h.provider.Ledger() {
		_, body, _ := strings.Cut(string(l.Raw), "\r\n\r\n")
		id := strings.Trim(l.MessageID, "<>")
		got[id] = append(got[id], sum(body))
	}
	lost, torn, twice, uncertain := 0, 0, 0, 0
	for _, p := range ledger {
		s, err := h.shown(p.msgid)
		if err != nil {
			t.Errorf("%s: %v", p.msgid, err)
		}
		switch g := got[p.msgid]; {
		case len(g) == 0 && s.State == relay.Uncertain:
			uncertain++
		case len(g) == 0:
			lost++
			t.Errorf("%s was accepted and never sent: it is %s", p.msgid, s.State)
		case len(g) > 1:
			twice++
			t.Errorf("%s was sent %d times", p.msgid, len(g))
		case g[0] != sum(p.body):
			torn++
			t.Errorf("%s arrived with other bytes", p.msgid)
		case s.State != relay.Accepted:
			t.Errorf("%s was sent and is %s", p.msgid, s.State)
		}
	}
	// What left without its 250 being seen is whole all the same.
	for id, g := range got {
		if len(g) > 1 {
			t.Errorf("%s was sent %d times", id, len(g))
		}
	}
	t.Logf("%d cycles, %d accepted, %d at the provider: %d lost, %d torn, %d twice, %d uncertain", cycles, len(ledger), len(got), lost, torn, twice, uncertain)
}

// accepted counts the submissions of which the signed acceptance is here.
func (h *house) accepted() int { return h.status().Queue[relay.Accepted] }

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func listening(addr string, within time.Duration) bool {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close() // it answered
			return true
		}
	}
	return false
}

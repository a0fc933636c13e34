package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"pecgate/relay/submit"
)

// loadedHouse has no limit on the pace of sending and no PIN.
func loadedHouse(t *testing.T) *house {
	return newHouse(t, mailboxText(boxA, false, "    limits: {per_minute: 0}\n", "mario"), mailboxText(boxB, false, "", "lucia"))
}

// TestA1_KillDuringSubmission kills the appliance with SIGKILL 20 times while
// 16 sessions submit and it relays. The judge stands outside: what it was told
// 250 for, and what the provider got. Nothing is lost, nothing torn, nothing
// sent twice.
func TestA1_KillDuringSubmission(t *testing.T) {
	const cycles, sessions, perSession = 20, 16, 2
	h := loadedHouse(t)
	roots := h.roots()
	rnd := rand.New(rand.NewPCG(1, 2026))
	var told ledger
	for cycle := range cycles {
		p := h.launch()
		var wg sync.WaitGroup
		for session := range sessions {
			wg.Go(func() {
				for n := range perSession {
					p := letterOf(fmt.Sprintf("c%d.s%d.n%d", cycle, session, n), 10+session*600)
					if r := sendTo(t, h.smtps, roots, "mario", "mariomario", boxA, []string{boxB}, p.text()); r.Class == submit.HandedOver {
						told.add(p)
					}
				}
			})
		}
		// When the kill falls, not what is true.
		some := told.len() + rnd.IntN(sessions*perSession/2)
		for end := time.Now().Add(10 * time.Second); told.len() < some && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
		p.kill()
		wg.Wait()
	}
	if told.len() < cycles {
		t.Fatalf("only %d messages were accepted in %d cycles: too few to tell anything", told.len(), cycles)
	}
	h.start()
	t.Logf("%d cycles, %s", cycles, h.judge(&told))
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

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/relay/submit"
	"pecgate/relay/submit/smarthosttest"
)

// TestPassingOverKills: ordinary mail that was taken with 250 reaches the smarthost whatever ends the appliance. Killed before
// the smarthost has said anything, it is sent once; killed while it is sent, what was in the smarthost's hands may come a
// second time (RFC 5321 section 4.5.4.1), and nothing else does.
func TestPassingOverKills(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	addr := free(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := splitPort(silent.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h.write("pecgate.yaml", strings.Replace(string(readFile(t, h.config())), "smtp: {", fmt.Sprintf("smtp: {relay: [%q], ", addr), 1)+
		fmt.Sprintf("outgoing: {smarthost: {host: %s, port: %d, security: none}}\n", host, port))
	h.writePolicy(h.policy + "relays:\n  - {name: exchange, networks: [127.0.0.1/32], unmarked: smarthost}\n")
	relayHost, relayPort, err := splitPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	text := func(id string) string {
		return "Received: from ex01 by ex01; Sun, 22 Nov 2026 10:00:00 +0100\r\nFrom: Mario <mario@ordinary.example>\r\nTo: <amico@altrove.example>\r\nSubject: ordinario\r\nMessage-ID: <" +
			id + "@ex01.example>\r\n\r\n.punto\r\n\t\xe8 " + id + " \r\n"
	}
	send := func(id string) bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r := submit.Send(ctx, submit.Server{Host: relayHost, Port: relayPort, Security: "starttls", Ordinary: true, Roots: h.roots(), Hello: "ex01.example", Timeout: 20 * time.Second},
			"mario@ordinary.example", []string{"amico@altrove.example"}, strings.NewReader(text(id)), submit.Hooks{})
		return r.Class == submit.HandedOver
	}
	p := h.launch()
	if !listening(addr, 20*time.Second) {
		t.Fatal("nobody listens")
	}
	const before = 5
	var taken []string
	for n := range before {
		if id := fmt.Sprintf("before%d", n); send(id) {
			taken = append(taken, id)
		}
	}
	p.kill()
	if len(taken) != before {
		t.Fatalf("%d taken", len(taken))
	}
	if err := silent.Close(); err != nil {
		t.Fatal(err)
	}
	out := smarthosttest.On(t, silent.Addr().String())
	counted := func() map[string]int {
		seen := map[string]int{}
		for _, m := range out.All() {
			for _, id := range taken {
				if trace, ok := strings.CutSuffix(m.Data, text(id)); ok {
					seen[id]++
					if strings.Count(trace, "Received:") != 1 || strings.Count(trace, "\r\n") != 2 || !strings.Contains(trace, " (pecgate) id p") {
						t.Errorf("above %s stands %q", id, trace)
					}
				}
			}
		}
		return seen
	}
	p = h.launch()
	h.until("what waited is there", func() bool { return len(counted()) == before && h.status().Forwards == 0 })
	for id, n := range counted() {
		if n != 1 {
			t.Errorf("%s came %d times, and the smarthost had nothing of it before the kill", id, n)
		}
	}
	p.stop()
	// One that is killed while it sends and takes, again and again.
	rnd := rand.New(rand.NewPCG(3, 2026))
	const kills, inHand = 5, 4 // connections to the smarthost: so many are between sent and recorded at one moment
	var mu sync.Mutex
	for cycle := range kills {
		p = h.launch()
		if !listening(addr, 20*time.Second) {
			t.Fatal("nobody listens")
		}
		var lines sync.WaitGroup
		first := make(chan struct{}) // something was taken
		var once sync.Once
		for line := range 4 {
			lines.Go(func() {
				for n := range 4 {
					if id := fmt.Sprintf("c%d.l%d.n%d", cycle, line, n); send(id) {
						mu.Lock()
						taken = append(taken, id)
						mu.Unlock()
						once.Do(func() { close(first) })
					}
				}
			})
		}
		select {
		case <-first:
		case <-time.After(20 * time.Second):
		}
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond) // when the kill falls, not what is true
		p.kill()
		lines.Wait()
	}
	p = h.launch()
	h.until("all that was taken is there", func() bool { return len(counted()) == len(taken) && h.status().Forwards == 0 })
	twice := 0
	for id, n := range counted() {
		twice += n - 1
		if n > 1 && strings.HasPrefix(id, "before") || n > kills+1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	t.Logf("%d taken, %d came twice over %d kills", len(taken), twice, kills)
	if len(taken) < before+kills || twice > kills*inHand {
		t.Errorf("%d came twice over %d kills, of %d", twice, kills, len(taken))
	}
	for _, m := range out.All() {
		if strings.Contains(m.Data, "multipart/report") {
			t.Errorf("somebody is told of a failure:\n%s", m.Data)
		}
	}
	p.stop()
}

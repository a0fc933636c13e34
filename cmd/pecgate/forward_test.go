package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"pecgate/relay/submit"
	"pecgate/relay/submit/smarthosttest"
)

// TestCopiesReachOrdinaryMailboxes: receipts and PEC go to the ordinary mailboxes of
// who has deliver forward, and of who may only send, through a smarthost that at
// first takes nothing; the bytes are the provider's, the return path null.
func TestCopiesReachOrdinaryMailboxes(t *testing.T) {
	host := smarthosttest.New(t)
	first := true
	host.Answer = func(to string) string {
		if first && to == "mario@ordinary.example" {
			first = false
			return "452 4.2.2 full"
		}
		return ""
	}
	h := newHouse(t,
		mailboxText(boxA, false, "", "mario, preset: send only", "anna"),
		mailboxText(boxB, false, "", "lucia"))
	h.policy = strings.Replace(h.policy, "login: lucia\n", "login: lucia\n    deliver: [imap, forward]\n    notify_new: true\n", 1)
	h.writePolicy(h.policy)
	name, port, err := net.SplitHostPort(host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(h.config())
	if err != nil {
		t.Fatal(err)
	}
	h.write("pecgate.yaml", strings.TrimSuffix(string(text), "\n")+fmt.Sprintf("\noutgoing: {smarthost: {host: %s, port: %s, security: none}}\n", name, port))
	h.start()
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", "m1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	emitted := map[string]bool{}
	h.until("copies and notice reach lucia, the receipts mario", func() bool {
		kinds := map[string]int{}
		for _, m := range host.All() {
			kinds[m.To]++
		}
		return kinds["lucia@ordinary.example"] >= 2 && kinds["mario@ordinary.example"] >= 1
	})
	for _, e := range h.provider.Emitted() {
		emitted[string(e.Raw)] = true
	}
	copies := 0
	for _, m := range host.All() {
		if !strings.HasPrefix(m.From, "MAIL FROM:<>") {
			t.Errorf("return path %q", m.From)
		}
		if m.To != "lucia@ordinary.example" && m.To != "mario@ordinary.example" {
			t.Errorf("to %s", m.To)
		}
		_, below, _ := strings.Cut(m.Data, "\r\n\tfor <")
		_, below, _ = strings.Cut(below, "\r\n")
		if emitted[below] {
			copies++
		} else if !strings.Contains(below, "\r\nX-Loop: pecgate@gateway.example\r\n") && !strings.Contains(below, "Auto-Submitted: auto-generated") {
			t.Errorf("neither the provider's bytes nor a notice:\n%.300s", below)
		}
	}
	if copies < 2 {
		t.Errorf("%d copies of the provider's bytes", copies)
	}
}

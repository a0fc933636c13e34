package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// TestAGroupwareServerSendsForItsUsers: no relay, no listener; one that is written into
// the policy is let in without a restart, sends for a user, and is out when its network
// is another one. What has no sender stands in the administrator's INBOX.
func TestAGroupwareServerSendsForItsUsers(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(h.config())
	if err != nil {
		t.Fatal(err)
	}
	h.write("pecgate.yaml", strings.Replace(string(config), "smtp: {", fmt.Sprintf("smtp: {relay: [%q], ", addr), 1))
	h.serving()
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Fatal("somebody listens without any relay")
	}
	h.writePolicy(h.policy + "relays:\n  - {name: exchange, networks: [127.0.0.1/32], internal_recipients: warn}\n")
	if !listening(addr, 20*time.Second) {
		t.Fatalf("nobody listens: %s", h.log)
	}
	host, port, err := splitPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	relayed := func(from, message string) submit.Result {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return submit.Send(ctx, submit.Server{Host: host, Port: port, Security: "starttls", Ordinary: true, Roots: h.roots(), Hello: "ex01.example", Timeout: 20 * time.Second},
			from, []string{boxB}, strings.NewReader(message), submit.Hooks{})
	}
	const person = "mario@ordinary.example"
	message := "Received: from ex01.corp.example by ex01.corp.example; Sun, 22 Nov 2026 10:00:00 +0100\r\nFrom: Mario <" + person + ">\r\nTo: <" + boxB + ">\r\nCc: <collega@interno.example>\r\nSubject: [PEC] prova\r\nMessage-ID: <gw1@ex01.corp.example>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0100\r\n\r\nciao\r\n"
	if r := relayed(person, strings.ReplaceAll(message, "[PEC] ", "")); r.Code != 550 || !strings.Contains(r.Text, "[PEC]") {
		t.Errorf("unmarked: %+v", r)
	}
	if r := relayed(person, message); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.until("the delivery", func() bool {
		s, err := h.shown("gw1@ex01.corp.example")
		return err == nil && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered
	})
	all := h.provider.Ledger()
	if len(all) != 1 {
		t.Fatalf("%d messages at the provider", len(all))
	}
	if got := string(all[0].Raw); !strings.Contains(got, "From: Mario <"+boxA+">\r\n") || !strings.Contains(got, "Subject: prova\r\n") || strings.Contains(got, "ordinary.example") || strings.Contains(got, "Received:") {
		t.Errorf("the provider got\n%s", got)
	}
	if r := relayed(person, message); r.Class != submit.HandedOver {
		t.Errorf("the same again: %+v", r)
	}
	// The server gives it to the colleague itself: its sender hears of that, once.
	h.until("the remark", func() bool {
		return strings.Contains(strings.Join(h.folder("mario", "INBOX"), ""), "Subject: PEC: non tutti in A e Cc")
	})
	if n := strings.Count(strings.Join(h.folder("mario", "INBOX"), ""), "Subject: PEC: non tutti in A e Cc"); n != 1 {
		t.Errorf("%d remarks", n)
	}
	if r := relayed("", "From: postmaster@ordinary.example\r\nSubject: nobody there\r\n\r\nx\r\n"); r.Class != submit.HandedOver {
		t.Errorf("a bounce: %+v", r)
	}
	h.until("the bounce in the INBOX", func() bool {
		return strings.Contains(strings.Join(h.folder("lucia", "INBOX"), ""), "nobody there")
	})
	h.writePolicy(h.policy + "relays:\n  - {name: exchange, networks: [192.0.2.10/32]}\n")
	h.until("the door to be shut", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		defer c.Close()
		b, _ := io.ReadAll(io.LimitReader(c, 4)) // the greeting, or the refusal
		return string(b) == "554 "
	})
}

package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

// TestApprovalOverKills kills the appliance with SIGKILL while two approvers move
// what waits; what still waits afterwards is moved again. Each message leaves
// once, and stands once among what was approved.
func TestApprovalOverKills(t *testing.T) {
	const cycles = 6
	h := approvalHouse(t, false, "    limits: {per_minute: 0}\n")
	// No hand-over begins meanwhile: one that a kill cuts would be uncertain, which
	// is another test's.
	expired, err := h.provider.CA().TLSLeaf(providersim.TLSLeafOptions{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(0, 0, -1)})
	if err != nil {
		t.Fatal(err)
	}
	h.provider.SetTLS(providersim.TLSOptions{Certificate: &expired})
	rnd := rand.New(rand.NewPCG(3, 2026))
	var ids []string
	for cycle := range cycles {
		p := h.launch()
		ids = append(ids, h.written(fmt.Sprintf("k%d@alfa.example", cycle)))
		var wg sync.WaitGroup
		var moving []*wire
		for _, login := range []string{"mario", "piero"} {
			w := h.reading(login, toApprove)
			moving = append(moving, w)
			wg.Go(func() { _, _, _ = w.imap(`MOVE 1:* "` + approved + `"`) }) // it may be cut off
		}
		time.Sleep(time.Duration(rnd.IntN(4)) * time.Millisecond) // when the kill falls, not what is true
		p.kill()
		wg.Wait()
		for _, w := range moving {
			w.close()
		}
	}
	h.provider.SetTLS(providersim.TLSOptions{})
	h.start()
	waited := len(h.folder("mario", toApprove))
	t.Logf("%d of %d still waited", waited, cycles)
	h.reading("piero", toApprove).does(t, `MOVE 1:* "`+approved+`"`, "OK")
	var out strings.Builder
	run(t.Context(), append([]string{"queue", "retry", "--config", h.config()}, ids...), strings.NewReader(""), &out, &out) // those whose next attempt is far off; others have left
	for _, id := range ids {
		h.settled(id, relay.Accepted)
	}
	sent := map[string]int{}
	for _, l := range h.provider.Ledger() {
		sent[l.MessageID]++
	}
	for id, n := range sent {
		if n != 1 {
			t.Errorf("%s has left %d times", id, n)
		}
	}
	if len(sent) != cycles {
		t.Errorf("%d messages have left", len(sent))
	}
	for _, f := range []string{approved, treeA + "Posta inviata"} {
		if n := len(h.folder("anna", f)); n != cycles {
			t.Errorf("%d messages in %s", n, f)
		}
	}
	if n := len(h.folder("mario", toApprove)); n != 0 {
		t.Errorf("%d messages still wait", n)
	}
}

// TestApprovalOfABatch: a message that leaves as one for each recipient is
// approved, and confirmed, as a whole.
func TestApprovalOfABatch(t *testing.T) {
	h := approvalHouse(t, true, "    split: always\n").start()
	to, message := circular(5)
	r := h.send("anna", "annaanna", boxA, to, message)
	if r.Class != submit.HandedOver || !strings.Contains(r.Text, "quando e' autorizzato") {
		t.Fatalf("%+v", r)
	}
	s, err := h.shown("circolare@alfa.example")
	if err != nil || s.State != relay.ToApprove || s.StateReason != relay.ReasonApproval {
		t.Fatalf("%s (%s), %v", s.State, s.StateReason, err)
	}
	var out strings.Builder
	if state := run(t.Context(), []string{"queue", "approve", s.Children[0].ID, "--config", h.config()}, strings.NewReader(""), &out, &out); state != exitFailed || !strings.Contains(out.String(), "as a whole") {
		t.Errorf("one of its messages is approved: %d %s", state, &out)
	}
	h.reading("mario", toApprove).does(t, `MOVE 1 "`+approved+`"`, "OK")
	if s, _ = h.shown(s.ID); s.State != relay.ToApprove || s.StateReason != relay.ReasonPIN || len(h.provider.Ledger()) != 0 {
		t.Fatalf("%s (%s), %d messages have left", s.State, s.StateReason, len(h.provider.Ledger()))
	}
	token, _ := h.confirmAt("mario", 1)
	if r := h.reply("mario", token, pinMario); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.until("all have left", func() bool { return len(h.provider.Ledger()) == len(to) })
	h.until("all are accepted", func() bool { s, err = h.shown(s.ID); return err == nil && s.State == relay.Accepted })
	if n := len(h.folder("anna", approved)); n != 1 {
		t.Errorf("%d messages are approved", n)
	}
}

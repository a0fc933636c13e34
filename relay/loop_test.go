package relay

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/forward"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// copies takes what is queued for ordinary mailboxes off the queue, as it arrives
// there: header and all.
func (i *intake) copies() (all []string) {
	i.t.Helper()
	i.mailed()
	items, err := Forwards(i.t.Context(), i.store, 1000)
	if err != nil {
		i.t.Fatal(err)
	}
	for _, it := range items {
		var raw []byte
		if it.Message == 0 {
			err := i.store.View(i.t.Context(), func(tx *mailbox.Tx) error { return tx.Space("forward").Get("b/"+it.ID, &raw) })
			if err != nil {
				i.t.Fatal(err)
			}
		} else {
			m, err := i.store.Message(i.t.Context(), it.Message)
			if err != nil {
				i.t.Fatal(err)
			}
			body, err := i.store.Open(m)
			if err != nil {
				i.t.Fatal(err)
			}
			if raw, err = io.ReadAll(io.NewSectionReader(body, 0, m.Size())); err != nil {
				i.t.Fatal(err)
			}
			if err := body.Close(); err != nil {
				i.t.Fatal(err)
			}
		}
		trace := fmt.Sprintf("Received: by %s (pecgate) id %s\r\n\tfor <%s>; Sat, 21 Nov 2026 10:00:00 +0100\r\n", i.s.opt.Hello, it.ID, it.To)
		all = append(all, trace+string(raw))
	}
	i.sent()
	return all
}

// answer is what an auto-responder of some make writes to a message, and whether it
// has a sender.
func answerOfMachine(make int, to string) (raw string, null bool) {
	id := "<m@x.example>"
	if _, rest, ok := strings.Cut(to, "\r\nMessage-ID: "); ok {
		id, _, _ = strings.Cut(rest, "\r\n")
	}
	from := "From: mario@example.org\r\nTo: x@pec.example\r\nSubject: [PEC] Risposta automatica\r\nIn-Reply-To: " + id + "\r\n"
	head, _, _ := strings.Cut(to, "\r\n\r\n")
	switch make % 6 {
	case 0: // Exchange, Microsoft 365
		return "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n" + from + "\r\nSono assente.\r\n", true
	case 1: // the same where a transport rule gives it a sender
		return "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n" + from + "\r\nSono assente.\r\n", false
	case 2: // vacation(1), Sieve
		return "Auto-Submitted: auto-replied (vacation)\r\nPrecedence: bulk\r\n" + from + "\r\nSono assente.\r\n", false
	case 3: // an agent of Domino
		return "Precedence: auto_reply\r\n" + from + "\r\nSono assente.\r\n", false
	case 4: // a rule that sends everything on
		return head + "\r\n\r\nsent on\r\n", false
	}
	return "Content-Type: multipart/report; report-type=disposition-notification; boundary=x\r\n" + from + "\r\nletto\r\n", false
}

// Two auto-responders, one behind each side, and a relay between them that marks all
// it can as PEC: what a machine answers to a copy, a receipt, a notice or a
// notification never leaves, and what comes back to the mailbox is not forwarded. A
// chain is a message, its copy, and the answer to that.
func TestTwoAutoResponders(t *testing.T) {
	r := newToldBack(t)
	r.acc.OrdinaryTo = "ufficio@example.org"
	r.relayed("one", "exchange", "mario@example.org", HandedOver, []string{"a@pec.example", "b@pec.example"}, []string{"SUCCESS,FAILURE", "SUCCESS,FAILURE"})
	longest, answers := 0, 0
	chain := func(raw []byte) {
		length := 1
		next := [][]byte{raw}
		for len(next) > 0 && length < 10 {
			for _, m := range next {
				r.take(m)
			}
			next = nil
			r.later(2 * notifyEvery) // what a receipt has told as notification goes with its copy
			if _, err := r.s.notifyDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := r.copies()
			if len(got) == 0 {
				break
			}
			length++
			if length > 2 {
				t.Logf("a chain goes on with %.400s", got[0])
			}
			longest = max(longest, length)
			for n, c := range got {
				answer, null := answerOfMachine(answers, c)
				answers++
				longest = max(longest, length+1)
				header, _, _ := strings.Cut(answer, "\r\n\r\n")
				if null || r.s.Looped([]byte(header+"\r\n\r\n")) != "" {
					// It comes back to the mailbox as ordinary mail all the same.
					next = append(next, []byte("Return-Path: <>\r\nMessage-ID: <back."+fmt.Sprint(answers, n)+"@x.example>\r\n"+answer))
					continue
				}
				// It leaves: the counterpart's machine answers it, and that arrives.
				next = append(next, r.envelope())
			}
			length++
		}
	}
	for n := range 60 {
		switch n % 4 {
		case 0, 1:
			chain(r.envelope())
		case 2:
			chain(r.receipt(providersim.Delivery, func(x *providersim.Notice) { x.Recipient = "a@pec.example" }))
		case 3:
			chain(ordinaryMail(""))
		}
	}
	if longest != 3 || answers < 60 {
		t.Errorf("the longest chain has %d messages, of %d answers", longest, answers)
	}
	if got := len(bytes.TrimSpace([]byte(r.log.String()))); got > 0 && strings.Contains(r.log.String(), "level=ERROR") {
		t.Errorf("%s", r.log)
	}
	if forward.LoopHeader != "X-Loop" {
		t.Error("the field of notices has another name")
	}
}

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

// circular is a message to one that everybody sees and to others.
func circular(n int) (to []string, message string) {
	to = []string{boxB}
	for i := range n - 1 {
		to = append(to, fmt.Sprintf("u%04d@ordinary.example", i))
	}
	return to, strings.Replace(mail(boxA, boxB, "Circolare", "circolare@alfa.example"), "MIME-Version",
		"Cc: <"+boxA+">\r\nBcc: "+strings.Join(to[1:], ",\r\n ")+"\r\nX-TipoRicevuta: completa\r\nMIME-Version", 1)
}

// sendBulk sends one message to n recipients through a mailbox that splits always,
// and sees that each got it once, with the bytes that the rule gives, and that one
// report tells of all.
func sendBulk(t *testing.T, n int) {
	h := newHouse(t, mailboxText(boxA, false, "    split: always\n    limits: {recipients: 10, product: 1MB}\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	to, message := circular(n)
	began := time.Now()
	r := h.send("mario", "mariomario", boxA, to, message)
	if r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	t.Logf("%d recipients: 250 after %s", n, time.Since(began).Round(time.Millisecond))
	words := strings.Fields(r.Text)
	id := words[len(words)-1]
	if again := h.send("mario", "mariomario", boxA, to, message); !strings.HasSuffix(again.Text, id) {
		t.Errorf("the retry: %+v", again)
	}
	var s relay.Shown
	for range 1 + n/50 {
		before := s.Batch
		h.until("it goes on", func() bool {
			var err error
			s, err = h.shown(id)
			return err == nil && (before == nil || *s.Batch != *before || s.Batch.Accepted == n) && (s.Batch.Accepted == n || s.Batch.Accepted >= 50+acceptedOf(before))
		})
	}
	h.until("the one is delivered", func() bool {
		s, _ = h.shown(id)
		return s.Batch != nil && s.Batch.Delivered == 1 && s.Batch.Accepted == n
	})
	if s.State != relay.Accepted || len(s.Children) != n || len(s.Recipients) != n {
		t.Errorf("%s, %d messages, %+v", s.State, len(s.Children), s.Batch)
	}
	got := map[string]providersim.Submission{}
	for _, l := range h.provider.Ledger() {
		if len(l.Recipients) != 1 || got[l.Recipients[0]].ID != "" {
			t.Fatalf("%v a second time, or not alone", l.Recipients)
		}
		got[l.Recipients[0]] = l
	}
	bcc := message[strings.Index(message, "Bcc:"):strings.Index(message, "X-TipoRicevuta")]
	for _, c := range s.Children {
		l := got[c.Recipients[0]]
		want := strings.NewReplacer(bcc, "", "Cc: <"+boxA+">\r\n", "", "To: <"+boxB+">", "To: "+c.Recipients[0],
			"<circolare@alfa.example>", "<"+c.MsgID+">").Replace(message)
		if string(l.Raw) != want || c.MsgID == "circolare@alfa.example" {
			t.Fatalf("to %s went\n%s", c.Recipients[0], l.Raw)
		}
		sum := sha256.Sum256(l.Raw)
		if hex.EncodeToString(sum[:]) != c.SHA256 {
			t.Errorf("%s has the hash of other bytes on record", c.ID)
		}
	}
	if state, out, errs := program(t, "", "show", s.Children[n-1].ID, "--eml", "--config", h.config()); state != exitGood || out != string(got[to[n-1]].Raw) {
		t.Errorf("%d %s%s", state, out, errs)
	}
	if sent := h.folder("mario", treeA+"Posta inviata"); len(sent) != 1 || sent[0] != message {
		t.Errorf("%d sent copies, or not what the client wrote", len(sent))
	}
	h.append("mario", `"`+treeA+`Posta inviata"`, message)
	if sent := h.folder("mario", treeA+"Posta inviata"); len(sent) != 1 {
		t.Errorf("%d sent copies after the client's own", len(sent))
	}
	want := fmt.Sprintf("X-PEC-Esito: D=%d A=%d C=1 E=0\r\n", n, n)
	h.until("one report tells of all", func() bool {
		all := h.folder("mario", treeA+"Esiti")
		return len(all) == 1 && strings.Contains(all[0], want)
	})
}

func acceptedOf(b *relay.ShownBatch) int {
	if b == nil {
		return -50
	}
	return b.Accepted
}

// TestSplitAlways is the way of a message to many.
func TestSplitAlways(t *testing.T) { sendBulk(t, 30) }

// TestSplitBlind: those whom everybody sees get the client's own message, a blind
// one gets another; with never it is refused in the words of the rule.
func TestSplitBlind(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "    split: blind\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	message := strings.Replace(mail(boxA, boxB, "Cieca", "cieca@alfa.example"), "MIME-Version", "Cc: <"+boxA+">\r\nX-TipoRicevuta: completa\r\nMIME-Version", 1)
	with := strings.Replace(message, "MIME-Version", "Bcc: x@ordinary.example\r\nMIME-Version", 1)
	if r := h.send("mario", "mariomario", boxA, []string{"x@ordinary.example", boxA, boxB}, with); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	s := h.settled("cieca@alfa.example", relay.Accepted)
	h.until("both are there", func() bool { return len(h.provider.Ledger()) == 2 })
	if s.Batch == nil || s.Batch.Messages != 2 {
		t.Fatalf("%+v", s)
	}
	for _, l := range h.provider.Ledger() {
		switch {
		case len(l.Recipients) == 2 && slices.Contains(l.Recipients, boxA) && slices.Contains(l.Recipients, boxB):
			if string(l.Raw) != message {
				t.Errorf("those whom everybody sees got\n%s", l.Raw)
			}
		case slices.Equal(l.Recipients, []string{"x@ordinary.example"}):
			if strings.Contains(string(l.Raw), boxB) || strings.Contains(string(l.Raw), "Cc:") || strings.Contains(string(l.Raw), "cieca@") {
				t.Errorf("the blind one got\n%s", l.Raw)
			}
		default:
			t.Errorf("one went to %v", l.Recipients)
		}
	}
	// Without a blind one it is a message as any other.
	plain := strings.Replace(message, "cieca@", "aperta@", 1)
	if r := h.send("mario", "mariomario", boxA, []string{boxA, boxB}, plain); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	if s := h.settled("aperta@alfa.example", relay.Accepted); s.Batch != nil {
		t.Errorf("%+v", s)
	}
	if r := h.send("lucia", "lucialucia", boxB, []string{boxA, "x@ordinary.example"}, mail(boxB, boxA, "mai", "mai@beta.example")); r.Code != 550 || !strings.Contains(r.Text, "Ccn") {
		t.Errorf("%+v", r)
	}
}

package main

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// decoded is the text of a message whose only part, or whose first, is base64.
func decoded(t *testing.T, raw string) string {
	t.Helper()
	at := strings.Index(raw, "Content-Transfer-Encoding: base64\r\n")
	if at < 0 {
		t.Fatalf("no base64 in %.500q", raw)
	}
	_, body, _ := strings.Cut(raw[at:], "\r\n\r\n")
	body, _, _ = strings.Cut(body, "\r\n--")
	b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestB6_ToldInClearWords: a 5xx of the provider ends it. It is tried once, and the
// sender reads in Italian and English that nobody got it, the provider's words, and
// which message it was.
func TestB6_ToldInClearWords(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.provider.Faults().RejectAtDot.Next(1)
	h.start()
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", "b6@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	s := h.settled("b6@alfa.example", relay.NotAccepted)
	h.until("a notice in INBOX", func() bool { return len(h.folder("mario", "INBOX")) == 1 })
	raw := h.folder("mario", "INBOX")[0]
	text := decoded(t, raw)
	for _, want := range []string{"Il gestore non ha accettato il messaggio", "The provider did not take the message", "554", s.ID, "<b6@alfa.example>", boxB} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if !strings.Contains(raw, "References: <b6@alfa.example>\r\n") || !strings.Contains(raw, "Auto-Submitted: auto-generated\r\n") {
		t.Errorf("%.800s", raw)
	}
	tried := 0
	for _, e := range s.Events {
		if e.What == "intent" {
			tried++
		}
	}
	if all, _ := h.sentTimes(); tried != 1 || all != 0 || len(h.listed()) != 0 {
		t.Errorf("tried %d times, %d at the provider, %d wait", tried, all, len(h.listed()))
	}
}

// TestB8_OneRefusedRecipient: the provider refuses one of three recipients, at RCPT
// or all of it after DATA. Nothing is sent to the others, and the sender is told
// who was refused and why.
func TestB8_OneRefusedRecipient(t *testing.T) {
	to := []string{boxB, "a@pec.altra.example", "b@pec.altra.example"}
	for _, at := range []string{"RCPT", "DATA"} {
		t.Run(at, func(t *testing.T) {
			h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
			words := "554"
			if at == "RCPT" {
				h.provider.Faults().RejectRecipient.Next(1)
				words = to[0] + ": 550 5.1.1 indirizzo non valido"
			} else {
				h.provider.Faults().RejectAtDot.Next(1)
			}
			h.start()
			message := strings.Replace(mail(boxA, boxB, "Diffida", "b8@alfa.example"), "To: <"+boxB+">", "To: <"+strings.Join(to, ">, <")+">", 1)
			if r := h.send("mario", "mariomario", boxA, to, message); r.Class != submit.HandedOver {
				t.Fatalf("%+v", r)
			}
			s := h.settled("b8@alfa.example", relay.NotAccepted)
			h.until("a notice in INBOX", func() bool { return len(h.folder("mario", "INBOX")) == 1 })
			if text := decoded(t, h.folder("mario", "INBOX")[0]); !strings.Contains(text, words) || !strings.Contains(text, "nessun destinatario") {
				t.Errorf("no %q in\n%s", words, text)
			}
			story := fmt.Sprint(s.Events)
			if !strings.Contains(story, words) {
				t.Errorf("no %q in the story %s", words, story)
			}
			for _, r := range s.Recipients {
				if r.State != relay.Failed {
					t.Errorf("%s is %s", r.Address, r.State)
				}
			}
			if err := h.provider.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if all, _ := h.sentTimes(); all != 0 || len(h.folder("lucia", treeB+"Posta in arrivo")) != 0 {
				t.Errorf("%d messages at the provider", all)
			}
		})
	}
}

// TestB12_NotAcceptedAfterThe250: the provider says 250 and mails later that it
// does not accept. It ends as not accepted, its sender is told by the report and by
// the notice itself, and it does not count as sent.
func TestB12_NotAcceptedAfterThe250(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	virus := `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + "EICAR-STANDARD-" + "ANTIVIRUS-TEST-FILE!$H+H*"
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", "b12@alfa.example")+virus+"\r\n"); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	s := h.settled("b12@alfa.example", relay.NotAccepted)
	if s.StateReason != relay.ReasonVirus || s.Recipients[0].State != relay.Failed || len(s.Receipts) != 1 || s.Counts != (relay.Counts{D: 1, E: 1}) {
		t.Errorf("%+v", s)
	}
	h.until("the report says so", func() bool {
		all := h.folder("mario", treeA+"Esiti")
		return len(all) == 1 && strings.Contains(decoded(t, all[0]), "non accettata per virus, non inviata a nessuno\r\nD=1 A=0 C=0 E=1")
	})
	if n := len(h.folder("mario", treeA+"Ricevute/Errori")); n != 1 {
		t.Errorf("%d receipts of errors", n)
	}
	if q := h.status().Queue; q[relay.NotAccepted] != 1 || q[relay.Accepted]+q[relay.HandedOver] != 0 {
		t.Errorf("%v", q)
	}
	w := h.reading("mario", treeA+"Posta inviata")
	flags, _, err := w.imap("FETCH 1 FLAGS")
	if err != nil || !strings.Contains(flags, "$PecFailed") || strings.Contains(flags, "$PecAccepted") || strings.Contains(flags, "$PecDelivered") {
		t.Errorf("%s, %v", flags, err)
	}
	state, out, errs := program(t, "", "--config", h.config(), "show", "b12@alfa.example")
	if state != exitGood || !strings.Contains(out, "D=1 A=0 C=0 E=1") || !strings.Contains(out, "not-accepted (virus)") {
		t.Errorf("%d %s %s", state, out, errs)
	}
	if items := h.listed("--state", "handed-over", "--state", "accepted"); slices.ContainsFunc(items, func(relay.QueueItem) bool { return true }) {
		t.Error(fmt.Sprint(items))
	}
}

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// accepted is the id of a submission that must have been taken.
func accepted(t *testing.T, r submit.Result) string {
	t.Helper()
	if r.Class != submit.HandedOver {
		t.Fatalf("%s %d %q: %v", r.Class, r.Code, r.Text, r.Err)
	}
	words := strings.Fields(r.Text)
	return words[len(words)-1]
}

// TestA5_MessageIDUsedAgain: other bytes and another envelope under a Message-ID
// that the mailbox has used already are sent, under ids of their own. The
// client's is kept as alias: for show, for the copy that the client appends, for
// the thread of the report; the log and the audit line tell the administrator.
func TestA5_MessageIDUsedAgain(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia")).start()
	const id = "same@alfa.example"
	text := mail(boxA, boxB, "uno", id)
	text = strings.Replace(text, "To: <"+boxB+">", "To: <"+boxB+">, <"+boxA+">", 1)
	send := func(text string, to ...string) string {
		t.Helper()
		return accepted(t, h.send("mario", "mariomario", boxA, to, text))
	}
	first := send(text, boxB)
	bytes2 := send(strings.Replace(text, "Si trasmette", "Si ritrasmette", 1), boxB)
	envelope := send(text, boxB, boxA)
	if first == bytes2 || first == envelope || bytes2 == envelope {
		t.Fatalf("ids %s, %s, %s", first, bytes2, envelope)
	}
	if again := send(text, boxA, boxB); again != envelope {
		t.Errorf("the retry is %s, not %s", again, envelope)
	}
	onWire := map[string]bool{}
	for _, sub := range []string{first, bytes2, envelope} {
		s := h.settled(sub, relay.Accepted)
		onWire[s.MsgID] = true
		if (s.Alias == "") != (sub == first) || sub != first && s.Alias != id {
			t.Errorf("%s has the Message-ID %s and the alias %q", sub, s.MsgID, s.Alias)
		}
		var out, errs bytes.Buffer
		if code := run(context.Background(), []string{"show", sub, "--config", h.config()}, strings.NewReader(""), &out, &errs); code != 0 || !strings.Contains(out.String(), "<"+id+">") {
			t.Errorf("show: %d\n%s%s", code, &out, &errs)
		}
	}
	if l := h.provider.Ledger(); len(l) != 3 || len(onWire) != 3 {
		t.Errorf("%d messages at the provider under %d ids", len(l), len(onWire))
	}
	if n := strings.Count(h.log.String(), `"level":"WARN","msg":"a Message-ID was used again`); n != 2 {
		t.Errorf("the log warns %d times", n)
	}
	// What the client appends under its own id is not stored a fourth time.
	sent := len(h.folder("mario", treeA+"Posta inviata"))
	h.append("mario", `"`+treeA+`Posta inviata"`, strings.Replace(text, "Si trasmette", "Si ritrasmette", 1))
	if got := len(h.folder("mario", treeA+"Posta inviata")); got != sent || sent != 3 {
		t.Errorf("%d sent messages before the client's copy, %d after", sent, got)
	}
	h.until("reports of all three quote the client's Message-ID", func() bool {
		quoting := 0
		for _, m := range h.folder("mario", treeA+"Esiti") {
			if strings.Contains(m, "<"+id+">") {
				quoting++
			}
		}
		return quoting == 3
	})
	h.stop()
	replaced := 0
	for _, l := range h.audit("submission") {
		if strings.Contains(l.More["edits"], "Message-ID replaced") {
			replaced++
		}
	}
	if replaced != 2 {
		t.Errorf("%d audit lines tell of it", replaced)
	}
}

// TestEditsOfTheMailbox: Reply-To and the kind of receipt are as the mailbox
// says, and the sender's own kind stays where the mailbox lets them choose; the
// audit line names the edits, and all other bytes are the sender's.
func TestEditsOfTheMailbox(t *testing.T) {
	more := "    receipt: synthetic\n    reply_to: risposte@ordinary.example\n"
	h := newHouse(t, mailboxText(boxA, false, more, "mario"), mailboxText(boxB, false, "    receipt: brief\n    receipt_choice: true\n", "lucia")).start()
	asked := func(from, to, msgid string) string {
		return strings.Replace(mail(from, to, "x", msgid), "Subject:", "X-TipoRicevuta: completa\r\nReply-To: mia@ordinary.example\r\nSubject:", 1)
	}
	ofA, ofB, plain := asked(boxA, boxB, "a@alfa.example"), asked(boxB, boxA, "b@beta.example"), mail(boxB, boxA, "x", "c@beta.example")
	a := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, ofA))
	b := accepted(t, h.send("lucia", "lucialucia", boxB, []string{boxA}, ofB))
	c := accepted(t, h.send("lucia", "lucialucia", boxB, []string{boxA}, plain))
	for _, id := range []string{a, b, c} {
		h.settled(id, relay.Accepted)
	}
	h.stop()
	edits := map[string]string{}
	for _, l := range h.audit("submission") {
		edits[l.Subject] = l.More["edits"]
	}
	blank := func(text, fields string) string {
		return strings.Replace(text, "\r\n\r\n", "\r\n"+fields+"\r\n\r\n", 1)
	}
	for _, tt := range []struct{ id, msgid, want, edits string }{
		{a, "<a@alfa.example>", blank(strings.Replace(ofA, "X-TipoRicevuta: completa\r\nReply-To: mia@ordinary.example\r\n", "", 1),
			"X-TipoRicevuta: sintetica\r\nReply-To: risposte@ordinary.example"), "X-TipoRicevuta set, Reply-To set"},
		{b, "<b@beta.example>", ofB, ""},
		{c, "<c@beta.example>", blank(plain, "X-TipoRicevuta: breve"), "X-TipoRicevuta set"},
	} {
		if edits[tt.id] != tt.edits {
			t.Errorf("%s: the audit line names %q", tt.msgid, edits[tt.id])
		}
		for _, l := range h.provider.Ledger() {
			if l.MessageID == tt.msgid && string(l.Raw) != tt.want {
				t.Errorf("%s left as %q\nwant %q", tt.msgid, l.Raw, tt.want)
			}
		}
	}
	if n := len(h.provider.Ledger()); n != 3 {
		t.Errorf("%d messages at the provider", n)
	}
}

// TestInactiveAndReadOnly: from a mailbox that is not active, and by a member who
// only reads, nothing is sent, and the answer says why at MAIL; both read on.
func TestInactiveAndReadOnly(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario", "anna, send: false"), mailboxText(boxB, false, "", "lucia")).start()
	accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "uno", "1@alfa.example")))
	h.settled("1@alfa.example", relay.Accepted)
	h.until("lucia has it", func() bool { return len(h.folder("lucia", treeB+"Posta in arrivo")) == 1 })
	refused := func(login, from, to, reason string) {
		t.Helper()
		r := h.send(login, login+login, from, []string{to}, mail(from, to, "due", "2@alfa.example"))
		if r.Class != submit.Permanent || r.Code != 550 || r.Enhanced != "5.7.1" || r.Stage != "mail" || !strings.Contains(r.Text, reason) {
			t.Errorf("%s from %s: %s %d %s at %s: %q", login, from, r.Class, r.Code, r.Enhanced, r.Stage, r.Text)
		}
	}
	refused("anna", boxA, boxB, "Non siete abilitati a inviare")
	h.stop()
	h.writePolicy(strings.Replace(h.policy, "- address: "+boxB, "- active: false\n    address: "+boxB, 1))
	h.start()
	refused("lucia", boxB, boxA, "non e' attiva")
	if got := h.folder("lucia", treeB+"Posta in arrivo"); len(got) != 1 {
		t.Errorf("lucia reads %d messages of the mailbox that is not active", len(got))
	}
	if got := h.folder("anna", treeA+"Posta inviata"); len(got) != 1 {
		t.Errorf("anna, who only reads, reads %d messages", len(got))
	}
	if n := len(h.provider.Ledger()); n != 1 {
		t.Errorf("%d messages at the provider", n)
	}
}

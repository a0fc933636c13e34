package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/relay"
	"pecgate/relay/submit"
)

const replyBox = "    pin_methods: [subject, reply]\n"

var noticeAddress = regexp.MustCompile(`(?m)^Reply-To: (confirm\+[a-z2-7]{26}@gateway\.example)\r?$`)

// confirmAt is the address in the newest notice of a person that asks for a PIN,
// and the notice's text.
func (h *house) confirmAt(login string, n int) (address, text string) {
	h.t.Helper()
	var notices []string
	h.until("the notice of what is held", func() bool {
		notices = slices.DeleteFunc(h.folder(login, "INBOX"), func(m string) bool { return !noticeAddress.MatchString(m) })
		return len(notices) >= n
	})
	last := notices[n-1]
	_, body, _ := strings.Cut(last, "\r\n\r\n")
	b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		h.t.Fatal(err)
	}
	return noticeAddress.FindStringSubmatch(last)[1], string(b)
}

// reply answers a notice from an ordinary address.
func (h *house) reply(login, to, body string) submit.Result {
	h.t.Helper()
	from := login + "@ordinary.example"
	return h.send(login, login+login, from, []string{to},
		"From: <"+from+">\r\nTo: <"+to+">\r\nSubject: Re: Confermare\r\nMessage-ID: <r."+rand26()+"@ordinary.example>\r\n\r\n"+body+"\r\n")
}

func rand26() string { return randomPIN() + randomPIN() }

// TestAMessageWithoutItsPINIsConfirmedByAReply: the whole way. It is held and
// seen by its sender only, survives a restart, leaves by the reply and not
// before, once, and is then what any other message is.
func TestAMessageWithoutItsPINIsConfirmedByAReply(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, replyBox, "mario", "anna"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	message := mail(boxA, boxB, "Diffida", "h1@alfa.example")
	for range 2 { // the client lost the first answer
		r := h.send("mario", "mariomario", boxA, []string{boxB}, message)
		if r.Class != submit.HandedOver || !strings.Contains(r.Text, "held as") {
			t.Fatalf("%+v", r)
		}
	}
	s, err := h.shown("h1@alfa.example")
	if err != nil || s.State != relay.Held || s.StateReason != relay.ReasonPIN {
		t.Fatalf("%+v, %v", s, err)
	}
	h.stop()
	h.start()
	to, text := h.confirmAt("mario", 1)
	if !strings.Contains(text, "Oggetto: Diffida") || !strings.Contains(text, "A: <"+boxB+">") {
		t.Errorf("the notice says\n%s", text)
	}
	if got := h.folder("mario", treeA+"Da confermare"); len(got) != 1 || !strings.Contains(got[0], "h1@alfa.example") {
		t.Errorf("Mario has to confirm %q", got)
	}
	if got := h.folder("anna", treeA+"Da confermare"); len(got) != 0 {
		t.Errorf("Anna has to confirm %q", got)
	}
	if got := h.folder("anna", treeA+"Posta inviata"); len(got) != 0 {
		t.Errorf("it is shown as sent: %q", got)
	}
	if r := h.reply("mario", to, "000000"); r.Code != 550 || !strings.Contains(r.Text, "Wrong PIN") {
		t.Errorf("a wrong PIN: %+v", r)
	}
	if r := h.reply("anna", to, pinMario); r.Code != 550 {
		t.Errorf("another user: %+v", r)
	}
	if n := len(h.provider.Ledger()); n != 0 {
		t.Fatalf("%d messages have left", n)
	}
	for range 2 { // again, the answer may be lost
		if r := h.reply("mario", to, pinMario+"\r\n\r\n> Confermare"); r.Class != submit.HandedOver || !strings.Contains(r.Text, "confirmed") {
			t.Fatalf("the right PIN: %+v", r)
		}
	}
	h.settled("h1@alfa.example", relay.Accepted)
	sent := h.provider.Ledger()
	if len(sent) != 1 || strings.Contains(string(sent[0].Raw), pinMario) {
		t.Fatalf("%d messages have left", len(sent))
	}
	for _, f := range []struct{ login, folder string }{{"mario", treeA + "Posta inviata"}, {"mario", "Posta inviata"}, {"anna", treeA + "Posta inviata"}} {
		if got := h.folder(f.login, f.folder); len(got) != 1 || got[0] != string(sent[0].Raw) {
			t.Errorf("%s sees %d messages in %s, or other bytes than were sent", f.login, len(got), f.folder)
		}
	}
	if got := h.folder("mario", treeA+"Da confermare"); len(got) != 0 {
		t.Errorf("Mario still has to confirm %q", got)
	}
	// A later retry of the first submission is the same message still.
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, message); r.Class != submit.HandedOver || strings.Contains(r.Text, "held") {
		t.Errorf("%+v", r)
	}
	if n := len(h.provider.Ledger()); n != 1 {
		t.Errorf("%d messages have left", n)
	}
}

// TestAHeldMessageIsSentAgainWithItsPIN: a person who sends the same once more,
// with the PIN in the subject, releases what is held: there is one message.
func TestAHeldMessageIsSentAgainWithItsPIN(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, replyBox, "mario"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	for _, subject := range []string{"Diffida", "Diffida [PIN:000000]", "Diffida [PIN:" + pinMario + "]"} {
		m := strings.Replace(mail(boxA, boxB, "Diffida", "h2@alfa.example"), "Subject: Diffida", "Subject: "+subject, 1)
		if r := h.send("mario", "mariomario", boxA, []string{boxB}, m); r.Class != submit.HandedOver {
			t.Fatalf("%s: %+v", subject, r)
		}
	}
	h.settled("h2@alfa.example", relay.Accepted)
	if n := len(h.provider.Ledger()); n != 1 {
		t.Errorf("%d messages have left", n)
	}
}

// TestAHeldMessageIsTakenBack by its sender's mail program: deleted, or moved
// to the trash; and by the administrator.
func TestAHeldMessageIsTakenBack(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, replyBox, "mario"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	folder := `"` + treeA + `Da confermare"`
	for id, commands := range map[string][]string{
		"expunged@alfa.example": {"SELECT " + folder, `UID STORE 1:* +FLAGS.SILENT (\Deleted)`, "EXPUNGE"},
		"moved@alfa.example":    {"SELECT " + folder, `UID MOVE 1:* "Cestino"`},
		"inbox@alfa.example":    {"SELECT " + folder, `UID MOVE 1:* "` + treeA + `Cestino"`},
	} {
		if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", id)); r.Class != submit.HandedOver {
			t.Fatalf("%+v", r)
		}
		h.imap("mario", commands...)
		if s, err := h.shown(id); err != nil || s.State != relay.Cancelled {
			t.Errorf("%s is %s, %v", id, s.State, err)
		}
		if got := h.folder("mario", treeA+"Da confermare"); len(got) != 0 {
			t.Errorf("%s: still to be confirmed: %q", id, got)
		}
	}
	for _, f := range []string{"Cestino", treeA + "Cestino"} {
		if got := h.folder("mario", f); len(got) != 1 {
			t.Errorf("%d messages in %s", len(got), f)
		}
	}
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", "hand@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	if err := h.tryIMAP("mario", "SELECT "+folder, `UID COPY 1:* "Cestino"`, `UID MOVE 1:* "Bozze"`); err == nil || !strings.Contains(err.Error(), "moved to the trash") {
		t.Errorf("moved to the drafts: %v", err)
	}
	if err := h.tryIMAP("mario", "SELECT Cestino", `UID COPY 1:* `+folder); err == nil {
		t.Error("a message was put among those to be confirmed")
	}
	var out, errs bytes.Buffer
	if state := run(context.Background(), []string{"--config", h.config(), "queue", "list"}, nil, &out, &errs); state != 0 || !strings.Contains(out.String(), "held (pin)") {
		t.Errorf("status %d: %s%s", state, &out, &errs)
	}
	if state := run(context.Background(), []string{"--config", h.config(), "queue", "retry", "hand@alfa.example"}, nil, &out, &errs); state != 1 || !strings.Contains(errs.String(), "waits for the sender's PIN") {
		t.Errorf("status %d: %s%s", state, &out, &errs)
	}
	if state := run(context.Background(), []string{"--config", h.config(), "queue", "cancel", "hand@alfa.example"}, nil, &out, &errs); state != 0 {
		t.Errorf("status %d: %s%s", state, &out, &errs)
	}
	if s, err := h.shown("hand@alfa.example"); err != nil || s.State != relay.Cancelled {
		t.Errorf("it is %s, %v", s.State, err)
	}
	if n := len(h.provider.Ledger()); n != 0 {
		t.Errorf("%d messages have left", n)
	}
}

// TestAHeldBatchIsConfirmed: a message that will leave as one for each recipient
// is held and confirmed as a whole.
func TestAHeldBatchIsConfirmed(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, replyBox+"    split: always\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	m := strings.Replace(mail(boxA, boxB, "Avviso", "b1@alfa.example"), "To: <", "To: <"+boxA+">, <", 1)
	if r := h.send("mario", "mariomario", boxA, []string{boxA, boxB}, m); r.Class != submit.HandedOver || !strings.Contains(r.Text, "held as") {
		t.Fatalf("%+v", r)
	}
	to, _ := h.confirmAt("mario", 1)
	if n := len(h.provider.Ledger()); n != 0 {
		t.Fatalf("%d messages have left", n)
	}
	if r := h.reply("mario", to, pinMario); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.until("each has its message", func() bool { return len(h.provider.Ledger()) == 2 })
	h.until("it has arrived", func() bool { return len(h.folder("lucia", treeB+"Posta in arrivo")) == 1 })
}

// TestG5_LockAndUnlock: ten wrong PINs, in whatever way, lock; both are told,
// once; the administrator unlocks, running or not.
func TestG5_LockAndUnlock(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, "    pin_methods: [subject, header, password, reply]\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	plain := mail(boxA, boxB, "Diffida", "g0@alfa.example")
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, plain); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	to, _ := h.confirmAt("mario", 1)
	for range 3 { // no live token, no login, no PIN: no tries
		h.reply("mario", "confirm+"+strings.Repeat("a", 26)+"@gateway.example", "111111")
		h.reply("mario", to, "niente")
		h.send("mario", "wrongwrong 111111", boxA, []string{boxB}, plain)
	}
	for n := range auth.WrongPINs {
		switch n % 4 {
		case 0:
			h.reply("mario", to, "111111")
		case 1:
			h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "[PIN:111111]", "g"+randomPIN()+"@alfa.example"))
		case 2:
			h.send("mario", "mariomario", boxA, []string{boxB}, "X-Pecgate-PIN: 111111\r\n"+mail(boxA, boxB, "x", "g"+randomPIN()+"@alfa.example"))
		case 3:
			h.send("mario", "mariomario 111111", boxA, []string{boxB}, mail(boxA, boxB, "x", "g"+randomPIN()+"@alfa.example"))
		}
		if n == 5 {
			h.stop()
			h.start()
		}
	}
	if r := h.reply("mario", to, pinMario); r.Code != 550 || !strings.Contains(r.Text, "locked") {
		t.Errorf("the right PIN after ten wrong ones: %+v", r)
	}
	locked := func(login string) (n int) {
		for _, m := range h.folder(login, "INBOX") {
			if strings.Contains(m, "Subject: PIN bloccato") || strings.Contains(m, "Subject: =?utf-8?q?PIN_bloccato") {
				n++
			}
		}
		return n
	}
	if locked("mario") != 1 || locked("lucia") != 1 {
		t.Errorf("told %d and %d times", locked("mario"), locked("lucia"))
	}
	unlock := func(user string) (int, string) {
		var out, errs bytes.Buffer
		state := run(context.Background(), []string{"--config", h.config(), "pin", "--unlock", user}, nil, &out, &errs)
		return state, out.String() + errs.String()
	}
	if state, text := unlock("nobody"); state != 2 || !strings.Contains(text, "no such user") {
		t.Errorf("status %d: %s", state, text)
	}
	if state, text := unlock("Mario@ordinary.example"); state != 0 || !strings.Contains(text, "10 wrong ones") {
		t.Errorf("status %d: %s", state, text)
	}
	if r := h.reply("mario", to, pinMario); r.Class != submit.HandedOver {
		t.Errorf("after the unlocking: %+v", r)
	}
	h.settled("g0@alfa.example", relay.Accepted)
	h.reply("mario", "confirm+"+strings.Repeat("a", 26)+"@gateway.example", "111111")
	h.stop()
	if state, text := unlock("mario"); state != 0 || !strings.Contains(text, "0 wrong ones") {
		t.Errorf("nothing runs: status %d: %s", state, text)
	}
	if files, err := filepath.Glob(filepath.Join(h.dir, "data", "control.sock")); err != nil || len(files) > 0 {
		t.Errorf("%v, %v", files, err)
	}
}

//go:build peers

package main

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pecgate/relay"
	"pecgate/relay/providersim"
)

// textParts is a message with its base64 and quoted-printable lines decoded as far as words can be looked for in it.
func textParts(m string) string {
	out := strings.ReplaceAll(strings.ReplaceAll(m, "=\r\n", ""), "\r\n ", " ")
	for _, block := range regexp.MustCompile(`(?m)(?:^[A-Za-z0-9+/]{4,76}={0,2}\r\n)+`).FindAllString(m, -1) {
		if b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(block, "\r\n", "")); err == nil {
			out += string(b)
		}
	}
	return out
}

// TestGroupware_AWrongUserGetsTheBounce: who is no user, who may not send, and who writes in another's name is refused by the
// relay, and their Postfix tells them with our sentence.
func TestGroupware_AWrongUserGetsTheBounce(t *testing.T) {
	o := newOffice(t, officeMarks, nil,
		mailboxText(boxA, false, "", "mario", "anna, send: false", "piero, expires: 2020-01-31"),
		mailboxText(boxB, false, "", "lucia"))
	far := "comune@pec.gamma.example"
	cases := []struct{ who, from, subject, to, it, en string }{
		{"nadia", "nadia@ordinary.example", "[PEC] Uno", far, "L'indirizzo nadia@ordinary.example non e' quello di un utente di questo sistema", "The address nadia@ordinary.example is not that of a user of this system"},
		{"anna", "anna@ordinary.example", "[PEC] Due", far, "Non siete abilitati a inviare da nessuna casella PEC", "You may not send from any PEC mailbox"},
		{"piero", "piero@ordinary.example", "[PEC] Tre", far, "Non siete abilitati a inviare da nessuna casella PEC", "You may not send from any PEC mailbox"},
		{"mario", "lucia@ordinary.example", "[PEC] Quattro", far, "devono essere la stessa persona: inviare dal proprio indirizzo", "must be the same person: send from your own address"},
		{"mario", boxB, "Cinque", far, "Non siete abilitati alla casella ufficio@pec.beta.example", "You have no access to the mailbox ufficio@pec.beta.example"},
		{"lucia", "lucia@ordinary.example", "[PEC:protocollo] Sei", far, "Non siete abilitati alla casella protocollo@pec.alfa.example", "You have no access to the mailbox protocollo@pec.alfa.example"},
	}
	for i, c := range cases {
		o.post(c.who, c.to, officeLetter("Nome Cognome", c.from, c.to, c.subject, "wrong"+string(rune('a'+i))+"@client.example"))
	}
	for i, c := range cases {
		id := "wrong" + string(rune('a'+i)) + "@client.example"
		got := o.untilMail(c.who, 1, "Message-ID: <"+id+">", "multipart/report")
		if len(got) != 1 {
			t.Errorf("%s has %d bounces", c.who, len(got))
		}
		for _, word := range []string{"From: Mail Delivery System <MAILER-DAEMON@mail.ordinary.example>", "Return-Path: <>\r\n", "Action: failed", "Status: 5.7.1", "Diagnostic-Code: smtp; 550"} {
			if !strings.Contains(got[0], word) {
				t.Errorf("%s: no %q in\n%s", c.who, word, got[0])
			}
		}
		if text := strings.Join(strings.Fields(got[0]), " "); !strings.Contains(text, c.it) || !strings.Contains(text, c.en) {
			t.Errorf("%s does not read our sentence in\n%s", c.who, got[0])
		}
	}
	if n := len(o.provider.Ledger()); n != 0 {
		t.Errorf("%d have left", n)
	}
	o.process.stop()
}

// TestGroupware_HeldUntilTheReply: the notice of what is held comes into the Dovecot, and only an answer with the PIN, through
// the Postfix, from the person, makes the message leave.
func TestGroupware_HeldUntilTheReply(t *testing.T) {
	o := newOffice(t, officeMarks, nil,
		mailboxText(boxA, true, replyBox, "mario"), mailboxText(boxB, false, "", "lucia", "anna"))
	o.post("mario", boxB, officeLetter("Mario Rossi", "mario@ordinary.example", boxB, "[PEC] Diffida", "held@client.example"))
	notice := o.untilMail("mario", 1, "Reply-To: confirm+")[0]
	to := noticeAddress.FindStringSubmatch(notice)[1]
	if text := textParts(notice); !strings.Contains(text, "Diffida") || !strings.Contains(text, boxB) {
		t.Errorf("the notice says\n%s", text)
	}
	about := field(t, notice, "Message-ID")
	answer := func(who, id, body string) {
		t.Helper()
		o.post(who, to, "From: Qualcuno <"+who+"@ordinary.example>\r\nTo: <"+to+">\r\nSubject: R: "+field(t, notice, "Subject")+"\r\nIn-Reply-To: "+about+"\r\nReferences: "+about+
			"\r\nDate: Mon, 16 Nov 2026 10:05:00 +0100\r\nMessage-ID: <"+id+"@client.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"+body)
	}
	quoted := "\r\n\r\n-- \r\nMario Rossi\r\n\r\n> Confermare con il PIN\r\n"
	answer("mario", "wrongpin", "000000"+quoted)
	answer("lucia", "another", pinMario+quoted)
	for _, c := range [][3]string{{"mario", "wrongpin", "PIN"}, {"lucia", "another", ""}} {
		bounce := o.untilMail(c[0], 1, "multipart/report", "Message-ID: <"+c[1]+"@client.example>")[0]
		if !strings.Contains(bounce, "Status: 5.7.") || !strings.Contains(bounce, c[2]) {
			t.Errorf("%s: %s", c[1], bounce)
		}
	}
	if s, err := o.shown("held@client.example"); err != nil || s.State != relay.Held || len(o.provider.Ledger()) != 0 {
		t.Fatalf("after wrong answers: %+v, %v, %d sent", s, err, len(o.provider.Ledger()))
	}
	answer("mario", "right", pinMario+quoted)
	o.settled("held@client.example", relay.Accepted)
	sent := o.provider.Ledger()
	if len(sent) != 1 || !strings.HasSuffix(string(sent[0].Raw), officeText) || strings.Contains(string(sent[0].Raw), pinMario) || field(t, string(sent[0].Raw), "Subject") != "Diffida" {
		t.Errorf("%d sent: %s", len(sent), sent[0].Raw)
	}
	if strings.Contains(o.log.String(), pinMario) {
		t.Error("the PIN is in the log")
	}
	o.process.stop()
}

// TestGroupware_WhatComesBack: an incoming PEC is in the Dovecot as the provider signed it; the receipts of what a person sent
// come to them as mail, and as a delivery report where they asked for one.
func TestGroupware_WhatComesBack(t *testing.T) {
	o := newOffice(t, officeMarks, nil,
		mailboxText(boxA, false, "", "mario", "anna, preset: send only"), mailboxText(boxB, false, "", "lucia"))
	ca := filepath.Join(o.dir, "ca.pem")
	o.fetched()
	raw := "From: Ente <ente@pec.gamma.example>\r\nTo: <" + boxA + ">\r\nSubject: Convocazione\r\nMessage-ID: <in1@pec.gamma.example>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + officeText
	if err := o.provider.SendRawFromOutside("ente@pec.gamma.example", []string{boxA}, []byte(raw)); err != nil {
		t.Fatal(err)
	}
	o.asProvided(o.untilMail("mario", 1, "POSTA CERTIFICATA: Convocazione"), ca, providersim.Transport)

	// Receipts, to who sees the mailbox and to who may only send.
	const asked, never = "NOTIFY=SUCCESS,DELAY,FAILURE ORCPT=rfc822;" + boxB, ""
	for _, c := range []struct{ who, id, notify string }{{"mario", "dsn1", asked}, {"anna", "dsn2", asked}, {"mario", "plain1", never}} {
		message := officeLetter("Nome Cognome", c.who+"@ordinary.example", boxB, "[PEC:protocollo] Istanza "+c.id, c.id+"@client.example")
		if err := sayDSN(o.submission, c.who+"@ordinary.example", boxB, c.notify, "env-"+c.id, message); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][2]string{{"mario", "dsn1"}, {"anna", "dsn2"}, {"mario", "plain1"}} {
		o.asProvided(o.untilMail(c[0], 1, "ACCETTAZIONE: Istanza "+c[1]), ca, providersim.Acceptance)
		o.asProvided(o.untilMail(c[0], 1, "CONSEGNA: Istanza "+c[1]), ca, providersim.Delivery)
	}
	for _, c := range [][2]string{{"mario", "dsn1"}, {"anna", "dsn2"}} {
		report := o.untilMail(c[0], 1, "multipart/report", "report-type=delivery-status", "env-"+c[1])
		if len(report) != 1 {
			t.Errorf("%d reports of %s", len(report), c[1])
		}
		for _, word := range []string{"Return-Path: <>\r\n", "Action: delivered\r\n", "Status: 2.", "Original-Envelope-Id: env-" + c[1], "rfc822; " + boxB, "Original-Recipient: rfc822;"} {
			if !strings.Contains(report[0], word) {
				t.Errorf("%s: no %q in\n%s", c[1], word, report[0])
			}
		}
	}
	for _, m := range o.mailOf("mario") {
		if strings.Contains(m, "report-type=delivery-status") && !strings.Contains(m, "env-dsn1") {
			t.Errorf("a report nobody asked for:\n%s", m)
		}
	}
	o.process.stop()
}

// fetched waits until each mailbox was looked at: what is there before is history and goes nowhere.
func (o *office) fetched() {
	o.t.Helper()
	o.until("each mailbox was looked at", func() bool {
		return !slices.ContainsFunc(o.status().Mailboxes, func(m relay.BoxStatus) bool { return m.LastFetch.IsZero() })
	})
}

// asProvided wants messages of a mailbox to be what the provider put out of a kind, below the trace fields, and openssl to
// verify them as they are.
func (o *office) asProvided(got []string, ca string, kind providersim.Kind) {
	o.t.Helper()
	if len(got) != 1 {
		o.t.Errorf("%d copies of one message", len(got))
	}
	for _, m := range got {
		below, above := belowTrace(m)
		same := slices.ContainsFunc(o.provider.Emitted(), func(e providersim.Emitted) bool {
			b, _ := belowTrace(string(e.Raw))
			return e.Kind == kind && b == below
		})
		if !same {
			o.t.Errorf("not what the provider put out:\n%s", m)
		}
		if !strings.Contains(above, "Return-Path: <>\r\n") || strings.Count(above, "by localhost (pecgate) id ") != 1 || !strings.Contains(above, "by delivery.pec.gestore.example") {
			o.t.Errorf("above the provider's bytes stands\n%s", above)
		}
		cmd := exec.CommandContext(o.t.Context(), "openssl", "smime", "-verify", "-purpose", "any", "-CAfile", ca, "-out", os.DevNull)
		cmd.Stdin = strings.NewReader(m)
		if out, err := cmd.CombinedOutput(); err != nil {
			o.t.Errorf("openssl smime -verify: %v\n%s", err, out)
		}
	}
}

// belowTrace is a message without the fields that the servers on its way put above it, and these.
func belowTrace(m string) (below, above string) {
	above = regexp.MustCompile(`(?i)^(?:(?:Return-Path|Delivered-To|X-Original-To|Received):[^\n]*\n(?:[ \t][^\n]*\n)*)*`).FindString(m)
	return m[len(above):], above
}

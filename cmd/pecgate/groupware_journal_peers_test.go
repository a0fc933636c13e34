//go:build peers

package main

import (
	"fmt"
	"strings"
	"testing"

	"pecgate/gateway/smtpd"
)

// journalReport is a report as Exchange writes it, about a message.
func journalReport(sender, subject, msgid, message string, lines ...string) string {
	return "From: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@ordinary.example>\r\nSubject: " + subject + "\r\nDate: Mon, 16 Nov 2026 10:00:01 +0100\r\n" +
		"Message-ID: <r." + msgid + ">\r\nX-MS-Journal-Report:\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"a1b2c3d4\"\r\n\r\n" +
		"--a1b2c3d4\r\nContent-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSender: " + sender + "\r\nSubject: " + subject +
		"\r\nMessage-Id: <" + msgid + ">\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n--a1b2c3d4\r\nContent-Type: message/rfc822\r\n\r\n" + message + "\r\n--a1b2c3d4--\r\n"
}

// TestGroupware_JournalReports: a real Postfix hands journal reports in from the null sender. What is marked leaves once, to
// the true recipients outside, with the body as it was; what is refused comes to its sender as a notification with our
// sentence, once; what bears no mark does nothing, and Postfix has nothing to bounce.
func TestGroupware_JournalReports(t *testing.T) {
	o := newOffice(t, "    marks: [from, subject]\n    journal: true\n", nil, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	far, to := "comune@pec.gamma.example", smtpd.JournalAddress("gateway.example")
	report := func(who, subject, msgid string, lines ...string) {
		t.Helper()
		from := who + "@ordinary.example"
		message := officeLetter("Nome Cognome", from, far, subject, msgid)
		if err := sayPlainly(o.submission, "", to, journalReport(from, subject, msgid, message, lines...)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // Exchange has lost the answer
		report("mario", "[PEC] Istanza", "j1@client.example", "To: "+far, "Bcc: anna@ordinary.example, Expanded: tutti@ordinary.example")
		report("mario", "Ordinario", "j2@client.example", "To: "+far)
		report("nadia", "[PEC] Istanza", "j3@client.example", "To: "+far)
	}
	bounces := o.untilMail("nadia", 1, "multipart/report", "j3@client.example")
	report("lucia", "[PEC] Ultima", "j4@client.example", "To: "+far)
	o.until("the last has left", func() bool { return len(o.provider.Ledger()) >= 2 })
	o.settled("j4@client.example", "accepted")
	o.settled("j1@client.example", "accepted")
	ledger := o.provider.Ledger()
	if len(ledger) != 2 {
		t.Fatalf("%d have left", len(ledger))
	}
	got := ""
	for _, s := range ledger {
		_, body, _ := strings.Cut(string(s.Raw), "\r\n\r\n")
		got += fmt.Sprintf("%s %s %v %s\n", s.MessageID, s.From, s.Recipients, field(t, string(s.Raw), "Subject"))
		if body != officeText || strings.Contains(string(s.Raw), "ordinary.example") {
			t.Errorf("sent:\n%s", s.Raw)
		}
	}
	if want := fmt.Sprintf("<j1@client.example> %s [%s] Istanza\n<j4@client.example> %s [%s] Ultima\n", boxA, far, boxB, far); got != want {
		t.Errorf("left:\n%swant\n%s", got, want)
	}
	if n := len(o.untilMail("nadia", 1, "multipart/report")); n != 1 {
		t.Errorf("nadia hears it %d times", n)
	}
	for _, word := range []string{"Return-Path: <>\r\n", "Action: failed", "Status: 5.7.1", "L'indirizzo nadia@ordinary.example non e' quello di un utente", "The address nadia@ordinary.example is not that of a user"} {
		if !strings.Contains(bounces[0], word) && !strings.Contains(textParts(bounces[0]), word) {
			t.Errorf("no %q in\n%s", word, bounces[0])
		}
	}
	if len(o.ordinary.All()) > 0 {
		t.Errorf("Postfix sent %+v", o.ordinary.All())
	}
	o.process.stop()
}

//go:build peers

package main

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
)

// passingOffice is an office whose Postfix hands all that goes out to the gateway, which passes ordinary mail on to a second
// Postfix; that one sends what is for the office back, and the rest to o.ordinary.
func passingOffice(t *testing.T) (o *office, smarthost *privatePostfix) {
	t.Helper()
	o = newOffice(t, officeMarks+"    unmarked: smarthost\n", nil, mailboxText(boxA, false, "", "mario", "anna"), mailboxText(boxB, false, "", "lucia"))
	smarthost = newPrivatePostfix(t, o.ordinary.Addr())
	back := "smtp:[" + strings.Replace(o.incoming, ":", "]:", 1)
	smarthost.run(nil, "postconf", "-e", "myhostname = smarthost.example", "transport_maps = inline:{ ordinary.example="+back+", giro.example="+back+" }",
		"smtpd_recipient_restrictions = check_recipient_access inline:{ {nessuno@altrove.example = 550 5.1.1 nobody of this name} }, permit_mynetworks, reject")
	smarthost.run(nil, "postfix", "check") // makes the folders of its queue
	host, port, err := net.SplitHostPort(smarthost.start())
	if err != nil {
		t.Fatal(err)
	}
	o.process.stop()
	config := regexp.MustCompile(`(?m)^outgoing: .*$`).ReplaceAllString(string(readFile(t, o.config())), fmt.Sprintf("outgoing: {smarthost: {host: %s, port: %s, security: none}}", host, port))
	o.write("pecgate.yaml", config)
	_, port, err = net.SplitHostPort(o.relayAt)
	if err != nil {
		t.Fatal(err)
	}
	o.postfix.run(nil, "postconf", "-e", "relayhost =", "default_transport = pecgate-ufficio:[localhost]:"+port, "hopcount_limit = 200")
	o.postfix.run(nil, "postfix", "reload")
	o.process = o.launch()
	return o, smarthost
}

// TestGroupware_OrdinaryMailPassesThrough: what bears no mark goes from one real Postfix through the gateway to another, byte
// for byte under one trace field; of two recipients the one that is refused is told to the sender, by way of both; what goes
// in a circle comes to an end and is told, too.
func TestGroupware_OrdinaryMailPassesThrough(t *testing.T) {
	o, smarthost := passingOffice(t)
	letter := func(to, id string) string {
		return officeLetter("Mario Rossi", "mario@ordinary.example", to, "Ordinario", id+"@client.example")
	}
	trace := regexp.MustCompile(`(?s)^(?:Received: from [^\n]*\r\n(?:[ \t][^\n]*\n)*)*?(Received: from \[127\.0\.0\.1\] by localhost \(pecgate\) id p[0-9a-f]+;\r\n\t[^\n]*\n)(Received: from pc\.ordinary\.example [^\n]*\r\n(?:[ \t][^\n]*\n)+)`)

	// Away, with a second recipient who is refused.
	text := letter("amico@altrove.example", "away1")
	if err := sayDSN(o.submission, "mario@ordinary.example", "amico@altrove.example nessuno@altrove.example", "", "", text); err != nil {
		t.Fatal(err)
	}
	o.until("it is away", func() bool { return len(o.ordinary.All()) >= 1 })
	got := o.ordinary.All()[0]
	m := trace.FindStringSubmatch(got.Data)
	if m == nil || strings.TrimPrefix(got.Data, m[0]) != text || !strings.Contains(m[2], "by mail.ordinary.example (Postfix)") {
		t.Errorf("it came as\n%s", got.Data)
	}
	if strings.Count(got.Data, "(pecgate)") != 1 || !strings.HasPrefix(got.From, "MAIL FROM:<mario@ordinary.example>") || got.To != "amico@altrove.example" {
		t.Errorf("from %q to %q:\n%s", got.From, got.To, got.Data)
	}
	bounce := o.untilMail("mario", 1, "multipart/report", "nessuno@altrove.example")
	for _, word := range []string{"Return-Path: <>\r\n", "Action: failed\r\n", "Status: 5.1.1\r\n", "nobody of this name", "away1@client.example"} {
		if !strings.Contains(textParts(bounce[0]), word) {
			t.Errorf("the bounce has no %q:\n%s", word, bounce[0])
		}
	}
	if strings.Contains(bounce[0], "amico@altrove.example\r\nAction") || strings.Count(bounce[0], "\r\nFinal-Recipient:") != 1 {
		t.Errorf("the bounce tells of others:\n%s", bounce[0])
	}

	// A circle: the smarthost sends it to the office, that one here again.
	o.post("mario", "x@giro.example", letter("x@giro.example", "round1"))
	bounce = o.untilMail("mario", 1, "multipart/report", "round1@client.example")
	if text := strings.Join(strings.Fields(textParts(bounce[0])), " "); len(bounce) != 1 || !strings.Contains(text, "5.4.6") || !strings.Contains(text, "gira in tondo") {
		t.Errorf("%d bounces, the first\n%s", len(bounce), bounce[0])
	}
	if n := strings.Count(bounce[0], "(pecgate) id p"); n > 2 {
		t.Errorf("it went round %d times", n)
	}
	// One that has travelled too far already.
	o.post("mario", "amico@altrove.example", strings.Repeat("Received: from a.example by b.example; Mon, 16 Nov 2026 10:00:00 +0100\r\n", 51)+letter("amico@altrove.example", "far1"))
	bounce = o.untilMail("mario", 1, "multipart/report", "far1@client.example")
	if !strings.Contains(strings.Join(strings.Fields(textParts(bounce[0])), " "), "5.4.6") {
		t.Errorf("%s", bounce[0])
	}
	o.until("nothing waits", func() bool { return o.status().Forwards == 0 && o.postfix.waiting() == 0 && smarthost.waiting() == 0 })
	if all := o.ordinary.All(); len(all) != 1 || len(o.provider.Ledger()) != 0 {
		t.Errorf("%d are away, %d went as PEC", len(all), len(o.provider.Ledger()))
	}

	// What bears a mark goes as PEC from the same Postfix, and its receipts come back by the smarthost.
	o.post("mario", boxB, officeLetter("Mario Rossi", "mario@ordinary.example", boxB, "[PEC] Istanza", "pec1@client.example"))
	o.settled("pec1@client.example", "accepted")
	o.untilMail("mario", 1, "CONSEGNA: Istanza")
	o.process.stop()
}

//go:build peers

package main

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox/mime"
	"pecgate/relay/providersim"
)

const officeMarks = "    suffix: pec\n    domains: [pec.beta.example]\n    senders: [anna@ordinary.example]\n    marks: [from, subject, suffix, domains, senders]\n    mailbox: " + boxA + "\n"

// field is the decoded value of the only field of a name; several are an error.
func field(t testing.TB, message, name string) string {
	t.Helper()
	head, _, _ := strings.Cut(message, "\r\n\r\n")
	value, n := "", 0
	for _, f := range mime.Fields([]byte(head + "\r\n")) {
		if strings.EqualFold(f.Name, name) {
			value = strings.TrimSpace(mime.DecodeWords(f.Body()))
			n++
		}
	}
	if n > 1 {
		t.Errorf("%d fields %s", n, name)
	}
	return value
}

// TestGroupware_EachMarkGoesOutAsPEC: a message that a person submits at a real Postfix leaves as PEC by each of the marks,
// from the mailbox that is meant, with the name of the person and without their address; the body is theirs.
func TestGroupware_EachMarkGoesOutAsPEC(t *testing.T) {
	o := newOffice(t, officeMarks, nil,
		mailboxText(boxA, false, "", "mario", "anna"),
		mailboxText(boxB, false, "", "lucia", "mario"))
	far := "comune@pec.gamma.example"
	cases := []struct{ name, who, shown, from, to, subject, box, rcpt string }{
		{"from", "mario", "Mario Rossi", boxB, far, "Istanza", boxB, far},
		{"from, a name in an encoded word", "lucia", "=?utf-8?Q?Lucia_Citt=C3=A0?=", boxB, far, "Istanza", boxB, far},
		{"subject", "lucia", "Lucia Bianchi", "", far, "[PEC] Istanza", boxB, far},
		{"subject in base64", "lucia", "Lucia Bianchi", "", far, "=?utf-8?B?W1BFQ10gSXN0YW56YQ==?=", boxB, far},
		{"subject with a mailbox", "mario", "\"Rossi, Mario\"", "", far, "[PEC:ufficio] Istanza", boxB, far},
		{"subject, and the mailbox of the relay", "mario", "Mario Rossi", "", far, "[PEC] Istanza", boxA, far},
		{"suffix", "mario", "Mario Rossi", "", far + ".pec", "Istanza", boxA, far},
		{"domains", "mario", "Mario Rossi", "", boxB, "Istanza", boxA, boxB},
		{"senders", "anna", "Anna Verdi", "", far, "Istanza", boxA, far},
	}
	id := func(name string) string {
		return strings.NewReplacer(" ", "-", ",", "").Replace(name) + "@client.example"
	}
	for _, m := range cases {
		ordinary := m.who + "@ordinary.example"
		text := officeLetter(m.shown, cmp.Or(m.from, ordinary), m.to, m.subject, id(m.name))
		o.post(m.who, m.to, strings.Replace(text, "Reply-To: "+boxB, "Reply-To: "+ordinary, 1))
	}
	o.until("all are at the provider", func() bool { return len(o.provider.Ledger()) >= len(cases) })
	ledger := o.provider.Ledger()
	for _, m := range cases {
		i := slices.IndexFunc(ledger, func(s providersim.Submission) bool { return s.MessageID == "<"+id(m.name)+">" })
		if i < 0 {
			t.Errorf("%s: it did not leave", m.name)
			continue
		}
		sent := ledger[i]
		raw := string(sent.Raw)
		_, body, _ := strings.Cut(raw, "\r\n\r\n")
		head := strings.TrimSuffix(raw, body)
		if sent.From != m.box || strings.Join(sent.Recipients, " ") != m.rcpt {
			t.Errorf("%s: from %s to %v", m.name, sent.From, sent.Recipients)
		}
		if wantFrom := "From: " + m.shown + " <" + m.box + ">\r\n"; !strings.Contains(head, wantFrom) {
			t.Errorf("%s: not %q in\n%s", m.name, wantFrom, head)
		}
		if to := field(t, raw, "To"); to != "<"+m.rcpt+">" {
			t.Errorf("%s: To %q", m.name, to)
		}
		for _, name := range []string{"Subject", "Thread-Topic"} {
			if s := field(t, raw, name); s != "Istanza" {
				t.Errorf("%s: %s %q", m.name, name, s)
			}
		}
		if body != officeText {
			t.Errorf("%s: the body is %q", m.name, body)
		}
		for _, inside := range []string{"ordinary.example", "intranet", "10.20.", m.who + "@", "Received:", "Reply-To:", "Sender:", "127.0.0.1", "postfix", "Postfix"} {
			if strings.Contains(raw, inside) {
				t.Errorf("%s: %q got out:\n%s", m.name, inside, head)
			}
		}
		if j := providersim.Judge(sent.Raw, sent.From, sent.Recipients, 0); j.Fault != "" {
			t.Errorf("%s: the provider would say %s", m.name, j.Fault)
		}
		s := o.settled(id(m.name), "accepted")
		if s.User != m.who || s.Mailbox != m.box {
			t.Errorf("%s: it is shown as %s's from %s", m.name, s.User, s.Mailbox)
		}
	}

	// What bears no mark takes the usual way, and nothing else did.
	o.post("mario", "amico@altrove.example", officeLetter("Mario Rossi", "mario@ordinary.example", "amico@altrove.example", "Ordinario", "ordinario@client.example"))
	o.until("the ordinary message took the usual way", func() bool { return len(o.ordinary.All()) > 0 })
	if all := o.ordinary.All(); len(all) != 1 || !strings.Contains(all[0].Data, "ordinario@client.example") {
		t.Errorf("the usual way has %+v", all)
	}
	if n := len(o.provider.Ledger()); n != len(cases) {
		t.Errorf("the provider has %d", n)
	}
	o.process.stop()
}

package smtpd

import (
	"encoding/base64"
	"strings"
	"testing"
)

// TestG6_PINInOrdinaryMail: neither the answer of a machine nor somebody who forgets the
// mark of PEC carries a PIN out of the house; a person's text is theirs.
func TestG6_PINInOrdinaryMail(t *testing.T) {
	s, a, h := passingServer(t)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	mark := "[PIN:" + pin + "]"
	plain := func(more, subject, body string) string {
		return more + strings.Replace(outlook, "Subject: [PEC:ufficio] prova\r\nThread-Topic: [PEC:ufficio] prova\r\n", "Subject: "+subject+"\r\n", 1) + "\r\n" + body
	}
	far := strings.Repeat("Riga di un allegato molto lungo.\r\n", 20000)
	coded := strings.Replace(plain("", "x", base64.StdEncoding.EncodeToString([]byte("il suo messaggio "+mark))+"\r\n"), "Content-Type: text/plain\r\n", "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n", 1)
	const refused, passed, filed = "550-5.7.1", "250 2.0.0 Accettato come posta ordinaria", "250 2.0.0 Accettato per l'amministratore"
	for _, tc := range []struct{ name, from, message, want string }{
		{"a person's subject", personal, plain("", mark+" offerta", "x\r\n"), refused},
		{"a person's subject, encoded", personal, plain("", "=?utf-8?B?"+base64.StdEncoding.EncodeToString([]byte(mark+" \u00e8"))+"?=", "x\r\n"), refused},
		{"a person's text", personal, plain("", "offerta", mark+"\r\n"), passed},
		{"an answer's subject", personal, plain("Auto-Submitted: auto-replied\r\n", "Re: "+mark, "x\r\n"), refused},
		{"an answer's text", personal, plain("Auto-Submitted: auto-replied\r\n", "Re: x", "oggetto: "+mark+"\r\n"), refused},
		{"a ticket", personal, plain("Auto-Submitted: auto-generated\r\nX-Ticket: 1\r\n", "[Ticket 1]", "oggetto: "+mark+"\r\n"), refused},
		{"a ticket in base64", personal, "X-Auto-Response-Suppress: All\r\n" + coded, refused},
		{"an old vacation, far behind", personal, plain("Precedence: bulk\r\n", "x", far+mark+"\r\n"), refused},
		{"a report", personal, strings.Replace(plain("", "x", "--b\r\n\r\n"+mark+"\r\n--b--\r\n"), "Content-Type: text/plain", "Content-Type: multipart/report; boundary=b", 1), refused},
		{"no sender", "", plain("", "Re: "+mark, "x\r\n"), filed},
		{"no sender, in the text", "", plain("", "Re: x", far+mark+"\r\n"), filed},
		{"no sender, no PIN", "", plain("", "Re: x", "scrivere il [PIN]\r\n"), passed},
		{"an answer without one", personal, plain("Auto-Submitted: auto-replied\r\n", "Re: x", far), passed},
		{"somebody who says no", personal, plain("Auto-Submitted: no\r\n", "x", mark+"\r\n"), passed},
	} {
		c.envelope(tc.from, "uno@fuori.example")
		done := make(chan struct{})
		go func() { defer close(done); c.send(stuff(tc.message)) }()
		got := c.reply()
		<-done
		if !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %q, want %s", tc.name, got, tc.want)
		}
	}
	s.stop(t)
	if h.count() != 4 || a.count() != 2 || h.began != h.ended || a.began != a.ended || len(s.store.all()) != 0 {
		t.Errorf("%d passed on, %d filed, %d submissions", h.count(), a.count(), len(s.store.all()))
	}
	for _, m := range a.got {
		if strings.Contains(string(m), pin) || !strings.Contains(string(m), "Messaggio con un PIN, non conservato") {
			t.Errorf("filed %s", m)
		}
	}
}

package smtpd

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// TestG6_PINInStrays: what machines repeat of a message with a PIN is not kept, however
// it is written there and wherever it stands.
func TestG6_PINInStrays(t *testing.T) {
	mark := "[PIN:" + pin + "]"
	enc := base64.StdEncoding.EncodeToString([]byte("Subject: " + mark + " offerta\r\n"))
	far := strings.Repeat("Riga di un allegato molto lungo.\r\n", 12000)
	const head = "From: Lucia <lucia@example.org>\r\nTo: " + office + "\r\nDate: Sun, 22 Nov 2026 10:00:00 +0100\r\n"
	for i, tc := range []struct {
		name, message string
		kept          bool
	}{
		{"Subject", head + "Subject: Automatic reply: " + mark + " offerta\r\n\r\nassente\r\n", false},
		{"encoded Subject", head + "Subject: =?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte("Risposta: "+mark+" è")) + "?=\r\n\r\nassente\r\n", false},
		{"text", head + "Subject: x\r\n\r\nil messaggio " + mark + "\r\n", false},
		{"base64", head + "Subject: x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + enc + "\r\n", false},
		{"quoted-printable", head + "Subject: x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=5BPI=\r\nN:" + pin + "]\r\n", false},
		{"HTML", head + "Subject: x\r\nContent-Type: text/html\r\n\r\n<p>&#91;<b>PIN</b>:" + pin + "]</p>\r\n", false},
		{"notice of failure", head + "Subject: x\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?us-ascii?q?=5BPIN:" + pin + "=5D?=\r\n\r\nx\r\n--b--\r\n", false},
		{"far behind", head + "Subject: x\r\n\r\n" + far + "\r\n" + strings.Repeat(far, 3)[:700000] + "\r\n" + mark + "\r\n", false},
		{"none", head + "Subject: Risposta: offerta, scrivere il [PIN] nell'oggetto\r\n\r\n" + far, true},
	} {
		s, a := relayServer(t, func(o *Options, _ *Peer) { o.MaxSize = 4 << 20 })
		c := newClient(t, s.pipes(t).dial(i))
		c.greet()
		c.envelope("", office)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = fmt.Fprint(c.c, stuff(tc.message))
		}()
		got := c.reply()
		<-done
		s.stop(t)
		if !strings.HasPrefix(got, "250 2.0.0 Accettato per l'amministratore") || a.count() != 1 || a.began != a.ended {
			t.Fatalf("%s: %q, %d filed, %d begun, %d ended", tc.name, got, a.count(), a.began, a.ended)
		}
		filed := string(a.got[0])
		if tc.kept != (filed == tc.message) {
			t.Errorf("%s: filed\n%.600s", tc.name, filed)
		}
		if !tc.kept && (strings.Contains(filed, pin) || strings.Contains(filed, enc) || !strings.HasPrefix(filed, head+"Subject: Messaggio con un PIN")) {
			t.Errorf("%s: filed\n%.600s", tc.name, filed)
		}
	}
}

//go:build peers

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pecgate/relay"
)

// sender hands a message, whose lines end in CRLF, to the service at a port of
// localhost.
type sender struct {
	name string
	send func(t *testing.T, h *house, port, message string)
}

func senders() []sender {
	file := func(t *testing.T, text string) string {
		t.Helper()
		name := filepath.Join(t.TempDir(), "message.eml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	ca := func(h *house) string { return filepath.Join(h.dir, "tls", "ca.pem") }
	return []sender{
		{"swaks", func(t *testing.T, _ *house, port, message string) {
			peer(t, nil, "swaks", "--tls-on-connect", "--server", "localhost", "--port", port, "--auth", "PLAIN", "--auth-user", "mario",
				"--auth-password", "mariomario", "--from", boxA, "--to", boxB, "--data", "@"+file(t, message))
		}},
		{"curl", func(t *testing.T, h *house, port, message string) {
			peer(t, nil, "curl", "--silent", "--show-error", "--cacert", ca(h), "--user", "mario:mariomario", "--mail-from", boxA, "--mail-rcpt", boxB,
				"-T", file(t, message), "smtps://localhost:"+port)
		}},
		{"msmtp", func(t *testing.T, h *house, port, message string) {
			conf := file(t, fmt.Sprintf("account default\nhost localhost\nport %s\ntls on\ntls_starttls off\ntls_trust_file %s\nauth plain\nuser mario\npassword mariomario\nfrom %s\n", port, ca(h), boxA))
			peer(t, []byte(strings.ReplaceAll(message, "\r\n", "\n")), "msmtp", "-C", conf, boxB)
		}},
		{"smtplib", func(t *testing.T, h *house, port, message string) {
			peer(t, nil, "python3", "-c", `
import smtplib, ssl, sys
port, ca, sender, to, name = sys.argv[1:]
with smtplib.SMTP_SSL("localhost", int(port), context=ssl.create_default_context(cafile=ca)) as s:
    s.login("mario", "mariomario")
    s.sendmail(sender, [to], open(name, "rb").read())
`, port, ca(h), boxA, boxB, file(t, message))
		}},
		{"smtplib's own message", func(t *testing.T, h *house, port, message string) {
			subject := regexp.MustCompile(`Subject: ([^\r]*)`).FindStringSubmatch(message)[1]
			peer(t, nil, "python3", "-c", `
import smtplib, ssl, sys
from email.message import EmailMessage
port, ca, sender, to, subject = sys.argv[1:]
m = EmailMessage()
m["From"], m["To"], m["Subject"] = sender, to, subject + " perché"
m.set_content("Testo della città.\n.\n..\nFrom qui\n")
m.add_attachment(bytes(range(256)) * 40, maintype="application", subtype="octet-stream", filename="perché.bin")
with smtplib.SMTP_SSL("localhost", int(port), context=ssl.create_default_context(cafile=ca)) as s:
    s.login("mario", "mariomario")
    s.send_message(m)
`, port, ca(h), boxA, boxB, subject)
		}},
	}
}

// toSend are messages as people's programs make them; NAME is the client's.
func toSend() map[string]string {
	head := "From: Protocollo <" + boxA + ">\r\nTo: Ufficio <" + boxB + ">\r\nSubject: Diffida NAME [PIN:" + pinMario + "] n. 7\r\n"
	dated := "Date: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <KIND.NAME@client.example>\r\n"
	return map[string]string{
		"bare": head + "\r\nSi trasmette.\r\n",
		"dots": head + dated + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
			".\r\n..\r\n.x\r\nFrom qui\r\n\r\nperch\u00e9  \r\n\t\r\n" + strings.Repeat("x", 990) + "\r\n\r\n",
		"parts": head + dated + "X-TipoRicevuta: breve\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"=_NAME\"\r\n\r\npreamble\r\n" +
			"--=_NAME\r\nContent-Type: text/plain\r\n\r\nTesto\r\n--=_NAME\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			strings.Repeat("JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0\r\n", 300) + "--=_NAME--\r\nepilogue\r\n",
	}
}

// TestSendersLeaveWhatTheyWrote: what the provider received is, byte for byte,
// what passed between the client and the gateway, but for the edits that the
// audit line names.
func TestSendersLeaveWhatTheyWrote(t *testing.T) {
	h := newHouse(t)
	h.start()
	tap := newTap(t, &demoProcess{dir: h.dir, imap: h.smtps})
	want := map[string]string{} // by submission, the names of the edits
	count := 0
	for _, s := range senders() {
		for kind, text := range toSend() {
			if kind != "bare" && strings.HasSuffix(s.name, "message") {
				continue // writes its own
			}
			name := s.name + "-" + kind
			s.send(t, h, tap.port, strings.NewReplacer("NAME", s.name, "KIND", kind).Replace(text))
			count++
			h.until(name+" is at the provider", func() bool { return len(h.provider.Ledger()) >= count })
			got := h.provider.Ledger()[count-1]
			wire := tap.take()
			sent := onTheWire(t, wire.said)
			expect, edits := edited(t, sent, string(got.Raw))
			if string(got.Raw) != expect {
				t.Errorf("%s: sent %.3000q\nexpected %.3000q\nthe provider has %.3000q", name, sent, expect, got.Raw)
			}
			ids := regexp.MustCompile(`(?m)^250 2\.0\.0 .* accepted as (\S+)\r$`).FindStringSubmatch(wire.told)
			if ids == nil {
				t.Fatalf("%s: no submission in %.2000q", name, wire.told)
			}
			want[ids[1]] = edits
			if strings.Contains(string(got.Raw), pinMario) {
				t.Errorf("%s: the PIN left", name)
			}
			t.Logf("%s: %d octets sent, %d received, edits: %s", name, len(sent), len(got.Raw), edits)
		}
	}
	for id := range want {
		h.settled(id, relay.Accepted)
	}
	h.stop()
	lines := 0
	for _, l := range h.audit("submission") {
		if edits, ours := want[l.Subject]; ours && l.Result == "queued" {
			lines++
			if l.More["edits"] != edits {
				t.Errorf("the audit line names %q, made were %q", l.More["edits"], edits)
			}
		}
	}
	if lines != len(want) || len(want) != count {
		t.Errorf("%d audit lines of %d submissions", lines, count)
	}
}

// onTheWire is the one message of a conversation, without the dots of
// transparency (RFC 5321 section 4.5.2).
func onTheWire(t *testing.T, said string) string {
	t.Helper()
	data := regexp.MustCompile(`(?i)\r\ndata\r\n`)
	begin := data.FindStringIndex(said)
	if begin == nil {
		t.Fatalf("no message in %.2000q", said)
	}
	message, after, ended := strings.Cut("\r\n"+said[begin[1]:], "\r\n.\r\n")
	if !ended || data.MatchString(after) {
		t.Fatalf("not one message in %.2000q", said)
	}
	return strings.TrimPrefix(strings.ReplaceAll(message+"\r\n", "\r\n.", "\r\n"), "\r\n")
}

// edited makes the edits of the contract by hand; a Message-ID and a Date that
// were added are taken from what the provider received, where they stand last.
func edited(t *testing.T, sent, received string) (want, names string) {
	t.Helper()
	head, body, ok := strings.Cut(sent, "\r\n\r\n")
	if !ok || strings.Count(head, "[PIN:"+pinMario+"] ") != 1 {
		t.Fatalf("no header with a PIN in %.1000q", sent)
	}
	list := []string{"PIN cut"}
	head = strings.Replace(head, "[PIN:"+pinMario+"] ", "", 1) + "\r\n"
	if kind := "X-TipoRicevuta: breve\r\n"; strings.Contains(head, kind) {
		head = strings.Replace(head, kind, "", 1)
	}
	head += "X-TipoRicevuta: completa\r\n"
	list = append(list, "X-TipoRicevuta set")
	added, _, _ := strings.Cut(received, "\r\n\r\n")
	for _, f := range []struct{ name, form string }{
		{"Message-ID", `\r\n(Message-ID: <pg\.[a-z0-9]+@localhost>\r\n)`},
		{"Date", `\r\n(Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n)`},
	} {
		if regexp.MustCompile(`(?im)^` + f.name + `:`).MatchString(head) {
			continue
		}
		m := regexp.MustCompile(f.form).FindStringSubmatch(added + "\r\n")
		if m == nil {
			t.Fatalf("no %s was added: %.1000q", f.name, received)
		}
		head += m[1]
		list = append(list, f.name+" added")
	}
	return head + "\r\n" + body, strings.Join(list, ", ")
}

package providersim

import (
	"bytes"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rawXML is daticert.xml as text: the first part of that name in the signed part.
func rawXML(t *testing.T, m pec) string {
	t.Helper()
	h, body := headerAndBody(t, m.signed)
	for _, part := range pieces(t, h, body) {
		if ph, pb := headerAndBody(t, part); strings.Contains(ph.Get("Content-Type"), "daticert.xml") {
			return string(decode64(t, pb))
		}
	}
	return ""
}

// names lists the parts of the signed multipart by their names.
func names(t *testing.T, m pec) string {
	t.Helper()
	h, body := headerAndBody(t, m.signed)
	var out []string
	for _, part := range pieces(t, h, body) {
		ph, _ := headerAndBody(t, part)
		_, name, _ := strings.Cut(ph.Get("Content-Type"), `name="`)
		name, _, _ = strings.Cut(name, `"`)
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// formSwitches says for every switch about the form of messages what shows that
// it acted.
func formSwitches() map[string]func(t *testing.T, e Emitted, ca []byte) bool {
	has := func(s string, list ...string) bool {
		return !slices.ContainsFunc(list, func(want string) bool { return !strings.Contains(s, want) })
	}
	top := func(raw []byte) string {
		head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
		return string(head)
	}
	receipt := "Message-ID: <pg.1@pec.alfa.example>"
	return map[string]func(t *testing.T, e Emitted, ca []byte) bool{
		"errore-altro": func(t *testing.T, e Emitted, ca []byte) bool {
			want := map[Kind]string{Delivery: "nessuno", DeliveryError: "altro"}[e.Kind]
			return want == "" || takeApart(t, e.Raw).daticert.Errore == want
		},
		"empty-risposte": func(t *testing.T, e Emitted, ca []byte) bool {
			return has(rawXML(t, takeApart(t, e.Raw)), "<risposte></risposte>")
		},
		"no-msgid": func(t *testing.T, e Emitted, ca []byte) bool {
			return !has(rawXML(t, takeApart(t, e.Raw)), "<msgid>") && has(top(e.Raw), "X-Riferimento-"+receipt)
		},
		"no-reference": func(t *testing.T, e Emitted, ca []byte) bool {
			return has(rawXML(t, takeApart(t, e.Raw)), "<msgid>") && !has(top(e.Raw), "X-Riferimento")
		},
		"bare-ids": func(t *testing.T, e Emitted, ca []byte) bool {
			return takeApart(t, e.Raw).daticert.MsgID == "pg.1@pec.alfa.example" && has(top(e.Raw), "X-Riferimento-Message-ID: pg.1@pec.alfa.example\r\n")
		},
		"folded-ids": func(t *testing.T, e Emitted, ca []byte) bool {
			m := takeApart(t, e.Raw)
			fold := "X-Riferimento-Message-ID: <pg.1@pec.a\r\n\tlfa.example>"
			return m.daticert.MsgID == "<pg.1@pec.alfa.example>" && has(top(e.Raw), fold) && (m.original == nil || has(string(m.original), fold))
		},
		"doctype": func(t *testing.T, e Emitted, ca []byte) bool {
			return has(rawXML(t, takeApart(t, e.Raw)), "<?xml-stylesheet ", "<!DOCTYPE postacert PUBLIC ")
		},
		"daticert-last": func(t *testing.T, e Emitted, ca []byte) bool {
			m := takeApart(t, e.Raw)
			return m.original == nil || names(t, m) == " postacert.eml daticert.xml"
		},
		"extra-parts": func(t *testing.T, e Emitted, ca []byte) bool {
			m := takeApart(t, e.Raw)
			return has(names(t, m), " dettagli.bin") && has(top(e.Raw), "\r\nX-Namirial-Details: ") && (m.original == nil || has(string(m.original), "X-Namirial-Details: "))
		},
		"header-disagrees": func(t *testing.T, e Emitted, ca []byte) bool {
			m := takeApart(t, e.Raw)
			return m.header.Get("X-Ricevuta") != "" && m.header.Get("X-Ricevuta") != m.daticert.Tipo
		},
		"nested-daticert": func(t *testing.T, e Emitted, ca []byte) bool {
			m := takeApart(t, e.Raw)
			if m.original == nil {
				return true
			}
			h, body := headerAndBody(t, m.original)
			if !strings.HasPrefix(h.Get("Content-Type"), "multipart/mixed") {
				return false
			}
			parts := pieces(t, h, body)
			if len(parts) != 2 || h.Get("X-Ricevuta") == "" || h.Get("Message-Id") != "<"+m.daticert.Identifier+">" {
				return false
			}
			_, lie := headerAndBody(t, parts[1])
			var d dati
			return strings.HasPrefix(string(parts[0]), "\r\nBuongiorno") && xml.Unmarshal(decode64(t, lie), &d) == nil && d.Tipo != m.daticert.Tipo && d.MsgID == m.daticert.MsgID
		},
		"second-daticert": func(t *testing.T, e Emitted, ca []byte) bool {
			return strings.Count(names(t, takeApart(t, e.Raw)), "daticert.xml") == 2
		},
		"forged-part": func(t *testing.T, e Emitted, ca []byte) bool {
			h, body := headerAndBody(t, e.Raw)
			parts := pieces(t, h, body)
			return len(parts) == 3 && has(string(parts[2]), `name="daticert.xml"`)
		},
		"relayed": func(t *testing.T, e Emitted, ca []byte) bool {
			h, body := headerAndBody(t, e.Raw)
			parts := pieces(t, h, body)
			if len(parts) != 2 || !strings.HasPrefix(h.Get("Content-Type"), "multipart/mixed") || h.Get("X-Ricevuta")+h.Get("X-Trasporto") == "" {
				return false
			}
			// The signature one level down is whole.
			inner := takeApart(t, append([]byte("From: "+h.Get("From")+"\r\n"), parts[0]...))
			return inner.daticert != nil && inner.check(ca) == nil
		},
		"lf-only": func(t *testing.T, e Emitted, ca []byte) bool {
			if bytes.Contains(e.Raw, []byte("\r")) {
				return false
			}
			m := takeApart(t, bytes.ReplaceAll(e.Raw, []byte("\n"), []byte("\r\n")))
			return m.check(ca) == nil
		},
	}
}

// Each is looked for in the messages that users get, and is gone when off; each
// message is good PEC apart from it.
func TestFormSwitches(t *testing.T) {
	otherShape := []string{"relayed", "lf-only", "forged-part"} // the table checks what is signed in them
	for _, style := range []Style{StyleOld, StyleNew} {
		p := start(t, func(o *Options) { o.Style = style })
		// send gives what the users' mailboxes get of one message.
		send := func(name, value string) []Emitted {
			t.Helper()
			if err := p.Faults().Set(name, value); err != nil {
				t.Fatal(err)
			}
			before := len(p.Emitted())
			submit(t, p, ordinary(bob+", "+ghost), bob, ghost)
			return slices.DeleteFunc(p.Emitted()[before:], func(e Emitted) bool { return e.Mailbox == p.ServiceAddress() })
		}
		for name, see := range formSwitches() {
			for _, e := range send(name, "on") {
				if !see(t, e, p.CAPEM()) {
					t.Errorf("%s, style %s: kind %d does not show it:\n%.1500s", name, style, e.Number, e.Raw)
				}
				if slices.Contains(otherShape, name) {
					continue
				}
				if err := takeApart(t, e.Raw).check(p.CAPEM()); err != nil {
					t.Errorf("%s, style %s: kind %d: %v", name, style, e.Number, err)
				}
			}
			for _, e := range send(name, "off") {
				if err := takeApart(t, e.Raw).check(p.CAPEM()); err != nil {
					t.Errorf("after %s, style %s: kind %d: %v", name, style, e.Number, err)
				}
				if e.Kind == Delivery && name != "errore-altro" && see(t, e, p.CAPEM()) {
					t.Errorf("%s, style %s: still there when off", name, style)
				}
			}
		}
	}
}

// Every switch is either in the table above or in the test named here.
func TestEverySwitchHasItsTest(t *testing.T) {
	elsewhere := map[string]string{
		"refuse-login": "TestLogin", "password-expired": "TestPasswordExpired", "reject-mail": "TestMailFaults", "reject-recipient": "TestMailFaults", "per-minute": "TestMailFaults",
		"reject-at-dot": "TestDotFaults", "defer-at-dot": "TestDotFaults", "cut-after-dot": "TestDotFaults", "lose-after-dot": "TestDotFaults", "hold-dot": "TestDotFaults", "acceptance-delay": "TestAcceptanceDelay",
		"no-receipts": "TestReceiptFaults", "duplicate-receipts": "TestReceiptFaults", "reverse-order": "TestReceiptFaults",
		"delay": "TestDelayPastWarnings", "late-receipts": "TestDelayPastWarnings", "leak-service": "TestServiceMailbox",
		"service-notices": "TestServiceNotices", "failed-checks": "TestOrdinaryMail",
		"wrong-signature": "TestSignatureFaults", "expired-leaf": "TestSignatureFaults", "foreign-ca": "TestSignatureFaults",
		"cut-fetch": "TestCutFetch", "cut-retr": "TestPOP3Faults", "wrong-sizes": "TestPOP3Faults", "changing-uidl": "TestPOP3Faults", "no-uidl": "TestPOP3Faults",
	}
	var source strings.Builder
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for _, name := range new(Faults).Names() {
		if formSwitches()[name] == nil && !strings.Contains(source.String(), "\nfunc "+elsewhere[name]+"(t *testing.T)") {
			t.Errorf("no test for the switch %s", name)
		}
	}
}

package forward

import (
	"strings"
	"testing"
)

// What must not leave from a groupware server, and what must not be forwarded.
func TestHeadersOfMachines(t *testing.T) {
	ours := Check{Hostname: "gw.example", Address: "pecgate@gw.example"}
	for _, c := range []struct {
		name, header      string
		machines, answers bool // stopped
	}{
		{"a person", "Subject: x\r\nIn-Reply-To: <a@b.example>\r\n", false, false},
		{"a person who says so", "Auto-Submitted: no\r\nIn-Reply-To: <a@b.example>\r\n", false, false},
		{"an application", "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n", true, false},
		{"a ticket system", "Auto-Submitted: auto-generated\r\nReferences: <a@b.example>\r\nIn-Reply-To: <a@b.example>\r\n", true, false},
		{"one that goes on and on", "Auto-Submitted: auto-generated\r\nIn-Reply-To: <a@b.example>\r\nX-Again: yes\r\n", true, true},
		{"one in bulk", "Auto-Submitted: auto-generated\r\nIn-Reply-To: <a@b.example>\r\nPrecedence: bulk\r\n", true, true},
		{"one that says it answers, too", "Auto-Submitted: auto-generated\r\nIn-Reply-To: <a@b.example>\r\nX-Autoreply: yes\r\n", true, true},
		{"one without a return path", "Return-Path: <>\r\nAuto-Submitted: auto-generated\r\nIn-Reply-To: <a@b.example>\r\n", true, true},
		{"what is no word of RFC 3834", "Auto-Submitted: yes\r\nIn-Reply-To: <a@b.example>\r\n", true, true},
		{"a wandering ticket", strings.Repeat("Received: from a by b; Sat, 21 Nov 2026 10:00:00 +0100\r\n", 31) + "Auto-Submitted: auto-generated\r\nIn-Reply-To: <a@b.example>\r\n", true, true},
		{"a newsletter", "Precedence: bulk\r\n", false, false},
		{"out of office by Exchange", "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\nIn-Reply-To: <a@b.example>\r\nSubject: Risposta automatica: x\r\n", true, true},
		{"out of office by RFC 3834", "Auto-Submitted: auto-replied (vacation)\r\n", true, true},
		{"vacation of old", "Precedence: bulk\r\nReferences: <a@b.example>\r\n", true, true},
		{"Precedence of an answer", "Precedence: auto_reply\r\n", true, true},
		{"an agent of Domino", "X-Autoreply: yes\r\n", true, true},
		{"a rule that sends on", "X-MS-Exchange-Inbox-Rules-Loop: mario@example.org\r\n", true, true},
		{"a notice of reading", "Content-Type: multipart/report; report-type=disposition-notification;\r\n boundary=x\r\n", true, true},
		{"our copy, sent on", "Received: by gw.example (pecgate) id f1-0\r\n\tfor <mario@example.org>; Sat, 21 Nov 2026 10:00:00 +0100\r\n", true, true},
		{"our notice", "X-Loop: pecgate@gw.example\r\n", true, true},
		{"a wanderer", strings.Repeat("Received: from a by b; Sat, 21 Nov 2026 10:00:00 +0100\r\n", 31), true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, a := ours, ours
			m.Machines, a.Answers = true, true
			a.Own = func(header []byte) string {
				if strings.Contains(string(header), "X-Again") {
					return "too often"
				}
				return ""
			}
			if why := m.Header([]byte(c.header + "\r\n")); (why != "") != c.machines {
				t.Errorf("not to be forwarded: %q", why)
			}
			if why := a.Header([]byte(c.header + "\r\n")); (why != "") != c.answers {
				t.Errorf("not to leave: %q", why)
			}
			if why := ours.Header([]byte(c.header + "\r\n")); (why != "") != (strings.Contains(c.header, "gw.example") || strings.Contains(c.name, "wander")) {
				t.Errorf("by our own marks: %q", why)
			}
		})
	}
}

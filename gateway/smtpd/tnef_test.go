package smtpd

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// mixed is a message of office with these parts, each with its header.
func mixed(kind string, list ...string) string {
	var b strings.Builder
	b.WriteString(header + "MIME-Version: 1.0\r\nContent-Type: multipart/" + kind + "; boundary=\"=_x\"\r\n\r\npreamble\r\n")
	for _, p := range list {
		b.WriteString("--=_x\r\n" + p + "\r\n")
	}
	return b.String() + "--=_x--\r\nepilogue\r\n"
}

// TestWinmail: what Outlook and Exchange make of a message where nobody told
// them otherwise is refused with the switch to set, however it comes in pieces;
// what only speaks of it passes.
func TestWinmail(t *testing.T) {
	const text = "Content-Type: text/plain\r\n\r\ntesto"
	const tnef = "Content-Type: application/ms-tnef; name=\"winmail.dat\"\r\nContent-Transfer-Encoding: base64\r\n\r\neJ8+"
	inner := strings.ReplaceAll(strings.TrimPrefix(mixed("alternative", text, tnef), header), "=_x", "in/ner")
	tests := []struct {
		name, message string
		ok            bool
	}{
		{"whole", header + "Content-Type: application/ms-tnef\r\n\r\neJ8+\r\n", false},
		{"part", mixed("mixed", text, tnef), false},
		{"first part", mixed("mixed", tnef), false},
		{"other type", mixed("mixed", text, "Content-Type: application/vnd.ms-tnef\r\n\r\nx"), false},
		{"only the name", mixed("mixed", text, "Content-Type: application/octet-stream\r\nContent-Disposition: attachment;\r\n\tfilename=WINMAIL.DAT\r\n\r\nx"), false},
		{"name in two pieces", mixed("mixed", text, "Content-Disposition: attachment; filename*0=win; filename*1=mail.dat\r\n\r\nx"), false},
		{"inner multipart", mixed("mixed", text, inner), false},
		{"after an inner multipart", mixed("mixed", strings.ReplaceAll(inner, "ms-tnef", "pdf; x=")+"\r\n", tnef), false},
		{"blanks behind the boundary", strings.ReplaceAll(mixed("mixed", text, tnef), "--=_x\r\n", "--=_x \t\r\n"), false},
		{"header folded", mixed("mixed", text, "Content-Type:\r\n application/ms-tnef\r\n\r\nx"), false},
		{"no such part", mixed("mixed", text, "Content-Type: application/pdf; name=winmail.pdf\r\n\r\nx"), true},
		{"in the text", header + "\r\n--=_x\r\n" + tnef + "\r\n", true},
		{"in the epilogue", mixed("mixed", text) + "--=_y\r\n" + tnef + "\r\n", true},
		{"in a message that is attached", mixed("mixed", text, "Content-Type: message/rfc822\r\n\r\nFrom: x@example.org\r\n"+inner), true},
		{"line that only begins so", mixed("mixed", text+"\r\n--=_xx\r\n"+tnef), true},
		{"line that only ends so", mixed("mixed", text+"\r\nx--=_x\r\n"+tnef), true},
		{"indented", mixed("mixed", text+"\r\n --=_x\r\n"+tnef), true},
		{"long dashes", mixed("mixed", text+"\r\n"+strings.Repeat("-", 5000)+"\r\n-\r\n--\r\n"), true},
		{"no boundary", header + "Content-Type: multipart/mixed\r\n\r\n--\r\n" + tnef + "\r\n", true},
	}
	for _, tt := range tests {
		for seed := range uint64(40) {
			if got := searched(t, tt.message, rand.New(rand.NewPCG(seed, 1)), seed == 0); got != tt.ok {
				t.Errorf("%s, pieces of seed %d: passed %v", tt.name, seed, got)
				break
			}
		}
	}

	s := newServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.login()
	c.envelope(office, other)
	c.send(stuff(mixed("mixed", text, tnef)))
	answer := c.reply()
	told(t, answer)
	if !strings.HasPrefix(answer, "550-5.6.1 ") || strings.Count(answer, "-TNEFEnabled $false") != 2 || !strings.Contains(answer, "File, Opzioni, Posta") {
		t.Errorf("answer %q", answer)
	}
	c.envelope(office, other)
	c.send(stuff(mixed("mixed", text)))
	c.reply()
	c.c.Close()
	if n := len(s.store.all()); n != 1 {
		t.Errorf("%d stored", n)
	}
}

// searched hands a message to the search as body.next would: pieces never end
// between CR and LF.
func searched(t *testing.T, m string, r *rand.Rand, whole bool) bool {
	t.Helper()
	end := headerEnd([]byte(m), 0)
	p, err := partsOf([]byte(m[:end]))
	for rest := m[end:]; err == nil && rest != ""; {
		n := len(rest)
		if !whole {
			n = min(n, 1+r.IntN(1+r.IntN(60)))
		}
		if n < len(rest) && rest[n-1] == '\r' {
			n++
		}
		err = p.look([]byte(rest[:n]))
		rest = rest[n:]
	}
	return err == nil
}

// TestWinmailBounds: the search costs no more than its bounds, whatever comes.
func TestWinmailBounds(t *testing.T) {
	var b strings.Builder
	b.WriteString(header + "Content-Type: multipart/mixed; boundary=b0\r\n\r\n")
	for i := range 200 { // multiparts in each other
		fmt.Fprintf(&b, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	for range 5000 {
		b.WriteString("--b0\r\nX: " + strings.Repeat("x", 100) + "\r\n\r\n")
	}
	b.WriteString("--b0\r\nX: " + strings.Repeat("y", 100_000))
	m := b.String()
	end := headerEnd([]byte(m), 0)
	p, err := partsOf([]byte(m[:end]))
	if err != nil {
		t.Fatal(err)
	}
	for i := end; i < len(m); i += 1000 {
		if err := p.look([]byte(m[i:min(len(m), i+1000)])); err != nil {
			t.Fatal(err)
		}
		if len(p.open) > maxOpen || len(p.line) > maxPartHeader || p.seen > maxPartsSeen {
			t.Fatalf("%d boundaries, %d octets, %d parts", len(p.open), len(p.line), p.seen)
		}
	}
	if p.seen != maxPartsSeen {
		t.Errorf("%d parts seen", p.seen)
	}
}

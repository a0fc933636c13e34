package smtpd

import (
	"strings"
	"testing"

	"pecgate/gateway/gate"
)

// TestB17_MessageIDIsMadeOnce: what comes without a Message-ID gets one before it is
// stored, so that every attempt sends the same bytes; each has one of its own that
// bears this gateway's name. One of the client's stays as it is, two are refused.
func TestB17_MessageIDIsMadeOnce(t *testing.T) {
	s := newServer(t, nil)
	s.listen(t, gate.ImplicitTLS)
	c := newClient(t, s.dial(t))
	c.login()
	start := strings.Replace(header, "Message-ID: <1@client.example.org>\r\n", "", 1)
	for _, tt := range []struct{ name, fields, answer string }{
		{"missing", "", "250 "},
		{"missing again", "", "250 "},
		{"the client's", "Message-ID: <1@client.example.org>\r\n", "250 "},
		{"twice", "Message-ID: <1@c.example>\r\nMessage-ID: <2@c.example>\r\n", "550-"},
		{"twice the same", "Message-ID: <1@c.example>\r\nmessage-id: <1@c.example>\r\n", "550-"},
		{"empty", "Message-ID:\r\n", "550-"},
		{"two in one", "Message-ID: <1@c.example> <2@c.example>\r\n", "550-"},
	} {
		c.envelope(office, other)
		c.send(start + tt.fields + "\r\ntesto\r\n.\r\n")
		if got := c.reply(); !strings.HasPrefix(got, tt.answer) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	all := s.store.all()
	if len(all) != 3 {
		t.Fatalf("%d stored, want 3", len(all))
	}
	seen := map[string]bool{}
	for i, m := range all {
		var ids []string
		for line := range strings.SplitSeq(string(m.data), "\r\n") {
			if name, v, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Message-ID") {
				ids = append(ids, strings.TrimSpace(v))
			}
		}
		if len(ids) != 1 || seen[ids[0]] {
			t.Fatalf("message %d has %q", i, ids)
		}
		seen[ids[0]] = true
		if m.MessageID != ids[0] {
			t.Errorf("message %d is known as %q, and bears %q", i, m.MessageID, ids[0])
		}
		if ours := strings.HasPrefix(ids[0], "<pg.") && strings.HasSuffix(ids[0], "@"+s.opt.Hostname+">"); ours != (i < 2) {
			t.Errorf("message %d has %q", i, ids[0])
		}
	}
}

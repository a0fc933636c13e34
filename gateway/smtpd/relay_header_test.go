package smtpd

import (
	"strings"
	"testing"
)

// The word of the suffix is one of domains in use, too: pec.comune.example. It goes
// from the end of a domain only.
func TestRelaySuffixInsideDomain(t *testing.T) {
	s, _ := relayServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	all := []string{"a@mail.pec.comune.example", "b@comune.pec-uff.example", "c@pec.comune.example"}
	m := "From: " + personal + "\r\nTo: " + strings.Join(all, ", ") + "\r\nSubject: [PEC:ufficio] x\r\nMessage-ID: <1@x>\r\n\r\nx\r\n"
	for _, suffix := range []string{"", ".pec"} {
		var to []string
		for _, a := range all {
			to = append(to, a+suffix)
		}
		if got := c.message(personal, strings.Replace(m, strings.Join(all, ", "), strings.Join(to, ", "), 1), to...); !strings.HasPrefix(got, "250 ") {
			t.Fatalf("suffix %q: %q", suffix, got)
		}
	}
	s.stop(t)
	for _, one := range s.store.all() {
		if want := "To: " + strings.Join(all, ", ") + "\r\n"; !strings.Contains(string(one.data), want) || strings.Join(one.Recipients, " ") != strings.Join(all, " ") {
			t.Errorf("to %v:\n%s", one.Recipients, one.data)
		}
	}
}

// A field without which the body cannot be read stays, whatever address is in it; any
// other that shows the sender's ordinary address goes, however it is written there.
func TestRelayOrdinaryAddressInFields(t *testing.T) {
	keep := "MIME-Version: 1.0 (" + personal + ")\r\nContent-Type: multipart/mixed; boundary=\"1-" + personal + "\"\r\n" +
		"Content-Disposition: attachment; filename=\"" + personal + ".eml\"\r\n"
	lose := []string{"X-A: " + personal, "X-A: mario.rossi\r\n @example.org", "X-A: =?utf-8?q?mario.rossi=40EXAMPLE.org?=",
		"List-Unsubscribe: <mailto:mario.rossi%40example.org>", "X-A: bounce-mario.rossi=example.org@lists.example"}
	for i, field := range lose {
		s, _ := relayServer(t, nil)
		c := newClient(t, s.pipes(t).dial(i))
		c.greet()
		m := "From: " + personal + "\r\nTo: " + other + "\r\nSubject: [PEC:ufficio] x\r\nMessage-ID: <1@x>\r\n" + field + "\r\n" + keep + "\r\n--1-" + personal + "--\r\n"
		if got := c.message(personal, m, other); !strings.HasPrefix(got, "250 ") {
			t.Fatalf("%q: %q", field, got)
		}
		s.stop(t)
		got := string(s.store.all()[0].data)
		if !strings.Contains(got, keep) || strings.Contains(got, field) {
			t.Errorf("%q:\n%s", field, got)
		}
	}
	if isCut("content-type") {
		t.Error("Content-Type is cut")
	}
}

// Of a message without a Message-ID it is told which way it came: the same for a
// repetition, another for another message with the same words.
func TestRelayWay(t *testing.T) {
	s, _ := relayServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	bare := "From: " + personal + "\r\nTo: " + other + "\r\nSubject: [PEC:ufficio] x\r\n"
	for _, head := range []string{"Received: from a; id 1\r\n", "Received: from a; id 1\r\n", "Received: from a; id 2\r\n", "", "Received: from a; id 1\r\nMessage-ID: <1@x>\r\n"} {
		if got := c.message(personal, head+bare+"\r\nx\r\n", other); !strings.HasPrefix(got, "250 ") {
			t.Fatal(got)
		}
	}
	s.stop(t)
	got := s.store.all()
	if got[0].Way == "" || got[0].Way != got[1].Way || got[0].ClientHeader != got[1].ClientHeader || got[2].Way == got[0].Way || got[2].Way == "" {
		t.Errorf("ways %q %q %q", got[0].Way, got[1].Way, got[2].Way)
	}
	if got[3].Way != "" || got[4].Way != "" {
		t.Errorf("ways %q %q", got[3].Way, got[4].Way)
	}
}

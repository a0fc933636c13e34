package fetch

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// TestXOAUTH2 logs in with an access token, is refused by a challenge, and never
// falls back to a password.
func TestXOAUTH2(t *testing.T) {
	const token = "ya29.zugang"
	answer := base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01"))
	for _, c := range []struct {
		caps   string
		refuse string // the word of the refusal
		want   string // in the error
	}{
		{"IMAP4rev1 SASL-IR AUTH=XOAUTH2", "", ""},
		{"IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2", "", ""},
		{"IMAP4rev1 SASL-IR AUTH=XOAUTH2", "NO [AUTHENTICATIONFAILED]", "login refused"},
		{"IMAP4rev1 SASL-IR AUTH=XOAUTH2", "BAD", "login refused"}, // of a server that does not take = for nothing
		{"IMAP4rev1 AUTH=PLAIN", "", "does not offer XOAUTH2"},
	} {
		p := newProvider(t, nil)
		p.caps = c.caps
		p.on = func(conn *conn, tag, cmd string) bool {
			if strings.HasPrefix(cmd, "LOGIN") {
				t.Error("the token was given as a password")
			}
			if !strings.HasPrefix(cmd, "AUTHENTICATE XOAUTH2") {
				return false
			}
			got := strings.TrimPrefix(cmd, "AUTHENTICATE XOAUTH2 ")
			if !strings.Contains(c.caps, "SASL-IR") {
				conn.say("+ ")
				line, _ := conn.r.ReadString('\n')
				got = strings.TrimSpace(line)
			}
			if got != answer {
				conn.say("%s NO [AUTHENTICATIONFAILED] other", tag)
				return true
			}
			if c.refuse != "" {
				conn.say("+ eyJzdGF0dXMiOiI0MDEifQ==")
				if line, _ := conn.r.ReadString('\n'); strings.Trim(line, "=\r\n") != "" { // the library writes = for nothing
					t.Errorf("the challenge was answered by %q", line)
				}
				conn.say("%s %s expired: %s", tag, c.refuse, token)
				return true
			}
			conn.say("%s OK in", tag)
			return true
		}
		srv := p.server()
		srv.Password, srv.Token = "", token
		s, err := Dial(t.Context(), srv)
		if err == nil {
			s.Close()
		}
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v", c.caps, err)
		case err != nil && strings.Contains(err.Error(), token):
			t.Errorf("%s: the token is told: %v", c.caps, err)
		case (c.refuse != "") != errors.Is(err, ErrAuthRefused):
			t.Errorf("%s: %v", c.caps, err)
		}
	}
}

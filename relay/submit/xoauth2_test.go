package submit

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestXOAUTH2 logs in with an access token, is refused by a challenge, and never
// falls back to another mechanism.
func TestXOAUTH2(t *testing.T) {
	const token = "ya29.zugang"
	answer := base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01"))
	for _, c := range []struct {
		offer string
		on    func(c *conn, line string) string
		want  Class
		auth  int
	}{
		{"AUTH PLAIN XOAUTH2", func(_ *conn, line string) string {
			if line != "AUTH XOAUTH2 "+answer {
				return "535 5.7.8 not this one"
			}
			return "235 2.7.0 ok"
		}, HandedOver, 1},
		{"AUTH XOAUTH2", func(c *conn, _ string) string {
			io.WriteString(c, "334 eyJzdGF0dXMiOiI0MDEifQ==\r\n")
			if line, err := c.r.ReadString('\n'); err != nil || line != "\r\n" {
				return "454 no empty answer"
			}
			return "535 5.7.8 the token has expired: " + token + " " + answer
		}, AuthRefused, 1},
		{"AUTH PLAIN LOGIN", nil, Temporary, 0},
	} {
		p := newProvider(t)
		p.offer = []string{c.offer}
		logins := 0
		p.login = func(conn *conn, line string) string {
			logins++
			return c.on(conn, line)
		}
		srv := p.server()
		srv.Password, srv.Token = "", token
		res := Send(t.Context(), srv, from, to, hello, Hooks{})
		if res.Class != c.want || logins != c.auth {
			t.Errorf("%s: %s, %v, %d logins", c.offer, res.Class, res.Err, logins)
		}
		if all := fmt.Sprintf("%+v %v", res, res.Err); strings.Contains(all, token) || strings.Contains(all, answer) {
			t.Errorf("%s: the token is told: %s", c.offer, all)
		}
	}
}

// TestReplyRules: what a provider means by replies of its own wins over what the
// code says, and only where all its words are there.
func TestReplyRules(t *testing.T) {
	rules := []ReplyRule{
		{Code: 554, Words: []string{"Try AGAIN", "minutes"}, Class: Temporary},
		{Code: 452, Words: []string{"never"}, Class: Permanent},
		{Code: 250, Words: []string{"queued"}, Class: Permanent}, // nothing makes a good reply bad
		{Code: 551, Class: HandedOver},                           // nor a bad one good
	}
	for reply, want := range map[string]Class{
		"554 5.7.0 try again in some minutes":    Temporary,
		"554-5.7.0 try\r\n554 later":             Permanent,
		"554 5.7.0 try again":                    Permanent,
		"452 4.2.2 never for you":                Permanent,
		"452 4.2.2 later":                        Temporary,
		"551 no":                                 Permanent,
		"550 Class of Service: Too much traffic": Temporary,
		"250 2.0.0 queued":                       HandedOver,
		"554-try again\r\n554 in a few minutes":  Temporary,
	} {
		p := newProvider(t)
		p.on = script("DOT", reply)
		srv := p.server()
		srv.Replies = rules
		if res := Send(t.Context(), srv, from, to, hello, Hooks{}); res.Class != want {
			t.Errorf("%q: %s, want %s", reply, res.Class, want)
		}
	}
}

package pop3

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

func TestLogin(t *testing.T) {
	for name, c := range map[string]struct {
		caps   []string
		change func(*Options)
		want   string // of what the server sees, up to the second CAPA
		err    string
	}{
		"PLAIN":             {[]string{"USER", "SASL CRAM-MD5 plain"}, nil, "CAPA AUTH", ""},
		"USER":              {[]string{"USER"}, nil, "CAPA USER PASS", ""},
		"no CAPA":           {nil, nil, "CAPA USER PASS", ""},
		"UTF8":              {[]string{"USER", "UTF8 USER"}, nil, "CAPA UTF8 USER PASS", ""},
		"token":             {[]string{"SASL PLAIN XOAUTH2"}, func(o *Options) { o.Token = "good" }, "CAPA AUTH", ""},
		"wrong token":       {[]string{"SASL PLAIN XOAUTH2"}, func(o *Options) { o.Token = "geheim" }, "CAPA AUTH", "refused"},
		"token not taken":   {[]string{"SASL PLAIN"}, func(o *Options) { o.Token = "good" }, "CAPA", "XOAUTH2"},
		"long password":     {[]string{"SASL PLAIN"}, func(o *Options) { o.Password = strings.Repeat("x", 300) }, "CAPA AUTH", "refused"},
		"wrong by PASS":     {[]string{"USER"}, func(o *Options) { o.Password = "geheim" }, "CAPA USER PASS", "refused"},
		"nothing offered":   {[]string{"SASL CRAM-MD5"}, nil, "CAPA", "neither"},
		"no user":           {[]string{"USER"}, func(o *Options) { o.Username = "" }, "CAPA", "refused"},
		"a line too many":   {[]string{"USER"}, func(o *Options) { o.Password = "a\r\nDELE 1" }, "CAPA", "refused"},
		"a blank in a name": {[]string{"USER"}, func(o *Options) { o.Username = "a b" }, "CAPA", "fit"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.caps = c.caps
			_, err := s.dial(t, c.change)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Fatalf("%v", err)
			}
			if errors.Is(err, ErrAuthRefused) != (c.err == "refused") {
				t.Errorf("%v", err)
			}
			var words []string
			for _, l := range strings.Split(s.seen(), "\n") {
				word, _, _ := strings.Cut(l, " ")
				words = append(words, word)
			}
			if c.err == "" {
				words = words[:len(words)-1]
			}
			if got := strings.Join(words, " "); got != c.want {
				t.Errorf("the server saw %q", got)
			}
		})
	}
}

// TestB10_RefusedLogin: what the code says is passing is not about the password,
// and no secret is quoted.
func TestB10_RefusedLogin(t *testing.T) {
	for answer, refused := range map[string]bool{
		"-ERR [AUTH] wrong":               true,
		"-ERR wrong":                      true,
		"-ERR you said " + password + "!": true,
		"-ERR [IN-USE] locked":            false,
		"-ERR [sys/temp] later":           false,
		"-ERR [SYS/PERM] call us":         true,
		"-ERR [LOGIN-DELAY] wait":         false,
		"+OK\r\n+OK logged in before":     false,
		"* OK":                            false,
	} {
		for _, caps := range [][]string{{"USER"}, {"SASL PLAIN"}} {
			s := newServer(t)
			s.caps = caps
			s.on = func(c *conn, cmd string) bool {
				last := strings.HasPrefix(cmd, "PASS") || strings.HasPrefix(cmd, "AUTH")
				if last {
					io.WriteString(c, answer+"\r\n")
				}
				return last
			}
			_, err := s.dial(t, nil)
			if err == nil || errors.Is(err, ErrAuthRefused) != refused || strings.Contains(err.Error(), password) {
				t.Errorf("%q: %v", answer, err)
			}
			if n := strings.Count(s.seen(), "PASS") + strings.Count(s.seen(), "AUTH"); n != 1 {
				t.Errorf("%q: %d logins", answer, n)
			}
		}
	}
}

// TestC19_NothingBeforeTLSIsUsed: without TLS there is no login, and what came
// before it is forgotten.
func TestC19_NothingBeforeTLSIsUsed(t *testing.T) {
	for name, c := range map[string]struct {
		greeting, answer string
		isTLS            bool
	}{
		"refused":                {"+OK", "-ERR no", true},
		"plain text behind":      {"+OK", "+OK\r\n+OK logged in", true},
		"half a line behind":     {"+OK", "+OK\r\n+", true},
		"no POP3":                {"220 smtp.provider.test", "", false},
		"greeting is a refusal":  {"-ERR go away", "", false},
		"another word":           {"+OK", "OK", false},
		"more than one greeting": {"+OK\r\n+OK", "+OK", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.greeting = c.greeting
			s.on = func(conn *conn, cmd string) bool {
				if cmd == "STLS" {
					conn.say("%s", c.answer)
				}
				return cmd == "STLS"
			}
			secured := false
			_, err := s.dial(t, func(o *Options) {
				o.Security = "starttls"
				o.Secure = func(_ context.Context, c net.Conn) (net.Conn, error) { secured = true; return c, nil }
			})
			if err == nil || errors.Is(err, ErrTLS) != c.isTLS || secured {
				t.Errorf("%v, secured %t", err, secured)
			}
			if seen := s.seen(); strings.Contains(seen, "AUTH") || strings.Contains(seen, "CAPA") {
				t.Errorf("the server saw %q", seen)
			}
		})
	}
	bad := errors.New("wrong certificate")
	for _, security := range []string{"tls", "starttls"} {
		s := newServer(t)
		_, err := s.dial(t, func(o *Options) {
			o.Security = security
			o.Secure = func(context.Context, net.Conn) (net.Conn, error) { return nil, bad }
		})
		if !errors.Is(err, bad) || strings.Contains(s.seen(), "AUTH") {
			t.Errorf("%s: %v", security, err)
		}
	}
	for _, security := range []string{"", "none", "TLS"} {
		if _, err := newServer(t).dial(t, func(o *Options) { o.Security = security }); !errors.Is(err, ErrTLS) {
			t.Errorf("%q: %v", security, err)
		}
	}
}

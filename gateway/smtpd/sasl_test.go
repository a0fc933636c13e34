package smtpd

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// FuzzG15_SASL: whatever a client answers to a mechanism, login is asked at most
// once, only with a name and a password that could have been typed into a line,
// never for the identity of another, and with exactly what was sent.
func FuzzG15_SASL(f *testing.F) {
	for _, s := range []string{
		"\x00mario\x00secret", "mario\x00mario\x00secret", "lucia\x00mario\x00secret", "\x00mario\x00secret\x00", "\x00\x00", "", "\x00mario",
		"\x00mario\r\n\x00secret", "\x00mario\x00secret\r", "mario", "*", "\x00" + strings.Repeat("m", 20000) + "\x00x", "\xff\x00\xfe\x00\xfd",
	} {
		f.Add([]byte(s), []byte("secret"), true)
		f.Add([]byte(s), []byte(s), false)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, initial bool) {
		type asked struct{ name, password string }
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			var calls []asked
			refused := errors.New("refused")
			ask := func(name, password string) error {
				calls = append(calls, asked{name, password})
				if name == "" {
					return refused
				}
				return nil
			}
			var next func([]byte) ([]byte, bool, error)
			if mechanism == "PLAIN" {
				next = (&plain{login: ask}).Next
			} else {
				next = (&login{login: ask}).Next
			}
			answers := [][]byte{first, second}
			if !initial {
				answers = append([][]byte{nil}, answers...)
			}
			done, steps := false, 0
			var err error
			for _, a := range answers {
				if done || err != nil {
					break
				}
				if a == nil && steps > 0 {
					a = []byte{}
				}
				var challenge []byte
				challenge, done, err = next(a)
				if steps++; !done && err == nil && challenge == nil {
					t.Fatalf("%s: neither asked nor answered", mechanism)
				}
			}
			if len(calls) > 1 {
				t.Fatalf("%s: login asked %d times", mechanism, len(calls))
			}
			if !done && err == nil {
				continue // more is wanted
			}
			if len(calls) != 1 || done != (err == nil) {
				t.Fatalf("%s: ended with %v, %v and %d logins", mechanism, done, err, len(calls))
			}
			got := calls[0]
			if got.name == "" && got.password == "" {
				continue // the refusal that looks like any other
			}
			if !typed(got.name) || !typed(got.password) {
				t.Fatalf("%s: asked for %q, %q", mechanism, got.name, got.password)
			}
			sent := bytes.Join([][]byte{first, second}, nil)
			if !bytes.Contains(sent, []byte(got.name)) || !bytes.Contains(sent, []byte(got.password)) {
				t.Fatalf("%s: %q, %q were never sent", mechanism, got.name, got.password)
			}
			if mechanism == "PLAIN" {
				id, _, _ := bytes.Cut(first, []byte{0})
				if len(id) > 0 && string(id) != got.name {
					t.Fatalf("PLAIN: logged in as %q for %q", got.name, id)
				}
			}
		}
	})
}

package main

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

// What the commands print is a hash that both the loader of the configuration and the login service take, and the secret is
// nowhere in the output.
func TestPasswordAndPIN(t *testing.T) {
	for _, c := range []struct{ command, stdin, secret string }{
		{"password", "correct horse\n", "correct horse"},
		{"password", "correct horse\r\nsecond line\n", "correct horse"},
		{"password", "perché così", "perché così"},
		{"pin", "123456\n", "123456"},
		{"pin", "0000", "0000"},
	} {
		state, out, errs := program(t, c.stdin, c.command)
		hash := strings.TrimSuffix(out, "\n")
		if state != exitGood || errs != "" || strings.Contains(out, c.secret) {
			t.Errorf("%+v: %d %q %q", c, state, out, errs)
		}
		if err := auth.CheckHash(hash); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if !strings.HasPrefix(hash, "$argon2id$v=19$") || strings.Contains(hash, "\n") {
			t.Errorf("%+v prints %q", c, out)
		}
	}
}

func TestShortPasswordIsWarnedOf(t *testing.T) {
	state, out, errs := program(t, "abc\n", "password")
	if state != exitGood || !strings.HasPrefix(out, "$argon2id$") || !strings.Contains(errs, "shorter than") {
		t.Errorf("%d %q %q", state, out, errs)
	}
}

func TestPasswordAndPINRefused(t *testing.T) {
	for _, c := range []struct{ command, stdin, want string }{
		{"password", "", "the password is empty"},
		{"password", "\n", "the password is empty"},
		{"password", "\r\nhunter2", "the password is empty"},
		{"password", " hunter2\n", "the password begins or ends with a blank"},
		{"password", "hun\x00ter2\n", "the password holds a character that mail programs cannot send"},
		{"password", "hun\xffter2\n", "the password holds a character that mail programs cannot send"},
		{"password", strings.Repeat("hunter2", 200), "the password is longer than 1024 octets"},
		{"password", strings.Repeat("hunter2", 1e6), "the password is too long"},
		{"pin", "", "the PIN is empty"},
		{"pin", "123\n", "a PIN has 4 to 12 digits and nothing else"},
		{"pin", "1234567890123\n", "a PIN has 4 to 12 digits and nothing else"},
		{"pin", "12 34\n", "a PIN has 4 to 12 digits and nothing else"},
		{"pin", "12a4\n", "a PIN has 4 to 12 digits and nothing else"},
		{"pin", "١٢٣٤\n", "a PIN has 4 to 12 digits and nothing else"},
	} {
		state, out, errs := program(t, c.stdin, c.command)
		if state != exitUsage || out != "" || errs != "pecgate: "+c.want+"\n" {
			t.Errorf("%s %.20q: %d %q %q", c.command, c.stdin, state, out, errs)
		}
	}
}

func TestHashFails(t *testing.T) {
	a := &app{hash: func(string) (string, error) { return "", errors.New("no memory") }}
	c := newPasswordCommand(a)
	var out bytes.Buffer
	c.SetIn(strings.NewReader("hunter2\n"))
	c.SetOut(&out)
	c.SetArgs(nil)
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(context.Background())
	if err == nil || err.Error() != "make the hash: no memory" || out.Len() != 0 {
		t.Errorf("%v %q", err, out.String())
	}
	if state, lines := explain(err, true); state != exitFailed || len(lines) != 1 {
		t.Errorf("%d %v", state, lines)
	}
}

// The secret of a relay is printed with the hash of it that policy.yaml takes.
func TestPasswordSecret(t *testing.T) {
	state, out, errs := program(t, "", "password", "--secret")
	m := regexp.MustCompile(`(?m)^([a-z2-9]{52})$`).FindStringSubmatch(out)
	h := regexp.MustCompile(`(?m)^      value: (\S+)$`).FindStringSubmatch(out)
	if state != exitGood || errs != "" || m == nil || h == nil {
		t.Fatalf("%d %q %q", state, out, errs)
	}
	s := auth.New(auth.Options{Policy: func() *policy.Policy { return new(policy.Policy) }, Events: events.Discard()})
	if err := s.RelaySecret(h[1], m[1:], "192.0.2.1"); err != nil {
		t.Errorf("%s: %v", out, err)
	}
	if _, again, _ := program(t, "", "password", "--secret"); again == out {
		t.Error("twice the same")
	}
	if state, out, errs := program(t, "", "password", "--secret", "--list"); state != exitUsage || out != "" || !strings.Contains(errs, "--secret goes with no other option") {
		t.Errorf("%d %q %q", state, out, errs)
	}
}

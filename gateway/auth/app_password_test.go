package auth

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pecgate/policy"
)

// bcryptSecret is a bcrypt hash of "a password of before", made with crypt(3).
const bcryptSecret = "$2y$04$abcdefghijklmnopqrstuu0sISH0leK.XA2Hsy79BXs2v6yMcspdC"

// keptApps are app passwords in memory.
type keptApps struct {
	names map[[32]byte]string // of mario
	used  []string
	err   error
}

func (k *keptApps) Find(_ context.Context, login string, digest [32]byte) (string, error) {
	if k.err != nil || login != "mario" {
		return "", k.err
	}
	return k.names[digest], nil
}

func (k *keptApps) Used(_ context.Context, login string, digest [32]byte, remote string) {
	k.used = append(k.used, login+" "+k.names[digest]+" "+remote)
}

func TestAppPassword(t *testing.T) {
	password, digest := NewAppPassword()
	if !regexp.MustCompile(`^[a-km-np-z2-9]{5}(-[a-km-np-z2-9]{5}){3}$`).MatchString(password) {
		t.Fatalf("made %q", password)
	}
	if again, _ := NewAppPassword(); again == password {
		t.Fatal("made the same one twice")
	}
	kept := &keptApps{names: map[[32]byte]string{digest: "phone"}}
	s := service(t, func(o *Options) { o.Apps = kept })
	hashes := s.countHashes()
	login := func(name, password string) error {
		_, err := s.Login(t.Context(), name, password, "192.0.2.1")
		return err
	}
	for _, typed := range []string{password, strings.ReplaceAll(password, "-", ""), strings.ReplaceAll(password, "-", " "), strings.ToUpper(password)} {
		if err := login("mario", typed); err != nil {
			t.Errorf("%q: %v", typed, err)
		}
	}
	if id, err := s.Login(t.Context(), "mario/protocollo@pec.example.org", password, "192.0.2.1"); err != nil || id.Box != "protocollo@pec.example.org" {
		t.Errorf("for one mailbox: %v, %v", id, err)
	}
	if hashes() != 0 || len(kept.used) != 5 || kept.used[0] != "mario phone 192.0.2.1" {
		t.Errorf("%d hashes, used %q", hashes(), kept.used)
	}
	for _, c := range []struct{ name, password string }{
		{"lucia", password}, {"nobody", password}, {"mario", password[:len(password)-1]}, {"mario", password + "a"},
		{"mario", strings.Repeat("-", 30) + password},
	} {
		before := hashes()
		if err := login(c.name, c.password); err != ErrRefused || hashes() != before+1 {
			t.Errorf("%s with %q: %v, %d hashes", c.name, c.password, err, hashes()-before)
		}
	}
	// Whoever guesses at the user from the same address does not keep the right
	// app password out.
	for i := range 50 {
		_ = login("mario", fmt.Sprint("guess", i))
	}
	if login("mario", "good password") != ErrRefused || login("mario", password) != nil {
		t.Error("an app password inside an attack")
	}
	if ok, err := s.CheckPIN(t.Context(), "mario", password, Use{}); ok || err != nil {
		t.Errorf("as a PIN: %v, %v", ok, err)
	}
	kept.err = errors.New("no records")
	if err := login("mario", password); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("nothing known: %v", err)
	}
	kept.err = nil
	kept.names = nil // revoked
	if err := login("mario", password); err != ErrRefused {
		t.Errorf("revoked: %v", err)
	}
}

func TestLoginPIN(t *testing.T) {
	p := people(t)
	p.Users = append(p.Users, policy.User{Login: "spaced", Password: cheap(t, "ends so 1234")})
	password, digest := NewAppPassword()
	s := service(t, func(o *Options) {
		o.Policy = func() *policy.Policy { return p }
		o.Apps = &keptApps{names: map[[32]byte]string{digest: "ERP"}}
	})
	for i, c := range []struct{ name, password, pin, user string }{
		{"mario", "good password", "", "mario"},
		{"mario", "good password 123456", "123456", "mario"},
		{"mario", "good password 000000", "000000", "mario"}, // looked at by CheckPIN
		{"spaced", "ends so 1234", "", "spaced"},
		{"spaced", "ends so 1234 5678", "5678", "spaced"},
		{"mario", password + " 123456", "123456", "mario"},
		{"mario", password, "", "mario"},
		{"mario", "good password 123", "", ""},
		{"mario", "good password  123456", "", ""},
		{"mario", "good password 12345678901234", "", ""},
		{"mario", " 123456", "", ""},
		{"nobody", "good password 123456", "", ""},
	} {
		e, err := s.LoginPIN(t.Context(), c.name, c.password, fmt.Sprint("192.0.2.", i))
		if e.User != c.user || c.user != "" && (err != nil || e.PIN != c.pin) || c.user == "" && err != ErrRefused {
			t.Errorf("%s %q: %v %q %v", c.name, c.password, e, e.PIN, err)
		}
	}
}

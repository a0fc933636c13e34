package auth

import (
	"strings"
	"testing"
	"time"
)

// A token is right as it is and nothing else is; what is wrong is throttled by network,
// and never keeps out what is right, nor a login.
func TestToken(t *testing.T) {
	now := time.Now()
	s := service(t, func(o *Options) { o.Now = func() time.Time { return now } })
	value, hash := NewToken()
	other, otherHash := NewToken()
	if len(value) != tokenLength || value == other || hash == otherHash || strings.Contains(hash, value) {
		t.Fatalf("%s %s", value, hash)
	}
	yes, no := func(int) bool { return true }, func(int) bool { return false }
	hashes := []string{otherHash, hash}
	if i, err := s.Token(hashes, value, "192.0.2.10", yes); i != 1 || err != nil {
		t.Fatal(i, err)
	}
	for _, bad := range []string{"", "x", hash, strings.ToUpper(value), value + "a", value[:len(value)-1], " " + value, strings.Repeat(value, 1000)} {
		if i, err := s.Token(hashes, bad, "192.0.2.11", yes); i != -1 || err != ErrToken {
			t.Errorf("%q: %d, %v", bad, i, err)
		}
	}
	if i, err := s.Token(hashes, value, "192.0.2.11", no); i != -1 || err != ErrToken {
		t.Errorf("from elsewhere: %d, %v", i, err)
	}
	if i, err := s.Token([]string{"", "$token$", value}, value, "192.0.2.12", yes); i != -1 || err != ErrToken {
		t.Errorf("no hash: %d, %v", i, err)
	}
	throttled := false
	for range 3 * freeOfAddress {
		_, err := s.Token(hashes, "guess", "192.0.2.13", yes)
		throttled = throttled || err == ErrTokenThrottled
	}
	if !throttled {
		t.Error("guesses are not throttled")
	}
	if i, err := s.Token(hashes, value, "192.0.2.13", yes); i != 1 || err != nil {
		t.Errorf("behind the address of a guesser: %d, %v", i, err)
	}
	if _, err := s.Login(t.Context(), "mario", "wrong", "192.0.2.13"); err != ErrRefused {
		t.Error(err)
	}
	for _, h := range []string{"", "$token$", value, hash + "=", strings.Replace(hash, "$token$", "$sha256$", 1)} {
		if CheckToken(h) != ErrTokenValue {
			t.Errorf("%q is taken for a hash", h)
		}
	}
	if err := CheckToken(hash); err != nil {
		t.Error(err)
	}
}

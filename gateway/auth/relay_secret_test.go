package auth

import (
	"strings"
	"testing"
	"time"
)

// The secret of a relay is right once and as it is; what is wrong is throttled by
// network, and never keeps out what is right, nor a login.
func TestRelaySecret(t *testing.T) {
	now := time.Now()
	s := service(t, func(o *Options) { o.Now = func() time.Time { return now } })
	value, hash := NewRelaySecret()
	other, otherHash := NewRelaySecret()
	if len(value) != relaySecretLength || value == other || hash == otherHash || strings.Contains(hash, value) {
		t.Fatalf("%s %s", value, hash)
	}
	short := relayHash("secret")
	for i, tc := range []struct {
		hash   string
		values []string
		good   bool
	}{
		{hash, []string{value}, true}, {hash, nil, false}, {hash, []string{value, value}, false}, {hash, []string{value, other}, false},
		{hash, []string{other}, false}, {hash, []string{strings.ToUpper(value)}, false}, {hash, []string{" " + value}, false}, {hash, []string{""}, false},
		{hash, []string{hash}, false}, {"", []string{""}, false}, {value, []string{value}, false}, {otherHash, []string{value}, false},
		{short, []string{"secret"}, false}, {hash, []string{strings.Repeat(value, 1000)}, false},
	} {
		if err := s.RelaySecret(tc.hash, tc.values, "192.0.2.10"); (err == nil) != tc.good || !tc.good && err != ErrRelaySecret {
			t.Errorf("%d: %v", i, err)
		}
	}
	for range 100 {
		_ = s.RelaySecret(hash, nil, "2001:db8::1")
	}
	if err := s.RelaySecret(hash, nil, "2001:db8::ffff"); err != ErrSecretThrottled {
		t.Errorf("a neighbour: %v", err)
	}
	if err := s.RelaySecret(hash, []string{value}, "2001:db8::1"); err != nil {
		t.Errorf("the right one: %v", err)
	}
	if err := s.RelaySecret(hash, nil, "2001:db8:0:1::1"); err != ErrRelaySecret {
		t.Errorf("another network: %v", err)
	}
	if _, err := s.Login(t.Context(), "mario", "good password", "2001:db8::1"); err != nil {
		t.Errorf("a login from there: %v", err)
	}
	now = now.Add(longestAddr + time.Second)
	if err := s.RelaySecret(hash, nil, "2001:db8::1"); err != ErrRelaySecret {
		t.Errorf("later: %v", err)
	}
	for text, good := range map[string]bool{hash: true, otherHash: true, "": false, value: false, hash + "=": false, hash[:len(hash)-1]: false, hash + "\n": false,
		"$sha256$": false, "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAA$AAAAAAAAAAA": false} {
		if err := CheckRelaySecret(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

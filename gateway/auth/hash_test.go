package auth

import (
	"strings"
	"testing"

	"pecgate/policy"
)

func TestHashSecret(t *testing.T) {
	h, err := HashSecret("perché no?")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %s", h)
	}
	if err := CheckHash(h); err != nil {
		t.Error(err)
	}
	p, err := parsePHC(h)
	if err != nil {
		t.Fatal(err)
	}
	if p.String() != h || !p.matches("perché no?") || p.matches("perche no?") || p.matches("") {
		t.Error("does not match what it was made of, or matches another")
	}
	for _, s := range []string{"", strings.Repeat("x", maxSecret+1)} {
		if _, err := HashSecret(s); err != ErrSecretLength {
			t.Errorf("%d bytes: %v", len(s), err)
		}
	}
}

// Made with the argon2 command of the reference implementation.
func TestReferenceHash(t *testing.T) {
	p, err := parsePHC("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !p.matches("password") {
		t.Error("the reference's hash of password does not match")
	}
}

const goodKey = "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

var badHashes = []string{
	"", "plain", "$", "$$$$$", "$argon2id$v=19$m=65536,t=3,p=4", "secret" + goodKey,
	"$argon2i$v=19$m=65536,t=3,p=1" + goodKey,
	"$argon2id$v=16$m=65536,t=3,p=1" + goodKey,
	"$argon2id$m=65536,t=3,p=1" + goodKey,
	"$argon2id$v=19$m=4294967295,t=1,p=1" + goodKey,
	"$argon2id$v=19$m=65537,t=1,p=1" + goodKey,
	"$argon2id$v=19$m=65536,t=10,p=1" + goodKey, // each within its bound, the work not
	"$argon2id$v=19$m=8,t=4294967295,p=1" + goodKey,
	"$argon2id$v=19$m=8,t=0,p=1" + goodKey,
	"$argon2id$v=19$m=0,t=1,p=1" + goodKey,
	"$argon2id$v=19$m=4096,t=1,p=0" + goodKey,
	"$argon2id$v=19$m=4096,t=1,p=255" + goodKey,
	"$argon2id$v=19$m=4096,t=1,p=256" + goodKey,
	"$argon2id$v=19$m=7,t=1,p=1" + goodKey,
	"$argon2id$v=19$m=-1,t=1,p=1" + goodKey,
	"$argon2id$v=19$m=+8,t=1,p=1" + goodKey,
	"$argon2id$v=19$m=08,t=1,p=1" + goodKey,
	"$argon2id$v=19$t=1,m=8,p=1" + goodKey,
	"$argon2id$v=19$m=8,t=1,p=1,x=1" + goodKey,
	"$argon2id$v=19$m=8,t=1" + goodKey,
	"$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
	"$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$",
	"$argon2id$v=19$m=8,t=1,p=1$00000000000$000000000000\r00000000000",
	"$argon2id$v=19$m=8,t=1,p=1$!!!!$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAA==",
	"$argon2id$v=19$m=8,t=1,p=1" + goodKey + "$", " $argon2id$v=19$m=8,t=1,p=1" + goodKey,
	"$argon2id$v=19$m=8,t=1,p=1$" + strings.Repeat("A", 300) + "$AAAAAAAAAAAAAAAAAAAAAA",
	"$2", "$2y$", "$2x$04$" + goodBcrypt, "$2$04$" + goodBcrypt, "$2y$03$" + goodBcrypt, "$2y$13$" + goodBcrypt, "$2y$31$" + goodBcrypt,
	"$2y$4$$" + goodBcrypt, "$2y$ 4$" + goodBcrypt, "$2y$+4$" + goodBcrypt, "$2y$04$" + goodBcrypt + "a", "$2y$04$" + goodBcrypt[1:],
	"$2y$04$" + goodBcrypt[:52] + "=", "$2y$04$" + goodBcrypt[:52] + "\n", "$2y.04$" + goodBcrypt, "$2y$04." + goodBcrypt,
}

const goodBcrypt = "abcdefghijklmnopqrstuu0sISH0leK.XA2Hsy79BXs2v6yMcspdC"

func TestBcryptIsRead(t *testing.T) {
	for _, kind := range []string{"a", "b", "y"} {
		h, err := parseHash("$2" + kind + bcryptSecret[3:])
		if err != nil || !h.matches("a password of before") || h.matches("a password of befor") || h.matches("") {
			t.Errorf("$2%s$: %v", kind, err)
		}
	}
	for _, s := range []string{"$2y$12$" + goodBcrypt, "$2y$10$" + goodBcrypt} {
		if err := CheckHash(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	p := people(t)
	p.Users[0].Password = bcryptSecret
	s := service(t, func(o *Options) { o.Policy = func() *policy.Policy { return p } })
	if _, err := s.Login(t.Context(), "mario", "a password of before", "192.0.2.1"); err != nil {
		t.Error(err)
	}
}

func TestBadHashes(t *testing.T) {
	for _, s := range badHashes {
		if err := CheckHash(s); err != ErrHash {
			t.Errorf("%.80q: %v", s, err)
		}
	}
	if err := CheckHash("$argon2id$v=19$m=8,t=1,p=1" + goodKey); err != nil {
		t.Error(err)
	}
}

func FuzzHash(f *testing.F) {
	for _, s := range badHashes {
		f.Add(s)
	}
	f.Add("$argon2id$v=19$m=8,t=1,p=1" + goodKey)
	f.Add(bcryptSecret)
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s)
		if err != nil {
			return
		}
		if h, is := h.(bcryptHash); is {
			if string(h) != s || len(s) != bcryptLength || s[4:6] > maxBcryptCost {
				t.Errorf("%q read as %q", s, string(h))
			}
			return
		}
		p := h.(phc)
		if !p.cost.ok() {
			t.Errorf("unbounded cost %+v", p.cost)
		}
		if p.String() != s {
			t.Errorf("%q read as %q", s, p.String())
		}
	})
}

func BenchmarkHash(b *testing.B) {
	h, err := HashSecret("password")
	if err != nil {
		b.Fatal(err)
	}
	p, err := parsePHC(h)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !p.matches("password") {
			b.Fatal("no match")
		}
	}
}

package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"strings"
)

// A token is what a program shows with each request to the HTTP service: 256 random bits
// that nobody guesses, so they need no slow hash. The policy takes only what NewToken
// makes.

const (
	tokenStart  = "pgt_" // so that who searches files for forgotten secrets knows one
	tokenHash   = "$token$"
	tokenLength = len(tokenStart) + 52
)

// Errors of a token.
var (
	ErrToken          = errors.New("no application has this token")
	ErrTokenThrottled = errors.New("too many wrong tokens")
	ErrTokenValue     = errors.New("not a hash that `pecgate token` makes ($token$...)")
)

// NewToken makes a token, and the hash of it that the policy holds.
func NewToken() (value, hash string) {
	value = tokenStart + base32.NewEncoding(appAlphabet).WithPadding(base32.NoPadding).EncodeToString(random(32))
	return value, hashOfToken(value)
}

func hashOfToken(value string) string {
	sum := sha256.Sum256([]byte("pecgate token\n" + value))
	return tokenHash + base64.RawStdEncoding.EncodeToString(sum[:])
}

// CheckToken reports whether a string of the policy is a hash of NewToken: ErrTokenValue,
// which never quotes it, if not.
func CheckToken(hash string) error {
	digest, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimPrefix(hash, tokenHash))
	if err != nil || tokenHash+base64.RawStdEncoding.EncodeToString(digest) != hash || len(digest) != sha256.Size {
		return ErrTokenValue
	}
	return nil
}

// Token finds whose token it is that came from an address without port: the place of its
// hash. Where good says no of that one, it is refused as any other that is wrong. What
// is refused costs each the same time, is logged, and once it came too often from there
// (from the /64, for IPv6) is ErrTokenThrottled. A right one is always taken: it cannot
// be guessed, and strangers must not keep out a program that sits behind the same address.
func (s *Service) Token(hashes []string, value, remote string, good func(i int) bool) (int, error) {
	found := -1
	shown := []byte(hashOfToken(value[:min(len(value), tokenLength+1)]))
	for i, h := range hashes { // all of them: where it is found is nobody's business
		if subtle.ConstantTimeCompare(shown, []byte(h)) == 1 && CheckToken(h) == nil && found < 0 {
			found = i
		}
	}
	if found >= 0 && good(found) {
		return found, nil
	}
	if !s.fails.strike("token:" + place(remote)) {
		return -1, ErrTokenThrottled
	}
	s.opt.Events.LoginRefused("", remote, "token")
	return -1, ErrToken
}

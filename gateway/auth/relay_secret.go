package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"strings"
)

// The secret of a relay is a header field that a groupware server puts into each
// message, where it cannot log in: 256 random bits that nobody guesses, and that are
// looked at with every message, so they need no slow hash. A chosen password has no
// place there: the policy takes only what NewRelaySecret makes.

const relaySecretHash = "$sha256$" // before the digest, in base64 without padding

// relaySecretLength is how long the value is: 256 bits, 5 in each character.
const relaySecretLength = 52

// Errors of a relay's secret.
var (
	ErrRelaySecret      = errors.New("the secret of the relay is not in the message once, or is another")
	ErrSecretThrottled  = errors.New("too many messages without the secret of the relay")
	ErrRelaySecretValue = errors.New("not a hash that `pecgate password --secret` makes ($sha256$...)")
)

// NewRelaySecret makes a secret: its value, of letters and digits, and the hash of it
// that the policy holds.
func NewRelaySecret() (value, hash string) {
	value = base32.NewEncoding(appAlphabet).WithPadding(base32.NoPadding).EncodeToString(random(32))
	return value, relayHash(value)
}

func relayHash(value string) string {
	sum := sha256.Sum256([]byte("pecgate relay secret\n" + value))
	return relaySecretHash + base64.RawStdEncoding.EncodeToString(sum[:])
}

// CheckRelaySecret reports whether a string of the policy is a hash of NewRelaySecret:
// ErrRelaySecretValue, which never quotes it, if not.
func CheckRelaySecret(hash string) error {
	digest, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimPrefix(hash, relaySecretHash))
	if err != nil || relaySecretHash+base64.RawStdEncoding.EncodeToString(digest) != hash || len(digest) != sha256.Size {
		return ErrRelaySecretValue
	}
	return nil
}

// RelaySecret checks the values of all fields that bear a relay's secret in a message
// that came from an address without port: there must be one, and it must be right.
// ErrRelaySecret otherwise, and ErrSecretThrottled once that happened too often from
// there (from the /64, for IPv6).
//
// What is right is always taken, unlike with a password: it cannot be guessed, and
// where strangers send from the same addresses, any of them could stop the mail else.
// For the same reason these failures are not counted with those of logins.
func (s *Service) RelaySecret(hash string, values []string, remote string) error {
	if len(values) == 1 && len(values[0]) == relaySecretLength && CheckRelaySecret(hash) == nil &&
		subtle.ConstantTimeCompare([]byte(relayHash(values[0])), []byte(hash)) == 1 {
		return nil
	}
	if !s.fails.strike("secret:" + place(remote)) {
		return ErrSecretThrottled
	}
	return ErrRelaySecret
}

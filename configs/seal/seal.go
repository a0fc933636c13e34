// Package seal encrypts the secrets that stand in policy.yaml with the key of the appliance, so that the file, its copies
// and its history are worth nothing without that key.
//
// It owns: the form of a sealed text, the key file and its making, and which key opens what.
//
// Invariants:
//   - A sealed text opens whole or not at all: XChaCha20-Poly1305, the nonce is random (24 octets, so that two are never
//     the same).
//   - It opens only for the purpose that it was sealed for. A provider's password is bound to no mailbox: who may write
//     policy.yaml can send it to a server of their own all the same, by writing that server beside it. A secret of one-time
//     codes is bound to its login, so that nobody gets the codes of another by copying a line.
//   - A text names its key, so that keys can be changed: the last one of the file seals, all of them open.
//   - No error holds a secret, a key or any of a sealed text.
//
// It imports only the standard library and the cipher; of the rooms of the house only configs and cmd use it.
package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/chacha20poly1305" // XChaCha20-Poly1305: the standard library has no cipher that takes random nonces for ever
)

// Purpose is what a text was sealed for.
type Purpose string

// Password is the purpose of a password at a provider.
const Password Purpose = "password"

// Code is the purpose of the secret of one-time codes of a login.
func Code(login string) Purpose { return Purpose("code " + strings.ToLower(login)) }

// The errors of Open and Seal.
var (
	// ErrOtherKey means that no key of the ring made a text.
	ErrOtherKey = errors.New("sealed with another key")
	// ErrDamaged means that a text is not whole, not of this package, or was sealed for something else.
	ErrDamaged = errors.New("damaged, or sealed for something else")
	// ErrNoKey means that there is no key at all.
	ErrNoKey = errors.New("there is no key")
)

// MaxSecret is the most that is sealed, in octets.
const MaxSecret = 4096

// form is what a sealed text begins with; the next form would have another.
const form = "v1"

// maxText is more than any sealed text.
const maxText = 2 * MaxSecret

// Ring holds the keys of an appliance. It never changes, and nil is a ring without keys. Safe for concurrent use.
type Ring struct {
	keys []key
}

type key struct {
	id   string
	aead cipher.AEAD
}

func newKey(secret []byte) (key, error) {
	aead, err := chacha20poly1305.NewX(secret)
	if err != nil {
		return key{}, fmt.Errorf("key of %d octets: %w", len(secret), err)
	}
	sum := sha256.Sum256(append([]byte("pecgate seal key\x00"), secret...))
	return key{id: hex.EncodeToString(sum[:4]), aead: aead}, nil
}

// Newest is the name of the key that seals, "" where there is none.
func (r *Ring) Newest() string {
	if r == nil || len(r.keys) == 0 {
		return ""
	}
	return r.keys[len(r.keys)-1].id
}

// Len is how many keys there are.
func (r *Ring) Len() int {
	if r == nil {
		return 0
	}
	return len(r.keys)
}

// Has reports whether a key of this name is among them.
func (r *Ring) Has(id string) bool {
	return r != nil && slices.ContainsFunc(r.keys, func(k key) bool { return k.id == id })
}

// MayHold reports whether a text, whatever else is wrong with it, seems to hold a sealed one.
func MayHold(text []byte) bool { return regexp.MustCompile(`v1\.[0-9a-f]{8}\.`).Match(text) }

// Seal encrypts a secret of 1 to MaxSecret octets with the newest key. The text is printable ASCII without quotes.
func (r *Ring) Seal(p Purpose, secret []byte) (string, error) {
	if r.Len() == 0 {
		return "", ErrNoKey
	}
	if len(secret) == 0 || len(secret) > MaxSecret {
		return "", fmt.Errorf("a secret has 1 to %d octets", MaxSecret)
	}
	k := r.keys[len(r.keys)-1]
	nonce := make([]byte, k.aead.NonceSize(), k.aead.NonceSize()+len(secret)+k.aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("nonce: %w", err)
	}
	box := k.aead.Seal(nonce, nonce, secret, bound(p, k.id))
	return form + "." + k.id + "." + base64.RawURLEncoding.EncodeToString(box), nil
}

// Open decrypts what Seal made for the same purpose: ErrNoKey, ErrOtherKey or ErrDamaged where that cannot be.
func (r *Ring) Open(p Purpose, text string) ([]byte, error) {
	f := strings.Split(text, ".")
	if len(text) > maxText || len(f) != 3 || f[0] != form || len(f[1]) != 8 || strings.Trim(f[1], "0123456789abcdef") != "" {
		return nil, ErrDamaged
	}
	box, err := base64.RawURLEncoding.Strict().DecodeString(f[2])
	if err != nil || strings.ContainsAny(f[2], "\r\n") { // the reader skips line ends
		return nil, ErrDamaged
	}
	if r.Len() == 0 {
		return nil, ErrNoKey
	}
	for _, k := range r.keys {
		if k.id != f[1] {
			continue
		}
		n := k.aead.NonceSize()
		if len(box) < n+k.aead.Overhead() {
			return nil, ErrDamaged
		}
		secret, err := k.aead.Open(nil, box[:n], box[n:], bound(p, k.id))
		if err != nil || len(secret) == 0 {
			return nil, ErrDamaged
		}
		return secret, nil
	}
	return nil, fmt.Errorf("%w (%s)", ErrOtherKey, f[1])
}

// bound is what a sealed text is bound to besides its key.
func bound(p Purpose, id string) []byte {
	return []byte("pecgate " + form + "\x00" + id + "\x00" + string(p))
}

package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2" // password hash: argon2id is not in the standard library
)

// Cost is the work of one argon2id hash (RFC 9106 section 3.1).
type Cost struct {
	Time    uint32 // passes over the memory
	Memory  uint32 // KiB
	Threads uint8
}

// DefaultCost is what HashSecret uses: the second recommended choice of
// OWASP (19 MiB, 2 passes, 1 lane), about 20 ms on one core, so that a few
// logins at once neither fill the memory nor the cores of a small machine.
func DefaultCost() Cost { return Cost{Time: 2, Memory: 19 * 1024, Threads: 1} }

// Bounds of what a hash in the policy file may ask for. A line with more would
// let one login take all memory; a line with less protects nobody.
const (
	minMemory  = 8         // KiB for each lane, RFC 9106 section 3.1
	maxMemory  = 64 * 1024 // KiB
	maxTime    = 10
	maxThreads = 4
	maxWork    = 256 * 1024 // KiB times passes: bounds time, not only memory
	minSalt    = 8
	maxSalt    = 64
	minKey     = 16
	maxKey     = 64
	maxPHC     = 256  // bytes of the whole string
	maxSecret  = 1024 // bytes of a password or PIN
	newSalt    = 16
	newKey     = 32
)

// ErrHash is returned for a string that is neither an argon2id PHC string nor a
// bcrypt hash within the bounds of this package. It never quotes the string.
var ErrHash = errors.New("not a hash that can be used ($argon2id$v=19$m=...,t=...,p=...$salt$key, at most 64 MiB and 10 passes; or bcrypt, $2b$..., at most cost 12)")

// ErrSecretLength is returned for a secret that is empty or over 1024 bytes.
var ErrSecretLength = errors.New("a password or PIN must have 1 to 1024 bytes")

// HashSecret returns the argon2id PHC string of a password or PIN, with a new
// random salt and DefaultCost. ErrSecretLength for an empty or oversize secret.
func HashSecret(secret string) (string, error) { return HashSecretCost(secret, DefaultCost()) }

// HashSecretCost is HashSecret with a chosen cost, which must lie within the
// bounds that CheckHash accepts. It is for tests: what the appliance makes has
// DefaultCost.
func HashSecretCost(secret string, c Cost) (string, error) {
	if len(secret) == 0 || len(secret) > maxSecret {
		return "", ErrSecretLength
	}
	if !c.ok() {
		return "", ErrHash
	}
	salt := make([]byte, newSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("salt for a hash: %w", err)
	}
	h := phc{cost: c, salt: salt, key: argon2.IDKey([]byte(secret), salt, c.Time, c.Memory, c.Threads, newKey)}
	return h.String(), nil
}

// CheckHash reports whether a string of the policy file can be used as a
// hash: ErrHash if not. It does no hashing.
func CheckHash(s string) error {
	_, err := parseHash(s)
	return err
}

// verifier is a hash that secrets are compared with. It costs work.
type verifier interface {
	matches(secret string) bool
}

// parseHash reads a hash of the policy file: argon2id, or bcrypt as other
// systems leave it.
func parseHash(s string) (verifier, error) {
	if strings.HasPrefix(s, "$2") {
		return parseBcrypt(s)
	}
	return parsePHC(s)
}

func (c Cost) ok() bool {
	return c.Threads >= 1 && c.Threads <= maxThreads &&
		c.Time >= 1 && c.Time <= maxTime &&
		c.Memory >= minMemory*uint32(c.Threads) && c.Memory <= maxMemory &&
		uint64(c.Memory)*uint64(c.Time) <= maxWork
}

// phc is a parsed PHC string of argon2id, version 19.
type phc struct {
	cost      Cost
	salt, key []byte
}

func (h phc) String() string {
	e := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.cost.Memory, h.cost.Time, h.cost.Threads, e.EncodeToString(h.salt), e.EncodeToString(h.key))
}

// matches computes the hash of a secret and compares in constant time.
func (h phc) matches(secret string) bool {
	k := argon2.IDKey([]byte(secret), h.salt, h.cost.Time, h.cost.Memory, h.cost.Threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(k, h.key) == 1
}

func parsePHC(s string) (phc, error) {
	if len(s) > maxPHC {
		return phc{}, ErrHash
	}
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, ErrHash
	}
	p := strings.Split(f[3], ",")
	if len(p) != 3 {
		return phc{}, ErrHash
	}
	m, err1 := number(p[0], "m=", 32)
	t, err2 := number(p[1], "t=", 32)
	n, err3 := number(p[2], "p=", 8)
	salt, err4 := base64.RawStdEncoding.Strict().DecodeString(f[4])
	key, err5 := base64.RawStdEncoding.Strict().DecodeString(f[5])
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return phc{}, ErrHash
	}
	h := phc{cost: Cost{Time: uint32(t), Memory: uint32(m), Threads: uint8(n)}, salt: salt, key: key}
	if !h.cost.ok() || len(salt) < minSalt || len(salt) > maxSalt || len(key) < minKey || len(key) > maxKey {
		return phc{}, ErrHash
	}
	if h.String() != s { // the base64 reader skips line ends
		return phc{}, ErrHash
	}
	return h, nil
}

// number reads the decimal number after a name such as "m=", without sign or
// leading zero.
func number(s, name string, bits int) (uint64, error) {
	d, ok := strings.CutPrefix(s, name)
	if !ok || d == "" || d[0] < '1' || d[0] > '9' {
		return 0, ErrHash
	}
	return strconv.ParseUint(d, 10, bits)
}

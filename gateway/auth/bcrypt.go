package auth

import (
	"strings"

	"golang.org/x/crypto/bcrypt" // hashes that came from another system
)

// Bounds of a bcrypt hash in the policy file. Cost 12 takes about 0.2 s on one
// core; each step more doubles it.
const (
	bcryptLength  = 60
	bcryptDigits  = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	maxBcryptCost = "12"
	minBcryptCost = "04"
)

// bcryptHash is a checked bcrypt string: $2a$, $2b$ or $2y$, two digits of cost,
// salt and sum. It is only read: new hashes are argon2id. Only the first 72
// bytes of a secret count, as everywhere with bcrypt.
type bcryptHash string

func parseBcrypt(s string) (verifier, error) {
	if len(s) != bcryptLength || !strings.Contains("aby", s[2:3]) || s[3] != '$' || s[6] != '$' ||
		strings.Trim(s[4:6], "0123456789") != "" || s[4:6] < minBcryptCost || s[4:6] > maxBcryptCost ||
		strings.Trim(s[7:], bcryptDigits) != "" {
		return nil, ErrHash
	}
	return bcryptHash(s), nil
}

func (h bcryptHash) matches(secret string) bool {
	return bcrypt.CompareHashAndPassword([]byte(h), []byte(secret)) == nil
}

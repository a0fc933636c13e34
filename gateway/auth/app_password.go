package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// An app password is one that the appliance makes, for one mail program of one
// user: 100 random bits as 20 letters and digits in four groups, which nobody
// guesses. So it needs no slow hash, and no throttle holds up the right one.

// appAlphabet leaves out what is mistaken for something else: 0 and 1, l and o.
const appAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"

const (
	appLength = 20
	appGroup  = 5
)

// Apps knows the app passwords of users. Only a digest of each is kept.
type Apps interface {
	// Find is the name of the app password of a login that has this digest, ""
	// where there is none. An error says that nothing is known.
	Find(ctx context.Context, login string, digest [32]byte) (name string, err error)
	// Used notes that a login used the one with this digest. Whatever goes wrong
	// there keeps nobody out.
	Used(ctx context.Context, login string, digest [32]byte, remote string)
}

// noApps is Apps without any.
type noApps struct{}

func (noApps) Find(context.Context, string, [32]byte) (string, error) { return "", nil }
func (noApps) Used(context.Context, string, [32]byte, string)         {}

// NewAppPassword makes an app password, as people type it, and the digest of it
// that is kept.
func NewAppPassword() (password string, digest [32]byte) {
	// 20 characters of 5 bits are 12.5 bytes: the rest of the 13th is not used.
	text := base32.NewEncoding(appAlphabet).WithPadding(base32.NoPadding).EncodeToString(random(13))[:appLength]
	var groups []string
	for i := 0; i < appLength; i += appGroup {
		groups = append(groups, text[i:i+appGroup])
	}
	password = strings.Join(groups, "-")
	digest, _ = appDigest(password)
	return password, digest
}

// appDigest is the digest of what may be an app password, however its groups
// were typed.
func appDigest(typed string) (digest [32]byte, ok bool) {
	if len(typed) > 2*appLength {
		return digest, false
	}
	text := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(typed))
	if len(text) != appLength || strings.Trim(text, appAlphabet) != "" {
		return digest, false
	}
	return sha256.Sum256([]byte("pecgate app password\n" + text)), true
}

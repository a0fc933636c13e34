package auth

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/pquerna/otp"      // one-time codes as authenticator apps make them (RFC 4226, RFC 6238)
	"github.com/pquerna/otp/hotp" // the code of one step; the steps and their single use are ours
)

// One-time codes (RFC 6238) as all authenticator apps make them: SHA-1, six digits, a new one every 30 seconds. A code is
// good from one step before its own to one step after it, since clocks differ (section 5.2), and once: when one was taken,
// it and all before it are worth nothing, over restarts too.
const (
	codeStep   = 30 * time.Second
	codeWindow = 1  // steps, either way
	codeSecret = 20 // octets of a new secret (RFC 4226 section 4)
	minCode    = 16 // octets of a secret that is used
	maxCode    = 64
)

// ErrCodeSecret means that the secret of a user's one-time codes cannot be had.
// It is temporary: a right key opens it.
var ErrCodeSecret = errors.New("the secret of the one-time codes does not open: see `pecgate check`")

// NewCodeSecret is a new secret of one-time codes.
func NewCodeSecret() []byte { return random(codeSecret) }

// CodeURL is what an app reads as QR code to learn a secret. It holds the
// secret. The issuer is shown beside the login.
func CodeURL(issuer, login string, secret []byte) string {
	issuer = strings.ReplaceAll(issuer, ":", " ")
	// Without algorithm, digits and period apps take ours, and the picture is smaller.
	q := url.Values{"secret": {CodeText(secret)}, "issuer": {issuer}}
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + login, RawQuery: strings.ReplaceAll(q.Encode(), "+", "%20")}
	return u.String()
}

// CodeText is a secret as people type it into an app.
func CodeText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// CodeAt is the code of a secret at a time.
func CodeAt(secret []byte, at time.Time) (string, error) { return codeOf(secret, stepOf(at)) }

// MatchCode reports whether a code is one that CheckPIN would take at a time if none was taken before. Blanks in it do not
// count: apps show them.
func MatchCode(secret []byte, code string, at time.Time) bool { return matchCode(secret, code, at) > 0 }

func stepOf(at time.Time) int64 { return at.Unix() / int64(codeStep/time.Second) }

func codeOf(secret []byte, step int64) (string, error) {
	if step <= 0 || len(secret) < minCode || len(secret) > maxCode {
		return "", ErrCodeSecret
	}
	code, err := hotp.GenerateCodeCustom(CodeText(secret), uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		return "", ErrCodeSecret // its own error may quote the secret
	}
	return code, nil
}

// matchCode is the step that a code is of, 0 where it is of none. All steps are looked at, whichever it is.
func matchCode(secret []byte, code string, at time.Time) int64 {
	code = strings.Join(strings.Fields(code), "")
	found := int64(0)
	for d := int64(-codeWindow); d <= codeWindow; d++ {
		step := stepOf(at) + d
		want, err := codeOf(secret, step)
		if err != nil {
			continue
		}
		same := subtle.ConstantTimeCompare([]byte(want), []byte(code))
		found = int64(subtle.ConstantTimeSelect(same, int(step), int(found)))
	}
	return found
}

// verdict is what a PIN was found to be.
type verdict int

const (
	wrong verdict = iota
	right
	spent // a code that was right, and was taken before
)

// takeCode judges a code; one that is right is spent from then on.
func (s *Service) takeCode(ctx context.Context, login, sealed, code string, now time.Time) (verdict, error) {
	if s.opt.Codes == nil {
		return wrong, ErrCodeSecret
	}
	secret, err := s.opt.Codes(login, sealed)
	if err != nil || len(secret) < minCode || len(secret) > maxCode {
		s.opt.Events.CodesClosed(login)
		return wrong, ErrCodeSecret
	}
	defer clear(secret)
	step := matchCode(secret, code, now)
	if step == 0 {
		return wrong, nil
	}
	// Kept beyond the time in which a code of that step could be given.
	first, err := s.opt.Counters.Raise(ctx, CodeKey(login), int(step), now.Add(24*time.Hour))
	if err != nil {
		return wrong, fmt.Errorf("keep that a code was taken: %w", err)
	}
	if !first {
		return spent, nil
	}
	return right, nil
}

// CodeKey is where the step of the last code of a login is kept.
func CodeKey(login string) string { return "code/" + strings.ToLower(login) }

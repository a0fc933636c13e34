package configs

import (
	"encoding/base64"
	"errors"
	"strings"
)

// CheckHash says what is wrong with the hash of a password or PIN in policy.yaml. The error never holds any of the text.
func CheckHash(s string) error {
	_, err := anyHash(s)
	return err
}

// anyHash reads a hash: argon2id, or bcrypt as other systems leave it. weak says that a better one should take its place.
func anyHash(s string) (weak bool, err error) {
	if strings.HasPrefix(s, "$2") {
		return bcryptHash(s)
	}
	return argonHash(s)
}

// bcryptHash reads the cost of a bcrypt hash, $2b$12$ and 53 characters. Below 12 it is guessed too soon. Above 12 a login
// would take longer than mail programs wait when many come at once, so the login service uses no such hash.
func bcryptHash(s string) (weak bool, err error) {
	const digits = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if len(s) != 60 || !strings.Contains("aby", s[2:3]) || s[3] != '$' || s[6] != '$' || strings.Trim(s[4:6], "0123456789") != "" ||
		s[4:6] < "04" || strings.Trim(s[7:], digits) != "" {
		return false, errors.New("needs a hash as the command prints it; this one looks like bcrypt, but is not whole")
	}
	if s[4:6] > "12" {
		return false, errors.New("costs too much: a bcrypt hash may have cost 12 at most")
	}
	if s[4:6] < "12" {
		return false, errors.New("is too weak: a bcrypt hash needs cost 12; make one with `pecgate password` or `pecgate pin` in its place")
	}
	return false, nil
}

// argonHash reads the cost of an argon2id hash in PHC form, $argon2id$v=19$m=65536,t=3,p=2$salt$hash. weak says that it is
// below 19 MiB or 2 passes. The upper limits are those of the login service: a mistaken line would take all memory at each
// login, so it uses no such hash. The error never holds any of the text.
func argonHash(s string) (weak bool, err error) {
	bad := errors.New("needs a hash as the command prints it, $argon2id$v=19$m=...,t=...,p=...$salt$hash; plain text is refused")
	parts := strings.Split(s, "$")
	if len(s) > 256 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return false, bad
	}
	var cost [3]int64
	numbers := strings.Split(parts[3], ",")
	if len(numbers) != 3 {
		return false, bad
	}
	for i, key := range []string{"m=", "t=", "p="} {
		text, ok := strings.CutPrefix(numbers[i], key)
		if cost[i], err = wholeNumber(text); !ok || err != nil || cost[i] < 1 {
			return false, bad
		}
	}
	if cost[2] > 4 || cost[1] > 10 || cost[0] > 64*1024 || cost[0]*cost[1] > 256*1024 {
		return false, errors.New("costs too much: at most m=65536 (KiB), t=10, p=4, and m times t at most 262144")
	}
	if cost[0] < 8*cost[2] {
		return false, bad
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(sum) < 16 || len(sum) > 64 {
		return false, bad
	}
	return cost[0] < 19*1024 || cost[1] < 2, nil
}

// isTokenHash accepts what `pecgate token` makes: SHA-256 in base64 without padding.
func isTokenHash(s string) bool {
	text, ok := strings.CutPrefix(s, "$token$")
	return ok && isSecretHash("$sha256$"+text)
}

// isSecretHash accepts what `pecgate password --secret` makes: SHA-256 in base64 without padding.
func isSecretHash(s string) bool {
	text, ok := strings.CutPrefix(s, "$sha256$")
	digest, err := base64.RawStdEncoding.Strict().DecodeString(text)
	return ok && err == nil && len(digest) == 32 && len(text) == base64.RawStdEncoding.EncodedLen(32)
}

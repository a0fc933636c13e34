package backup

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age" // encryption of files for public keys, readable with a tool of its own in 2046
)

// maxRecipients bounds for how many keys a backup is encrypted.
const maxRecipients = 100

// Recipients are those who can read an encrypted backup.
type Recipients struct {
	list []age.Recipient
	sum  string // over their keys
}

// NewRecipients reads public keys of age (age1...), one in each text. Empty
// lines and those that begin with # are passed over.
func NewRecipients(texts ...string) (*Recipients, error) {
	r := new(Recipients)
	var keys []string
	for _, t := range texts {
		t = strings.TrimSpace(t)
		if t == "" || strings.HasPrefix(t, "#") || slices.Contains(keys, t) {
			continue
		}
		if strings.HasPrefix(strings.ToUpper(t), "AGE-SECRET-KEY-") {
			return nil, errors.New("a recipient is a public key (age1...), and this is a secret one: keep it away from here")
		}
		list, err := age.ParseRecipients(strings.NewReader(t))
		if err != nil || len(list) != 1 {
			return nil, fmt.Errorf("%q is no recipient: write age1... as age-keygen prints it", clip(t))
		}
		keys, r.list = append(keys, t), append(r.list, list[0])
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("no recipient was given")
	case len(keys) > maxRecipients:
		return nil, fmt.Errorf("more than %d recipients", maxRecipients)
	}
	if _, err := age.Encrypt(io.Discard, r.list...); err != nil {
		return nil, fmt.Errorf("these recipients do not go together: %w", err)
	}
	slices.Sort(keys)
	sum := sha256.Sum256([]byte(strings.Join(keys, "\n")))
	r.sum = hex.EncodeToString(sum[:])
	return r, nil
}

// clip keeps a mistyped key from filling the line.
func clip(t string) string {
	if r := []rune(t); len(r) > 20 {
		return string(r[:20]) + "..."
	}
	return t
}

// ReadRecipients reads a file of public keys, one a line.
func ReadRecipients(in io.Reader) ([]string, error) {
	var out []string
	sc := bufio.NewScanner(io.LimitReader(in, 1<<20))
	for sc.Scan() {
		out = append(out, sc.Text())
	}
	return out, sc.Err()
}

// Identities are secret keys that open an encrypted backup.
type Identities struct{ list []age.Identity }

// ReadIdentities reads a file of secret keys as age-keygen writes it. No error
// holds any of it.
func ReadIdentities(in io.Reader) (*Identities, error) {
	list, err := age.ParseIdentities(io.LimitReader(in, 1<<20))
	if err != nil || len(list) == 0 {
		return nil, errors.New("it is no file of secret keys (AGE-SECRET-KEY-1..., as age-keygen writes it; " +
			"one that is encrypted itself is decrypted with `age -d` first)")
	}
	return &Identities{list}, nil
}

// encrypt writes to w for the recipients; nil: as it is.
func (r *Recipients) encrypt(w io.Writer) (io.WriteCloser, error) {
	if r == nil {
		return plain{w}, nil
	}
	return age.Encrypt(w, r.list...)
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// decrypt reads what encrypt wrote.
func (i *Identities) decrypt(r io.Reader) (io.Reader, error) {
	out, err := age.Decrypt(r, i.list...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("%w for other keys than the ones given", ErrKeys)
	}
	return out, err
}

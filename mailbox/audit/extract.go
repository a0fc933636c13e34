package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"sort"
	"strings"

	"golang.org/x/mod/sumdb/note" // signed notes: Ed25519 keys with a name, readable with any Ed25519

	"pecgate/mailbox/kv"
)

// PublicKey reads a public key in one line, as Key.Public writes it. Error:
// ErrKey.
func PublicKey(line string) (name string, key ed25519.PublicKey, err error) {
	v, err := note.NewVerifier(line)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	// NewVerifier has checked the form: name+hash+base64, whose base64 may hold plus
	// signs of its own.
	parts := strings.SplitN(line, "+", 3)
	b, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(b) != 1+ed25519.PublicKeySize {
		return "", nil, ErrKey
	}
	return v.Name(), ed25519.PublicKey(b[1:]), nil
}

// PublicLine is the reverse of PublicKey.
func PublicLine(name string, key ed25519.PublicKey) (string, error) {
	line, err := note.NewEd25519VerifierKey(name, key)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	return line, nil
}

// HeadSignature takes a signed note apart: the text that was signed and the
// Ed25519 signature over it, for programs that know no notes. public is the key, as
// Key.Public writes it. Errors: ErrHead, ErrKey.
func HeadSignature(signed, public string) (text string, sig []byte, err error) {
	if _, err := OpenHead(signed, public); err != nil {
		return "", nil, err
	}
	known, err := verifiers([]string{public})
	if err != nil {
		return "", nil, err
	}
	n, err := note.Open([]byte(signed), known)
	if err != nil || len(n.Sigs) == 0 {
		return "", nil, ErrHead
	}
	b, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || len(b) != 4+ed25519.SignatureSize {
		return "", nil, ErrHead
	}
	return n.Text, b[4:], nil
}

// Sign signs a text with the key of the heads, as Ed25519 (RFC 8032) over its
// bytes, and gives the public key. A text that could be taken for that of a head is
// refused. Errors: ErrKey.
func (l *Log) Sign(text []byte) (sig []byte, public string, err error) {
	k := l.opt.Key
	if k == nil {
		return nil, "", fmt.Errorf("there is no key to sign with: %w", ErrKey)
	}
	if _, err := parseHead(string(text)); err == nil {
		return nil, "", fmt.Errorf("the text is that of a head: %w", ErrKey)
	}
	if sig, err = k.signer.Sign(text); err != nil {
		return nil, "", fmt.Errorf("sign: %w", err)
	}
	return sig, k.public, nil
}

// Public is the key that signs, as Key.Public writes it; empty where there is none.
func (l *Log) Public() string {
	if l.opt.Key == nil {
		return ""
	}
	return l.opt.Key.public
}

// Extract proves that these entries, ascending, stand in the log that h signs, and
// that the log of h goes on from the first head that signed the first of them: what
// was signed then was not changed since. Where no such head of the same key is
// kept, h itself stands for it. Errors: those of Prove and ProveGrowth.
func (l *Log) Extract(r kv.Reader, h Head, numbers ...int64) (*Proof, *Growth, error) {
	p, err := l.Prove(r, h, numbers...)
	if err != nil {
		return nil, nil, err
	}
	old := h
	if len(numbers) > 0 {
		if old, err = l.covering(r, h, numbers[0]); err != nil {
			return nil, nil, err
		}
	}
	g, err := l.ProveGrowth(r, old, h)
	return p, g, err
}

// covering is the first head by the key of h that covers an entry.
func (l *Log) covering(r kv.Reader, h Head, entry int64) (Head, error) {
	var failed error
	at := func(n int64) (Head, bool) {
		b, err := r.Get(l.key(kindHead, n))
		if err != nil {
			if !errors.Is(err, kv.ErrNotFound) {
				failed = err
			}
			return Head{}, false
		}
		head, err := openHead(string(b), l.known)
		return head, err == nil // a head that cannot be read is for Verify to name
	}
	first := sort.Search(int(h.Number), func(i int) bool {
		head, ok := at(int64(i))
		return ok && head.Size > entry
	})
	for n := int64(first); n < h.Number; n++ {
		if head, ok := at(n); failed == nil && ok && head.key == h.key && head.Size <= h.Size && head.Size > entry {
			return head, nil
		}
		if failed != nil {
			break
		}
	}
	return h, failed
}

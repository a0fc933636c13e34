package mailbox

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// AppPassword is a password that was made for one mail program of a person. What
// is kept of it is a digest.
type AppPassword struct {
	Name   string    `json:"name"` // of the program or device; each person's are different
	Digest string    `json:"-"`    // SHA-256, in hexadecimal; it stands in the key
	Made   time.Time `json:"made"`
	By     string    `json:"by"`             // who asked for it
	Used   time.Time `json:"used,omitzero"`  // last, to ten minutes; zero: never
	From   string    `json:"from,omitempty"` // the address of that
}

// Bounds of app passwords.
const (
	maxAppPasswords = 50 // of one person
	maxAppName      = 60 // characters
	usedStep        = 10 * time.Minute
)

// The errors of app passwords.
var (
	ErrAppName  = fmt.Errorf("mailbox: an app password has a name of 1 to %d characters", maxAppName)
	ErrAppTwice = errors.New("mailbox: the person has an app password of this name")
	ErrAppMany  = fmt.Errorf("mailbox: a person may have %d app passwords", maxAppPasswords)
)

// AppPasswords lists those of a person, in no order that means anything.
func (tx *Tx) AppPasswords(p Person) (all []AppPassword, err error) {
	prefix := key("ap", p)
	err = tx.r.Scan(prefix, nil, func(k, v []byte) (bool, error) {
		var a AppPassword
		if err := json.Unmarshal(v, &a); err != nil {
			return false, fmt.Errorf("app password of person %d: %w", p, err)
		}
		a.Digest = hex.EncodeToString(k[len(prefix):])
		all = append(all, a)
		return true, nil
	})
	return all, err
}

// AppPassword is the one of a person with a digest, or ErrNotFound.
func (tx *Tx) AppPassword(p Person, digest [32]byte) (a AppPassword, err error) {
	err = tx.getJSON(key("ap", p, digest[:]), &a)
	a.Digest = hex.EncodeToString(digest[:])
	return a, err
}

// MakeAppPassword keeps a new one for a person. ErrAppName, ErrAppTwice,
// ErrAppMany.
func (tx *Tx) MakeAppPassword(p Person, name, by string, digest [32]byte) (AppPassword, error) {
	a := AppPassword{Name: strings.TrimSpace(name), Digest: hex.EncodeToString(digest[:]), Made: tx.now.UTC(), By: by}
	if a.Name == "" || utf8.RuneCountInString(a.Name) > maxAppName || !utf8.ValidString(a.Name) ||
		strings.ContainsFunc(a.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return a, ErrAppName
	}
	others, err := tx.AppPasswords(p)
	if err != nil {
		return a, err
	}
	if len(others) >= maxAppPasswords {
		return a, ErrAppMany
	}
	for _, o := range others {
		if strings.EqualFold(o.Name, a.Name) || o.Digest == a.Digest {
			return a, ErrAppTwice
		}
	}
	return a, tx.putJSON(key("ap", p, digest[:]), a)
}

// RevokeAppPassword takes one away by its name, or answers ErrNotFound.
func (tx *Tx) RevokeAppPassword(p Person, name string) (AppPassword, error) {
	all, err := tx.AppPasswords(p)
	if err != nil {
		return AppPassword{}, err
	}
	for _, a := range all {
		if strings.EqualFold(a.Name, strings.TrimSpace(name)) {
			digest, err := hex.DecodeString(a.Digest)
			return a, errors.Join(err, tx.w.Delete(key("ap", p, digest)))
		}
	}
	return AppPassword{}, ErrNotFound
}

// FindAppPassword is AppPassword of whoever has a login now.
func (s *Store) FindAppPassword(ctx context.Context, login string, digest [32]byte) (a AppPassword, err error) {
	err = s.View(ctx, func(tx *Tx) error {
		p, err := tx.PersonOf(login)
		if err == nil {
			a, err = tx.AppPassword(p, digest)
		}
		return err
	})
	return a, err
}

// UsedAppPassword notes the last use of an app password. It writes at most every
// ten minutes, and nothing about one that was revoked meanwhile.
func (s *Store) UsedAppPassword(ctx context.Context, login string, digest [32]byte, from string) error {
	note := func(tx *Tx) (p Person, a AppPassword, due bool, err error) {
		if p, err = tx.PersonOf(login); err == nil {
			a, err = tx.AppPassword(p, digest)
		}
		if errors.Is(err, ErrNotFound) {
			return p, a, false, nil
		}
		since := tx.now.Sub(a.Used)
		return p, a, err == nil && (since < 0 || since >= usedStep), err
	}
	due := false
	err := s.View(ctx, func(tx *Tx) (err error) { _, _, due, err = note(tx); return err })
	if err != nil || !due {
		return err
	}
	return s.Update(ctx, func(tx *Tx) error {
		p, a, due, err := note(tx)
		if err != nil || !due {
			return err
		}
		a.Used, a.From = tx.now.UTC(), from
		return tx.putJSON(key("ap", p, digest[:]), a)
	})
}

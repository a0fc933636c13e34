package mailbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox/kv"
)

// LeftPerson is a person whose login was taken out of the policy. What was theirs
// stays theirs: whoever gets the login later is somebody else, and begins with
// nothing, until an administrator says that it is the same one (Adopt).
type LeftPerson struct {
	Person Person    `json:"person"`
	Login  string    `json:"login"` // the last one
	At     time.Time `json:"left"`
	// Revoked is how many app passwords were revoked by an adoption.
	Revoked int `json:"app_passwords_revoked,omitzero"`
}

func leftKey(login string, p Person) []byte { return key("po", strings.ToLower(login), p) }

// Leaving is a login whose person is to be kept apart.
type Leaving struct {
	Login string
	Why   string // for the audit log
}

// Logins lists the logins behind which there is a person now.
func (s *Store) Logins(ctx context.Context) (all []string, err error) {
	err = s.View(ctx, func(tx *Tx) error {
		all = nil
		prefix := key("p")
		return tx.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
			all = append(all, strings.TrimSuffix(string(k[len(prefix):]), "\x00"))
			return true, nil
		})
	})
	return all, err
}

// Part parts the persons behind logins from them, and tells whom. Each has an
// audit line; with, where it is not nil, is called in the same transaction, also
// for a login without a person. Some may be parted when it fails.
func (s *Store) Part(ctx context.Context, gone []Leaving, with func(tx *Tx, login string) error) (parted []LeftPerson, err error) {
	for part := range slices.Chunk(gone, batch) {
		var here []LeftPerson
		err := s.Update(ctx, func(tx *Tx) error {
			here = nil
			for _, g := range part {
				login := strings.ToLower(g.Login)
				if with != nil {
					if err := with(tx, login); err != nil {
						return err
					}
				}
				p, err := tx.person(login)
				if errors.Is(err, ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				l := LeftPerson{Person: p, Login: login, At: tx.now.UTC()}
				err = tx.Audit(AuditLine{Actor: "store", Event: "user removed", Subject: login, Result: "kept apart", Reason: g.Why, More: map[string]string{"person": fmt.Sprint(p)}})
				if err := errors.Join(err, tx.part(l)); err != nil {
					return err
				}
				here = append(here, l)
			}
			return nil
		})
		s.PeopleChanged()
		if err != nil {
			return parted, err
		}
		parted = append(parted, here...)
	}
	return parted, nil
}

func (tx *Tx) part(l LeftPerson) error {
	return errors.Join(tx.w.Delete(key("p", l.Login)), tx.putJSON(leftKey(l.Login, l.Person), l))
}

// Left tells since when the login of a person is none any more.
func (tx *Tx) Left(p Person) (at time.Time, left bool, err error) {
	login, err := tx.Login(p)
	if err == nil {
		var l LeftPerson
		err = tx.getJSON(leftKey(login, p), &l)
		at, left = l.At, err == nil
	}
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return at, left, err
}

// LeftPeople lists those who left under a login, or all for "", the last of each
// login first.
func (tx *Tx) LeftPeople(login string) (all []LeftPerson, err error) {
	prefix := key("po")
	if login != "" {
		prefix = key("po", strings.ToLower(login))
	}
	err = tx.r.Scan(prefix, nil, func(_, v []byte) (bool, error) {
		var l LeftPerson
		if err := json.Unmarshal(v, &l); err != nil {
			return false, fmt.Errorf("person who left: %w", err)
		}
		all = append(all, l)
		return true, nil
	})
	slices.SortStableFunc(all, func(a, b LeftPerson) int {
		if c := strings.Compare(a.Login, b.Login); c != 0 {
			return c
		}
		return b.At.Compare(a.At)
	})
	return all, err
}

// Adoption says who becomes whom again.
type Adoption struct {
	Old    string // the login that left
	As     string // the login that the person has from now on; "": Old
	Person Person // of those who left under Old; 0: the last one
	// Apps has the person's app passwords count again. Otherwise they are revoked:
	// nobody knows who has them after so long.
	Apps  bool
	With  func(*Tx) error // in the same transaction; nil: nothing
	Actor string          // for the audit log: the way they came
	From  string          // who they are there
}

// Adopt gives a person who left a login again, with all that was theirs. Who had
// that login until now has left by that, and can be adopted in turn.
// ErrNotFound where nobody such has left.
func (s *Store) Adopt(ctx context.Context, a Adoption) (back LeftPerson, err error) {
	if a.As == "" {
		a.As = a.Old
	}
	as := strings.ToLower(a.As)
	err = s.Update(ctx, func(tx *Tx) error {
		all, err := tx.LeftPeople(a.Old)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(l LeftPerson) bool { return a.Person == 0 || l.Person == a.Person })
		if i < 0 {
			return ErrNotFound
		}
		back = all[i]
		more := map[string]string{"person": fmt.Sprint(back.Person), "login": as}
		apps, err := tx.AppPasswords(back.Person)
		if err != nil {
			return err
		}
		if back.Revoked = 0; !a.Apps && len(apps) > 0 {
			for _, p := range apps {
				if _, err := tx.RevokeAppPassword(back.Person, p.Name); err != nil {
					return err
				}
			}
			back.Revoked = len(apps)
			more["app_passwords_revoked"] = fmt.Sprint(len(apps))
		}
		if a.With != nil {
			if err := a.With(tx); err != nil {
				return err
			}
		}
		switch now, err := tx.person(as); {
		case err == nil:
			more["instead_of"] = fmt.Sprint(now)
			if err := tx.part(LeftPerson{Person: now, Login: as, At: tx.now.UTC()}); err != nil {
				return err
			}
		case !errors.Is(err, ErrNotFound):
			return err
		}
		return errors.Join(
			tx.w.Delete(leftKey(back.Login, back.Person)),
			tx.w.Put(key("p", as), binary.BigEndian.AppendUint32(nil, uint32(back.Person))),
			tx.w.Put(key("pi", back.Person), []byte(as)),
			tx.Audit(AuditLine{Actor: a.Actor, From: a.From, Event: "user adopt", Subject: back.Login, Result: "adopted", More: more}))
	})
	s.PeopleChanged()
	return back, err
}

// leftPerson checks the record of one who left.
func (x *fsck) leftPerson(_, rest, v []byte) error {
	p := Person(tailUint32(rest))
	login := string(rest[:len(rest)-5])
	where := fmt.Sprintf("person %d, who left", p)
	var l LeftPerson
	if !x.decode(v, &l, where) {
		return nil
	}
	name, err := x.tx.Login(p)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	now, err := x.tx.r.Get(key("p", login))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	if l.Person != p || l.Login != login || name != login || len(now) == 4 && tailUint32(now) == uint32(p) {
		x.find(BadPerson, where, fmt.Sprintf("login %.100q", login), nil)
	}
	return nil
}

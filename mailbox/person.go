package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"

	"pecgate/mailbox/kv"
)

// Person is the internal identity of a login. It outlives the login's line in
// the policy, so that a new person under an old name sees nothing of the old
// one. 0 is nobody, or everybody, as the place says.
type Person uint32

// Person returns the identity of a login and makes it at first use.
func (s *Store) Person(ctx context.Context, login string) (Person, error) {
	var p Person
	err := s.View(ctx, func(tx *Tx) (err error) { p, err = tx.person(login); return err })
	if !errors.Is(err, ErrNotFound) {
		return p, err
	}
	err = s.Update(ctx, func(tx *Tx) (err error) { p, err = tx.EnsurePerson(login); return err })
	return p, err
}

// PersonOf is the identity of a login, or ErrNotFound where it has none yet.
func (tx *Tx) PersonOf(login string) (Person, error) { return tx.person(login) }

func (tx *Tx) person(login string) (Person, error) {
	b, err := tx.r.Get(key("p", strings.ToLower(login)))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	return Person(binary.BigEndian.Uint32(b)), nil
}

// EnsurePerson is Person inside a transaction.
func (tx *Tx) EnsurePerson(login string) (Person, error) {
	p, err := tx.person(login)
	if !errors.Is(err, ErrNotFound) {
		return p, err
	}
	n, err := tx.next("person")
	if err != nil {
		return 0, err
	}
	p = Person(n)
	login = strings.ToLower(login)
	if err := tx.w.Put(key("p", login), binary.BigEndian.AppendUint32(nil, uint32(p))); err != nil {
		return 0, err
	}
	return p, tx.w.Put(key("pi", p), []byte(login))
}

// Login returns the login of a person, or ErrNotFound.
func (tx *Tx) Login(p Person) (string, error) {
	b, err := tx.r.Get(key("pi", p))
	if errors.Is(err, kv.ErrNotFound) {
		return "", ErrNotFound
	}
	return string(b), err
}

// PeopleVersion is another number after each change of who has which login or
// app password: while it stays, what was found about these stands. It is of this
// process alone.
func (s *Store) PeopleVersion() uint64 { return s.people.Load() }

// PeopleChanged makes PeopleVersion another. It is called after the transaction,
// whether that was known to succeed or not.
func (s *Store) PeopleChanged() { s.people.Add(1) }

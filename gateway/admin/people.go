package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"pecgate/mailbox"
)

// PeopleRoom is the room of the store in which stands, by login in lower case,
// how the policy told of who has it.
const PeopleRoom = "people"

// LeftPeople lists those whose login left the policy.
func LeftPeople(ctx context.Context, store *mailbox.Store) (all []mailbox.LeftPerson, err error) {
	err = store.View(ctx, func(tx *mailbox.Tx) (err error) {
		all, err = tx.LeftPeople("")
		return err
	})
	if all == nil {
		all = []mailbox.LeftPerson{} // a list without any is a list
	}
	return all, err
}

// Adopt is Store.Adopt with an error that says what to do.
func Adopt(ctx context.Context, store *mailbox.Store, a mailbox.Adoption) (mailbox.LeftPerson, error) {
	as := cmp.Or(a.As, a.Old)
	a.With = func(tx *mailbox.Tx) error { // whom the policy told of there before counts no more
		return tx.Space(PeopleRoom).Delete(strings.ToLower(as))
	}
	back, err := store.Adopt(ctx, a)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = &Refusal{"nobody left this login, so there is nothing to give back: `pecgate user list` shows who left"}
	}
	return back, err
}

// User is what the policy in use says of somebody.
type User struct {
	Login  string
	Closed bool // nobody may use the login for now
	NoPIN  bool // neither a PIN nor one-time codes
}

// user is who has a login or an email. It refuses one that is nobody's.
func (c *Control) user(name string) (User, error) {
	if c.opt.User == nil {
		return User{Login: name}, nil
	}
	u, known := c.opt.User(name)
	if !known {
		return u, &Refusal{"the policy in use has no such user: add the login to policy.yaml first, and see that the appliance has taken it up"}
	}
	return u, nil
}

// open is user without those whose login is closed.
func (c *Control) open(name string) (User, error) {
	u, err := c.user(name)
	if err == nil && u.Closed {
		err = &Refusal{"the login is closed until what was its former person's is kept apart: see the log, and try again"}
	}
	return u, err
}

// peopleRoutes are the requests about people who left.
func (c *Control) peopleRoutes(mux *http.ServeMux) {
	mux.Handle("GET /v1/people/left", c.audited("user list", func(r *http.Request) (a answer) {
		a.value, a.err = LeftPeople(r.Context(), c.opt.Store)
		return a
	}))
	mux.Handle("POST /v1/people/adopt", c.audited("user adopt", func(r *http.Request) answer {
		peer, _ := r.Context().Value(peerKey{}).(string)
		q := r.URL.Query()
		p, err := strconv.ParseUint(q.Get("person"), 10, 32)
		if err != nil || q.Get("old") == "" {
			return answer{subject: q.Get("old"), err: &Refusal{"a login and the number of a person are needed"}}
		}
		as, err := c.open(cmp.Or(q.Get("as"), q.Get("old")))
		if err != nil {
			return answer{subject: q.Get("old"), err: err}
		}
		// A peer that hangs up has asked all the same.
		back, err := Adopt(context.WithoutCancel(r.Context()), c.opt.Store, mailbox.Adoption{
			Old: q.Get("old"), As: as.Login, Person: mailbox.Person(p), Actor: "control socket", From: peer, Apps: q.Get("apps") == "true",
		})
		return answer{subject: q.Get("old"), value: back, err: err, noted: err == nil}
	}))
}

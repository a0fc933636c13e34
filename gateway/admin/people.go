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

// user refuses a login that is none of the policy's, or is closed for now.
func (c *Control) user(login string) error {
	if c.opt.User == nil {
		return nil
	}
	known, closed := c.opt.User(login)
	switch {
	case !known:
		return &Refusal{"the policy in use has no such user: add the login to policy.yaml first, and see that the appliance has taken it up"}
	case closed:
		return &Refusal{"the login is closed until what was its former person's is kept apart: see the log, and try again"}
	}
	return nil
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
		if err := c.user(cmp.Or(q.Get("as"), q.Get("old"))); err != nil {
			return answer{subject: q.Get("old"), err: err}
		}
		// A peer that hangs up has asked all the same.
		back, err := Adopt(context.WithoutCancel(r.Context()), c.opt.Store, mailbox.Adoption{
			Old: q.Get("old"), As: q.Get("as"), Person: mailbox.Person(p), Actor: "control socket", From: peer, Apps: q.Get("apps") == "true",
		})
		return answer{subject: q.Get("old"), value: back, err: err, noted: err == nil}
	}))
}

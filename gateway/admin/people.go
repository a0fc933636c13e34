package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"pecgate/mailbox"
)

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
	back, err := store.Adopt(ctx, a)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = &Refusal{"nobody left this login, so there is nothing to give back: `pecgate user list` shows who left"}
	}
	return back, err
}

// peopleRoutes are the requests about people who left. Whether the login that
// one gets is in the policy is for the command to say.
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
		// A peer that hangs up has asked all the same.
		back, err := Adopt(context.WithoutCancel(r.Context()), c.opt.Store, mailbox.Adoption{
			Old: q.Get("old"), As: q.Get("as"), Person: mailbox.Person(p), Actor: "control socket", From: peer,
		})
		return answer{subject: q.Get("old"), value: back, err: err, noted: err == nil}
	}))
}

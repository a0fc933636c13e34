package admin

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"

	"pecgate/mailbox"
)

// Refusal says why something was not done, in one line that says what to do.
type Refusal struct{ text string }

func (r *Refusal) Error() string { return r.text }

// By is who asks for a change: the way they came and who they are there.
type By struct{ Actor, From string }

// App is an app password as administrators see it. The password itself is known
// only to the command that made it.
type App struct {
	User string `json:"user"`
	mailbox.AppPassword
}

// Apps lists the app passwords of logins, by login and name; without any, those
// of all who have a login.
func Apps(ctx context.Context, store *mailbox.Store, logins []string) (all []App, err error) {
	if len(logins) == 0 {
		if logins, err = store.Logins(ctx); err != nil {
			return nil, err
		}
	}
	all = []App{} // a list without any is a list
	for _, login := range logins {
		err := store.View(ctx, func(tx *mailbox.Tx) error {
			p, err := tx.PersonOf(login)
			if errors.Is(err, mailbox.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			found, err := tx.AppPasswords(p)
			for _, a := range found {
				all = append(all, App{User: login, AppPassword: a})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b App) int {
		return cmp.Or(strings.Compare(a.User, b.User), strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)))
	})
	return all, nil
}

// MakeApp keeps the digest of a new app password, with an audit line. The caller
// has seen to it that the login is one of the policy.
func MakeApp(ctx context.Context, store *mailbox.Store, login, name string, digest [32]byte, by By) (made App, err error) {
	err = store.Update(ctx, func(tx *mailbox.Tx) error {
		p, err := tx.EnsurePerson(login)
		if err != nil {
			return err
		}
		a, err := tx.MakeAppPassword(p, name, by.From, digest)
		if err != nil {
			return err
		}
		made = App{User: login, AppPassword: a}
		return noteApp(tx, login, a.Name, "made", by)
	})
	switch {
	case errors.Is(err, mailbox.ErrAppName):
		err = &Refusal{"an app password needs a name of 1 to 60 characters, like that of the phone or program it is for"}
	case errors.Is(err, mailbox.ErrAppTwice):
		err = &Refusal{"the user has an app password of this name: revoke it first, or take another name"}
	case errors.Is(err, mailbox.ErrAppMany):
		err = &Refusal{"the user has 50 app passwords: revoke those that are not used any more"}
	}
	return made, err
}

// RevokeApp takes an app password away, with an audit line.
func RevokeApp(ctx context.Context, store *mailbox.Store, login, name string, by By) (gone App, err error) {
	err = store.Update(ctx, func(tx *mailbox.Tx) error {
		p, err := tx.PersonOf(login)
		if err != nil {
			return err
		}
		a, err := tx.RevokeAppPassword(p, name)
		if err != nil {
			return err
		}
		gone = App{User: login, AppPassword: a}
		return noteApp(tx, login, a.Name, "revoked", by)
	})
	store.PeopleChanged() // sessions that rest on it end
	if errors.Is(err, mailbox.ErrNotFound) {
		err = &Refusal{"the user has no app password of this name: `pecgate password --list` shows them"}
	}
	return gone, err
}

func noteApp(tx *mailbox.Tx, login, name, result string, by By) error {
	return tx.Audit(mailbox.AuditLine{
		Actor: by.Actor, From: by.From, Event: "app password", Subject: login, Result: result, More: map[string]string{"name": name},
	})
}

// appRoutes are the requests about app passwords.
func (c *Control) appRoutes(mux *http.ServeMux) {
	mux.Handle("GET /v1/app-passwords", c.audited("app password list", func(r *http.Request) (a answer) {
		var logins []string
		for _, name := range r.URL.Query()["user"] {
			u, err := c.user(name)
			if err != nil {
				return answer{err: err}
			}
			logins = append(logins, u.Login)
		}
		a.value, a.err = Apps(r.Context(), c.opt.Store, logins)
		return a
	}))
	change := func(do func(ctx context.Context, q func(string) string, by By) (App, error)) func(*http.Request) answer {
		return func(r *http.Request) answer {
			peer, _ := r.Context().Value(peerKey{}).(string)
			q := r.URL.Query().Get
			// A peer that hangs up has asked all the same.
			app, err := do(context.WithoutCancel(r.Context()), q, By{Actor: "control socket", From: peer})
			return answer{subject: q("user"), value: app, err: err, noted: err == nil}
		}
	}
	mux.Handle("POST /v1/app-passwords/make", c.audited("app password", change(func(ctx context.Context, q func(string) string, by By) (App, error) {
		var digest [32]byte
		if n, err := hex.Decode(digest[:], []byte(q("digest"))); err != nil || n != len(digest) || q("user") == "" {
			return App{}, &Refusal{"a user and a digest of 32 bytes are needed"}
		}
		u, err := c.open(q("user"))
		if err != nil {
			return App{}, err
		}
		return MakeApp(ctx, c.opt.Store, u.Login, q("name"), digest, by)
	})))
	mux.Handle("POST /v1/app-passwords/revoke", c.audited("app password", change(func(ctx context.Context, q func(string) string, by By) (App, error) {
		u, err := c.user(q("user"))
		if err != nil {
			return App{}, err
		}
		return RevokeApp(ctx, c.opt.Store, u.Login, q("name"), by)
	})))
}

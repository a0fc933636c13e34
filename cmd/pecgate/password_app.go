package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // the command line

	"pecgate/configs"
	"pecgate/gateway/admin"
	"pecgate/gateway/auth"
	"pecgate/mailbox"
)

// appFlags are the flags of `pecgate password` about app passwords.
type appFlags struct {
	name, user           string
	list, revoke, asJSON bool
}

func (f *appFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.name, "app", "", "make an app password for the mail program or device `NAME`")
	c.Flags().StringVar(&f.user, "user", "", "of this `USER`: a login or an email")
	c.Flags().BoolVar(&f.revoke, "revoke", false, "take the app password back instead")
	c.Flags().BoolVar(&f.list, "list", false, "list the app passwords and when each was used last")
	c.Flags().BoolVar(&f.asJSON, "json", false, "with --app and --list: one JSON object per app password")
}

// asked tells whether the command is about app passwords at all.
func (f *appFlags) asked() (bool, error) {
	wrong := func(text string) (bool, error) { return true, &exitError{exitUsage, text} }
	switch {
	case f.list && (f.name != "" || f.revoke):
		return wrong("--list goes with --user and --json only")
	case f.list:
		return true, nil
	case f.name != "" && f.user == "":
		return wrong("--app needs --user: whose app password it is")
	case f.name != "":
		return true, nil
	case f.revoke:
		return wrong("--revoke needs --app and --user: which app password, and whose")
	case f.user != "":
		return wrong("--user goes with --app NAME or --list")
	case f.asJSON:
		return wrong("--json goes with --app NAME or --list")
	}
	return false, nil
}

func (a *app) appPassword(c *cobra.Command, f appFlags) error {
	who, err := a.named(c, f.asJSON, f.user)
	if err != nil {
		return err
	}
	s := appStore{who}
	switch {
	case f.list:
		all, err := s.list(c.Context())
		if err != nil {
			return err
		}
		return printAll(who.operator, all, func() error { return printApps(who.out, all, who.loc()) })
	case f.revoke:
		gone, err := s.revoke(c.Context(), f.name)
		if err != nil {
			return err
		}
		return who.print(gone, func() error {
			_, err := fmt.Fprintf(who.out, "%s of %s is revoked: no new login with it, and a session that is open ends.\n", gone.Name, gone.User)
			return err
		})
	}
	password, digest := auth.NewAppPassword()
	made, err := s.make(c.Context(), f.name, digest)
	if err != nil {
		return err
	}
	answer := struct {
		admin.App
		Password string `json:"password"`
	}{made, password}
	return who.print(answer, func() error {
		fmt.Fprintf(c.ErrOrStderr(), "App password of %s for %s. It is shown only this once: type it into the mail program in place of the password. It is no PIN.\n", made.User, made.Name)
		_, err := fmt.Fprintln(who.out, password)
		return err
	})
}

// loginsOf is the login of a user, or all of them where none is named.
func loginsOf(l *configs.Loaded, user string) (logins []string, err error) {
	for _, u := range l.Policy.Users {
		if user == "" || strings.EqualFold(u.Login, user) || u.Email != "" && strings.EqualFold(u.Email, user) {
			logins = append(logins, u.Login)
		}
	}
	if user != "" && len(logins) == 0 {
		return nil, &exitError{exitUsage, fmt.Sprintf("--user %s: policy.yaml has no such user", user)}
	}
	return logins, nil
}

// appStore reaches app passwords through the running appliance, or in the store
// where nothing runs.
type appStore struct{ named }

func (s appStore) do(ctx context.Context, path string, q url.Values, change bool, into any, offline func(*mailbox.Store) error) error {
	return s.either(func(client *admin.Client) error {
		if change {
			return client.Change(ctx, path, q, into)
		}
		return client.JSON(ctx, path, q, into)
	}, s.known(offline))
}

// by is who asks where nothing runs.
func (s appStore) by() admin.By { return admin.By(s.hand()) }

func (s appStore) list(ctx context.Context) (all []admin.App, err error) {
	var logins []string // none: all
	if s.login != "" {
		logins = append(logins, s.login)
	}
	err = s.do(ctx, "/v1/app-passwords", url.Values{"user": logins}, false, &all, func(store *mailbox.Store) (err error) {
		all, err = admin.Apps(ctx, store, logins)
		return err
	})
	return all, err
}

// make gives the appliance the digest only: the password stays in this process.
func (s appStore) make(ctx context.Context, name string, digest [32]byte) (made admin.App, err error) {
	q := url.Values{"user": {s.login}, "name": {name}, "digest": {hex.EncodeToString(digest[:])}}
	err = s.do(ctx, "/v1/app-passwords/make", q, true, &made, func(store *mailbox.Store) (err error) {
		made, err = admin.MakeApp(ctx, store, s.login, name, digest, s.by())
		return err
	})
	return made, err
}

func (s appStore) revoke(ctx context.Context, name string) (gone admin.App, err error) {
	q := url.Values{"user": {s.login}, "name": {name}}
	err = s.do(ctx, "/v1/app-passwords/revoke", q, true, &gone, func(store *mailbox.Store) (err error) {
		gone, err = admin.RevokeApp(ctx, store, s.login, name, s.by())
		return err
	})
	return gone, err
}

func printApps(out io.Writer, all []admin.App, loc *time.Location) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "no app password")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "USER\tNAME\tMADE\tLAST USE\tFROM")
	for _, a := range all {
		used, from := "never", "-"
		if !a.Used.IsZero() {
			used, from = a.Used.In(loc).Format(time.DateTime), a.From
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.User, a.Name, a.Made.In(loc).Format(time.DateTime), used, from)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s. Times are of %s; the last use is noted every ten minutes.\n", count(len(all), "app password", "app passwords"), loc)
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
)

func newUserCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "people whose login left policy.yaml, and giving them back what was theirs",
		Long: `When a login leaves policy.yaml, what was that person's (what they sent and its receipts, drafts, folders, flags, app
passwords) is kept apart: whoever gets the same login later is somebody else and begins with nothing. What they had
queued is held. If it is the same person all the same, ` + "`user adopt`" + ` gives everything back.`,
		Args: noArguments("use `user list` or `user adopt`"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newUserListCommand(app), newUserAdoptCommand(app))
	return c
}

func newUserListCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "who left policy.yaml, and when",
		Example: "  pecgate user list --json",
		Args:    noArguments("it lists all who left"),
	}
	return app.operate(c, "one JSON object per person", func(c *cobra.Command, o *operator, _ []string) error {
		var all []mailbox.LeftPerson
		err := o.either(func(client *admin.Client) error {
			return client.JSON(c.Context(), "/v1/people/left", nil, &all)
		}, func(store *mailbox.Store) (err error) {
			all, err = admin.LeftPeople(c.Context(), store)
			return err
		})
		if err != nil {
			return err
		}
		return printAll(o, all, func() error { return printLeft(o.out, all, o.loc()) })
	})
}

func printLeft(out io.Writer, all []mailbox.LeftPerson, loc *time.Location) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "nobody left")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "LOGIN\tPERSON\tLEFT")
	for _, p := range all {
		fmt.Fprintf(w, "%s\t%d\t%s\n", p.Login, p.Person, p.At.In(loc).Format(time.DateTime))
	}
	return w.Flush()
}

func newUserAdoptCommand(app *app) *cobra.Command {
	var as string
	var person uint32
	var apps bool
	c := &cobra.Command{
		Use:   "adopt LOGIN",
		Short: "give the person who left LOGIN everything back that was theirs",
		Long: `Gives the person who left LOGIN their old identity back, under the same login or the one that --as names, which must be
in policy.yaml. Where several people left LOGIN, the last one is meant; --person names another.

Their app passwords are revoked then, since nobody knows who has them by now; --app-passwords lets them count again, for a
login that left by mistake.
Whoever had the login meanwhile is kept apart in turn, and can be adopted the same way. The mail program has to log in
anew. What was held when the login left stays held: see ` + "`queue list --state held`" + `.`,
		Example: "  pecgate user adopt mario\n  pecgate user adopt mario --as m.rossi",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("user adopt needs one LOGIN: `pecgate user list` shows who left")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			a := mailbox.Adoption{
				Old: args[0], As: args[0], Person: mailbox.Person(person), Apps: apps,
			}
			if as != "" {
				a.As = as
			}
			who, err := app.named(c, false, a.As)
			if err != nil {
				var exit *exitError
				if errors.As(err, &exit) {
					err = &exitError{exitUsage, fmt.Sprintf("policy.yaml has no user %s: put the user there first, or name another login with --as", a.As)}
				}
				return err
			}
			a.As = who.login
			back, err := adopt(c.Context(), who, a)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s has everything back of person %d, who left %s on %s\n",
				a.As, back.Person, back.Login, back.At.In(who.loc()).Format(time.DateTime))
			if back.Revoked > 0 {
				fmt.Fprintf(c.OutOrStdout(), "%s revoked: make new ones with `pecgate password --app NAME --user %s`\n",
					count(back.Revoked, "app password is", "app passwords are"), a.As)
			}
			return nil
		},
	}
	c.Flags().StringVar(&as, "as", "", "the `LOGIN` that the person has from now on, where it is another")
	c.Flags().BoolVar(&apps, "app-passwords", false, "let the person's app passwords count again in place of revoking them")
	c.Flags().Uint32Var(&person, "person", 0, "the `NUMBER` of the person, where several left the login")
	return c
}

func adopt(ctx context.Context, who named, how mailbox.Adoption) (back mailbox.LeftPerson, err error) {
	q := url.Values{"old": {how.Old}, "as": {how.As}, "person": {strconv.FormatUint(uint64(how.Person), 10)}, "apps": {strconv.FormatBool(how.Apps)}}
	by := who.hand()
	how.Actor, how.From = by.Actor, by.From
	err = who.either(func(client *admin.Client) error {
		return client.Change(ctx, "/v1/people/adopt", q, &back)
	}, who.known(func(store *mailbox.Store) (err error) {
		back, err = admin.Adopt(ctx, store, how)
		return err
	}))
	return back, err
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
)

func newQueueForwardsCommand(app *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "forwards",
		Short: "what waits for ordinary mailboxes",
		Long: `Lists the notices and copies that wait for the smarthost (outgoing.smarthost).
They are tried again by themselves for five days; what is given up is told to the
administrator. No PEC waits here.

The status is 0 where the list was printed, empty or not, 1 where it could not be
read, and 2 for wrong usage or configuration.`,
		Example: `  pecgate queue forwards
  pecgate queue forwards --json
  pecgate queue forwards retry f1a-0
  pecgate queue forwards drop f1a-0`,
		Args: noArguments("use `queue forwards`, `queue forwards retry ID` or `queue forwards drop ID`"),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := configs.Load(app.config)
			if err != nil {
				return err
			}
			all, err := forwards(c.Context(), l.Appliance)
			if err != nil {
				return err
			}
			if !asJSON {
				return printForwards(c.OutOrStdout(), all, l.Appliance.Location())
			}
			for _, f := range all {
				if err := json.NewEncoder(c.OutOrStdout()).Encode(f); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line")
	c.AddCommand(newForwardChangeCommand(app, "retry", "try it now", (*relay.Service).ForwardRetry),
		newForwardChangeCommand(app, "drop", "do not send it", (*relay.Service).ForwardDrop))
	return c
}

func forwards(ctx context.Context, a *configs.Appliance) (all []relay.Forward, err error) {
	err = admin.NewClient(a.Path(a.DataDir)).JSON(ctx, "/v1/queue/forwards", nil, &all)
	if !errors.Is(err, admin.ErrNotRunning) {
		return all, controlError(a, err)
	}
	err = withStore(a, func(store *mailbox.Store) error {
		all, err = relay.Forwards(ctx, store, 10_000)
		return err
	})
	return all, err
}

func printForwards(out io.Writer, all []relay.Forward, loc *time.Location) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "Nothing waits for ordinary mailboxes.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tKIND\tTO\tQUEUED\tATTEMPTS\tNEXT\tLAST ERROR")
	for _, f := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", f.ID, f.Kind, f.To, f.Queued.In(loc).Format(time.DateTime), f.Attempts, f.Due.In(loc).Format(time.DateTime), f.Error)
	}
	return w.Flush()
}

func newForwardChangeCommand(app *app, what, short string, do func(*relay.Service, context.Context, string, relay.Hand) (*relay.Forward, error)) *cobra.Command {
	return &cobra.Command{
		Use:   what + " ID",
		Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("queue forwards %s needs one ID: `pecgate queue forwards` shows them", what)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			l, err := configs.Load(app.config)
			if err != nil {
				return err
			}
			a := l.Appliance
			it := new(relay.Forward)
			err = admin.NewClient(a.Path(a.DataDir)).Change(c.Context(), "/v1/queue/forwards/"+what, url.Values{"id": {args[0]}}, it)
			if errors.Is(err, admin.ErrNotRunning) {
				err = withStore(a, func(store *mailbox.Store) error {
					s, err := relayOn(l, store)
					if err != nil {
						return err
					}
					it, err = do(s, c.Context(), args[0], relay.Hand{Actor: "pecgate queue", From: fmt.Sprintf("uid %d pid %d", os.Getuid(), os.Getpid())})
					return err
				})
			} else {
				err = controlError(a, err)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s for %s: %s\n", it.ID, it.To, map[string]string{"retry": "tried now", "drop": "not sent"}[what])
			return err
		},
	}
}

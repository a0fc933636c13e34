package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
)

func newQueueForwardsCommand(app *app) *cobra.Command {
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
	}
	c.AddCommand(newForwardChangeCommand(app, "retry", "try it now", (*relay.Service).ForwardRetry),
		newForwardChangeCommand(app, "drop", "do not send it", (*relay.Service).ForwardDrop))
	return app.operate(c, "one JSON object per line", func(c *cobra.Command, o *operator, _ []string) error {
		var all []relay.Forward
		err := o.either(func(client *admin.Client) error {
			return client.JSON(c.Context(), "/v1/queue/forwards", nil, &all)
		}, func(store *mailbox.Store) (err error) {
			all, err = relay.Forwards(c.Context(), store, 10_000)
			return err
		})
		if err != nil {
			return err
		}
		return printAll(o, all, func() error { return printForwards(o.out, all, o.loc()) })
	})
}

func printForwards(out io.Writer, all []relay.Forward, loc *time.Location) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "Nothing waits for ordinary mailboxes.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tKIND\tTO\tQUEUED\tATTEMPTS\tNEXT\tLAST ERROR")
	for _, f := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", f.ID, f.Kind, f.To, f.Queued.In(loc).Format(time.DateTime), f.Attempts, nextText(&f.Due, loc), f.Error)
	}
	return w.Flush()
}

func newForwardChangeCommand(app *app, what, short string, do func(*relay.Service, context.Context, string, relay.Hand) (*relay.Forward, error)) *cobra.Command {
	return app.operate(&cobra.Command{
		Use:     what + " ID",
		Example: "  pecgate queue forwards " + what + " f1a-0",
		Short:   short,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("queue forwards %s needs one ID: `pecgate queue forwards` shows them", what)
			}
			return nil
		},
	}, "", func(c *cobra.Command, o *operator, args []string) error {
		it := new(relay.Forward)
		err := o.either(func(client *admin.Client) error {
			return client.Change(c.Context(), "/v1/queue/forwards/"+what, url.Values{"id": args}, it)
		}, o.relayed(func(r *relay.Service, _ *mailbox.Store) (err error) {
			it, err = do(r, c.Context(), args[0], o.hand())
			return err
		}))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(o.out, "%s for %s: %s\n", it.ID, it.To, map[string]string{"retry": "tried now", "drop": "not sent"}[what])
		return err
	})
}

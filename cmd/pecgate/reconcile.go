package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
)

func newReconcileCommand(app *app) *cobra.Command {
	var bringIn bool
	var also []string
	c := &cobra.Command{
		Use:   "reconcile BOX",
		Short: "compares a PEC mailbox at its provider with the store, both ways",
		Long: `Lists everything that stands in the mailbox at its provider (by IMAP every
folder, fetched or not; by POP3 the inbox) and compares it with the store: what
was never taken in, what was sent by webmail or past the gateway, receipts that
are tied to nothing, what the provider's rule or somebody else deleted there. It
changes nothing and marks nothing as read.

--bring-in takes in what is missing, as history: filed, verified and tied, with no
notice and no register number. Originals of what was not sent through the gateway
are recovered from its receipts or from the provider's sent mail, and stand in
Posta inviata with the keyword $PecRecovered. What is there already is known by
its content: a second run brings in nothing. Drafts, spam and folders that only
show messages of others are listed and passed over, unless --folder names them.

Exit status 0 if it was compared (and, with --bring-in, everything taken in), 1 if
not.`,
		Example: "  pecgate reconcile protocollo@pec.example.org\n  pecgate reconcile protocollo@pec.example.org --bring-in",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return errors.New("reconcile takes the address of one PEC mailbox: pecgate reconcile BOX")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&bringIn, "bring-in", false, "take in what is missing, as history")
	c.Flags().StringArrayVar(&also, "folder", nil, "a folder of drafts or spam that counts as mail all the same; may be repeated")
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, args []string) error {
		bar := newBar(c.ErrOrStderr())
		progress := func(done, total int64) { bar.draw(done * 1000 / max(total, 1)) }
		var found *relay.Reconciled
		err := o.either(func(client *admin.Client) (err error) {
			found, err = client.Reconcile(c.Context(), args[0], bringIn, also, progress)
			return err
		}, o.relayed(func(r *relay.Service, _ *mailbox.Store) (err error) {
			if err := r.Restored(c.Context()); err != nil {
				return err
			}
			found, err = r.Reconcile(c.Context(), args[0], relay.ReconcileOptions{BringIn: bringIn, Also: also, Progress: progress, By: o.hand()})
			return err
		}))
		bar.clear()
		if err != nil {
			return err
		}
		err = o.print(found, func() error { return printReconciled(o.out, found, bringIn, o.loc()) })
		if err == nil && found.Failed > 0 {
			err = fmt.Errorf("%d messages could not be taken in: `--json` and the log say which and why", found.Failed)
		}
		return err
	})
}

func printReconciled(out io.Writer, r *relay.Reconciled, bringIn bool, loc *time.Location) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "Mailbox\t%s, by %s\n", r.Mailbox, r.Protocol)
	for _, f := range r.Folders {
		about := ""
		if f.Configured {
			about = ", fetched"
		}
		if f.Sent {
			about += ", sent mail"
		}
		if f.Aside != "" {
			about += ", " + f.Aside + ": passed over"
		}
		switch {
		case f.Error != "":
			fmt.Fprintf(w, "Folder\t%s: %s\n", f.Name, f.Error)
		case f.Name == "":
			fmt.Fprintf(w, "At the provider\t%s\n", count(f.Messages, "message", "messages"))
		default:
			fmt.Fprintf(w, "Folder\t%s%s: %s, %d not noted but in the store, %d unknown\n", f.Name, about, count(f.Messages, "message", "messages"), f.Elsewhere, f.Unknown)
		}
	}
	fmt.Fprintf(w, "In the store\t%s that arrived\n", count(r.Store, "message", "messages"))
	for _, x := range []struct {
		n    int
		what string
	}{
		{r.Both, "in both"}, {r.Waiting, "new at the provider, which the next round takes in"},
		{r.NeverTaken, "at the provider and not in the store"}, {r.SetAside, "of these set aside, since they cannot be taken in"},
		{r.SentElsewhere, "in the provider's sent mail and not sent through the gateway"},
		{r.Unmatched, "receipts tied to nothing"}, {r.GoneByRule, "deleted at the provider by the rule"},
		{r.GoneByAnother, "deleted or moved at the provider by somebody else"},
		{r.LetGo, letGoText(r.Rules)},
	} {
		if x.n > 0 {
			fmt.Fprintf(w, "  %d\t%s\n", x.n, x.what)
		}
	}
	for _, g := range r.Rules {
		fmt.Fprintf(w, "provider_copy\t%s: deleted %s and %s there, %s to %s\n", g.Rule, count(g.Messages, "message", "messages"),
			count(g.Receipts, "receipt", "receipts"), g.First.In(loc).Format(time.DateTime), g.Last.In(loc).Format(time.DateTime))
	}
	if bringIn {
		fmt.Fprintf(w, "Brought in\t%s, %d originals recovered, %d failed\n", count(r.BroughtIn, "message", "messages"), r.Originals, r.Failed)
	}
	for i, it := range r.Items {
		if i == 50 {
			fmt.Fprintf(w, "  and %d more: see --json\n", len(r.Items)-50+r.More)
			break
		}
		at := fmt.Sprintf("%s %d", it.Folder, it.UID)
		if it.UIDL != "" {
			at = it.UIDL
		} else if it.UID == 0 {
			at = fmt.Sprintf("message %d of the store", it.Message)
		}
		line := at
		if it.MsgID != "" {
			line += ", <" + it.MsgID + ">"
		}
		if it.Trouble != "" {
			line += ": " + it.Trouble
		}
		fmt.Fprintf(w, "  %s\t%s\n", it.What, line)
	}
	if !bringIn && r.NeverTaken+r.SentElsewhere+r.Unmatched > 0 {
		fmt.Fprintf(w, "\t--bring-in takes in what is missing\n")
	}
	return w.Flush()
}

// letGoText says of what is in the store why its copy at the provider is not noted any more.
func letGoText(rules []relay.GoneByRule) string {
	if len(rules) == 0 {
		return "of which nothing is known at the provider any more: its UIDs or ids began anew there, or a rule deleted it before that was counted"
	}
	return "not at the provider any more as far as is known: deleted by provider_copy (see below), or from before its UIDs or ids began anew"
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
)

func newQueueCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "queue",
		Short: "the outgoing queue",
		Long: `Shows and changes what waits to be sent. Every change is in the audit log with
the user and process that asked for it.`,
		Args: noArguments("use `queue list`, `show`, `retry`, `hold`, `cancel`, `approve` or `reject`"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newQueueListCommand(app), newQueueShowCommand(app), newQueueForwardsCommand(app),
		newQueueChangeCommand(app, "retry", "send what is held, or what waits for its next attempt, now",
			`Puts submissions that are held back into the queue, and lets those that wait for
their next attempt be tried at once. Outside the hours of its mailbox (hours:) each
is tried once all the same; then its hours count again. It does not release what waits for a PIN or
for a member who approves (see approve).

One that may have left already (held as uncertain or restored) is sent a second
time if it did: look into the provider's webmail first. Receipts that come
meanwhile count as always. Of a batch, what was tried already and may have left
stays held: each such message is retried by its own id.

After fsck --rebuild nobody knows whether the PIN or the approval that a message
waited for was ever given (no PIN on record). Such a one is refused: ask its
sender. --unconfirmed sends it without, and the audit log has who did it.`),
		newQueueChangeCommand(app, "hold", "keep submissions back until `queue retry`",
			`Keeps submissions back that wait to be sent. One that is being handed over, or
whose hand-over ended without an answer, cannot be held.`),
		newQueueChangeCommand(app, "cancel", "take submissions back that have not left",
			`Takes submissions back that have not left, for good, and tells their senders.

One that may have left already (held as uncertain or restored, or released from
there) cannot be cancelled as if it were not sent. --may-have-left gives such a
one up: nothing is sent from here any more, its sender is told that it may have
left, and a receipt that comes still counts.`),
		newQueueChangeCommand(app, "approve", "send what waits for approval, now",
			`Releases submissions of members with compose, in place of a member with approve:
no PIN is asked for, and the audit log has who did it. One that a member has
approved and not confirmed by PIN yet is released, too.`),
		newQueueChangeCommand(app, "reject", "take submissions back that wait for approval",
			`Cancels submissions that wait for approval, for good, and tells their authors.`))
	return c
}

// queueStates reads the values of --state.
func queueStates(words []string) (states []relay.State, err error) {
	all := relay.States()
	for _, w := range words {
		switch s := relay.State(w); {
		case w == "all":
			return all, nil
		case slices.Contains(all, s):
			states = append(states, s)
		default:
			var names []string
			for _, s := range all {
				names = append(names, string(s))
			}
			return nil, &exitError{exitUsage, fmt.Sprintf("--state %s: there are all, %s", w, strings.Join(names, ", "))}
		}
	}
	return states, nil
}

func newQueueListCommand(app *app) *cobra.Command {
	var box string
	var words []string
	c := &cobra.Command{
		Use:   "list",
		Short: "what waits to be sent",
		Long: `Lists submissions, oldest first: those in which something is still to be done
before they leave, or those in the states that --state names.
--json prints one object per line.`,
		Example: "  pecgate queue list --state held\n  pecgate queue list --mailbox protocollo@pec.example.org --json",
		Args:    noArguments("use --mailbox and --state"),
	}
	c.Flags().StringVar(&box, "mailbox", "", "only of this PEC `ADDRESS`")
	c.Flags().StringSliceVar(&words, "state", nil, "only in this `STATE`; may be repeated; all for every one")
	return app.operate(c, "one JSON object per line", func(c *cobra.Command, o *operator, _ []string) (err error) {
		f := relay.QueueFilter{Mailbox: box}
		if f.States, err = queueStates(words); err != nil {
			return err
		}
		p := &queuePrinter{out: o.out, json: o.json, loc: o.loc()}
		if err := listQueue(c.Context(), o, f, p); err != nil {
			return err
		}
		return p.end()
	})
}

// listQueue shows all parts of the list, asked of the running appliance, or of
// the store where nothing runs.
func listQueue(ctx context.Context, o *operator, f relay.QueueFilter, p *queuePrinter) error {
	parts := func(part func(relay.QueueFilter) (relay.QueuePage, error)) error {
		for {
			page, err := part(f)
			if err != nil {
				return err
			}
			for _, it := range page.Items {
				if err := p.line(it); err != nil {
					return err
				}
			}
			if f.After = page.After; f.After == "" {
				return nil
			}
		}
	}
	return o.either(func(client *admin.Client) error {
		err := parts(func(f relay.QueueFilter) (page relay.QueuePage, err error) {
			q := url.Values{"mailbox": {f.Mailbox}, "after": {f.After}}
			for _, s := range f.States {
				q.Add("state", string(s))
			}
			return page, client.JSON(ctx, "/v1/queue", q, &page)
		})
		if errors.Is(err, admin.ErrNotRunning) && p.lines > 0 {
			return errors.New("the appliance stopped meanwhile: the list is not whole")
		}
		return err
	}, func(store *mailbox.Store) error {
		p.note("The appliance is not running: this is what its store says.")
		return parts(func(f relay.QueueFilter) (relay.QueuePage, error) { return relay.Queue(ctx, store, f) })
	})
}

// queuePrinter writes the list.
type queuePrinter struct {
	out   io.Writer
	json  bool
	loc   *time.Location
	table *tabwriter.Writer
	lines int
}

func (p *queuePrinter) note(text string) {
	if !p.json {
		fmt.Fprintln(p.out, text)
	}
}

func (p *queuePrinter) line(it relay.QueueItem) error {
	p.lines++
	if p.json {
		return json.NewEncoder(p.out).Encode(it)
	}
	if p.table == nil {
		p.table = tabwriter.NewWriter(p.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(p.table, "ID\tMAILBOX\tUSER\tSTATE\tSINCE\tNEXT\tTRIES\tRECIPIENTS\tWHY")
	}
	to := "-"
	if n := len(it.Recipients); n > 0 {
		if to = it.Recipients[0]; n > 1 {
			to += fmt.Sprintf(" and %d more", n-1)
		}
	}
	if it.Batch != nil {
		to += "; " + batchText(it.Batch, it.ID)
	}
	next := nextText(it.Next, p.loc)
	if it.StateReason == relay.ReasonSuspended {
		next = "suspended" // until the password is another one
	}
	_, err := fmt.Fprintf(p.table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", it.ID, it.Mailbox, it.User, stateText(it.State, it.StateReason, it.MayHaveLeft)+lackText(it.Unconfirmed),
		it.Since.In(p.loc).Format(time.DateTime), next, it.Attempts, to, shortWhy(it.Why))
	return err
}

// nextText is when something is tried next.
func nextText(at *time.Time, loc *time.Location) string {
	if at == nil {
		return "-"
	}
	if !at.After(time.Now()) {
		return "now" // its turn comes
	}
	return at.In(loc).Format(time.DateTime)
}

func (p *queuePrinter) end() error {
	switch {
	case p.json:
		return nil
	case p.table == nil:
		_, err := fmt.Fprintln(p.out, "no submission")
		return err
	}
	if err := p.table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.out, "\n%s. Times are of %s.\n", count(p.lines, "submission", "submissions"), p.loc)
	return err
}

// whyMost is how many characters of a reason the table shows; --json and queue show have all.
const whyMost = 100

func shortWhy(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > whyMost {
		text = string(r[:whyMost]) + "..."
	}
	return cmp.Or(text, "-")
}

// lackText names what is not on record for one that waited for it.
func lackText(why relay.Reason) string {
	switch why {
	case "":
		return ""
	case relay.ReasonApproval:
		return ", no approval on record"
	}
	return ", no PIN on record"
}

// stateText is a state for people.
func stateText(s relay.State, why relay.Reason, mayHaveLeft bool) string {
	text := string(s)
	if why != "" {
		text += " (" + string(why) + ")"
	}
	if mayHaveLeft && (s == relay.Held || s == relay.ToApprove || s == relay.Queued || s == relay.Cancelled) {
		text += ", may have left"
	}
	return text
}

func newQueueShowCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "one submission, when it is tried next, and what can be done",
		Example: "  pecgate queue show 06h0aicploim1sn5o1tnrq3n4k",
		Args:    oneID("show"),
	}
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, args []string) error {
		var s relay.QueueShown
		err := o.either(func(client *admin.Client) error {
			return client.JSON(c.Context(), "/v1/queue/show", url.Values{"id": args}, &s)
		}, func(store *mailbox.Store) (err error) {
			s, err = relay.ShowQueued(c.Context(), store, args[0])
			return err
		})
		if err != nil {
			return err
		}
		return o.print(s, func() error { return printQueued(o.out, s, o.loc()) })
	})
}

func oneID(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("queue %s needs one ID: of the submission, its Message-ID or its PEC identifier", what)
		}
		return nil
	}
}

func printQueued(out io.Writer, s relay.QueueShown, loc *time.Location) error {
	if err := printShown(out, s.Shown, loc); err != nil {
		return err
	}
	next, can := "nothing is due", "nothing"
	if s.Next != nil {
		next = "next at " + s.Next.In(loc).Format(time.DateTime)
	}
	if len(s.Can) > 0 {
		can = strings.Join(s.Can, ", ")
	}
	if s.MayHaveLeft && (s.State == relay.Held || s.State == relay.Queued || s.State == relay.ToApprove) {
		next += "; it may have left already"
	}
	next += lackText(s.Unconfirmed)
	if s.State == relay.Queued && s.Why != "" {
		next += "; " + s.Why
	}
	_, err := fmt.Fprintf(out, "In the queue: %s since %s, %s, %s\nWhat can be done: %s\n",
		s.State, s.Since.In(loc).Format(time.DateTime), count(s.Attempts, "attempt", "attempts"), next, can)
	return err
}

func newQueueChangeCommand(app *app, what, short, long string) *cobra.Command {
	var knows, unconfirmed bool
	c := &cobra.Command{
		Use:     what + " ID...",
		Example: "  pecgate queue " + what + " 06h0aicploim1sn5o1tnrq3n4k",
		Short:   short,
		Long:    long + "\n\nID is the submission's id, its Message-ID or its PEC identifier.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("queue %s needs an ID: `pecgate queue list` shows them", what)
			}
			return nil
		},
	}
	if what == "retry" {
		c.Flags().BoolVar(&unconfirmed, "unconfirmed", false, "also one of which nobody knows whether its PIN or approval was given")
	}
	if what == "cancel" {
		c.Flags().BoolVar(&knows, "may-have-left", false, "also one that may have left: it is given up")
	}
	return app.operate(c, "one JSON object per ID", func(c *cobra.Command, o *operator, args []string) error {
		ch := &queueChange{what: what, knows: knows, unconfirmed: unconfirmed, show: func(s relay.QueueShown) error {
			text := stateText(s.State, s.StateReason, s.MayHaveLeft) + lackText(s.Unconfirmed)
			if s.Batch != nil {
				text += "; " + batchText(s.Batch, s.ID)
			}
			if what == "cancel" && s.Batch != nil && s.Batch.ID == s.ID && s.State != relay.Cancelled {
				text = "cancelled as far as it had not left: " + batchText(s.Batch, s.ID)
			}
			return o.print(s, func() error {
				_, err := fmt.Fprintf(o.out, "%s is %s\n", s.ID, text)
				return err
			})
		}}
		return ch.all(c.Context(), o, args, c.ErrOrStderr())
	})
}

// queueChange is a change to some submissions.
type queueChange struct {
	what        string
	knows       bool // --may-have-left
	unconfirmed bool // --unconfirmed
	show        func(relay.QueueShown) error
}

// all changes each of the submissions: one that cannot be changed stops no other.
func (ch *queueChange) all(ctx context.Context, o *operator, ids []string, errs io.Writer) error {
	q := url.Values{}
	if ch.knows {
		q.Set("may_have_left", "true")
	}
	if ch.unconfirmed {
		q.Set("unconfirmed", "true")
	}
	rest := ids
	return o.either(func(client *admin.Client) error {
		return ch.each(&rest, errs, func(id string) (s relay.QueueShown, err error) {
			q.Set("id", id)
			return s, client.Change(ctx, "/v1/queue/"+ch.what, q, &s)
		})
	}, o.relayed(func(r *relay.Service, store *mailbox.Store) error {
		if err := r.Restored(ctx); err != nil {
			return err
		}
		retry := r.Retry
		if ch.unconfirmed {
			retry = r.RetryUnconfirmed
		}
		do := map[string]func(context.Context, string, relay.Hand) (string, error){
			"retry": retry, "hold": r.Hold, "approve": r.ApproveByHand, "reject": r.RejectByHand,
			"cancel": func(ctx context.Context, id string, by relay.Hand) (string, error) {
				return r.Cancel(ctx, id, ch.knows, by)
			},
		}[ch.what]
		return ch.each(&rest, errs, func(name string) (relay.QueueShown, error) {
			id, err := do(ctx, name, o.hand())
			if err != nil {
				return relay.QueueShown{}, err
			}
			return relay.ShowQueued(ctx, store, id)
		})
	}))
}

// each takes the ids one after the other off the list. The last error is
// returned, those before it are printed.
func (ch *queueChange) each(ids *[]string, errs io.Writer, do func(id string) (relay.QueueShown, error)) error {
	var last error
	for len(*ids) > 0 {
		s, err := do((*ids)[0])
		if errors.Is(err, admin.ErrNotRunning) {
			return err
		}
		*ids = (*ids)[1:]
		if err == nil {
			err = ch.show(s)
		} else if errors.Is(err, relay.ErrNotFound) {
			err = admin.ErrNotFound // as the appliance says it
		}
		if err != nil {
			if last != nil {
				fmt.Fprintln(errs, "pecgate: "+oneLine(last.Error()))
			}
			last = err
		}
	}
	return last
}

package main

import (
	"cmp"
	"context"
	"errors"
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

func newShowCommand(app *app) *cobra.Command {
	var eml bool
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "one submission as a timeline",
		Example: "  pecgate show 06h0aicploim1sn5o1tnrq3n4k\n  pecgate show '<123@example.org>' --eml > sent.eml",
		Long: `Shows what became of a submission: every recipient with what is known, and
each receipt. ID is the submission's id, its Message-ID or its PEC identifier.

Of a message that was split (split: blind or always) it shows how far that is,
and the messages that it leaves as; each has an id of its own for show and for
queue.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("show needs one ID: of the submission, its Message-ID or its PEC identifier")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&eml, "eml", false, "the bytes as they are relayed")
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, args []string) error {
		if eml {
			return showBytes(c.Context(), o, args[0])
		}
		var s relay.Shown
		err := o.either(func(client *admin.Client) error {
			return client.JSON(c.Context(), "/v1/show", url.Values{"id": args}, &s)
		}, func(store *mailbox.Store) (err error) {
			s, _, err = relay.Show(c.Context(), store, args[0])
			return err
		})
		if err != nil {
			return err
		}
		return o.print(s, func() error { return printShown(o.out, s, o.loc()) })
	})
}

func showBytes(ctx context.Context, o *operator, id string) error {
	return o.either(func(client *admin.Client) error {
		return client.Copy(ctx, "/v1/eml", url.Values{"id": {id}}, o.out)
	}, func(store *mailbox.Store) error {
		r, err := relay.Bytes(ctx, store, id)
		if err != nil {
			return err
		}
		_, err = io.Copy(o.out, io.NewSectionReader(r, 0, r.Size()))
		return errors.Join(err, r.Close())
	})
}

// recipientText is how a recipient stands. Who waits for nothing, since nothing is
// sent any more, is not said to wait.
func recipientText(s relay.Shown, r relay.ShownRecipient, loc *time.Location) string {
	if !r.HandedOver.IsZero() {
		return string(r.State) + ", handed over " + r.HandedOver.In(loc).Format(time.DateTime)
	}
	if s.State == relay.Cancelled && s.Batch == nil && r.State == relay.Waiting {
		if s.StateReason == relay.ReasonUncertain {
			return "nothing is sent any more; it may have left before"
		}
		return "cancelled, nothing was sent"
	}
	return string(r.State)
}

// sentText says who sent it.
func sentText(s relay.Shown) string {
	switch s.Recovered {
	case "":
		return "sent by " + s.User
	case "receipt":
		return "not sent through this gateway; its original is out of a complete receipt"
	}
	return "not sent through this gateway; its original was found at the provider"
}

// printLooking says what something uncertain waits for, and until when.
func printLooking(w io.Writer, l *relay.ShownLooking, loc *time.Location) {
	until := "the mailbox could be read for long enough"
	if !l.Until.IsZero() {
		until = l.Until.In(loc).Format(time.DateTime) + ", if the mailbox can be read until then"
	}
	fmt.Fprintf(w, "Waits for\ta receipt that quotes its Message-ID, until %s\n", until)
	fmt.Fprintf(w, "  looked\tlast at %s; the mailbox could be read for %s so far\n", l.Seen.In(loc).Format(time.DateTime), l.Read)
	for _, x := range []struct{ what, why string }{
		{"not readable", l.Blind}, {"it was not readable throughout", l.Gap}, {"not sent again by itself", l.Quote}, {"read once more before that", l.Unread},
	} {
		if x.why != "" {
			fmt.Fprintf(w, "  %s\t%s\n", x.what, x.why)
		}
	}
}

func printShown(out io.Writer, s relay.Shown, loc *time.Location) error {
	state := string(s.State)
	if s.StateReason != "" {
		state += " (" + string(s.StateReason) + ")"
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "Submission\t%s\n", s.ID)
	fmt.Fprintf(w, "State\t%s\n", state)
	if s.Hours != nil {
		fmt.Fprintf(w, "Goes on\t%s, when the mailbox's hours of sending begin\n", s.Hours.In(loc).Format(time.DateTime))
	}
	if s.Looking != nil {
		printLooking(w, s.Looking, loc)
	}
	fmt.Fprintf(w, "Mailbox\t%s, %s\n", s.Mailbox, sentText(s))
	fmt.Fprintf(w, "Message-ID\t<%s>\n", s.MsgID)
	if s.Alias != "" {
		fmt.Fprintf(w, "of the client\t<%s>, which another submission of this mailbox had used\n", s.Alias)
	}
	if s.Identifier != "" {
		fmt.Fprintf(w, "PEC identifier\t%s\n", s.Identifier)
	}
	if !s.Resent.IsZero() {
		fmt.Fprintf(w, "Second hand-over\t%s, by the gateway: no receipt had come (uncertain: resend)\n", s.Resent.In(loc).Format(time.DateTime))
	}
	if s.Twice != "" {
		fmt.Fprintf(w, "Went out twice\tthe second acceptance has the identifier %s\n", s.Twice)
	}
	if s.Batch != nil {
		fmt.Fprintf(w, "Batch\t%s\n", batchText(s.Batch, s.ID))
	}
	fmt.Fprintf(w, "SHA-256\t%s\n", cmp.Or(s.SHA256, "none yet: nothing was handed over"))
	for _, c := range s.Children {
		fmt.Fprintf(w, "  %s\t%s, to %s\n", c.ID, stateText(c.State, c.StateReason, false), recipientsText(c.Recipients))
	}
	fmt.Fprintf(w, "Outcome\t%s (recipients, acceptances, deliveries, errors)\n", s.Counts)
	if e := s.Expected; e.Receipts > 0 {
		fmt.Fprintf(w, "Still to come\t%s, at most %s in the mailbox at the provider\n", count(e.Receipts, "receipt", "receipts"), megabytes(e.Bytes))
	}
	for _, r := range s.Receipts {
		fmt.Fprintf(w, "  %s\t%s, signature %s\n", r.At.In(loc).Format(time.DateTime), r.Kind, r.Verdict)
	}
	for _, r := range s.Recipients {
		fmt.Fprintf(w, "Recipient\t%s: %s\n", r.Address, recipientText(s, r, loc))
		for _, x := range r.Receipts {
			fmt.Fprintf(w, "  %s\t%s, signature %s\n", x.At.In(loc).Format(time.DateTime), x.Kind, x.Verdict)
		}
	}
	fmt.Fprintf(w, "What happened\t(times of %s)\n", loc)
	for _, e := range s.Events {
		fmt.Fprintf(w, "  %s\t%s  %s\n", e.At.In(loc).Format(time.DateTime), e.What, e.Text)
	}
	return w.Flush()
}

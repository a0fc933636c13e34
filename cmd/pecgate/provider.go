package main

import (
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

func newProviderCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "provider",
		Short: "a mailbox at its provider: a login that was refused, the copies that stand there",
		Args:  noArguments("use `provider resume` or `provider copies`"),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newProviderResumeCommand(app), newProviderCopiesCommand(app))
	return c
}

func oneBox(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("provider %s needs one ADDRESS of a PEC mailbox", what)
		}
		return nil
	}
}

func newProviderResumeCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "resume ADDRESS",
		Short: "log in once more with a password that the provider refused",
		Long: `After a login that the provider refused the mailbox is suspended: the same password is not sent again, over SMTP, IMAP
and POP3 and over restarts, because providers lock a mailbox after some wrong ones. It goes on by itself when policy.yaml
has another password. Where the password was right all the time (the mailbox was locked, or a protocol switched off in the
provider's panel), this command makes one more attempt. Who asked for it is in the audit log.`,
		Example: "  pecgate provider resume protocollo@pec.example.org",
		Args:    oneBox("resume"),
	}
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, args []string) error {
		var done admin.Resumed
		err := o.either(func(client *admin.Client) error {
			return client.Change(c.Context(), "/v1/provider/resume", url.Values{"mailbox": args}, &done)
		}, o.relayed(func(r *relay.Service, _ *mailbox.Store) error {
			done = admin.Resumed{Mailbox: args[0], Resumed: true}
			return r.Resume(c.Context(), args[0], o.hand())
		}))
		if err != nil {
			return err
		}
		return o.print(done, func() error {
			_, err := fmt.Fprintf(o.out, "%s logs in once more; if the provider refuses that too, it is suspended again, and `pecgate status` shows it\n", done.Mailbox)
			return err
		})
	})
}

func newProviderCopiesCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "copies ADDRESS",
		Short: "what provider_copy would delete at the provider now, without deleting it",
		Long: `Lists the copies at the provider whose time is over by provider_copy and provider_copy_receipts of policy.yaml as they
are now, and deletes nothing. The appliance deletes them in its next rounds, each only after our own copy was read back
and is the same as what stands there.

To try a rule before it holds, write it into a copy of policy.yaml and a pecgate.yaml that names it, and run this
with --config while the appliance is stopped.`,
		Example: "  pecgate provider copies protocollo@pec.example.org",
		Args:    oneBox("copies"),
	}
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, args []string) error {
		var found relay.Copies
		err := o.either(func(client *admin.Client) error {
			return client.JSON(c.Context(), "/v1/provider/copies", url.Values{"mailbox": args}, &found)
		}, o.relayed(func(r *relay.Service, _ *mailbox.Store) (err error) {
			found, err = r.Copies(c.Context(), args[0])
			return err
		}))
		if err != nil {
			return err
		}
		return o.print(found, func() error { return printCopies(o.out, found, o.loc()) })
	})
}

func printCopies(out io.Writer, f relay.Copies, loc *time.Location) error {
	since := "which no round has seen yet"
	switch {
	case f.Messages == "keep" && f.Receipts == "keep":
		since = "so that nothing is deleted"
	case f.Since != nil:
		since = "since " + f.Since.In(loc).Format(time.DateTime)
	}
	fmt.Fprintf(out, "%s: messages %s, receipts %s, %s.\n", f.Mailbox, f.Messages, f.Receipts, since)
	switch f.Sooner {
	case "room":
		fmt.Fprintln(out, "The mailbox is short of room at the provider: receipts go as soon as ours are read back.")
	case "bulk":
		fmt.Fprintln(out, "Many messages are being sent: receipts go an hour after they were fetched, so that the mailbox does not fill.")
	}
	if len(f.List) > 0 {
		w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "FETCHED\tSIZE\tKIND\tAT\tMESSAGE-ID")
		for _, d := range f.List {
			kind, at := "message", d.UIDL
			if d.Receipt {
				kind = "receipt"
			}
			if at == "" {
				at = fmt.Sprintf("%s %d", d.Folder, d.UID)
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", d.Since.In(loc).Format(time.DateTime), d.Size, kind, at, d.MsgID)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if n := f.Due - len(f.List); n > 0 {
		fmt.Fprintf(out, "and %d more\n", n)
	}
	fmt.Fprintf(out, "%d of %d copies (%s) would be deleted, at most %d a round; %d are kept for good because something about them is doubtful.\n",
		f.Due, f.Standing, megabytes(f.DueBytes), f.PerRound, f.Kept)
	if !f.Even && f.Due < f.Standing && (f.Messages != "keep" || f.Receipts != "keep") {
		_, err := fmt.Fprintln(out, "The clock was not seen to go on evenly for three days under this rule: nothing is deleted by its age before that.")
		return err
	}
	return nil
}

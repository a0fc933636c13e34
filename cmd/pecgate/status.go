package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
)

func newStatusCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "status",
		Short:   "how every mailbox and the queue stand",
		Example: "  pecgate status\n  pecgate status --json",
		Args:    noArguments("use --config FILE for another configuration"),
	}
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, _ []string) error {
		var st relay.Status
		running := true
		err := o.either(func(client *admin.Client) error {
			return client.JSON(c.Context(), "/v1/status", nil, &st)
		}, o.relayed(func(r *relay.Service, _ *mailbox.Store) (err error) {
			running = false
			st, err = r.Status(c.Context())
			return err
		}))
		if err != nil {
			return err
		}
		return o.print(st, func() error {
			if !running {
				fmt.Fprintln(o.out, "The appliance is not running: this is what its store says.")
			}
			return printStatus(o.out, st, running, o.loc())
		})
	})
}

func printStatus(out io.Writer, st relay.Status, running bool, loc *time.Location) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MAILBOX\tLAST FETCH\tROOM AT THE PROVIDER\tPROVIDER'S CERTIFICATE UNTIL\tPASSWORD UNTIL\tTROUBLE")
	when := func(t time.Time, layout string) string {
		if t.IsZero() {
			return "-"
		}
		return t.In(loc).Format(layout)
	}
	for _, b := range st.Mailboxes {
		trouble := b.LastError
		if b.Suspended != "" {
			trouble = "SUSPENDED: " + b.Suspended
		}
		switch {
		case trouble != "":
		case b.Hours != nil:
			trouble = "none; by its hours read from " + b.Hours.In(loc).Format(time.DateTime)
		case running:
			trouble = "none"
		default:
			trouble = "not known"
		}
		password := "-"
		if left := b.PasswordDaysLeft; left != nil {
			password = fmt.Sprintf("%s (%s left)", b.PasswordExpires, count(*left, "day", "days"))
			if *left < 0 {
				password = b.PasswordExpires + " (over)"
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", b.Address, when(b.LastFetch, time.DateTime), cmp.Or(b.Quota, "-"), when(b.CertificateExpires, time.DateOnly), password, trouble)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	queue := []string{}
	for _, s := range slices.Sorted(maps.Keys(st.Queue)) {
		queue = append(queue, fmt.Sprintf("%d %s", st.Queue[s], s))
	}
	if len(queue) == 0 {
		queue = append(queue, "none")
	}
	fmt.Fprintf(out, "\nTimes are of %s.\nSubmissions: %s\nOverdue recipients: %d\nWaiting for ordinary mailboxes: %d\n", loc, strings.Join(queue, ", "), st.Overdue, st.Forwards)
	if err := printAlarms(out, st.Alarms, loc); err != nil {
		return err
	}
	return printSpace(out, st.Space)
}

// printAlarms tells what stands, and who was told of it.
func printAlarms(out io.Writer, all []relay.Alarm, loc *time.Location) error {
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\nALARM\tMAILBOX\tSINCE\tTOLD")
	for _, a := range all {
		if a.Mailbox == "" {
			a.Mailbox = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.Subject, a.Mailbox, a.Since.In(loc).Format(time.DateTime), strings.Join(a.Told, ", "))
	}
	return w.Flush()
}

// printSpace tells what takes the room in data_dir, and what is left.
func printSpace(out io.Writer, sp relay.Space) error {
	if len(sp.Used) > 0 {
		w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "\nSTORED\tMESSAGES\tSIZE")
		for _, u := range sp.Used {
			if u.Mailbox == "" {
				u.Mailbox = "(no PEC mailbox)"
			}
			fmt.Fprintf(w, "%s\t%d\t%s\n", u.Mailbox, u.Messages, megabytes(u.Bytes))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	inodes := ""
	if sp.Inodes != nil {
		inodes = fmt.Sprintf(", %d inodes", *sp.Inodes)
	}
	_, err := fmt.Fprintf(out, "\nFree on the disk of data_dir: %s%s (min_free %s; %s more are held back and given up there)\n",
		megabytes(sp.Free), inodes, megabytes(sp.Floor), megabytes(sp.Ballast))
	if err == nil && sp.AtFloor {
		_, err = fmt.Fprintln(out, "Below min_free: nothing is accepted or fetched until there is room.")
	}
	if err == nil && sp.Level == mailbox.LevelCritical {
		_, err = fmt.Fprintln(out, "Below a quarter of min_free: nothing at all is written.")
	}
	return err
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
)

func newStatusCommand(app *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "how every mailbox and the queue stand",
		Args:  noArguments("use --config FILE for another configuration"),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := configs.Load(app.config)
			if err != nil {
				return err
			}
			st, running, err := status(c.Context(), l)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(st)
			}
			if !running {
				fmt.Fprintln(c.OutOrStdout(), "The appliance is not running: this is what its store says.")
			}
			return printStatus(c.OutOrStdout(), st, running, l.Appliance.Location())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}

func status(ctx context.Context, l *configs.Loaded) (st relay.Status, running bool, err error) {
	a := l.Appliance
	err = admin.NewClient(a.Path(a.DataDir)).JSON(ctx, "/v1/status", nil, &st)
	if !errors.Is(err, admin.ErrNotRunning) {
		return st, true, controlError(a, err)
	}
	accounts, err := accountsOf(l)
	if err != nil {
		return st, false, err
	}
	err = withStore(a, func(store *mailbox.Store) error {
		st, err = relay.New(relay.Options{Store: store, Accounts: func() []relay.Account { return accounts }}).Status(ctx)
		return err
	})
	return st, false, err
}

func printStatus(out io.Writer, st relay.Status, running bool, loc *time.Location) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MAILBOX\tLAST FETCH\tPROVIDER'S CERTIFICATE UNTIL\tTROUBLE")
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
		case running:
			trouble = "none"
		default:
			trouble = "not known"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.Address, when(b.LastFetch, time.DateTime), when(b.CertificateExpires, time.DateOnly), trouble)
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
	fmt.Fprintf(out, "\nTimes are of %s.\nSubmissions: %s\nOverdue recipients: %d\nFree on the disk of data_dir: %d MB\n", loc, strings.Join(queue, ", "), st.Overdue, st.Space.Free/1_000_000)
	if st.Space.AtFloor {
		fmt.Fprintln(out, "Below min_free: nothing is accepted or fetched until there is room.")
	}
	return nil
}

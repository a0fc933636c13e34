package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/mailbox/audit"
)

func newAuditCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "the log of who did what",
		Args:  noArguments("use `audit verify`"),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newAuditVerifyCommand(app))
	return c
}

func newAuditVerifyCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "verify",
		Short: "re-checks the whole audit log",
		Long: `Re-checks every line of the audit log against the chain, the tree, the signed
heads and the file audit.heads beside the store. A line that was changed,
removed, added or moved is named. The appliance may run meanwhile.

Exit status 0 if nothing is wrong, 1 if something is.`,
		Example: "  pecgate audit verify\n  pecgate audit verify --json",
		Args:    noArguments("use --config FILE for another configuration"),
	}
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, _ []string) error {
		r := new(audit.Report)
		err := o.either(func(client *admin.Client) error {
			return client.JSON(c.Context(), "/v1/audit/verify", nil, r)
		}, func(store *mailbox.Store) (err error) {
			r, err = store.VerifyAudit(c.Context(), nil)
			return err
		})
		if err != nil {
			return err
		}
		err = o.print(r, func() error { return printAudit(o.out, r, o.loc()) })
		if err == nil && !r.OK() {
			err = fmt.Errorf("the audit log is damaged, first at line %d: keep a copy of data_dir as it is and compare with a backup", r.First().Entry)
		}
		return err
	})
}

func printAudit(out io.Writer, r *audit.Report, loc *time.Location) error {
	for _, n := range r.Faults {
		fmt.Fprintf(out, "line %d: %s\n", n.Entry, n.What)
	}
	for _, n := range r.Findings {
		fmt.Fprintf(out, "line %d (worth knowing): %s\n", n.Entry, n.What)
	}
	verdict := "every line is as it was written"
	if !r.OK() {
		verdict = fmt.Sprintf("%d faults", r.Faulty)
	}
	span := ""
	if !r.From.IsZero() {
		span = fmt.Sprintf(" from %s to %s", r.From.In(loc).Format(time.DateTime), r.To.In(loc).Format(time.DateTime))
	}
	_, err := fmt.Fprintf(out, "%d lines%s, %d of them under a signed head (%d heads): %s\n", r.Size, span, r.Covered, r.Heads, verdict)
	return err
}

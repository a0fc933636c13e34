package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/mailbox"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

func newFsckCommand(app *app) *cobra.Command {
	var anew bool
	var how mailbox.FsckOptions
	c := &cobra.Command{
		Use:   "fsck",
		Short: "checks the whole store while the appliance is stopped",
		Long: `Checks everything in data_dir: the segments with the messages, the records, how
they fit together (every message has its bytes, every index key its record and
the other way round, the counters of folders, mailboxes and registers), and the
audit log. It changes nothing. The appliance must not run.

What is harmless is counted and needs nobody: the end of a write that a stop has
interrupted, or bytes without a record, of which the next start makes a
recovered message.

--deep also reads every message and compares it with its SHA-256.
--repair puts right what is safe: counters that can be computed again, index
keys that point to nothing, the note of a removal that a record contradicts. It
never touches a message, its record, a folder's entry or the audit log. Where
lost or damaged bytes of messages keep the appliance from starting, it lets it
start without them: it only adds files, and goes on to tell what is lost. Keep a
copy of data_dir first.
--json prints one object: the first 1,000 findings and the count of each kind.

` + rebuildHelp + `

Exit status 0 if nothing is wrong (any more), 1 if something is.`,
		Example: "  pecgate fsck --deep\n  pecgate fsck --repair --json",
		Args:    noArguments("use --config FILE for another configuration"),
	}
	c.Flags().BoolVar(&how.Deep, "deep", false, "read and hash every message")
	c.Flags().BoolVar(&anew, "rebuild", false, "make all records anew from the segments")
	c.Flags().BoolVar(&how.Repair, "repair", false, "put right what is safe")
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, _ []string) error {
		if anew {
			if how.Deep || how.Repair {
				return &exitError{exitUsage, "--rebuild goes alone: it checks every message anyway"}
			}
			return rebuildFsck(c, o)
		}
		bar := newBar(c.ErrOrStderr())
		shown := int64(-1)
		how.Progress = func(thousandths int64) {
			if part := thousandths / 10; part > shown { // never back
				shown = part
				bar.draw(thousandths)
			}
		}
		r, err := fsck(c, o.a, how)
		bar.clear()
		if err != nil {
			return err
		}
		err = o.print(r, func() error { return printFsck(o.out, r) })
		if err == nil && !r.OK() {
			err = errors.New("the store is damaged: keep a copy of data_dir as it is before anything else, and compare with a backup")
		}
		return err
	})
}

func fsck(c *cobra.Command, a *configs.Appliance, how mailbox.FsckOptions) (*mailbox.FsckReport, error) {
	dir := a.Path(a.DataDir)
	if err := readyData(dir, os.Geteuid()); err != nil {
		return nil, err
	}
	r, err := mailbox.Fsck(c.Context(), mailbox.Options{Dir: dir, MinFree: int64(a.MinFree), Zone: a.Location()}, how)
	switch {
	case errors.Is(err, segment.ErrInUse) || errors.Is(err, kv.ErrInUse):
		return nil, fmt.Errorf("the store in %s is in use: stop the appliance first, and let no other command read the store meanwhile", dir)
	case err != nil && c.Context().Err() != nil:
		return nil, errors.New("interrupted: not all was checked")
	}
	return r, err
}

func printFsck(out io.Writer, r *mailbox.FsckReport) error {
	listed := int64(0)
	for _, f := range r.Findings {
		if f.Harmless {
			continue
		}
		listed++
		line := fmt.Sprintf("%s: %s", f.Where, f.What)
		if f.Detail != "" {
			line += " (" + oneLine(f.Detail) + ")"
		}
		if f.Repaired {
			line += ": repaired"
		}
		fmt.Fprintln(out, line)
	}
	if more := r.Damage - listed; more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	for _, what := range slices.Sorted(maps.Keys(r.Counts)) {
		if n := r.Counts[what]; what.Harmless() {
			repaired := ""
			if n.Repaired > 0 {
				repaired = fmt.Sprintf(", %d taken away", n.Repaired)
			}
			fmt.Fprintf(out, "harmless: %s (%d%s)\n", what, n.Found, repaired)
		}
	}
	verdict := "nothing is wrong"
	switch mended := r.Damage - r.Left; {
	case r.Left > 0 && mended > 0:
		verdict = fmt.Sprintf("%s, %d of them repaired", count(int(r.Damage), "fault", "faults"), mended)
	case r.Left > 0:
		verdict = count(int(r.Damage), "fault", "faults")
	case mended > 0:
		verdict = count(int(mended), "fault", "faults") + ", all repaired"
	}
	depth := "headers read"
	if r.Deep {
		depth = "every byte read"
	}
	_, err := fmt.Fprintf(out, "%s, %s in %s (%d bytes, %s), %s of the audit log: %s\n",
		count(int(r.Records), "record", "records"), count(int(r.Messages), "message", "messages"), count(r.Segments, "segment", "segments"),
		r.Bytes, depth, count(int(r.Audit), "line", "lines"), verdict)
	return err
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/mailbox"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// rebuildHelp is what `fsck --help` says of --rebuild: what it does and, plainly,
// what it cannot do.
const rebuildHelp = `--rebuild makes all records anew from the segments alone, for when the folder
records in data_dir is lost or cannot be opened and there is no backup to restore.
Records that were there are kept as records.damaged-TIME. Every message comes
back byte for byte: what arrived is verified, filed and tied as at its arrival,
sent messages stand in Posta inviata with the outcome that their receipts tell,
drafts and other messages of people stand where their mail program put them.
Nothing is sent: a submission of which no receipt tells is held, and
` + "`pecgate queue retry`" + ` sends it. One that waited for a PIN or for approval when it was
accepted stands where its author alone sees it, and needs --unconfirmed: nobody
knows whether that was given. At the next start everything that is still at the
provider is read again.

It cannot make anew what no segment holds: who has read, flagged or tagged what;
which messages people deleted, moved or copied since, and the names that folders
got later; subscriptions; register numbers (they begin at 1 again: keep your own
list of this year's); legal holds; app passwords and counts of wrong PINs; the log
of who did what (its signed heads are kept, and a new log begins).`

// rebuildFsck makes the records anew and says what was done.
func rebuildFsck(c *cobra.Command, o *operator) error {
	l, err := configs.Load(o.config)
	if err != nil {
		return err
	}
	bar := newBar(c.ErrOrStderr())
	r, err := rebuild(c, l, func(done, total int64) { bar.draw(done * 1000 / max(total, 1)) })
	bar.clear()
	if err != nil {
		return err
	}
	err = o.print(r, func() error { return printRebuilt(o.out, r) })
	if err == nil && r.Damaged > 0 {
		err = errors.New("some messages are damaged: keep a copy of data_dir as it is, and compare with a backup")
	}
	return err
}

func rebuild(c *cobra.Command, l *configs.Loaded, progress func(done, total int64)) (r mailbox.Rebuilt, err error) {
	a := l.Appliance
	dir := a.Path(a.DataDir)
	info, err := os.Stat(dir)
	if err != nil {
		return r, fmt.Errorf("look into data_dir: %w", err)
	}
	if err := ownedBy(dir, info, os.Geteuid()); err != nil {
		return r, err
	}
	r, err = mailbox.Rebuild(c.Context(), mailbox.Options{Dir: dir, MinFree: int64(a.MinFree), Name: a.Hostname, Zone: a.Location()},
		func(store *mailbox.Store) (mailbox.Look, error) {
			relay, err := relayOn(l, store)
			if err != nil {
				return nil, err
			}
			return relay.Look, nil
		}, progress)
	switch {
	case errors.Is(err, segment.ErrInUse) || errors.Is(err, kv.ErrInUse):
		return r, fmt.Errorf("the store in %s is in use: stop the appliance first, and let no other command read the store meanwhile", dir)
	case errors.Is(err, mailbox.ErrRecordsGood):
		return r, fmt.Errorf("the records in %s can be opened: try `pecgate fsck --repair` first; "+
			"to make them anew all the same, with the loss that `pecgate fsck --help` tells of, rename that folder and run this again", filepath.Join(dir, "records"))
	case errors.Is(err, mailbox.ErrNoSegments):
		return r, fmt.Errorf("there is no message in %s to make records from: is data_dir right?", filepath.Join(dir, "segments"))
	case err != nil && c.Context().Err() != nil:
		return r, errors.New("interrupted: nothing was changed; run it again")
	}
	return r, err
}

func printRebuilt(out io.Writer, r mailbox.Rebuilt) error {
	for _, d := range r.Damage {
		fmt.Fprintln(out, "damaged: "+oneLine(d))
	}
	if more := r.Damaged - int64(len(r.Damage)); more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	if r.Kept != "" {
		fmt.Fprintf(out, "The records that were there are in %s.\n", r.Kept)
	}
	n := func(d mailbox.Direction) int64 { return r.Filed[d] }
	fmt.Fprintf(out, "%d messages in the segments: %d sent, %d arrived, %d of people's own were filed; %d stand twice; %d could not be filed, and the administrator gets them at the next start.\n",
		r.Messages, n(mailbox.Out), n(mailbox.In), n(mailbox.Own), r.Doubles, r.Left)
	_, err := fmt.Fprint(out, `Not made anew: read marks, flags and keywords of people, deletions, moves, copies, subscriptions, register numbers, legal holds, the log of who did what.
Start the appliance. Nothing is sent by itself: when every mailbox was read (`+"`pecgate status`"+`), see `+"`pecgate queue list --state held`"+`.
`)
	return err
}

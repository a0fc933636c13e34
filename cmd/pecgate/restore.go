package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/mailbox"
	"pecgate/mailbox/backup"
)

func newRestoreCommand(app *app) *cobra.Command {
	var identity string
	c := &cobra.Command{
		Use:   "restore DIR",
		Short: "fills an empty data_dir with a backup",
		Long: `Fills the data_dir of the configuration, which must be empty, with the backup
in DIR, and checks that every message has its bytes. Nothing is overwritten. A
backup of which any part is missing or changed is refused by name, and data_dir
stays empty. What was interrupted is begun anew, or ended, by the same command.

Mail programs then read all folders anew (new UIDVALIDITY). Whatever the backup
calls unsent is held when the appliance starts, since it may have been sent
after the backup was made: what its receipts show as sent goes on by itself, for
the rest see "pecgate queue list". The audit log goes on with a new key, and
"pecgate audit verify" says where.

Run it as the appliance's user; as root, everything is given to the owner of
data_dir.
--identity FILE has the secret key for an encrypted backup.

Exit status 0 if all is well, 1 if not.`,
		Example: "  sudo -u pecgate pecgate restore /mnt/backup/pecgate",
		Args:    oneFolder,
	}
	c.Flags().StringVar(&identity, "identity", "", "`FILE` of secret keys (age-keygen)")
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, args []string) error {
		keys, err := identities(identity)
		if err != nil {
			return err
		}
		r, err := restore(c, o.a, args[0], keys)
		if err != nil {
			return err
		}
		err = o.print(r, func() error { return printRestored(o.out, r, o.loc()) })
		if err == nil && r.Damage > 0 {
			err = errors.New("the store was damaged already when it was backed up, and is so now: look into earlier backups for what is listed")
		}
		return err
	})
}

func restore(c *cobra.Command, a *configs.Appliance, from string, keys *backup.Identities) (*mailbox.RestoreReport, error) {
	dir := a.Path(a.DataDir)
	if err := apart(from, dir); err != nil {
		return nil, err
	}
	own, err := owner(dir, os.Geteuid())
	if err != nil {
		return nil, err
	}
	src, err := backup.Read(from, keys, nil)
	if err != nil {
		return nil, err
	}
	bar := newBar(c.ErrOrStderr())
	defer bar.clear()
	r, err := mailbox.Restore(c.Context(),
		mailbox.Options{Dir: dir, MinFree: int64(a.MinFree), Name: a.Hostname, Zone: a.Location()},
		mailbox.RestoreOptions{Source: src, By: thisProcess(), Own: own, Progress: bar.draw})
	if err != nil && c.Context().Err() != nil {
		return nil, fmt.Errorf("interrupted: run the same command again (%w)", err)
	}
	return r, err
}

// owner says to whom files in data_dir belong: only root may give them away.
func owner(dir string, uid int) (func(path string) error, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && uid == 0:
		return nil, fmt.Errorf("data_dir %s is not there: make it and give it to the appliance's user, for example `install -d -m 0700 -o pecgate -g pecgate %s`", dir, dir)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // it is made
	case err != nil:
		return nil, fmt.Errorf("look into data_dir: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("data_dir %s is not a folder", dir)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if uid != 0 || !ok || st.Uid == 0 {
		return nil, ownedBy(dir, info, uid)
	}
	return func(path string) error { return os.Lchown(path, int(st.Uid), int(st.Gid)) }, nil
}

func printRestored(out io.Writer, r *mailbox.RestoreReport, loc *time.Location) error {
	if r.Check != nil && r.Damage > 0 {
		if err := printFsck(out, r.Check); err != nil {
			return err
		}
	}
	from := r.From.In(loc).Format(time.DateTime)
	if r.Resumed {
		fmt.Fprintf(out, "a restore that was interrupted at its last step is ended: %s holds the backup of %s\n", r.Folder, from)
	} else {
		fmt.Fprintf(out, "%s holds the backup of %s (run %d): %s with %s in %s, each read and compared with its SHA-256\n",
			r.Folder, from, r.Run, count(int(r.Messages), "message", "messages"), byteSize(r.Bytes), count(r.Segments, "file", "files"))
	}
	_, err := fmt.Fprint(out, `Next:
  1. Start the appliance. It reads everything at the providers again: what
     arrived since then comes back, nothing is stored twice.
  2. `+"`pecgate queue list`"+`: what was not sent yet when the backup was made is held.
     What was sent since then is found by its receipts. Look at the rest with
     `+"`pecgate queue show ID`"+`, then `+"`pecgate queue retry ID` or `pecgate queue cancel ID`"+`.
  3. Make a backup into a new folder: the one you restored from stays as it is.
`)
	return err
}

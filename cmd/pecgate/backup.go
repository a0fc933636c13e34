package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/mailbox/backup"
)

// backupFlags is what the command was told.
type backupFlags struct {
	recipients []string
	file       string // of recipients
	verify     bool
	identity   string
	json       bool
}

func newBackupCommand(app *app) *cobra.Command {
	var how backupFlags
	c := &cobra.Command{
		Use:   "backup DIR",
		Short: "copies the whole store into a folder, while the appliance runs",
		Long: `Copies all messages, records and the proofs of the audit log into DIR, while
the appliance runs or not. A later run into the same DIR copies only what is
new. What it wrote is synced and read back before it says that it is done; until
then, and whatever interrupts it, the backup of before counts.

DIR holds no key and no password: the configuration in /etc/pecgate, its
secrets/ and the certificate are to be copied apart. Messages can be read with
tar alone: DIR/segments.

--recipient encrypts every part for a public key of age (age1..., as age-keygen
prints it); several, or @FILE with one a line, if more than one person shall be
able to restore. The folder keeps its recipients.
--verify reads the backup in DIR instead of making one: every file must be what
was written, and every message of the records must be in it with its bytes. Of
an encrypted one only the files are compared, unless --identity FILE has a
secret key. It needs no configuration.

Exit status 0 if the backup stands and all is well, 1 if not.`,
		Example: "  pecgate backup /mnt/backup/pecgate\n  pecgate backup --recipient age1... /mnt/backup/pecgate\n  pecgate backup --verify /mnt/backup/pecgate",
		Args:    oneFolder,
		RunE: func(c *cobra.Command, args []string) error {
			if how.verify {
				return verifyBackup(c, args[0], how)
			}
			if how.identity != "" {
				return &exitError{exitUsage, "--identity is for --verify; a backup is made for public keys (--recipient)"}
			}
			return makeBackup(c, app, args[0], how)
		},
	}
	c.Flags().StringArrayVar(&how.recipients, "recipient", nil, "encrypt for this public `KEY` of age, or @FILE; may be given again")
	c.Flags().StringVar(&how.file, "recipients-file", "", "encrypt for the public keys in this `FILE`, one a line")
	c.Flags().BoolVar(&how.verify, "verify", false, "check the backup that is there")
	c.Flags().StringVar(&how.identity, "identity", "", "with --verify: `FILE` of secret keys (age-keygen)")
	c.Flags().BoolVar(&how.json, "json", false, "one JSON object")
	return c
}

func oneFolder(c *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return fmt.Errorf("%s takes one folder, the backup's: pecgate %s DIR", c.Name(), c.Name())
	}
	return nil
}

func makeBackup(c *cobra.Command, app *app, dir string, how backupFlags) (err error) {
	o, err := app.operator(c, how.json)
	if err != nil {
		return err
	}
	to, err := recipients(how)
	if err != nil {
		return err
	}
	if err := apart(dir, o.a.Path(o.a.DataDir)); err != nil {
		return err
	}
	bar := newBar(c.ErrOrStderr())
	f, err := backup.Open(backup.Options{
		Dir: dir, Recipients: to,
		Progress: func(done, total int64) { bar.draw(done * 1000 / max(total, 1)) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, err := takeBackup(c, o, f)
	bar.clear()
	if err != nil {
		if c.Context().Err() != nil {
			return errors.New("interrupted: " + earlier(f))
		}
		return err
	}
	err = o.print(r, func() error { return printBackup(o.out, r, o.loc()) })
	if err == nil && len(r.Damaged) > 0 {
		err = errors.New("messages in the store are damaged, and so is their copy: an earlier backup may have them whole; `pecgate fsck --deep` says which they are")
	}
	return err
}

// earlier says what the folder holds after a run that came to nothing.
func earlier(f *backup.Folder) string {
	if m := f.Last(); m != nil {
		return "the backup of " + m.At.Format(time.DateTime+" MST") + " is as it was"
	}
	return "there is no backup yet"
}

// takeBackup lets the running appliance send, or opens the store where nothing
// runs.
func takeBackup(c *cobra.Command, o *operator, f *backup.Folder) (r *backup.Report, err error) {
	ctx := c.Context()
	err = o.either(func(client *admin.Client) error {
		body, err := client.Backup(ctx, f.Have())
		if err != nil {
			return err
		}
		r, err = f.Take(ctx, body)
		err = errors.Join(err, body.Close())
		if told := client.BackedUp(context.WithoutCancel(ctx), r); told != nil && err == nil {
			fmt.Fprintf(c.ErrOrStderr(), "pecgate: the backup stands, but its end could not be written into the audit log: %s\n", oneLine(told.Error()))
		}
		return err
	}, func(s *mailbox.Store) error {
		by := o.hand()
		r, err = s.BackupTo(ctx, f, mailbox.AuditLine{Actor: by.Actor, From: by.From})
		return err
	})
	return r, err
}

func thisProcess() string { return fmt.Sprintf("uid %d pid %d", os.Getuid(), os.Getpid()) }

// recipients reads who can restore; nil: nothing is encrypted.
func recipients(how backupFlags) (*backup.Recipients, error) {
	var keys []string
	files := []string{}
	if how.file != "" {
		files = append(files, how.file)
	}
	for _, r := range how.recipients {
		if name, ok := strings.CutPrefix(r, "@"); ok {
			files = append(files, name)
			continue
		}
		keys = append(keys, r)
	}
	for _, name := range files {
		more, err := fromFile(name, backup.ReadRecipients)
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Sprintf("recipients: %s", err)}
		}
		keys = append(keys, more...)
	}
	if len(keys) == 0 && len(files) == 0 {
		return nil, nil
	}
	to, err := backup.NewRecipients(keys...)
	if err != nil {
		return nil, &exitError{exitUsage, err.Error()}
	}
	return to, nil
}

// identities reads secret keys; nil without a file.
func identities(name string) (*backup.Identities, error) {
	if name == "" {
		return nil, nil
	}
	keys, err := fromFile(name, backup.ReadIdentities)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Sprintf("--identity %s: %s", name, err)}
	}
	return keys, nil
}

func fromFile[T any](name string, read func(io.Reader) (T, error)) (out T, err error) {
	f, err := os.Open(name)
	if err != nil {
		return out, err
	}
	defer f.Close() // only read
	return read(f)
}

// apart refuses a backup inside of what it is a backup of, and the reverse.
func apart(dir, data string) error {
	real := func(p string) string {
		if abs, err := filepath.Abs(p); err == nil {
			p = abs
		}
		// Of a folder that is not there yet, the one above it.
		if up, err := filepath.EvalSymlinks(filepath.Dir(p)); err == nil {
			p = filepath.Join(up, filepath.Base(p))
		}
		if all, err := filepath.EvalSymlinks(p); err == nil {
			p = all
		}
		return p
	}
	a, b := real(dir), real(data)
	within := func(in, of string) bool { return in == of || strings.HasPrefix(in, strings.TrimSuffix(of, "/")+"/") }
	if within(a, b) || within(b, a) {
		return &exitError{exitUsage, fmt.Sprintf("%s and data_dir %s lie in one another: give a folder elsewhere, best on another disk", dir, data)}
	}
	return nil
}

func printBackup(out io.Writer, r *backup.Report, loc *time.Location) error {
	for _, d := range r.Damaged {
		fmt.Fprintf(out, "%s: damaged in the store\n", d)
	}
	what := "new since the run before"
	if r.Whole {
		what = "all anew"
	}
	sealed := ""
	if r.Encrypted {
		sealed = ", encrypted"
	}
	_, err := fmt.Fprintf(out, "backup of %s in %s, run %d (%s%s): %s and %s written and read back, %s; %s and %s in all\n",
		r.At.In(loc).Format(time.DateTime), r.Folder, r.Run, what, sealed,
		count(r.Files, "file", "files"), byteSize(r.Written), count(r.Messages, "message", "messages"),
		count(r.Parts, "file", "files"), byteSize(r.Bytes))
	return err
}

// byteSize is a number of bytes for people.
func byteSize(n int64) string {
	switch f := float64(n); {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", f/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", f/1e6)
	default:
		return fmt.Sprintf("%.1f GB", f/1e9)
	}
}

func verifyBackup(c *cobra.Command, dir string, how backupFlags) error {
	if len(how.recipients) > 0 || how.file != "" {
		return &exitError{exitUsage, "--verify makes no backup: it takes --identity, no recipient"}
	}
	keys, err := identities(how.identity)
	if err != nil {
		return err
	}
	src, err := backup.Read(dir, keys, nil)
	if err != nil {
		return err
	}
	bar := newBar(c.ErrOrStderr())
	var read int64
	total := max(src.Manifest().Bytes(), 1)
	src.Progress = func(n int64) {
		read += n
		bar.draw(min(read*1000/total, 1000))
	}
	r, err := mailbox.CheckBackup(c.Context(), src)
	bar.clear()
	if err != nil {
		if c.Context().Err() != nil {
			return errors.New("interrupted: not all was checked")
		}
		return err
	}
	if how.json {
		err = json.NewEncoder(c.OutOrStdout()).Encode(r)
	} else {
		err = printChecked(c.OutOrStdout(), r)
	}
	if err == nil && !r.OK() {
		err = fmt.Errorf("the backup in %s is not whole: make a new one in another folder, and keep this one until that stands", dir)
	}
	return err
}

func printChecked(out io.Writer, r *backup.Checked) error {
	for _, b := range r.Bad {
		fmt.Fprintln(out, b.Error())
	}
	for _, e := range r.Examples {
		fmt.Fprintln(out, e)
	}
	verdict := "every file is what was written"
	switch {
	case !r.OK():
		verdict = fmt.Sprintf("%s wrong, %s missing, %d damaged", count(len(r.Bad), "file", "files"), count(int(r.Missing), "message", "messages"), r.Damaged)
	case r.Content:
		verdict = fmt.Sprintf("every file is what was written, and each of %s has its bytes", count(int(r.Messages), "message", "messages"))
	case r.Encrypted:
		verdict += "; what is in them needs --identity FILE"
	}
	_, err := fmt.Fprintf(out, "backup of %s, run %d, %s and %s: %s\n",
		r.At.Local().Format(time.DateTime), r.Run, count(r.Parts, "file", "files"), byteSize(r.Bytes), verdict)
	return err
}

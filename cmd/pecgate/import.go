package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
	"pecgate/relay/fetch"
)

const (
	maxImportTroubles = 1000             // that are listed
	importEndTime     = 20 * time.Second // for the audit line of one that was broken off
)

// importMade is the answer of `import --json`. Its keys are stable.
type importMade struct {
	Mailbox   string          `json:"mailbox"`
	DryRun    bool            `json:"dry_run"`
	Messages  int             `json:"messages"`  // that were read
	New       int             `json:"new"`       // brought in; with dry_run: would be
	There     int             `json:"there"`     // in the store already
	Failed    int             `json:"failed"`    // could not be read or taken in
	Originals int             `json:"originals"` // recovered from receipts besides
	Kinds     map[string]int  `json:"kinds"`     // of the new ones: sent, transport, acceptance ...
	Verdicts  map[string]int  `json:"verdicts"`  // of the new ones that were not sent
	Troubles  []importTrouble `json:"troubles"`  // at most 1,000
}

type importTrouble struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// importFlags is what the command was told.
type importFlags struct {
	box, imap, user, passwordFile, ca string
	folders                           []string
	starttls, dry                     bool
}

func newImportCommand(app *app) *cobra.Command {
	var how importFlags
	c := &cobra.Command{
		Use:   "import --mailbox BOX {FILE... | --imap HOST --user USER}",
		Short: "brings in mail that somebody kept, or that another provider holds",
		Long: `Brings messages into the history of a PEC mailbox: from files and folders (.eml, mbox,
Maildir, folders of these, and .zip files of any of them) or from an IMAP server. Each is
read, verified and filed by its kind like mail that is fetched, byte for byte. Nothing in
the source is changed, marked as read or removed.

All is history: seen (unless the mailbox has "history: unseen"), with no notice, copy or
register number, and with the date that it had. What is in the store already, by its
content, is not taken again; a second run takes what is missing. Let the mailbox be
fetched first: what is imported before it is fetched counts as history.

What the mailbox itself sent stands in Posta inviata with the keyword $PecRecovered, one
for each Message-ID, with its receipts tied to it.

By IMAP all folders are read but drafts, spam and those that show messages of others;
--folder chooses. The password is asked for at the terminal, or is the first line of
standard input or of --password-file.

Give each import what was kept of that one mailbox: an export of several is one file
each by "pecgate export --mailbox". It works while the appliance runs and where nothing
does; the audit log has each arrival, and the counts.

Exit status 0 if everything was taken in or there already, 1 if something could not be.`,
		Example: `  pecgate import --mailbox legale@pec.example.org --dry-run archive.zip
  pecgate import --mailbox legale@pec.example.org archive.zip /mnt/old/Maildir
  pecgate import --mailbox legale@pec.example.org --imap imap.provider.example --user legale@pec.example.org`,
		Args: cobra.ArbitraryArgs,
	}
	f := c.Flags()
	f.StringVar(&how.box, "mailbox", "", "`ADDRESS` of the PEC mailbox")
	f.StringVar(&how.imap, "imap", "", "`HOST` or HOST:PORT of an IMAP server, in place of files")
	f.StringVar(&how.user, "user", "", "`USER` at the IMAP server")
	f.StringVar(&how.passwordFile, "password-file", "", "`FILE` with the password at the IMAP server")
	f.StringArrayVar(&how.folders, "folder", nil, "only this `FOLDER` of the IMAP server; may be given again")
	f.BoolVar(&how.starttls, "starttls", false, "port 143 with STARTTLS, in place of 993")
	f.StringVar(&how.ca, "ca", "", "PEM `FILE` of CAs for the IMAP server, in place of the system's")
	f.BoolVar(&how.dry, "dry-run", false, "only say what would be brought in")
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, args []string) error {
		from, err := how.source(args, c.InOrStdin(), c.ErrOrStderr())
		if err != nil {
			return &exitError{exitUsage, err.Error()}
		}
		b := newBar(c.ErrOrStderr())
		var made importMade
		err = o.either(func(client *admin.Client) (err error) {
			made, err = runImport(c.Context(), how, from, client, o.hand(), b)
			return err
		}, o.relayed(func(r *relay.Service, _ *mailbox.Store) (err error) {
			if err := r.Restored(c.Context()); err != nil {
				return err
			}
			made, err = runImport(c.Context(), how, from, r, o.hand(), b)
			return err
		}))
		b.clear()
		if c.Context().Err() != nil {
			err = errors.New("interrupted: run the command again, it takes what is missing")
		}
		if err != nil && made.New > 0 && !how.dry {
			fmt.Fprintf(c.ErrOrStderr(), "pecgate: %s brought in before that\n", count(made.New, "message was", "messages were"))
		}
		if err == nil {
			err = o.print(made, func() error { return printImport(o.out, made) })
		}
		if err == nil && made.Failed > 0 {
			err = fmt.Errorf("%s could not be brought in", count(made.Failed, "message", "messages"))
		}
		return err
	})
}

// source is where the words say that messages are.
func (how *importFlags) source(files []string, in io.Reader, prompt io.Writer) (importSource, error) {
	switch {
	case how.box == "":
		return nil, errors.New("import needs --mailbox ADDRESS")
	case how.imap == "" && len(files) == 0:
		return nil, errors.New("import needs files or folders, or --imap HOST")
	case how.imap != "" && len(files) > 0:
		return nil, errors.New("import reads files or --imap, not both at a time")
	case how.imap == "" && (how.user != "" || how.passwordFile != "" || how.ca != "" || how.starttls || len(how.folders) > 0):
		return nil, errors.New("--user, --password-file, --folder, --starttls and --ca are for --imap")
	case how.imap == "":
		return archives(files), nil
	case how.user == "":
		return nil, errors.New("--imap needs --user USER")
	}
	s := &imapSource{folders: how.folders, server: fetch.Server{Host: how.imap, Port: 993, Security: "tls", Username: how.user}}
	if how.starttls {
		s.server.Port, s.server.Security = 143, "starttls"
	}
	if host, port, err := net.SplitHostPort(how.imap); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("--imap %s: no port %s", strconv.Quote(how.imap), strconv.Quote(port))
		}
		s.server.Host, s.server.Port = host, int(n)
	}
	if how.ca != "" {
		pem, err := os.ReadFile(how.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		s.server.Roots = x509.NewCertPool()
		if !s.server.Roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca %s: no certificate in it", how.ca)
		}
	}
	var err error
	if how.passwordFile != "" {
		f, err := os.Open(how.passwordFile)
		if err != nil {
			return nil, fmt.Errorf("--password-file: %w", err)
		}
		s.server.Password, err = readSecret(io.MultiReader(f), prompt, "password") // never asked for at a terminal
		return s, errors.Join(err, f.Close())
	}
	s.server.Password, err = readOnce(in, prompt, "password at "+s.server.Host)
	return s, err
}

// importer takes messages in: the running appliance, or a relay on the store.
type importer interface {
	Import(context.Context, relay.ImportItem) (relay.Imported, error)
	ImportEnd(context.Context, string, relay.ImportCounts, relay.Hand) (int, error)
}

// importing is one run.
type importing struct {
	how   importFlags
	to    importer
	made  importMade
	later []string // keys of what was sent
	again int      // how many of these were met again
	heard bool     // the appliance answered
}

func runImport(ctx context.Context, how importFlags, from importSource, to importer, by relay.Hand, b *bar) (importMade, error) {
	r := &importing{how: how, to: to, made: importMade{
		Mailbox: strings.ToLower(how.box), DryRun: how.dry, Kinds: map[string]int{}, Verdicts: map[string]int{}, Troubles: []importTrouble{},
	}}
	take := func(sent bool) func(foundMessage) error {
		return func(m foundMessage) error { return r.one(ctx, m, sent) }
	}
	err := from.each(ctx, nil, func(done, total int64) { b.draw(done * 900 / max(total, 1)) }, take(false))
	if err == nil && len(r.later) > 0 {
		err = from.each(ctx, r.later, func(done, total int64) { b.draw(900 + done*100/max(total, 1)) }, take(true))
		if gone := len(r.later) - r.again; err == nil && gone > 0 {
			r.made.Failed += gone - 1
			r.failed(from.String(), count(gone, "message that was sent could not be read", "messages that were sent could not be read")+" a second time: did the source change?")
		}
	}
	if how.dry || !r.heard && err != nil {
		return r.made, err
	}
	n := relay.ImportCounts{
		Messages: r.made.Messages, New: r.made.New, There: r.made.There, Failed: r.made.Failed, Kinds: r.made.Kinds, Source: from.String(), Whole: err == nil,
	}
	if err != nil { // also an interrupted one is in the audit log
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(context.WithoutCancel(ctx), importEndTime)
		defer stop()
	}
	originals, endErr := to.ImportEnd(ctx, how.box, n, by)
	r.made.Originals = originals
	if err == nil {
		err = endErr
	}
	if errors.Is(err, admin.ErrNotRunning) && r.heard {
		err = errors.New("the appliance stopped meanwhile: run the command again, it takes what is missing")
	}
	return r.made, err
}

// one brings in one message.
func (r *importing) one(ctx context.Context, m foundMessage, sent bool) error {
	if m.err != nil {
		r.count(sent)
		r.failed(m.name, m.err.Error())
		return nil
	}
	var out relay.Imported
	for i, x := range m.readings {
		var err error
		out, err = r.to.Import(ctx, relay.ImportItem{
			Box: r.how.box, Date: m.date, Size: x.size, Sent: sent, Proven: len(m.readings) > 1, Dry: r.how.dry, Body: x.body,
		})
		if err != nil {
			return r.ended(err)
		}
		r.heard = true
		if out.Done != relay.ImportedOther {
			break
		}
		if i == len(m.readings)-1 { // none is proven: the bytes as they stand
			body, ok := m.readings[0].body.(io.Seeker)
			if !ok {
				return errors.New("a source that cannot be read twice")
			}
			if _, err := body.Seek(0, io.SeekStart); err != nil {
				return err
			}
			out, err = r.to.Import(ctx, relay.ImportItem{
				Box: r.how.box, Date: m.date, Size: m.readings[0].size, Sent: sent, Dry: r.how.dry, Body: m.readings[0].body,
			})
			if err != nil {
				return r.ended(err)
			}
		}
	}
	r.count(sent)
	switch out.Done {
	case relay.ImportedLater:
		r.later = append(r.later, m.key)
	case relay.ImportedThere:
		r.made.There++
	case relay.ImportedNew:
		r.made.New++
		r.made.Kinds[out.Kind]++
		if out.Verdict != "" {
			r.made.Verdicts[out.Verdict]++
		}
	default:
		r.failed(m.name, out.Trouble)
	}
	return nil
}

// count counts a message once, although what was sent is read twice.
func (r *importing) count(sent bool) {
	if sent {
		r.again++
	} else {
		r.made.Messages++
	}
}

// ended is why no more is taken in.
func (r *importing) ended(err error) error {
	switch {
	case errors.Is(err, mailbox.ErrNoSpace):
		return errors.New("the disk of data_dir is too full to take in more: make room there, and run the command again")
	case errors.Is(err, admin.ErrNotRunning) && r.heard:
		return errors.New("the appliance stopped meanwhile: run the command again, it takes what is missing")
	}
	return err
}

func (r *importing) failed(name, why string) {
	r.made.Failed++
	if len(r.made.Troubles) < maxImportTroubles {
		r.made.Troubles = append(r.made.Troubles, importTrouble{oneLine(name), oneLine(why)})
	}
}

func printImport(out io.Writer, made importMade) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	what := "Brought in"
	if made.DryRun {
		what = "Would bring in"
	}
	fmt.Fprintf(w, "Mailbox\t%s\n", made.Mailbox)
	fmt.Fprintf(w, "Read\t%s\n", count(made.Messages, "message", "messages"))
	fmt.Fprintf(w, "%s\t%d\n", what, made.New)
	for _, all := range []map[string]int{made.Kinds, made.Verdicts} {
		for _, k := range slices.Sorted(maps.Keys(all)) {
			fmt.Fprintf(w, "  %s\t%d\n", k, all[k])
		}
	}
	fmt.Fprintf(w, "There already\t%d\n", made.There)
	if made.Originals > 0 {
		fmt.Fprintf(w, "Recovered\t%d from receipts, of what was sent\n", made.Originals)
	}
	if made.Failed > 0 {
		fmt.Fprintf(w, "Failed\t%d\n", made.Failed)
	}
	for i, t := range made.Troubles {
		if i == 50 {
			fmt.Fprintf(w, "  and %d more: see --json\n", made.Failed-50)
			break
		}
		fmt.Fprintf(w, "  %s\t%s\n", t.Name, t.Reason)
	}
	return w.Flush()
}

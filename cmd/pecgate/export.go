package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/mailbox/archive/export"
	"pecgate/relay"
)

// exportMade is the answer of `export --json`.
type exportMade struct {
	Messages int           `json:"messages"`
	Bytes    int64         `json:"bytes"` // of the messages
	DryRun   bool          `json:"dry_run"`
	Format   string        `json:"format"`
	Parts    []export.Part `json:"parts"`
}

// exportFlags is what the command was told.
type exportFlags struct {
	query             relay.ExportQuery
	from, to          string
	format, out, part string
	dry               bool
}

func newExportCommand(app *app) *cobra.Command {
	var how exportFlags
	c := &cobra.Command{
		Use:   "export --out FILE.zip",
		Short: "writes messages as mbox, Maildir or .eml files",
		Long: `Writes the messages of the store into a file that other programs read: what was
submitted, what came in, and the receipts, byte for byte. It removes nothing.

--format mbox      a .zip with one mbox for each mailbox (Thunderbird, Apple Mail)
--format maildir   a .zip with one Maildir for each mailbox (Dovecot, mutt)
--format eml       one .eml file for each message, by mailbox, year, month and kind: a
                   .zip, or a folder where the name does not end in .zip

Each has manifest.json, which lists the messages, and SHA256SUMS, which "sha256sum -c"
checks once it is unpacked. An mbox puts ">" before lines that begin with "From "; the
manifest says in which messages. A larger export goes into several files, FILE.zip,
FILE-2.zip and so on, each whole by itself.

A file has its name only when it was synced, read back, and every message found in it
with its hash. Nothing is written over. --from and --to are days of arrival here, both
included.

Kinds: all, ` + strings.Join(relay.ExportKinds(), ", ") + `.
"pec" is what was submitted and the envelopes that came; "receipts" all about a sending;
"anomalies" what came and its signature does not prove.

It works while the appliance runs and where nothing does. The audit log says that
messages were given.`,
		Example: `  pecgate export --dry-run --from 2026-01-01 --to 2026-06-30
  pecgate export --mailbox legale@pec.example.org --kind receipts --out receipts.zip
  pecgate export --format eml --part 500MB --out /mnt/archive/2026.zip`,
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.StringArrayVar(&how.query.Mailboxes, "mailbox", nil, "only of this PEC `ADDRESS`; may be given again (default all)")
	f.StringVar(&how.from, "from", "", "first `DAY` of arrival, 2026-01-31")
	f.StringVar(&how.to, "to", "", "last `DAY` of arrival")
	f.StringSliceVar(&how.query.Kinds, "kind", nil, "only these `KINDS`, see above (default all)")
	f.StringVar(&how.format, "format", string(export.Mbox), "mbox, maildir or eml")
	f.StringVar(&how.out, "out", "", "`FILE` to write; it must not be there")
	f.StringVar(&how.part, "part", "2GB", "largest `SIZE` of one file's messages, 1MB to 4GB")
	f.BoolVar(&how.dry, "dry-run", false, "only count")
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, _ []string) error {
		opt, err := how.read(o.loc())
		if err != nil {
			return &exitError{exitUsage, err.Error()}
		}
		if !how.dry {
			if err := notThere(how.out); err != nil { // before the audit log says that they were given
				return err
			}
		}
		b := newBar(c.ErrOrStderr())
		made, err := makeExport(c.Context(), o, how, opt, b)
		b.clear()
		if err != nil {
			if c.Context().Err() != nil {
				err = errors.New("interrupted")
			}
			for _, p := range made.Parts {
				fmt.Fprintf(c.ErrOrStderr(), "pecgate: %s stands: %s\n", p.Path, count(p.Messages, "message", "messages"))
			}
			return err
		}
		return o.print(made, func() error { return printExport(o.out, made) })
	})
}

// read makes the query and the options of the words.
func (how *exportFlags) read(loc *time.Location) (opt export.Options, err error) {
	opt = export.Options{Format: export.Format(how.format), Out: how.out}
	if how.out == "" && !how.dry {
		return opt, errors.New("export needs --out FILE.zip, or --dry-run")
	}
	if opt.Format != export.Mbox && opt.Format != export.Maildir && opt.Format != export.Eml {
		return opt, fmt.Errorf("--format %s: mbox, maildir or eml", strconv.Quote(how.format))
	}
	if opt.Part, err = partSize(how.part); err != nil {
		return opt, err
	}
	for _, d := range []struct {
		flag, word string
		to         *time.Time
		later      int // days
	}{{"--from", how.from, &how.query.From, 0}, {"--to", how.to, &how.query.Before, 1}} {
		if d.word == "" {
			continue
		}
		at, err := time.ParseInLocation(time.DateOnly, d.word, loc)
		if err != nil {
			return opt, fmt.Errorf("%s %s: give a day as 2026-01-31", d.flag, strconv.Quote(d.word))
		}
		*d.to = at.AddDate(0, 0, d.later)
	}
	if q := how.query; !q.Before.IsZero() && !q.Before.After(q.From) {
		return opt, errors.New("--to is before --from")
	}
	for _, k := range how.query.Kinds {
		if k == "all" {
			how.query.Kinds = nil
			break
		}
	}
	return opt, nil
}

// partSize reads 500MB, 2GB.
func partSize(word string) (int64, error) {
	upper := strings.ToUpper(strings.TrimSpace(word))
	for unit, by := range map[string]int64{"MB": 1_000_000, "GB": 1_000_000_000} {
		number, ok := strings.CutSuffix(upper, unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
		if err == nil && n > 0 && n*by >= export.MinPart && n*by <= export.MaxPart {
			return n * by, nil
		}
	}
	return 0, fmt.Errorf("--part %s: give a size from 1MB to 4GB", strconv.Quote(word))
}

// exported is where messages come from: relay.Export, or the appliance's stream of it.
type exported interface {
	Each(context.Context, func(relay.Exported, io.Reader) error) error
}

func makeExport(ctx context.Context, o *operator, how exportFlags, opt export.Options, b *bar) (made exportMade, err error) {
	made = exportMade{DryRun: how.dry, Format: how.format, Parts: []export.Part{}}
	write := func(found relay.Export, from exported) error {
		made.Messages, made.Bytes = found.Messages, found.Bytes
		if how.dry {
			return nil
		}
		if found.Messages == 0 {
			return errors.New("no message is like that: nothing was written")
		}
		var done int64
		opt.Wrote = func(n int64, _ bool) error {
			done += n
			b.draw(done * 500 / max(found.Bytes, 1))
			return nil
		}
		parts, err := export.Write(ctx, opt, messages(ctx, from))
		made.Parts = append(made.Parts, parts...)
		return err
	}
	err = o.either(func(client *admin.Client) error {
		e, err := client.Export(ctx, how.query, how.dry)
		if err != nil {
			return err
		}
		return errors.Join(write(e.Export, e), e.Close())
	}, o.relayed(func(r *relay.Service, _ *mailbox.Store) error {
		e, err := r.Export(ctx, how.query, how.dry, o.hand())
		if err != nil {
			return err
		}
		return write(*e, e)
	}))
	return made, err
}

// errEnough ends a source whose reader wants no more.
var errEnough = errors.New("no more is wanted")

// messages gives what a source has as an export takes it.
func messages(ctx context.Context, from exported) iter.Seq2[export.Message, error] {
	return func(yield func(export.Message, error) bool) {
		err := from.Each(ctx, func(x relay.Exported, body io.Reader) error {
			m := export.Message{Mailbox: x.Mailbox, Kind: x.Kind, Arrived: x.Arrived, Seen: true, Size: x.Size,
				Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(body), nil }}
			if n, err := hex.Decode(m.SHA256[:], []byte(x.SHA256)); err != nil || n != len(m.SHA256) {
				return fmt.Errorf("hash of a message: %w", err)
			}
			if !yield(m, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(export.Message{}, err)
		}
	}
}

func printExport(out io.Writer, made exportMade) error {
	if made.DryRun {
		_, err := fmt.Fprintf(out, "%s, %s; nothing was written\n", count(made.Messages, "message", "messages"), byteSize(made.Bytes))
		return err
	}
	for _, p := range made.Parts {
		_, err := fmt.Fprintf(out, "%s: %s, %s, read back and compared\nSHA-256      %s\n", p.Path, count(p.Messages, "message", "messages"), byteSize(p.Bytes), p.SHA256)
		if err != nil {
			return err
		}
		if p.Quoted > 0 {
			if _, err := fmt.Fprintf(out, "changed      lines that begin with \"From \" in %s, as mbox wants it: see manifest.json\n", count(p.Quoted, "message", "messages")); err != nil {
				return err
			}
		}
	}
	return nil
}

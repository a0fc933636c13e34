package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
)

// messagesFlags is what the command was told.
type messagesFlags struct {
	query     relay.MessageQuery
	from, to  string
	direction string
	state     string
	limit     int
	csv       bool
}

// defaultMessages is how many messages are shown without --limit.
const defaultMessages = 100

func newMessagesCommand(app *app) *cobra.Command {
	var how messagesFlags
	c := &cobra.Command{
		Use:   "messages",
		Short: "the message log: what was sent and what came in",
		Long: `Lists messages by date, mailbox, kind, party, subject, identifier or state: what was
sent through the gateway, and all that came from the providers. Sender, recipients,
subject and identifiers of what came are those of its daticert.xml, where it has one.

A day is written 2026-01-31, or as an age: 7d. --from and --to are included, in the
appliance's time zone. --msgid and --identifier find what was sent or came in with it
and the receipts about it. ID is for "show", "evidence" and "export"; of what came in
it is m and a number.

It works while the appliance runs and where nothing does.`,
		Example: `  pecgate messages --from 7d --direction in
  pecgate messages --party rossi@pec.example.org --kind receipts --limit 20
  pecgate messages --mailbox legale@pec.example.org --from 2026-01-01 --to 2026-06-30 --csv
  pecgate messages --register 2026/17 --json`,
		Args: noArguments("say what to look for with flags, see --help"),
	}
	f, q := c.Flags(), &how.query
	f.StringArrayVar(&q.Mailboxes, "mailbox", nil, "only of this PEC `ADDRESS`; may be given again (default all)")
	f.StringVar(&how.from, "from", "", "first `DAY`")
	f.StringVar(&how.to, "to", "", "last `DAY`")
	f.StringVar(&how.direction, "direction", "", "`in` or out (default both)")
	f.StringSliceVar(&q.Kinds, "kind", nil, "only these `KINDS`: "+strings.Join(relay.ExportKinds(), ", "))
	f.StringVar(&q.Party, "party", "", "`PART` of a sender's or recipient's address")
	f.StringVar(&q.Subject, "subject", "", "`PART` of the subject")
	f.StringVar(&q.MsgID, "msgid", "", "`MESSAGE-ID`")
	f.StringVar(&q.Identifier, "identifier", "", "PEC `IDENTIFIER`")
	f.StringVar(&q.Register, "register", "", "register `NUMBER`, as 2026/17")
	f.StringVar(&q.SHA256, "sha256", "", "`HASH` of the bytes")
	f.StringVar(&how.state, "state", "", "only what was sent and is in this `STATE`, as show has it")
	f.IntVar(&how.limit, "limit", defaultMessages, "at most so many `N`; 0: all")
	f.BoolVar(&q.Oldest, "oldest", false, "the oldest first")
	f.BoolVar(&how.csv, "csv", false, "comma separated values with a header line, for spreadsheets")
	return app.operate(c, "one JSON object a line", func(c *cobra.Command, o *operator, _ []string) error {
		if err := how.read(o.loc(), time.Now()); err != nil {
			return &exitError{exitUsage, err.Error()}
		}
		if how.csv && o.json {
			return &exitError{exitUsage, "--csv and --json are two answers: give one"}
		}
		out := newMessageWriter(o, how.csv)
		more, err := eachMessage(c.Context(), o, how, out.row)
		if err = errors.Join(err, out.end()); err != nil {
			return err
		}
		if more {
			_, err = fmt.Fprintf(c.ErrOrStderr(), "pecgate: there are more than these %d: give --limit, or --limit 0 for all\n", how.limit)
		}
		return err
	})
}

// read makes the query of the words.
func (how *messagesFlags) read(loc *time.Location, now time.Time) (err error) {
	q := &how.query
	if q.From, err = dayOrAge("--from", how.from, loc, now); err != nil {
		return err
	}
	if q.To, err = dayOrAge("--to", how.to, loc, now); err != nil {
		return err
	}
	if !q.To.IsZero() {
		q.To = q.To.AddDate(0, 0, 1)
	}
	if how.limit < 0 {
		return fmt.Errorf("--limit %d: give a number, or 0 for all", how.limit)
	}
	q.Direction, q.State = mailbox.Direction(how.direction), relay.State(how.state)
	for _, k := range q.Kinds {
		if k == "all" {
			q.Kinds = nil
			break
		}
	}
	return nil
}

// dayOrAge reads a day, 2026-01-31, or so many days before today, 7d.
func dayOrAge(flag, word string, loc *time.Location, now time.Time) (time.Time, error) {
	if word == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(word, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			y, m, d := now.In(loc).Date()
			return time.Date(y, m, d-n, 0, 0, 0, 0, loc), nil
		}
	}
	at, err := time.ParseInLocation(time.DateOnly, word, loc)
	if err != nil {
		return at, fmt.Errorf("%s %s: give a day as 2026-01-31, or an age as 7d", flag, strconv.Quote(word))
	}
	return at, nil
}

// eachMessage asks page by page; more says that the limit ended it.
func eachMessage(ctx context.Context, o *operator, how messagesFlags, row func(relay.MessageRow) error) (more bool, err error) {
	pages := func(ask func(relay.MessageQuery) (*relay.MessagePage, error)) error {
		q, shown := how.query, 0
		for {
			q.Limit = relay.MaxMessagePage
			if how.limit > 0 {
				q.Limit = min(how.limit-shown+1, relay.MaxMessagePage) // one more tells whether there are more
			}
			page, err := ask(q)
			if err != nil {
				return err
			}
			for _, r := range page.Rows {
				if how.limit > 0 && shown == how.limit {
					more = true
					return nil
				}
				if err := row(r); err != nil {
					return err
				}
				shown++
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				return nil
			}
		}
	}
	err = o.either(func(client *admin.Client) error {
		return pages(func(q relay.MessageQuery) (*relay.MessagePage, error) { return client.Messages(ctx, q) })
	}, o.relayed(func(r *relay.Service, _ *mailbox.Store) error {
		return pages(func(q relay.MessageQuery) (*relay.MessagePage, error) { return r.Messages(ctx, q) })
	}))
	return more, err
}

// messageWriter writes rows as they come.
type messageWriter struct {
	row func(relay.MessageRow) error
	end func() error
}

func newMessageWriter(o *operator, asCSV bool) messageWriter {
	switch {
	case o.json:
		e := json.NewEncoder(o.out)
		return messageWriter{row: func(r relay.MessageRow) error { return e.Encode(r) }, end: func() error { return nil }}
	case asCSV:
		return csvMessages(o.out, o.loc())
	}
	return tableMessages(o.out, o.loc())
}

// csvMessages writes RFC 4180. A cell that a spreadsheet would take for a formula gets
// an apostrophe in front.
func csvMessages(out io.Writer, loc *time.Location) messageWriter {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	write := func(cells ...string) error {
		for i, c := range cells {
			if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
				cells[i] = "'" + c
			}
		}
		return w.Write(cells)
	}
	head := write("id", "direction", "kind", "mailbox", "at", "sender", "recipients", "subject", "msgid", "identifier", "register", "state", "sha256")
	return messageWriter{
		row: func(r relay.MessageRow) error {
			return errors.Join(head, write(r.ID, string(r.Direction), r.Kind, r.Mailbox, r.At.In(loc).Format(time.RFC3339), r.Sender, strings.Join(r.Recipients, " "),
				r.Subject, r.MsgID, r.Identifier, r.Register, string(r.State), r.SHA256))
		},
		end: func() error { w.Flush(); return errors.Join(head, w.Error()) },
	}
}

// tableMessages writes a line for each message.
func tableMessages(out io.Writer, loc *time.Location) messageWriter {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	any := false
	return messageWriter{
		row: func(r relay.MessageRow) error {
			if !any {
				any = true
				if _, err := fmt.Fprintln(w, "AT\tID\tKIND\tSTATE\tPARTY\tSUBJECT"); err != nil {
					return err
				}
			}
			state := string(r.State)
			if r.Direction == mailbox.In {
				state = r.Verdict
			}
			_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.At.In(loc).Format("2006-01-02 15:04"), r.ID, r.Kind, state, shownCell(partyOf(r), 40), shownCell(r.Subject, 50))
			return err
		},
		end: func() error {
			if !any {
				fmt.Fprintln(w, "no message is like that")
			}
			return w.Flush()
		},
	}
}

// partyOf is who is at the other end.
func partyOf(r relay.MessageRow) string {
	if r.Direction == mailbox.In && (r.Submission == "" || len(r.Recipients) == 0) && !strings.EqualFold(r.Sender, r.Mailbox) {
		return r.Sender
	}
	switch n := len(r.Recipients); n {
	case 0:
		return r.Sender
	case 1:
		return r.Recipients[0]
	default:
		return fmt.Sprintf("%s and %d more", r.Recipients[0], n-1)
	}
}

// shownCell is what strangers wrote as a cell of a table: nothing that a terminal obeys
// or that breaks the line, at most so many characters.
func shownCell(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

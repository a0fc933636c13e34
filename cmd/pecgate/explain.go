package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // the command line

	"pecgate/configs"
	"pecgate/gateway/smtpd"
	"pecgate/policy"
)

func newExplainCommand(a *app) *cobra.Command {
	var q question
	var r relayQuestion
	var asJSON bool
	c := &cobra.Command{
		Use:     "explain --user USER --from MAILBOX [--to ADDRESS] [--eml FILE] | --relay NAME --mail-from ADDRESS --to ADDRESS",
		Short:   "say what the policy decides for a person and a mailbox, and which line decided it",
		Example: "  pecgate explain --user mario --from protocollo@pec.example.org --to legale@pec.example.com\n  pecgate explain --relay exchange --mail-from mario@example.org --subject '[PEC]' --to legale@pec.example.com",
		Long: `Says what a user may do with a PEC mailbox, which lines of policy.yaml speak of them, which of them decided each right, and
what the service would answer to a message. Nothing is sent and nobody is contacted.

With --to the recipients are judged too; with --eml the whole message is, by the same judge as in the service (recipients are
then those in To, Cc and Bcc, unless --to names others). A file whose lines end with LF is judged as if a mail program sent it,
with CRLF. Whether a PIN is right is not looked at: it is said whether one is needed, and the rest is judged as with it.

With --relay it says what becomes of a message that a groupware server submits: who the user would be, what marks it as PEC,
from which mailbox it goes and to whom. The subject is given as people read it; --header is the value of the field that
users: header:NAME names; --mail-from '' is a bounce or an automatic reply.

Exit status 0 whatever the answer is, 1 if a file cannot be read, 2 if the configuration has faults.`,
		Args: noArguments("name the person with --user and the mailbox with --from"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.relay != "" {
				return a.explainRelay(cmd, q, r, asJSON)
			}
			for _, name := range []string{"mail-from", "header-from", "header", "subject", "cc"} {
				if cmd.Flags().Changed(name) {
					return &exitError{exitUsage, "--" + name + " needs --relay NAME: by which server does the message come?"}
				}
			}
			if q.user == "" || q.from == "" {
				return &exitError{exitUsage, "explain needs --user and --from: whose right on which mailbox is asked?"}
			}
			loaded, err := configs.Load(a.config)
			if err != nil {
				return err
			}
			answer, err := explanationOf(loaded, q, time.Now())
			if err != nil {
				return err
			}
			return printed(cmd, answer.print, answer, asJSON)
		},
	}
	c.Flags().StringVar(&q.user, "user", "", "`USER`: a login, an email, or login/mailbox")
	c.Flags().StringVar(&q.from, "from", "", "PEC `MAILBOX` that would send")
	c.Flags().StringArrayVar(&q.to, "to", nil, "`ADDRESS` of a recipient; may be repeated")
	c.Flags().StringVar(&q.eml, "eml", "", "message `FILE` to judge")
	c.Flags().StringVar(&r.relay, "relay", "", "`NAME` of the groupware server that submits the message, in place of --user and --from")
	c.Flags().StringVar(&r.mailFrom, "mail-from", "", "`ADDRESS` of the reverse path")
	c.Flags().StringArrayVar(&r.headerFrom, "header-from", nil, "`ADDRESS` of the header From, where it differs; may be repeated")
	c.Flags().StringArrayVar(&r.header, "header", nil, "`VALUE` of the field that names the user; may be repeated")
	c.Flags().StringVar(&r.subject, "subject", "", "`TEXT` of the subject")
	c.Flags().StringArrayVar(&r.cc, "cc", nil, "`ADDRESS` in To or Cc that the server gives the message itself; may be repeated")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}

// printed writes an answer as the user wants it.
func printed(cmd *cobra.Command, table func(io.Writer) error, answer any, asJSON bool) error {
	if !asJSON {
		return table(cmd.OutOrStdout())
	}
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetEscapeHTML(false)
	return e.Encode(answer)
}

type question struct {
	user, from, eml string
	to              []string
}

// explanation is the answer of explain. Its JSON keys are stable.
type explanation struct {
	User    string            `json:"user"`
	Mailbox string            `json:"mailbox"`
	Lines   []explainedLine   `json:"lines"`  // that speak of the person
	Rights  []explainedRight  `json:"rights"` // and what became of them, whatever the day is
	Begins  string            `json:"begins"` // first day; empty: always
	Expires string            `json:"expires"`
	Now     bool              `json:"now"`  // the access holds at this moment
	IMAP    bool              `json:"imap"` // the person sees the mailbox by IMAP
	PIN     string            `json:"pin"`  // not needed, needed, none: needed and the user has none
	To      []string          `json:"to"`
	Edits   []string          `json:"edits"` // that would be made to the message
	Lists   []explainedList   `json:"lists"` // recipients that are lists
	Split   string            `json:"split"` // blind or always, where it leaves as several messages
	Verdict explainedDecision `json:"verdict"`

	userLine, boxLine, beginsLine, expiresLine string
}

type explainedLine struct {
	Line    string `json:"line"`
	Group   string `json:"group"` // empty: it names the user
	Gives   string `json:"gives"`
	Denies  string `json:"denies"`
	Begins  string `json:"begins"`
	Expires string `json:"expires"`
}

type explainedRight struct {
	Right   string   `json:"right"`
	Given   bool     `json:"given"`
	Line    string   `json:"line"`
	Default bool     `json:"default"` // no line speaks of it
	Against []string `json:"against"` // lines that say the opposite and lost
}

type explainedList struct {
	Address    string `json:"address"`
	Recipients int    `json:"recipients"`
	Usable     bool   `json:"usable"` // by this user, whatever the mailbox
	Line       string `json:"line"`
}

type explainedDecision struct {
	Allow    bool   `json:"allow"`
	Then     string `json:"then"` // relay, hold-pin, to-approve; empty where refused
	Code     int    `json:"code"`
	Enhanced string `json:"enhanced"`
	Reason   string `json:"reason"`
	Italian  string `json:"italian"`
	English  string `json:"english"`
	Line     string `json:"line"`
}

func explanationOf(l *configs.Loaded, q question, now time.Time) (explanation, error) {
	p, zone := policyOf(l), l.Appliance.Location()
	box := strings.ToLower(q.from)
	out := explanation{User: q.user, Mailbox: box, Lines: []explainedLine{}, Rights: []explainedRight{}, To: []string{}, Edits: []string{},
		Lists: []explainedList{}, PIN: "not needed"}
	id, known := p.Resolve(q.user)
	if !known {
		id.User = q.user
	}
	u, known := p.User(id.User)
	if known {
		out.User, out.userLine = u.Login, u.Line
	}
	day := func(t time.Time, shift time.Duration) string {
		if t.IsZero() {
			return ""
		}
		return t.Add(shift).In(zone).Format(time.DateOnly)
	}
	e := p.Explain(id.User, box)
	for _, line := range e.Lines {
		said := ^line.Unsaid
		out.Lines = append(out.Lines, explainedLine{Line: line.Line, Group: line.Group, Gives: (line.Given() & said).String(),
			Denies: (said &^ line.Given() &^ policy.SendOnly).String(), Begins: day(line.Begins, 0), Expires: day(line.Expires, -1)})
	}
	for _, d := range e.Decisions {
		r := explainedRight{Right: d.Right.String(), Given: d.Given, Line: d.Line, Default: d.Default, Against: d.Against}
		if r.Against == nil {
			r.Against = []string{}
		}
		out.Rights = append(out.Rights, r)
	}
	out.Begins, out.Expires, out.beginsLine, out.expiresLine = day(e.Begins, 0), day(e.Expires, -1), e.BeginsLine, e.ExpiresLine
	rights := p.Rights(id.User, box, now)
	out.Now, out.IMAP = rights.Any(), rights.Reads()
	if m, ok := p.Mailbox(box); ok {
		out.boxLine = m.Line
		if m.PINRequired && rights.Send && known {
			out.PIN = "needed"
			if !u.HasPIN() {
				out.PIN = "none"
			}
		}
	}
	s := smtpd.Sample{Identity: id, From: q.from, Recipients: q.to, MaxSize: int64(l.Appliance.SMTP.MaxMessageSize),
		Hostname: l.Appliance.Hostname, Now: now}
	if q.eml != "" {
		var err error
		if s.Message, err = readMessage(q.eml, s.MaxSize); err != nil {
			return out, err
		}
	}
	seen, v := smtpd.Inspect(p, s)
	out.Split = seen.Split
	out.To, out.Edits = append(out.To, seen.Recipients...), append(out.Edits, seen.Edits...)
	for _, to := range seen.Envelope {
		if list, ok := p.List(to); ok {
			out.Lists = append(out.Lists, explainedList{Address: list.Address, Recipients: len(list.Members), Usable: list.MayUse(id.User), Line: list.Line})
		}
	}
	out.Verdict = explainedDecision{Allow: v.Allow, Code: v.Code, Enhanced: v.Enhanced, Reason: v.Reason, Italian: v.Italian, English: v.English, Line: v.Line}
	if v.Allow {
		out.Verdict.Then = map[policy.Next]string{policy.ToProvider: "relay", policy.HoldPIN: "hold-pin", policy.ToApprove: "to-approve"}[v.Then]
	}
	return out, nil
}

// readMessage reads a message as a client would send it. One octet more than the limit is enough to be refused.
func readMessage(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if !bytes.Contains(b, []byte("\r\n")) {
		b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	}
	return b, nil
}

func (x *explanation) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t")) }
	row("user", x.User, cmp.Or(x.userLine, "no such user"))
	row("mailbox", x.Mailbox, cmp.Or(x.boxLine, "no such mailbox"))
	for _, l := range x.Lines {
		what := "by name"
		if l.Group != "" {
			what = "group " + l.Group
		}
		for _, s := range []struct{ word, text string }{{"gives ", l.Gives}, {"denies ", l.Denies}, {"from ", l.Begins}, {"until ", l.Expires}} {
			if s.text != "" {
				what += "; " + s.word + s.text
			}
		}
		row("line", l.Line, what)
	}
	if len(x.Lines) == 0 {
		row("line", "none", "no line of the mailbox speaks of this user")
	}
	for _, r := range x.Rights {
		if r.Right == policy.SendOnly.String() && !r.Given {
			continue
		}
		why := r.Line
		if r.Default {
			why = "default, no line speaks of it"
		}
		if len(r.Against) > 0 {
			why += ", wins over " + strings.Join(r.Against, ", ")
		}
		row(r.Right, yesNo(r.Given), why)
	}
	if x.Begins != "" {
		row("from", x.Begins, x.beginsLine)
	}
	if x.Expires != "" {
		row("until", x.Expires, x.expiresLine)
	}
	if len(x.Lines) > 0 {
		row("now", yesNo(x.Now))
		row("IMAP", yesNo(x.IMAP))
		row("PIN", x.PIN)
	}
	for _, to := range x.To {
		row("to", to)
	}
	for _, l := range x.Lists {
		row("list", l.Address, fmt.Sprintf("%s, usable by %s: %s (%s)", count(l.Recipients, "recipient", "recipients"), x.User, yesNo(l.Usable), l.Line))
	}
	if x.Split != "" {
		row("split", x.Split)
	}
	for _, e := range x.Edits {
		row("edit", e)
	}
	verdict := "refused"
	if x.Verdict.Allow {
		verdict = map[string]string{"relay": "accepted", "hold-pin": "held for the PIN", "to-approve": "accepted, to approve"}[x.Verdict.Then]
	}
	row("verdict", verdict, strings.TrimRight(x.Verdict.Reason+" "+x.Verdict.Line, " "))
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	_, err := fmt.Fprintf(w, "%d %s %s\n%d %s %s\n", x.Verdict.Code, x.Verdict.Enhanced, x.Verdict.Italian, x.Verdict.Code, x.Verdict.Enhanced, x.Verdict.English)
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

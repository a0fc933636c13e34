package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // the command line

	"pecgate/configs"
	"pecgate/gateway/smtpd"
	"pecgate/policy"
)

// explainRelay answers explain --relay.
func (a *app) explainRelay(cmd *cobra.Command, q question, r relayQuestion, asJSON bool) error {
	switch {
	case q.user != "" || q.from != "" || q.eml != "":
		return &exitError{exitUsage, "--relay stands in place of --user, --from and --eml: who sends and from where is what it says"}
	case !cmd.Flags().Changed("mail-from"):
		return &exitError{exitUsage, "explain --relay needs --mail-from: whose message is it?"}
	}
	loaded, err := configs.Load(a.config)
	if err != nil {
		return err
	}
	r.to = q.to
	answer, err := relayExplanationOf(loaded, r, time.Now())
	if err != nil {
		return err
	}
	return printed(cmd, answer.print, answer, asJSON)
}

// relayQuestion is a message that a groupware server would submit.
type relayQuestion struct {
	relay, mailFrom, subject   string
	headerFrom, header, to, cc []string
}

// relayExplanation is the answer of explain --relay. Its JSON keys are stable.
type relayExplanation struct {
	Relay    string   `json:"relay"`
	User     string   `json:"user"`  // who submits; empty where that is not certain
	Marks    []string `json:"marks"` // from, subject, suffix, domains, senders
	Mailbox  string   `json:"mailbox"`
	Ordinary string   `json:"ordinary"` // address of the sender that only the audit log keeps
	// Goes is where the message goes: provider, held (until the PIN comes by reply), approval, smarthost, administrator, or
	// nowhere.
	Goes    string            `json:"goes"`
	From    string            `json:"from"`    // From and reverse path as they leave
	Subject string            `json:"subject"` // as it leaves
	To      []string          `json:"to"`      // recipients as they leave, of lists their members
	Split   string            `json:"split"`   // blind or always, where it leaves as several messages
	PIN     string            `json:"pin"`     // not needed, needed, none: needed and the user has none
	PINBy   []string          `json:"pin_by"`  // how it may come: reply, subject
	Warn    []string          `json:"warnings"`
	Line    string            `json:"line"` // of the relay
	Verdict explainedDecision `json:"verdict"`

	userLine, boxLine string
}

// relayExplanationOf says what would become of a message. The error is that of a relay that does not exist.
func relayExplanationOf(l *configs.Loaded, q relayQuestion, now time.Time) (relayExplanation, error) {
	p := policyOf(l)
	r, ok := p.Relay(q.relay)
	if !ok {
		var known []string
		for _, r := range p.Relays {
			known = append(known, r.Name)
		}
		return relayExplanation{}, &exitError{exitUsage, fmt.Sprintf("there is no relay %q in policy.yaml: known: %s", q.relay, cmp.Or(strings.Join(known, ", "), "none"))}
	}
	if len(q.headerFrom) == 0 && q.mailFrom != "" {
		q.headerFrom = []string{q.mailFrom}
	}
	v := p.DecideRelay(policy.RelayFacts{Relay: q.relay, ReversePath: q.mailFrom, From: q.headerFrom, Identity: q.header,
		Tags: r.Tags(q.subject), Recipients: q.to, Visible: slices.Concat(q.to, q.cc), Now: now})
	out := relayExplanation{Relay: r.Name, User: v.Seen.User, Marks: append([]string{}, v.Seen.Marks...), Mailbox: v.Seen.Box, Ordinary: v.Ordinary,
		Goes: "nowhere", To: []string{}, PIN: "not needed", PINBy: []string{}, Warn: []string{}, Line: v.RelayLine}
	if u, ok := p.User(out.User); ok {
		out.userLine = u.Line
	}
	if m, ok := p.Mailbox(out.Mailbox); ok {
		out.boxLine = m.Line
	}
	final := v.Verdict
	switch {
	case final.Reason == policy.NullSender:
		out.Goes, final.Allow, final.Code, final.Enhanced = "administrator", true, 250, "2.0.0" // it is taken, but is no submission
	case v.Unmarked:
		out.Goes, out.From, out.Subject, out.To = "smarthost", q.mailFrom, q.subject, append(out.To, q.to...)
	case v.Allow:
		final = out.submitted(p, r, l, v, q, now)
	}
	out.Verdict = explainedDecision{Allow: final.Allow, Code: final.Code, Enhanced: final.Enhanced, Reason: final.Reason, Italian: final.Italian,
		English: final.English, Line: final.Line}
	if final.Allow {
		out.Verdict.Then = map[string]string{"provider": "relay", "held": "hold-pin", "approval": "to-approve", "smarthost": "smarthost",
			"administrator": "administrator"}[out.Goes]
	}
	return out, nil
}

// submitted judges a PEC as the service would go on to do.
func (x *relayExplanation) submitted(p *policy.Policy, r *policy.Relay, l *configs.Loaded, v policy.RelayVerdict, q relayQuestion, now time.Time) policy.Verdict {
	seen, final := smtpd.Inspect(p, smtpd.Sample{Identity: v.Identity, From: v.Box, Recipients: v.Recipients,
		MaxSize: int64(l.Appliance.SMTP.MaxMessageSize), Hostname: l.Appliance.Hostname, Now: now})
	x.To, x.Split = append(x.To, seen.Recipients...), seen.Split
	x.From, x.Subject = v.Box, q.subject
	if tag := r.Tag(); tag != nil && r.Counts(policy.MarkSubject) {
		x.Subject = strings.Join(strings.Fields(tag.ReplaceAllString(q.subject, " ")), " ")
	}
	for _, w := range v.Warn {
		x.Warn = append(x.Warn, w.English)
	}
	u, _ := p.User(v.Identity.User)
	m, _ := p.Mailbox(v.Box)
	if u == nil || m == nil {
		return final // the policy has both, or it had not decided so
	}
	if final.Allow {
		x.Goes = "provider"
	}
	switch {
	case v.Then == policy.ToApprove:
		if final.Allow {
			x.Goes = "approval"
		}
		return final
	case !m.PINRequired:
		return final
	}
	x.PIN = "needed"
	if !u.HasPIN() {
		x.PIN = "none"
	}
	for _, way := range []string{policy.PINByReply, policy.PINBySubject} {
		if m.PINBy(way) && r.PINBy(way) {
			x.PINBy = append(x.PINBy, way)
		}
	}
	// A PIN is in nobody's question, so only what asks for it afterwards lets the message in.
	if final.Allow && slices.Contains(x.PINBy, policy.PINByReply) {
		x.Goes = "held"
	}
	return final
}

func (x *relayExplanation) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t")) }
	row("relay", x.Relay, x.Line)
	row("user", cmp.Or(x.User, "none"), x.userLine)
	row("marked by", cmp.Or(strings.Join(x.Marks, ", "), "nothing"))
	row("mailbox", cmp.Or(x.Mailbox, "none"), x.boxLine)
	if x.From != "" {
		how := "unaltered"
		if x.Mailbox != "" {
			how = strings.TrimSuffix("in place of "+x.Ordinary, "in place of ")
		}
		row("from", x.From, how)
		row("subject", x.Subject)
	}
	for _, to := range x.To {
		row("to", to)
	}
	if x.Split != "" {
		row("split", x.Split)
	}
	if x.Mailbox != "" && x.From != "" {
		pin := x.PIN
		if len(x.PINBy) > 0 {
			pin += ", by " + strings.Join(x.PINBy, " or ")
		}
		row("PIN", pin)
	}
	row("goes to", map[string]string{"provider": "the provider", "held": "Da confermare, until the PIN comes", "approval": "Da autorizzare",
		"smarthost": "the smarthost", "administrator": "the administrator, never to the provider", "nowhere": "nobody"}[x.Goes])
	verdict := "refused"
	if x.Verdict.Allow {
		verdict = "accepted"
	}
	row("verdict", verdict, strings.TrimRight(x.Verdict.Reason+" "+x.Verdict.Line, " "))
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	for _, one := range x.Warn {
		fmt.Fprintf(w, "warning: %s\n", one)
	}
	_, err := fmt.Fprintf(w, "%d %s %s\n%d %s %s\n", x.Verdict.Code, x.Verdict.Enhanced, x.Verdict.Italian, x.Verdict.Code, x.Verdict.Enhanced, x.Verdict.English)
	return err
}

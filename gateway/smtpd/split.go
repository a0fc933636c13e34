package smtpd

import (
	"slices"
	"strings"

	"pecgate/policy"
)

// How a mailbox splits what is submitted (policy.Mailbox.Split); anything else
// is never.
const (
	splitBlind  = "blind"
	splitAlways = "always"
)

// maxSplit is how many recipients a submission may have that leaves as several
// messages.
const maxSplit = 1000

// split says as what a submission leaves.
type split struct {
	how     string   // splitBlind or splitAlways; empty: as one message
	to      []string // its recipients; of a blind one first those whom everybody sees
	visible int      // blind: how many those are; they share one message
}

// mayBeBlind tells whether a mailbox takes recipients whom the others do not see.
func mayBeBlind(how string) bool { return how == splitBlind || how == splitAlways }

// splitOf says how a submission to these recipients leaves a mailbox that splits.
// Blind are those of the envelope who are not in To or Cc, or who are named in
// Bcc. shown are To and Cc, hasTo tells whether there is anybody in To.
func splitOf(seen fields, recipients, shown []string, hasTo bool, how string) (split, error) {
	hidden := map[string]bool{}
	for _, f := range seen["bcc"] {
		list, err := addresses(value(f))
		if err != nil {
			return split{}, notPlain("Bcc")
		}
		for _, a := range list {
			hidden[strings.ToLower(a)] = true
		}
	}
	seenByAll := map[string]bool{}
	for _, a := range shown {
		seenByAll[strings.ToLower(a)] = true
	}
	var open, blind []string
	for _, r := range recipients {
		if k := strings.ToLower(r); seenByAll[k] && !hidden[k] {
			open = append(open, r)
		} else {
			blind = append(blind, r)
		}
	}
	noBcc := len(seen["bcc"]) == 0
	if how == splitAlways {
		if noBcc && hasTo && len(recipients) == 1 && len(open) == 1 && len(seenByAll) == 1 {
			return split{}, nil // it goes to this one alone as it is
		}
		return split{how: splitAlways, to: recipients}, nil
	}
	if len(open) > 0 && !hasTo {
		return split{}, nobodyInTo()
	}
	if noBcc && len(blind) == 0 {
		return split{}, nil
	}
	return split{how: splitBlind, to: append(open, blind...), visible: len(open)}, nil
}

// read judges the header of a message against its envelope and says as what it
// leaves: a distribution list among the recipients stands for its members, each
// of whom gets a message of their own.
func (in *submission) read(p *policy.Policy, header []byte, how string) (err error) {
	as := how
	if in.handed != nil && in.handed.Each {
		as = splitAlways // whatever the mailbox does with the letters of people
	}
	if in.mail, err = readLetter(header, in.to, as); err != nil {
		return err
	}
	out, v := p.Expand(in.who, in.from, in.to)
	if !v.Allow {
		return verdict(v)
	}
	in.rules = rules{policy: p, split: how, list: out.Each, to: out.Recipients}
	if out.Each {
		in.mail.leaves = split{how: splitAlways, to: out.Recipients}
		in.mail.edits = append(in.mail.edits, "lists expanded: "+strings.Join(out.Lists, " "))
	}
	return nil
}

// rules are those by which a header was read.
type rules struct {
	policy *policy.Policy
	split  string   // of the mailbox
	list   bool     // there was a list in the envelope
	to     []string // the envelope without lists
}

// stillRuled sees to it that a policy which is not that of the header says the
// same of who gets what; else the message would leave as the old one had it.
// Which PIN counts is asked anew. What is refused now is the judge's matter.
func (in *submission) stillRuled(p *policy.Policy) (err error) {
	m, ok := p.Mailbox(in.from)
	if p == in.rules.policy || !ok {
		return nil
	}
	out, v := p.Expand(in.who, in.from, in.to)
	if !v.Allow {
		return verdict(v)
	}
	if m.Split != in.rules.split || out.Each != in.rules.list || !slices.Equal(out.Recipients, in.rules.to) {
		return otherRules()
	}
	in.pin, err = in.pinFor(m)
	return err
}

// recipients are those of what leaves.
func (in *submission) recipients() []string {
	if in.mail.leaves.how != "" {
		return in.mail.leaves.to
	}
	return in.to
}

// visibleFacts are what the policy is asked besides about a blind split: whether
// its one message to those whom everybody sees may leave. ok is false for any
// other.
func (in *submission) visibleFacts(s policy.Submission) (_ policy.Submission, ok bool) {
	n := in.mail.leaves.visible
	if n == 0 {
		return s, false
	}
	s.Recipients, s.Each = slices.Clone(in.mail.leaves.to[:n]), false
	return s, true
}

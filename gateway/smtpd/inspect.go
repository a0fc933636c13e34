package smtpd

import (
	"bytes"
	"time"

	"pecgate/policy"
)

// Sample is a submission that nobody makes: the facts that the service would
// judge.
type Sample struct {
	Identity   policy.Identity
	From       string   // the reverse path: the PEC mailbox
	Recipients []string // of the envelope; none: those in To, Cc and Bcc of the message
	Message    []byte   // as a client would send it, with CRLF; nil: only the envelope is judged
	MaxSize    int64    // octets; 0: no limit
	Hostname   string   // of a Message-ID that would be made
	Now        time.Time
}

// Inspection is what the judge found.
type Inspection struct {
	Envelope   []string // recipients before lists are expanded
	Recipients []string // as judged
	Split      string   // blind or always, where it would leave as several messages
	Edits      []string // that would be made, in the words of the audit line
	Size       int64    // octets as they would be relayed
	PINGiven   bool     // a PIN stands in the message, in a way that the mailbox allows; whether it is right is not looked at
}

// Inspect judges as the service would, at MAIL, RCPT and the end of DATA, and
// changes nothing. A PIN counts as right where one is needed, also where none
// is given: its lack would be the only answer otherwise.
func Inspect(p *policy.Policy, s Sample) (Inspection, policy.Verdict) {
	s.Recipients = eachOnce(s.Recipients)
	out := Inspection{Envelope: s.Recipients, Recipients: s.Recipients}
	in := submission{session: &session{srv: &Server{opt: Options{
		Policy: func() *policy.Policy { return p }, MaxSize: s.MaxSize, Hostname: s.Hostname, Now: func() time.Time { return s.Now },
	}}}}
	in.who, in.from, in.to, in.received = s.Identity, s.From, s.Recipients, s.Now
	v := p.DecideSender(s.Identity, s.From, s.Now)
	if !v.Allow {
		return out, v
	}
	m, ok := p.Mailbox(s.From)
	if !ok || s.Message == nil && len(s.Recipients) == 0 {
		return out, v
	}
	in.mail.from = s.From
	if s.Message != nil {
		err := in.inspect(p, m, s.Message)
		out.Envelope, out.Edits, out.PINGiven, out.Size = in.to, in.mail.edits, in.pin != "", in.edited+in.rest
		out.Recipients = in.recipients()
		if err != nil {
			return out, verdictOf(err)
		}
	} else if e, v := p.Expand(s.Identity, m.Address, in.to); !v.Allow {
		return out, v
	} else if e.Each || m.Split == splitAlways && len(in.to) > 1 {
		in.mail.leaves = split{how: splitAlways, to: e.Recipients}
	}
	in.pin, out.Recipients, out.Split = "any", in.recipients(), in.mail.leaves.how
	return out, in.judge(p, out.Size, true)
}

// inspect does with a whole message what header and take do with one that
// arrives.
func (in *submission) inspect(p *policy.Policy, m *policy.Mailbox, message []byte) error {
	if limit := in.srv.opt.MaxSize; limit > 0 && int64(len(message)) > limit {
		return in.srv.tooLarge()
	}
	end := headerEnd(message, 0)
	switch {
	case end < 0 && len(message) <= maxHeader:
		return noBlankLine()
	case end < 0 || end > maxHeader:
		return longHeader()
	case !cleanLines(message):
		return badBytes()
	}
	if len(in.to) == 0 {
		in.to = eachOnce(named(message[:end]))
	}
	in.rest = int64(len(message) - end)
	if _, err := in.compose(p, m, message[:end]); err != nil {
		return err
	}
	return in.parts.look(message[end:])
}

// named lists the addresses in To, Cc and Bcc, as far as they can be read.
func named(header []byte) []string {
	seen, err := readFields(header)
	if err != nil {
		return nil
	}
	var out []string
	for _, name := range []string{"to", "cc", "bcc"} {
		for _, f := range seen[name] {
			if list, err := addresses(value(f)); err == nil {
				out = append(out, list...)
			}
		}
	}
	return out
}

// eachOnce is what Rcpt takes of a list of recipients.
func eachOnce(list []string) []string {
	var out []string
	for _, to := range list {
		if a, err := policy.ParseAddress(to); err == nil {
			to = a
		}
		if !among(out, to) {
			out = append(out, to)
		}
	}
	return out
}

// cleanLines reports that there is no NUL, and no CR or LF alone.
func cleanLines(b []byte) bool {
	pairs := bytes.Count(b, []byte("\r\n"))
	return bytes.IndexByte(b, 0) < 0 && bytes.Count(b, []byte("\r")) == pairs && bytes.Count(b, []byte("\n")) == pairs
}

// verdictOf is a refusal of the header in the words of the policy.
func verdictOf(err error) policy.Verdict {
	r, ok := err.(*refusal)
	if !ok {
		r = refuse(451, "4.3.0", "Errore interno.", "Internal error.", "internal")
	}
	return policy.Verdict{Code: r.code, Enhanced: r.enhanced, Italian: r.italian, English: r.english, Reason: r.reason, Line: r.where}
}

package smtpd

import (
	"strings"
	"testing"
	"time"

	"pecgate/policy"
)

func TestInspect(t *testing.T) {
	p := people(t)
	const good = "From: ufficio@pec.example.org\r\nTo: a@pec.example.net\r\nCc: B <b@pec.example.net>\r\nSubject: [PIN:1234] x\r\n\r\ntext\r\n"
	sample := func(change func(*Sample)) Sample {
		s := Sample{Identity: policy.Identity{User: "mario"}, From: "ufficio@pec.example.org", Message: []byte(good),
			MaxSize: 1 << 20, Hostname: "pecgate.example.org", Now: time.Unix(1e9, 0)}
		change(&s)
		return s
	}
	text := func(s string) func(*Sample) { return func(x *Sample) { x.Message = []byte(s) } }
	for name, c := range map[string]struct {
		change func(*Sample)
		reason string
	}{
		"good":              {func(*Sample) {}, policy.Allowed},
		"no message":        {func(s *Sample) { s.Message, s.Recipients = nil, []string{"a@b.it"} }, policy.Allowed},
		"nothing but names": {func(s *Sample) { s.Message = nil }, policy.Allowed},
		"PIN needed": {func(s *Sample) {
			s.Message, s.Recipients, s.From = nil, []string{"a@b.it"}, "protocollo@pec.example.org"
		}, policy.Allowed},
		"not a member":  {func(s *Sample) { s.From = "altra@pec.example.org" }, policy.UnknownMailbox},
		"bad recipient": {func(s *Sample) { s.Message, s.Recipients = nil, []string{"a"} }, policy.BadAddress},
		"blind":         {func(s *Sample) { s.Recipients = []string{"a@pec.example.net", "c@pec.example.net"} }, "blind-copy"},
		"two From":      {text("From: x@y.it\r\n" + good), "header"},
		"another From":  {text(strings.Replace(good, "ufficio@", "protocollo@", 1)), policy.FromDiffers},
		"no blank line": {text("From: ufficio@pec.example.org\r\n"), "header"},
		"bare LF":       {text(good + "a\nb"), "line-ends"},
		"NUL":           {text(good + "\x00"), "line-ends"},
		"long header":   {text("X: " + strings.Repeat("x", maxHeader)), policy.TooBig},
		"too large":     {func(s *Sample) { s.MaxSize = 10 }, policy.TooBig},
		"winmail.dat":   {text(strings.Replace(good, "Subject", "Content-Type: application/ms-tnef\r\nSubject", 1)), "tnef"},
		"in To and Cc":  {text(strings.Replace(good, "Cc: ", "Cc: A@PEC.example.net, a@pec.example.net, a@pec.example.net, ", 1)), policy.Allowed},
		"named again": {func(s *Sample) {
			s.Message, s.Recipients = nil, []string{"a@b.it", "c@b.it", "d@b.it", "A@B.it"}
		}, policy.Allowed},
		"too many": {func(s *Sample) {
			s.Message, s.Recipients = nil, []string{"a@b.it", "c@b.it", "d@b.it", "e@b.it"}
		}, policy.TooManyRecipients},
	} {
		out, v := Inspect(p, sample(c.change))
		if v.Reason != c.reason || v.Allow != (c.reason == policy.Allowed) {
			t.Errorf("%s: %+v", name, v)
		}
		if name == "good" && (strings.Join(out.Recipients, " ") != "a@pec.example.net b@pec.example.net" || len(out.Edits) < 3 || !out.PINGiven || out.Size < 100) {
			t.Errorf("%+v", out)
		}
	}
}

package smtpd

import (
	"context"

	"pecgate/policy"
)

// Handed is a message that came whole by another way than SMTP, from somebody who is
// known already.
type Handed struct {
	Identity   policy.Identity
	From       string   // the PEC mailbox
	Recipients []string // none: those in To, Cc and Bcc
	Each       bool     // each recipient gets a message of their own, also where the mailbox does not split
	PIN        string   // counts where the mailbox allows the field X-Pecgate-PIN; empty: none
	Remote     string   // address without port
	Key        string   // as in Submission
	KeySum     string   // as in Submission
	Message    []byte   // with CRLF
}

// Hand does with a message what a session does from MAIL to the end of DATA: the same
// judge, the same edits, the same PIN. When it returns a Receipt, everything is durable
// as before a 250. A verdict that does not allow is the refusal, and is logged.
func (s *Server) Hand(ctx context.Context, h Handed) (Receipt, policy.Verdict) {
	ses := &session{srv: s, ctx: ctx, cancel: func() {}, who: h.Identity, far: h.Remote, sending: true, from: h.From}
	if a, err := policy.ParseAddress(h.From); err == nil {
		ses.from = a
	}
	ses.to = eachOnce(h.Recipients)
	in := submission{session: ses, received: s.opt.Now(), handed: &h}
	r, err := in.hand(h.Message)
	if err == nil {
		return r, policy.Verdict{Allow: true, Code: 250, Enhanced: "2.0.0", Reason: policy.Allowed}
	}
	no := s.refusalOf(err)
	s.opt.Events.SubmissionRefused(h.Identity.User, ses.from, h.Remote, no.code, no.enhanced, no.reason, no.where)
	return Receipt{}, verdictOf(no)
}

func (in *submission) hand(message []byte) (Receipt, error) {
	defer func() {
		if in.delivery != nil {
			in.delivery.Abort() // does nothing after Commit
		}
	}()
	p := in.srv.opt.Policy()
	if v := p.DecideSender(in.who, in.from, in.srv.opt.Now()); !v.Allow {
		return Receipt{}, verdict(v)
	}
	if err := in.srv.opt.Intake.Ready(in.ctx); err != nil {
		return Receipt{}, err
	}
	m, ok := p.Mailbox(in.from)
	if !ok { // the policy is one: DecideSender has found it
		return Receipt{}, verdict(p.DecideSender(in.who, in.from, in.srv.opt.Now()))
	}
	end := headerEnd(message, 0)
	switch {
	case int64(len(message)) > in.srv.opt.MaxSize:
		return Receipt{}, in.srv.tooLarge()
	case end < 0 && len(message) <= maxHeader:
		return Receipt{}, noBlankLine()
	case end < 0 || end > maxHeader:
		return Receipt{}, longHeader()
	case !cleanLines(message):
		return Receipt{}, badBytes()
	}
	if len(in.to) == 0 {
		in.to = eachOnce(named(message[:end]))
	}
	if len(in.to) > in.handedMost(m) {
		return Receipt{}, tooMany()
	}
	for _, to := range in.to {
		if _, err := policy.ParseAddress(to); err != nil {
			return Receipt{}, badRecipient()
		}
	}
	in.body = &body{n: int64(len(message))}
	in.declared = int64(len(message))
	asWritten, err := in.compose(p, m, message[:end:end])
	if err != nil {
		return Receipt{}, err
	}
	// What is refused whatever follows shall not fill the disk first.
	if v := in.judge(p, max(in.declared, in.edited), true); !v.Allow {
		return Receipt{}, verdict(v)
	}
	if err := in.begin(m, asWritten); err != nil {
		return Receipt{}, err
	}
	for rest := message[end:]; len(rest) > 0; {
		n := min(len(rest), block)
		if err := in.take(rest[:n]); err != nil {
			return Receipt{}, err
		}
		rest = rest[n:]
	}
	if known, err := in.decide(); err != nil {
		return Receipt{}, err
	} else if known != nil {
		return *known, nil
	}
	return in.commit()
}

// handedMost is how many recipients a message that was handed over may have.
func (in *submission) handedMost(m *policy.Mailbox) int {
	if in.handed.Each || mayBeBlind(m.Split) {
		return min(in.srv.opt.Recipients, maxSplit)
	}
	return in.most()
}

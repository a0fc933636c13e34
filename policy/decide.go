package policy

import "time"

// Reasons are stable words for logs, tests and scripts. The sentences may change, these do not.
const (
	Allowed           = "allowed"
	UnknownMailbox    = "unknown-mailbox"
	NotMember         = "not-member"
	NoSend            = "no-send"
	Expired           = "expired"
	Inactive          = "inactive"
	BoxMismatch       = "box-mismatch"
	FromDiffers       = "from-differs"
	NoRecipient       = "no-recipient"
	TooManyRecipients = "too-many-recipients"
	TooBig            = "too-big"
	PINMissing        = "pin-missing"
	PINWrong          = "pin-wrong"
	BadAddress        = "bad-address"
)

// Submission is one message that a client wants to send, as facts.
type Submission struct {
	Identity    Identity
	ReversePath string   // of MAIL, without angle brackets
	From        string   // the one address of the header From, as the bytes say it
	Recipients  []string // of RCPT, without angle brackets
	Size        int64    // octets as they will be relayed
	PINGiven    bool
	PINRight    bool
	Now         time.Time
}

// Verdict is a decision with its reason.
type Verdict struct {
	Allow    bool
	Code     int    // SMTP reply code
	Enhanced string // RFC 3463
	Italian  string // one ASCII sentence for the person, at most 450 octets
	English  string // the same
	Line     string // file:line of the configuration that decided; empty where the lack of a line decided
	Reason   string // one of the reasons above
}

// DecideSender judges what is known at MAIL: the session and the reverse path. An allowed sender may still be refused by
// Decide, which judges the same again with the whole message.
//
// The checks go from what concerns the session to what concerns the mailbox, so that somebody without a line for a mailbox
// learns nothing of its state.
func (p *Policy) DecideSender(id Identity, reversePath string, now time.Time) Verdict {
	_, _, v := p.sender(id, reversePath, now)
	return v
}

func (p *Policy) sender(id Identity, reversePath string, now time.Time) (*Mailbox, string, Verdict) {
	address, err := ParseAddress(reversePath)
	if err != nil {
		return nil, "", refuseReversePath()
	}
	address = lower(address)
	u, ok := p.User(id.User)
	if !ok {
		return nil, "", refuseNotMember(address)
	}
	if id.Archive {
		return nil, "", refuseArchive()
	}
	if id.Box != "" && !same(id.Box, address) {
		return nil, "", refuseBoxMismatch(id.Box)
	}
	m, ok := p.Mailbox(address)
	if !ok {
		return nil, "", refuseUnknownMailbox(address)
	}
	l, ok := m.member(u.Login)
	switch {
	case !ok:
		return nil, "", refuseNotMember(address)
	case l.expired(now):
		return nil, "", refuseExpired(address, l.Line)
	case !l.Send:
		return nil, "", refuseNoSend(address, l.Line)
	case !m.Active:
		return nil, "", refuseInactive(address, m.Line)
	}
	return m, address, Verdict{
		Allow: true, Code: 250, Enhanced: "2.1.0", Line: l.Line, Reason: Allowed,
		Italian: "Mittente accettato.", English: "Sender accepted.",
	}
}

// Decide judges a whole submission before its 250. The PIN comes last: a message that would be refused anyway never says
// whether its PIN was right.
func (p *Policy) Decide(s Submission) Verdict {
	m, address, v := p.sender(s.Identity, s.ReversePath, s.Now)
	if !v.Allow {
		return v
	}
	from, err := ParseAddress(s.From)
	if err != nil {
		return refuseFrom()
	}
	if !same(from, address) {
		return refuseFromDiffers(lower(from), address)
	}
	if len(s.Recipients) == 0 {
		return refuseNoRecipient()
	}
	for _, r := range s.Recipients {
		if _, err := ParseAddress(r); err != nil {
			return refuseRecipient()
		}
	}
	n := len(s.Recipients)
	if m.Recipients > 0 && n > m.Recipients {
		return refuseTooMany(n, m.Recipients, m.Line)
	}
	// size > product/n is size*n > product without the overflow.
	if s.Size < 0 || m.Product > 0 && s.Size > m.Product/int64(n) {
		return refuseTooBig(s.Size, n, m.Product, m.Line)
	}
	if m.PINRequired && !(s.PINGiven && s.PINRight) {
		return refusePIN(s.PINGiven, address, m.Line)
	}
	v.Enhanced, v.Italian, v.English = "2.0.0", "Messaggio accettato.", "Message accepted."
	return v
}

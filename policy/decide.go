package policy

import "time"

// Reasons are stable words for logs, tests and scripts. The sentences may change, these do not.
const (
	Allowed           = "allowed"
	UnknownMailbox    = "unknown-mailbox"
	NotMember         = "not-member"
	NoSend            = "no-send"
	NotYet            = "not-yet"
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
	NoApproval        = "no-approval"
	NotOfList         = "not-of-list"
	ListWhole         = "list-whole"
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
	// Each says that every recipient gets a message of their own, so that the provider's limits hold for each alone; there
	// may be 1,000.
	Each bool
	// Approvals says that the caller keeps what waits for approval (Verdict.Then). Without it a member with compose is refused.
	Approvals bool
	Now       time.Time
}

// Next is what becomes of a submission that is allowed.
type Next int

// The zero Next is ToProvider.
const (
	ToProvider Next = iota // goes to the provider
	HoldPIN                // held until its sender confirms it with the PIN
	ToApprove              // waits until a member with approve releases it
)

// Verdict is a decision with its reason.
type Verdict struct {
	Allow    bool
	Code     int    // SMTP reply code
	Enhanced string // RFC 3463
	Italian  string // one ASCII sentence for the person, at most 450 octets
	English  string // the same
	Line     string // file:line of the configuration that decided; empty where the lack of a line decided
	Reason   string // one of the reasons above
	Then     Next   // where Allow: what becomes of it
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

// sender finds the mailbox and its address in lower case. Of an allowed sender Then says whether somebody must approve.
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
	if !p.maySend(id, address) {
		return nil, "", refuseNotMember(address)
	}
	m, ok := p.Mailbox(address)
	if !ok {
		return nil, "", refuseUnknownMailbox(address)
	}
	lines := m.of(u.Login)
	if len(lines) == 0 {
		return nil, "", refuseNotMember(address)
	}
	l, word, then := merge(lines), Send, ToProvider
	if l.Compose {
		word, then = Compose, ToApprove
	}
	deciding, _ := decides(lines, word)
	switch {
	case l.expired(now):
		return nil, "", refuseExpired(address, lines[expires(lines)].Line)
	case l.early(now):
		return nil, "", refuseNotYet(address, lines[begins(lines)].Line)
	case !l.Send && !l.Compose:
		return nil, "", refuseNoSend(address, lines[deciding].Line)
	case !m.Active:
		return nil, "", refuseInactive(address, m.Line)
	}
	return m, address, Verdict{
		Allow: true, Code: 250, Enhanced: "2.1.0", Line: lines[deciding].Line, Reason: Allowed, Then: then,
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
		if l, ok := p.List(r); ok {
			return refuseListWhole(l.Address, l.Line)
		}
	}
	n, most := len(s.Recipients), m.Recipients
	if s.Each {
		most = maxExpanded
	}
	if most > 0 && n > most {
		return refuseTooMany(n, most, m.Line)
	}
	if s.Each {
		n = 1
	}
	// size > product/n is size*n > product without the overflow.
	if s.Size < 0 || m.Product > 0 && s.Size > m.Product/int64(n) {
		return refuseTooBig(s.Size, n, m.Product, m.Line)
	}
	if v.Then == ToApprove {
		// The author needs no PIN: who approves confirms.
		if !s.Approvals {
			return refuseNoApproval(address, v.Line)
		}
		v.Enhanced, v.Italian, v.English = "2.0.0", "Messaggio accettato: parte quando e' autorizzato.",
			"Message accepted: it leaves when it is approved."
		return v
	}
	u, _ := p.User(s.Identity.User) // known: sender has seen to it
	if p.PINNeeded(s.Identity, m) && !(s.PINGiven && s.PINRight && u.HasPIN()) {
		return m.withoutPIN(u, s.PINGiven, address, v)
	}
	v.Enhanced, v.Italian, v.English = "2.0.0", "Messaggio accettato.", "Message accepted."
	return v
}

package policy

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// The ways in which a message from a relay may be marked as PEC.
const (
	MarkFrom    = "from"    // From is a PEC mailbox
	MarkSubject = "subject" // the tag stands in the Subject
	MarkSuffix  = "suffix"  // the recipients bear the suffix
	MarkDomains = "domains" // the recipients are of listed domains
	MarkSenders = "senders" // the sender is listed
)

// The ways in which a relay names its user.
const (
	ByEmail  = "by_email" // reverse path and From are the ordinary address of one user
	byHeader = "header:"  // a field of that name, whose value is a login or an email
	byLogin  = "user:"    // always this login
)

// Relay is a groupware server that submits for its users, without a login of theirs. Who may connect as it (networks, TLS,
// login) is judged before, where the connection is.
type Relay struct {
	Name    string
	Users   string   // by_email, header:NAME or user:LOGIN; anything else: it has no user
	Trigger string   // the tag of the Subject as it is written without a mailbox, like [PEC]
	Marks   []string // which of them count
	Suffix  string   // behind the domain of a recipient, without its first dot; removed wherever it stands
	Domains []string // of recipients
	Senders []string // ordinary addresses
	Mailbox string   // for who may send from several and names none; empty: they have to name one
	// Smarthost: what bears no mark is passed on as ordinary mail, unaltered; else it is refused.
	Smarthost bool
	PINs      []string // how a PIN may come on this way: reply, subject; the mailbox has to allow it, too
	// InternalWarn: people in To and Cc who are not recipients are told of; else they are refused.
	InternalWarn bool
	// Journal: reports of Exchange's journal are taken.
	Journal bool
	// Delivery: receipts also go as delivery status notifications to senders who asked for them.
	Delivery bool
	Line     string // file:line, for explain
}

// Relay finds a relay by name. It reports false if there is none or more than one.
func (p *Policy) Relay(name string) (*Relay, bool) {
	var found *Relay
	for i := range p.Relays {
		if name != "" && same(p.Relays[i].Name, name) {
			if found != nil {
				return nil, false
			}
			found = &p.Relays[i]
		}
	}
	return found, found != nil
}

// Counts reports whether a mark makes a message a PEC.
func (r *Relay) Counts(mark string) bool { return slices.Contains(r.Marks, mark) }

// PINBy reports whether a PIN may come on this way by a method.
func (r *Relay) PINBy(method string) bool { return slices.Contains(r.PINs, method) }

// IdentityField is the name of the field that says who the user is; empty where none does.
func (r *Relay) IdentityField() string {
	name, _ := strings.CutPrefix(r.Users, byHeader)
	if name == r.Users {
		return ""
	}
	return name
}

// Tag matches the tag wherever it stands in a decoded Subject, as [PEC] or [PEC:mailbox], whatever its case. It is nil
// where the relay has none.
func (r *Relay) Tag() *regexp.Regexp {
	word := strings.TrimSuffix(strings.TrimPrefix(r.Trigger, "["), "]")
	if len(word)+2 != len(r.Trigger) || word == "" || strings.ContainsAny(word, "[]:") {
		return nil
	}
	re, err := regexp.Compile(`(?i)\[[ \t]*` + regexp.QuoteMeta(word) + `[ \t]*(?::([^\[\]\r\n]{0,254}))?\]`)
	if err != nil { // what is quoted compiles, but for text that is no UTF-8
		return nil
	}
	return re
}

// Tags are the mailbox words of all tags in a decoded Subject, in their order: empty for a tag that names none. Without a
// tag, and where tags do not count, there are none.
func (r *Relay) Tags(subject string) []string {
	re := r.Tag()
	if re == nil || !r.Counts(MarkSubject) {
		return nil
	}
	var out []string
	for _, m := range re.FindAllStringSubmatch(subject, -1) {
		out = append(out, strings.Trim(m[1], " \t"))
	}
	return out
}

// WithoutSuffix takes the suffix off the domain of an address, as often as it stands there, and reports whether it did.
func (r *Relay) WithoutSuffix(address string) (string, bool) {
	tail := "." + r.Suffix
	if len(tail) == 1 {
		return address, false
	}
	domain, cut := strings.LastIndexByte(address, '@')+1, false
	for n := len(address) - len(tail); n > domain && same(address[n:], tail); n = len(address) - len(tail) {
		address, cut = address[:n], true
	}
	return address, cut
}

// RelayFacts is one message that a relay submits, as facts. Addresses are as the bytes say them, without angle brackets.
type RelayFacts struct {
	Relay       string   // name
	ReversePath string   // of MAIL
	From        []string // the addresses of the header From
	Identity    []string // the value of every field of the name IdentityField
	Tags        []string // of the Subject, see Tags
	Recipients  []string // of RCPT
	Visible     []string // the addresses of To and Cc
	Now         time.Time
}

// Warning is what a person should know of a message that is allowed.
type Warning struct {
	Reason           string
	Italian, English string // one ASCII sentence each, at most 450 octets
}

// RelayVerdict is what becomes of a message of a relay. Where it is allowed, it is either a PEC, with all that the
// submission needs, or Unmarked. An allowed PEC is then judged by Decide, with this Identity and with Box as reverse path
// and From, like any other submission: its limits, lists, PIN and approval are not judged
// here, only whether a PIN that is needed can come on this way.
type RelayVerdict struct {
	Verdict           // Line is the member's, where one decided
	Identity Identity // who submits
	Box      string   // the mailbox from which it goes, lower case
	Marks    []string // the marks it bears, at least one
	Ordinary string   // ordinary address of the sender, as From and reverse path say it, lower case; for the audit log; may be empty
	// Recipients are those of the envelope in their order, each once, without the suffix.
	Recipients []string
	Warn       []Warning
	// Unmarked: it bears no mark and is passed on to the smarthost unaltered. Nothing else is said then.
	Unmarked  bool
	RelayLine string // file:line of the relay; empty where there is none
	// Seen is how far the judge came, also of what is refused: for explain and logs, never to submit anything by.
	Seen RelaySeen
}

// RelaySeen is what the facts of a message say, whatever was decided.
type RelaySeen struct {
	Marks []string // the marks it bears
	User  string   // login; empty where nobody is certain
	Box   string   // the mailbox that is meant, lower case; empty where none is certain
}

// DecideRelay judges a message that a groupware server submits for one of its users: whether it is a PEC, whose, and from
// which mailbox.
//
// There is no user without a fact that names exactly one, and no mailbox from which that user may not send. Facts that
// contradict each other are refused, not weighed; so are messages of which only some recipients are marked, because a PEC
// goes to all of its recipients or to nobody, and what is split in silence is missed by somebody. A PEC mailbox of ours in From,
// reverse path or among the recipients never goes on as ordinary mail.
//
// Without a reverse path (a bounce, an automatic reply) a message is no submission: it is Unmarked where that passes on and
// it bears no mark; else the verdict is NullSender, and the caller gives it to the administrator.
func (p *Policy) DecideRelay(f RelayFacts) RelayVerdict {
	r, ok := p.Relay(f.Relay)
	if !ok {
		return RelayVerdict{Verdict: refuseUnknownRelay()}
	}
	var seen RelaySeen
	v := p.relayed(r, f, &seen)
	v.RelayLine, v.Seen = r.Line, seen
	return v
}

func (p *Policy) relayed(r *Relay, f RelayFacts, seen *RelaySeen) RelayVerdict {
	no := func(v Verdict) RelayVerdict { return RelayVerdict{Verdict: v} }
	marks, partly := r.marksOf(p, f)
	if f.ReversePath == "" {
		if v := p.unmarked(r, f, partly); len(marks) == 0 && v.Unmarked {
			return v
		}
		return no(refuseNullSender(r.Line))
	}
	seen.Marks = slices.Clone(marks)
	if len(marks) == 0 {
		return p.unmarked(r, f, partly)
	}
	if len(f.From) != 1 {
		return no(refuseRelayFrom())
	}
	from, err := ParseAddress(f.From[0])
	if err != nil {
		return no(refuseRelayFrom())
	}
	login, refused := p.relayUser(r, f, from)
	if login == "" {
		return no(refused)
	}
	seen.User = login
	box, refused := p.relayBox(r, f, login, from)
	if box == "" {
		return no(refused)
	}
	seen.Box = box
	id := Identity{User: login}
	m, box, v := p.sender(id, box, f.Now)
	if !v.Allow {
		return no(v)
	}
	if m.PINRequired && v.Then != ToApprove && !slices.ContainsFunc(r.PINs, m.PINBy) {
		return no(refuseNoPINWay(box, m.Line))
	}
	recipients, refused := r.recipients(f.Recipients)
	if recipients == nil {
		return no(refused)
	}
	var warn []Warning
	if inside := r.internal(f.Visible, recipients); len(inside) > 0 {
		if !r.InternalWarn {
			return no(refuseInternal(inside, r.Line))
		}
		warn = append(warn, warnInternal(inside))
	}
	out := RelayVerdict{Verdict: v, Identity: id, Box: box, Marks: marks, Recipients: recipients, Warn: warn}
	if _, pec := p.Mailbox(from); !pec {
		out.Ordinary = lower(from)
	} else if reverse, err := ParseAddress(f.ReversePath); err == nil && !p.anyMailbox(reverse) {
		out.Ordinary = lower(reverse)
	}
	return out
}

// unmarked is the verdict on a message without a mark of its own. partly is the mark that only some recipients bear.
func (p *Policy) unmarked(r *Relay, f RelayFacts, partly string) RelayVerdict {
	if partly != "" {
		return RelayVerdict{Verdict: refuseMixed(partly, r.Line)}
	}
	for _, a := range append([]string{f.ReversePath}, f.From...) {
		if address, err := ParseAddress(a); err == nil && p.anyMailbox(address) {
			return RelayVerdict{Verdict: refuseNotMarkedPEC(lower(address), r.Line)}
		}
	}
	if !r.Smarthost {
		return RelayVerdict{Verdict: refuseNotMarked(r, r.Line)}
	}
	for _, a := range f.Recipients {
		if p.anyMailbox(a) {
			return RelayVerdict{Verdict: refuseOrdinaryToPEC(lower(a), r.Line)}
		}
	}
	return RelayVerdict{Unmarked: true, Verdict: Verdict{Allow: true, Code: 250, Enhanced: "2.1.0", Line: r.Line, Reason: Allowed,
		Italian: "Messaggio ordinario accettato.", English: "Ordinary message accepted."}}
}

// marksOf are the marks that make the whole message a PEC, and where there are none, the one that only some recipients bear.
func (r *Relay) marksOf(p *Policy, f RelayFacts) (marks []string, partly string) {
	senders := append([]string{f.ReversePath}, f.From...)
	if r.Counts(MarkFrom) && slices.ContainsFunc(f.From, p.anyMailbox) {
		marks = append(marks, MarkFrom)
	}
	if r.Counts(MarkSubject) && len(f.Tags) > 0 {
		marks = append(marks, MarkSubject)
	}
	suffix, listed, both := 0, 0, 0
	for _, a := range f.Recipients {
		bare, bears := r.WithoutSuffix(a)
		bears = bears && r.Counts(MarkSuffix)
		of := r.Counts(MarkDomains) && isListed(r.Domains, bare[strings.LastIndexByte(bare, '@')+1:])
		suffix, listed, both = suffix+one(bears), listed+one(of), both+one(bears || of)
	}
	if both > 0 && both == len(f.Recipients) {
		if suffix > 0 {
			marks = append(marks, MarkSuffix)
		}
		if listed > 0 {
			marks = append(marks, MarkDomains)
		}
	}
	if r.Counts(MarkSenders) && slices.ContainsFunc(senders, func(a string) bool { return a != "" && isListed(r.Senders, a) }) {
		marks = append(marks, MarkSenders)
	}
	switch {
	case len(marks) > 0 || both == 0:
		return marks, ""
	case suffix > 0:
		return nil, MarkSuffix
	}
	return nil, MarkDomains
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

func isListed(list []string, s string) bool {
	return slices.ContainsFunc(list, func(x string) bool { return same(x, s) })
}

// anyMailbox reports whether an address is that of a PEC mailbox, however many lines there are for it.
func (p *Policy) anyMailbox(address string) bool {
	return slices.ContainsFunc(p.Mailboxes, func(m Mailbox) bool { return same(m.Address, address) })
}

// relayUser finds who submits: the login as the policy writes it, empty where that is not certain.
func (p *Policy) relayUser(r *Relay, f RelayFacts, from string) (string, Verdict) {
	if name := r.IdentityField(); name != "" {
		if len(f.Identity) != 1 {
			return "", refuseIdentity(len(f.Identity), r.Line)
		}
		u := p.person(strings.Trim(f.Identity[0], " \t"))
		if u == nil {
			return "", refuseIdentityUnknown(r.Line)
		}
		return u.Login, Verdict{}
	}
	if login, ok := strings.CutPrefix(r.Users, byLogin); ok {
		u, ok := p.User(login)
		if !ok {
			return "", refuseNoUserOfRelay(r.Line)
		}
		return u.Login, Verdict{}
	}
	if r.Users != ByEmail {
		return "", refuseNoUserOfRelay(r.Line)
	}
	reverse, err := ParseAddress(f.ReversePath)
	if err != nil {
		return "", refuseReversePath()
	}
	if p.anyMailbox(reverse) {
		// The server shows nobody's ordinary address, or another than the one that got the message.
		return "", refuseNoOrdinary(lower(reverse), r.Line)
	}
	u := p.byEmail(reverse)
	if u == nil {
		return "", refuseUnknownSender(lower(reverse), r.Line)
	}
	if !p.anyMailbox(from) && p.byEmail(from) != u {
		return "", refuseSendersDiffer(lower(from), lower(reverse), r.Line)
	}
	return u.Login, Verdict{}
}

// person is the only user of a login or email; nil where there is none or more than one.
func (p *Policy) person(name string) (found *User) {
	for i := range p.Users {
		if name != "" && (same(p.Users[i].Login, name) || same(p.Users[i].Email, name)) {
			if found != nil {
				return nil
			}
			found = &p.Users[i]
		}
	}
	return found
}

// byEmail is the only user whose email an address is. An address that is also the login of another is nobody's.
func (p *Policy) byEmail(address string) *User {
	u := p.person(address)
	if u == nil || !same(u.Email, address) {
		return nil
	}
	if _, one := p.User(u.Login); !one {
		return nil
	}
	return u
}

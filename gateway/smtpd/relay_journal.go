package smtpd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"pecgate/gateway/auth"
	"pecgate/mailbox/mime"
	"pecgate/policy"
)

// A relay with journal: true may bring a message inside of a journal report of Exchange. The report is spooled as anything
// else without a sender, read when it is whole, and never committed where it could be read: the message inside is judged as
// if its sender had sent it here, to the recipients that the report names.
//
//   - What a report says is believed: who is admitted as such a relay, and only from the null sender (or Exchange's own
//     address) to the journal address, could name any sender. Exchange must see to it that nobody else writes to that
//     address; secret_header cannot, since mail-flow rules do not touch reports (check refuses the two together).
//   - A report is not refused for what is in it. Exchange never returns one to the sender of the message: it repeats it, or
//     gives it to a mailbox for undeliverable reports. So a refusal goes to the sender by a notification, and only what is
//     our own trouble, or a peer that is none, is answered with an error.
//   - Recipients inside the organisation (policy.Inside) are left to Exchange, which has delivered to them. A report of a
//     message from outside names nobody else, so that nothing of it leaves, whatever its header says.
//   - Exchange may report a message more than once, after a lost answer and also for parts of its recipients, where groups
//     were expanded or the message was bifurcated (Microsoft, "Understanding Journal Reports"). Nothing tells how many
//     reports follow, so none is waited for: the recipients of the first get one PEC together, and a later report sends to
//     those alone whom no earlier one named, as another PEC with a Message-ID of ours. The message itself may come from
//     the same server, too, over a connector: whichever is first leaves, the other is known again.

// Journals remembers what journal reports brought.
type Journals interface {
	// Left are those of To for whom no earlier report of the message was taken, nor the message itself from the same
	// server, in their order.
	Left(ctx context.Context, of JournalOf) ([]string, error)
	// Refuse takes note of To and tells the sender why nothing leaves. Both are durable when it returns.
	Refuse(ctx context.Context, of JournalOf, why JournalRefusal) error
	// Drop counts a message of which nothing is to leave.
	Drop(ctx context.Context, of JournalOf, why string) error
}

// JournalOf is a message inside of a journal report.
type JournalOf struct {
	Relay, Remote string
	Sender        string   // reverse path, as the report writes it
	User          string   // login of the sender; empty where nobody is certain
	Box           string   // PEC mailbox from which it is to leave; empty where none is certain
	MessageID     string   // with its angle brackets
	To            []string // without the relay's suffix
	Inside        int      // recipients that are left to Exchange
}

// JournalRefusal is why a message does not leave.
type JournalRefusal struct {
	Code             int
	Enhanced         string
	Italian, English string
	Reason, Where    string
	Header           []byte // what may be shown of the message's header: ASCII, at most 8 KiB
}

// words tell of the report among the edits.
func (j *JournalOf) words() string {
	if j.Inside == 0 {
		return "from a journal report"
	}
	return fmt.Sprintf("from a journal report; %d recipients inside the organisation are left to the mail server", j.Inside)
}

// as are the recipients as the report writes them.
func (j *JournalOf) as(given map[string]string) []string {
	out := make([]string, len(j.To))
	for i, a := range j.To {
		out[i] = given[a]
	}
	return out
}

const (
	journalName = "journal"    // local part of the address for reports, at the gateway's hostname
	maxJournal  = 8 << 10      // octets of a header that a refusal shows
	innerPiece  = 64 << 10     // octets that are read of a spooled message at once
	noOutside   = "no-outside" // why nothing leaves: there is no recipient outside the organisation
)

// JournalAddress is where reports are to go, of a gateway by its hostname.
func JournalAddress(hostname string) string { return journalName + "@" + hostname }

// forJournal tells whether the transaction is for the journal address alone, from a relay that may report.
func (s *relaySession) forJournal() bool {
	if s.srv.opt.Relay.Journals == nil || len(s.to) != 1 {
		return false
	}
	domains := []string{s.srv.opt.Hostname, s.srv.opt.Relay.JournalDomain}
	if !slices.ContainsFunc(domains, func(d string) bool { return strings.EqualFold(s.to[0], JournalAddress(d)) }) {
		return false
	}
	rule, ok := s.srv.opt.Policy().Relay(s.peer.Name)
	return ok && rule.Journal
}

// fromJournal tells whether a reverse path is the address under which Exchange writes of itself.
func (s *relaySession) fromJournal() bool {
	return len(s.from) > 17 && strings.EqualFold(s.from[:17], "MicrosoftExchange") && s.forJournal()
}

// reports tells by its header whether a message is to be read as a report.
func (s *relaySession) reports(header []byte) bool {
	return s.forJournal() && len(valuesOf(header, "X-MS-Journal-Report")) > 0
}

// errNoReport says that a message is filed as anything without a sender.
var errNoReport = errors.New("no journal report")

// journaled takes the message inside of a report that came whole. errNoReport: it is none that can be read.
func (in *stray) journaled(d StrayDelivery) (Receipt, error) {
	spool, ok := d.(io.ReaderAt)
	if !ok {
		return Receipt{}, errNoReport
	}
	j, err := ReadJournal(spool, in.body.n)
	switch {
	case errors.Is(err, ErrBadJournal), errors.Is(err, ErrNoJournal):
		return Receipt{}, errNoReport
	case err != nil:
		return Receipt{}, err
	}
	p := in.srv.opt.Policy()
	rule, ok := p.Relay(in.peer.Name)
	if !ok || !rule.Journal {
		return Receipt{}, otherRules()
	}
	of := &JournalOf{Relay: in.peer.Name, Remote: in.c.Remote(), Sender: j.Sender, MessageID: j.MessageID}
	given := map[string]string{} // as the report writes them, with the suffix that is a mark
	for _, a := range j.To() {
		bare, _ := rule.WithoutSuffix(a)
		switch _, before := given[bare]; {
		case p.Inside(a):
			of.Inside++
		case before:
		default:
			given[bare] = a
			of.To = append(of.To, bare)
		}
	}
	header, err := innerHeader(spool, j)
	if err != nil {
		return Receipt{}, err
	}
	h, unclear := readRelayHeader(header)
	why := ""
	switch {
	case j.Sender == "":
		why = "null-sender"
	case len(of.To) == 0:
		why = noOutside
	case in.srv.opt.Relay.Looped != nil:
		why = in.srv.opt.Relay.Looped(header)
	}
	if why == "" && unclear == nil {
		why = in.undecided(p, rule, h, of, given)
	}
	if why == "" && !p.Inside(of.Sender) {
		why = "unknown-sender" // whoever that is must hear nothing from us
	}
	journals := in.srv.opt.Relay.Journals
	if why != "" {
		return Receipt{Reported: true}, journals.Drop(in.ctx, *of, why)
	}
	if of.To, err = journals.Left(in.ctx, *of); err != nil || len(of.To) == 0 {
		return Receipt{Reported: true, Duplicate: true}, err
	}
	r, err := in.original(of, of.as(given), io.NewSectionReader(spool, j.Offset, j.Length))
	f := refusalOf(err)
	if f == nil || f.code < 500 {
		return r, err
	}
	if gone := in.stillPeer(); gone != nil {
		return Receipt{}, gone
	}
	err = journals.Refuse(in.srv.ctx, *of, JournalRefusal{
		Code: f.code, Enhanced: f.enhanced, Italian: f.italian, English: f.english, Reason: f.reason, Where: f.where, Header: shownOf(header),
	})
	return Receipt{Reported: true}, err
}

// undecided asks the policy whose message it is and from where it is to leave; why tells that it is not to leave at all
// and nobody is told: it bears no mark.
func (in *stray) undecided(p *policy.Policy, rule *policy.Relay, h *relayHeader, of *JournalOf, given map[string]string) (why string) {
	f := h.facts(rule)
	f.Relay, f.ReversePath, f.Recipients, f.Visible, f.Now = of.Relay, of.Sender, of.as(given), nil, in.srv.opt.Now()
	v := p.DecideRelay(f)
	of.User, of.Box = v.Seen.User, v.Seen.Box
	pec := slices.ContainsFunc(append([]string{of.Sender}, f.From...), func(a string) bool { _, is := p.Mailbox(a); return is })
	if v.Unmarked || v.Reason == policy.NotMarked && !pec {
		return policy.NotMarked
	}
	return ""
}

// original submits the message inside of a report for those of its recipients who are left.
func (in *stray) original(of *JournalOf, to []string, message io.Reader) (Receipt, error) {
	ses := *in.session
	ses.from, ses.to, ses.declared = of.Sender, to, 0
	one := &relaySession{session: &ses, shown: in.shown, peer: in.peer, journal: of}
	for _, a := range to {
		one.asked = append(one.asked, Asked{Recipient: a})
	}
	b := &body{c: in.c, start: true, src: &inner{r: message}}
	sub := &submission{session: &ses, body: b, received: in.srv.opt.Now()}
	sub.relayed = &relayed{relaySession: one}
	return sub.receive()
}

// inner is a message inside of another one, in a spool.
type inner struct {
	r   io.Reader
	buf []byte
	cr  bool // the last octet that was given is held back: a CR
}

// nextInner is next for such a message. A last line without its end gets it, as the boundary behind it took that.
func (b *body) nextInner() ([]byte, error) {
	s := b.src
	if s.buf == nil {
		s.buf = make([]byte, innerPiece)
	}
	at := 0
	if s.cr {
		s.buf[0], at = '\r', 1
	}
	n, err := io.ReadFull(s.r, s.buf[at:])
	piece := s.buf[:at+n]
	s.cr = false
	switch {
	case err == nil:
		if s.cr = piece[len(piece)-1] == '\r'; s.cr {
			piece = piece[:len(piece)-1]
		}
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return nil, err
	case len(piece) == 0 && b.start:
		b.done = true
		return nil, io.EOF
	case len(piece) == 0:
		piece = append(piece, '\r', '\n')
	}
	return b.give(piece), nil
}

// innerHeader is the header block of the message inside, or what of it may be read.
func innerHeader(spool io.ReaderAt, j *Journal) ([]byte, error) {
	b := make([]byte, min(j.Length, maxHeader+4))
	if n, err := spool.ReadAt(b, j.Offset); err != nil && (err != io.EOF || n < len(b)) {
		return nil, err
	}
	if end := headerEnd(b, 0); end >= 0 {
		b = b[:end]
	}
	return b, nil
}

// shownOf are the fields of a header that its sender gets back: no other server shall stumble over them, and no PIN is
// among them.
func shownOf(header []byte) (out []byte) {
	for _, f := range mime.Fields(mime.SelectFields(header, []string{"From", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References"}, false)) {
		ascii := !slices.ContainsFunc(f.Raw, func(c byte) bool { return c >= 0x7f || c < ' ' && c != '\t' && c != '\r' && c != '\n' })
		if ascii && wellFormed(f) && len(out)+len(f.Raw) <= maxJournal && !auth.MeansPIN(mime.DecodeWords(f.Body())) && !auth.MeansPIN(string(f.Raw)) {
			out = append(out, f.Raw...)
		}
	}
	return out
}

// reportedWords is the answer to a report of which nothing leaves.
func (r Receipt) reportedWords() string {
	return cmp.Or(map[bool]string{true: "Rapporto di journal gia' visto / journal report seen before"}[r.Duplicate],
		"Rapporto di journal letto, nulla parte / journal report read, nothing is sent")
}

package smtpd

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"time"

	"pecgate/mailbox/planted"
	"pecgate/policy"
)

// maxHeader is the longest header block of a message, in octets with its blank
// line; mime reads no longer one.
const maxHeader = 256 << 10

// submission is one message on its way in. The session's transaction says who
// sends what to whom.
type submission struct {
	*session
	body     *body
	received time.Time

	mail     letter   // the header, judged and edited
	pin      string   // in a way that the mailbox allows; empty: none
	rules    rules    // by which the header was judged
	parts    parts    // of the body, as far as they must be known
	delivery Delivery // nil until the header was found good
	relayed  *relayed // what a groupware server sends; nil: the client's own
	handed   *Handed  // what came by another way than SMTP; nil: it came by SMTP
	lack     Lack     // why it is held for its PIN; empty: it is not
	proved   bool     // a PIN was asked for, and was right
	edited   int64    // octets of the edited header
	rest     int64    // octets after the header
}

// receive takes one message to its end and through to the store. It returns
// errLost or errFlood where the end mark was not seen; after any other error
// it was, and the conversation goes on.
func (in *submission) receive() (r Receipt, err error) {
	defer func() {
		if in.delivery != nil {
			in.delivery.Abort() // does nothing after Commit
		}
	}()
	// A fault of ours or of the message is told at the end: the client does not
	// read before it has sent everything.
	fault := in.header()
	if l := new(looped); errors.As(fault, &l) {
		return (&stray{relaySession: in.relayed.relaySession, body: in.body, head: l.head, why: l.why}).receive()
	}
	if o := new(ordinary); errors.As(fault, &o) {
		return (&passage{relaySession: in.relayed.relaySession, body: in.body, head: o.read}).receive()
	}
	for fault == nil {
		piece, err := in.body.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Receipt{}, err
		}
		fault = in.take(piece)
	}
	if over(fault) {
		return Receipt{}, fault
	}
	if err := in.srv.whole(in.body, fault); err != nil {
		return Receipt{}, err
	}
	if known, err := in.decide(); err != nil {
		return Receipt{}, err
	} else if known != nil {
		return *known, nil
	}
	return in.commit()
}

// commit has a message accepted that is good. From here the client's line no
// longer matters: it may be gone and still the message is accepted.
func (in *submission) commit() (r Receipt, err error) {
	if planted.Is(planted.ReplyBeforeCommit) {
		late := in.delivery
		in.delivery = nil
		go late.Commit(in.srv.ctx)
		return Receipt{}, nil
	}
	if r, err = in.delivery.Commit(in.srv.ctx); err != nil && !planted.Is(planted.CommitErrorIgnored) {
		return Receipt{}, err
	}
	r.Lack = in.lack
	if r.Replaced {
		in.mail.edits = append(in.mail.edits, "Message-ID replaced")
		in.srv.opt.Events.MessageIDReplaced(r.ID, in.who.User, in.from, in.remote())
	}
	in.srv.opt.Events.Submitted(r.ID, in.who.User, in.from, in.remote(), len(in.to), in.edited+in.rest,
		in.proved, r.Duplicate, in.mail.edits)
	return r, nil
}

// header gathers the header block, judges and edits it, and begins the
// delivery.
func (in *submission) header() error {
	gather := in.session.header
	if in.relayed != nil {
		gather = in.relayed.header
	}
	h, end, err := gather(in.body)
	if err != nil {
		return err
	}
	if in.body.dirty {
		return badBytes()
	}
	p := in.srv.opt.Policy()
	head := h[:end:end]
	if in.relayed != nil {
		if err := in.relayed.ordinary(p, h, end); err != nil {
			return err
		}
		if err := in.relayed.looped(h, end); err != nil {
			return err
		}
		if in.body.leak.seen() {
			return secretInside()
		}
		if head, err = in.relayed.settle(p, head); err != nil {
			return err
		}
	}
	m, ok := p.Mailbox(in.from)
	if !ok {
		return verdict(p.DecideSender(in.who, in.from, in.srv.opt.Now()))
	}
	asWritten, err := in.compose(p, m, head)
	if err != nil {
		return in.relayed.words(err)
	}
	// What is refused whatever follows shall not fill the disk first.
	if v := in.judge(p, max(in.declared, in.edited), true); !v.Allow {
		return verdict(v)
	}
	if err := in.begin(m, asWritten); err != nil {
		return err
	}
	return in.take(h[end:])
}

// begin begins the delivery of a message whose header is good, with that header.
func (in *submission) begin(m *policy.Mailbox, asWritten [32]byte) (err error) {
	whole := Submission{
		Identity: in.who, Mailbox: m.Address, From: in.from, Envelope: in.to, Recipients: in.recipients(),
		Split: in.mail.leaves.how, Visible: in.mail.leaves.visible,
		MessageID: in.mail.messageID, ClientMessageID: in.mail.clientID, HeaderEdits: in.mail.edits,
		Remote: in.remote(), Received: in.received, DeclaredSize: in.declared,
		HeaderSize: in.edited, ClientHeader: asWritten,
	}
	if in.relayed != nil {
		in.relayed.describe(&whole)
	}
	if in.handed != nil {
		whole.Key, whole.KeySum = in.handed.Key, in.handed.KeySum
	}
	if in.delivery, err = in.srv.opt.Intake.Begin(in.ctx, whole); err != nil {
		return err
	}
	_, err = in.delivery.Write(in.mail.header)
	return err
}

// compose judges a header as a client of mailbox m wrote it and makes the edits.
// The sum is of the header without the PIN, before all other edits.
func (in *submission) compose(p *policy.Policy, m *policy.Mailbox, header []byte) (asWritten [32]byte, err error) {
	if err = in.read(p, header, m.Split); err != nil {
		return asWritten, err
	}
	if in.relayed != nil {
		in.mail.edits = append(in.relayed.edits, in.mail.edits...)
	}
	if in.pin, err = in.pinFor(m); err != nil {
		return asWritten, err
	}
	asWritten = sha256.Sum256(in.mail.header)
	if err = in.mail.edit(house{
		receipt: m.Receipt, choice: m.ReceiptChoice, replyTo: m.ReplyTo, hostname: in.srv.opt.Hostname, now: in.received,
	}); err != nil {
		return asWritten, err
	}
	in.edited = int64(len(in.mail.header))
	in.parts, err = partsOf(in.mail.header)
	return asWritten, err
}

// headerEnd is the offset behind the blank line, -1 where it has not come; the
// search begins at from.
func headerEnd(h []byte, from int) int {
	if bytes.HasPrefix(h, []byte("\r\n")) {
		return 2
	}
	if i := bytes.Index(h[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + 4
	}
	return -1
}

// take hands on a piece of the body.
func (in *submission) take(piece []byte) error {
	if in.body.n > in.srv.opt.MaxSize {
		return in.srv.tooLarge()
	}
	if in.body.dirty || len(piece) == 0 {
		return nil // will be refused
	}
	if in.body.leak.seen() {
		return secretInside()
	}
	if err := in.parts.look(piece); err != nil {
		return in.relayed.words(err)
	}
	in.rest += int64(len(piece))
	_, err := in.delivery.Write(piece)
	return err
}

// judge asks the policy: about the whole, and about the message of a blind split
// that several share. It is the only place that does.
func (in *submission) judge(p *policy.Policy, size int64, pinRight bool) policy.Verdict {
	facts := in.facts(size, pinRight)
	v := p.Decide(facts)
	if facts, ok := in.visibleFacts(facts); ok && v.Allow {
		if shared := p.Decide(facts); !shared.Allow {
			return shared
		}
	}
	return v
}

// facts are what the policy is asked about.
func (in *submission) facts(size int64, pinRight bool) policy.Submission {
	return policy.Submission{
		Identity: in.who, ReversePath: in.from, From: in.mail.from, Recipients: in.recipients(), Size: size, Each: in.mail.leaves.how != "",
		PINGiven: in.pin != "", PINRight: in.pin != "" && pinRight, Approvals: true, Now: in.srv.opt.Now(),
	}
}

// decide is the last word on a message that came whole. The PIN is looked at
// only when everything else is right: a message that is refused anyway neither
// says whether its PIN was good nor costs a try. A receipt is the whole answer:
// the message was accepted before.
func (in *submission) decide() (*Receipt, error) {
	if err := in.still(); err != nil {
		return nil, err
	}
	p := in.srv.opt.Policy() // as it is now, not as it was when DATA began
	if in.relayed != nil {
		if err := in.relayed.still(p); err != nil {
			return nil, err
		}
	}
	if err := in.stillRuled(p); err != nil {
		return nil, err
	}
	size := in.edited + in.rest
	v := in.judge(p, size, true)
	if !v.Allow {
		return nil, verdict(v)
	}
	if v.Then == policy.ToApprove {
		in.delivery.Hold(HoldApproval)
		return nil, nil
	}
	m, ok := p.Mailbox(in.from)
	if !ok || !p.PINNeeded(in.who, m) {
		return nil, nil
	}
	return in.provePIN(p, m, size)
}

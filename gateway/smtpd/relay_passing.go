package smtpd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"pecgate/policy"
)

// Passing takes ordinary mail that only passes through, to the smarthost and never to
// a provider. Its bytes stay as they are.
type Passing interface {
	// Ready tells whether a message could be taken now: ErrPassingFull, ErrNoSmarthost, or
	// as Intake.Ready.
	Ready(ctx context.Context) error
	// Begin starts one.
	Begin(ctx context.Context, p Passage) (StrayDelivery, error)
	// Wandered tells by its header why a message must not pass: it did before, or goes in
	// a circle.
	Wandered(header []byte) (why string)
}

// Passage is the envelope of such a message.
type Passage struct {
	Relay         string
	From          string  // reverse path; empty: the null one
	To            []Asked // recipients, in the order of RCPT
	EnvID, Return string  // of MAIL (RFC 3461); empty: not said
	Remote        string  // address of the server without port
	Received      time.Time
}

// Errors of Passing.
var (
	ErrPassingFull = errors.New("smtpd: too much ordinary mail waits")
	ErrNoSmarthost = errors.New("smtpd: there is no smarthost")
)

// ordinary is a message that only passes through, found by its header. read is what
// was read of it.
type ordinary struct{ read []byte }

func (*ordinary) Error() string { return "it is ordinary mail" }

// ordinary tells of a message, of which read was read and the first end octets are its
// header, whether it passes through: nil where it does not.
func (s *relaySession) ordinary(p *policy.Policy, read []byte, end int) error {
	rule, ok := p.Relay(s.peer.Name)
	if !ok || !rule.Smarthost || s.journal != nil || s.srv.opt.Relay.Passing == nil {
		return nil
	}
	h, err := readRelayHeader(read[:end])
	if err != nil {
		return nil // whoever judges it next says so
	}
	if !s.passes(p, rule, h) {
		return nil
	}
	if s.srv.opt.Relay.Passing.Wandered(read[:end]) != "" {
		return wandered()
	}
	return &ordinary{read: read}
}

// passes asks the policy.
func (s *relaySession) passes(p *policy.Policy, rule *policy.Relay, h *relayHeader) bool {
	f := h.facts(rule)
	f.Relay, f.ReversePath, f.Recipients, f.Now = s.peer.Name, s.from, s.to, s.srv.opt.Now()
	v := p.DecideRelay(f)
	return v.Allow && v.Unmarked
}

// passage is one on its way in.
type passage struct {
	*relaySession
	body *body
	head []byte // octets that were taken from the body already
}

// receive takes it to its end. Its errors are those of submission.receive.
func (in *passage) receive() (Receipt, error) {
	to := in.srv.opt.Relay.Passing
	var d StrayDelivery
	fault := to.Ready(in.ctx)
	if fault == nil {
		d, fault = to.Begin(in.ctx, Passage{
			Relay: in.peer.Name, From: in.from, To: in.asked, EnvID: in.envID, Return: in.ret, Remote: in.c.Remote(), Received: in.srv.opt.Now(),
		})
	}
	look := newPassingLook(in.from, in.head)
	switch err := in.fill(in.body, d, in.head, fault, look); {
	case err == errPINInside && in.from == "": // a refusal would be told to nobody
		return in.instead(look)
	case err == errPINInside:
		return Receipt{}, pinInside()
	case err != nil:
		return Receipt{}, err
	}
	return Receipt{Passed: true}, nil
}

// instead files what holds a PIN and has no sender, without the PIN.
func (in *passage) instead(look *passingLook) (Receipt, error) {
	d, err := in.srv.opt.Relay.Strays.Begin(in.ctx, Stray{Relay: in.peer.Name, Recipients: in.to, Remote: in.c.Remote(), Received: in.srv.opt.Now()})
	if err != nil {
		return Receipt{}, err
	}
	defer d.Abort()
	if _, err := d.Write(look.without(false, in.body.leak)); err != nil {
		return Receipt{}, err
	}
	if err := d.Commit(in.srv.ctx); err != nil {
		return Receipt{}, err
	}
	return Receipt{Stray: true}, nil
}

// fill takes a message from the connection into a delivery and makes it durable; read
// is what was taken of it already. fault is told at its end: the client does not read
// before it has sent everything.
func (s *relaySession) fill(b *body, d StrayDelivery, read []byte, fault error, look *passingLook) error {
	if d != nil {
		defer d.Abort()
	}
	if fault == nil && b.leak.seen() {
		fault = secretInside()
	}
	if fault == nil && len(read) > 0 {
		_, fault = d.Write(read)
	}
	for fault == nil {
		piece, err := b.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		look.more(piece)
		if b.leak.seen() {
			fault = secretInside()
		} else if b.n <= s.srv.opt.MaxSize && !b.dirty {
			_, fault = d.Write(piece)
		}
	}
	if err := b.drain(); err != nil {
		return err
	}
	switch {
	case b.n > s.srv.opt.MaxSize:
		return s.srv.tooLarge()
	case b.dirty:
		return badBytes()
	case fault != nil:
		return fault
	}
	if err := s.stillPeer(); err != nil {
		return err
	}
	if look.means() {
		return errPINInside
	}
	return d.Commit(s.srv.ctx)
}

// header gathers a message's header block: what was read of the message, and where in
// that the header ends.
func (s *session) header(b *body) (read []byte, end int, err error) {
	for end = -1; end < 0; {
		piece, err := b.next()
		if err == io.EOF {
			return read, end, noBlankLine()
		}
		if err != nil {
			return read, end, err
		}
		if b.n > s.srv.opt.MaxSize {
			return read, end, s.srv.tooLarge()
		}
		from := max(0, len(read)-3)
		read = append(read, piece...)
		if end = headerEnd(read, from); end > maxHeader || end < 0 && len(read) > maxHeader {
			return read, -1, longHeader()
		}
	}
	return read, end, nil
}

// nullSender takes what has no reverse path: ordinary mail where that passes on, the
// administrator's anything else, whatever its header is like.
func (s *relaySession) nullSender(b *body) (Receipt, error) {
	read, end, err := s.header(b)
	switch {
	case over(err):
		return Receipt{}, err
	case err != nil && s.peer.SecretField != "":
		return Receipt{}, cmp.Or(b.drain(), err) // nobody knows from whom it is
	case end >= 0 && !b.dirty:
		if s.reports(read[:end]) {
			return (&stray{relaySession: s, body: b, head: read, report: true}).receive()
		}
		err := s.ordinary(s.srv.opt.Policy(), read, end)
		if _, ok := err.(*ordinary); ok {
			return (&passage{relaySession: s, body: b, head: read}).receive()
		}
		if err != nil {
			return Receipt{}, cmp.Or(b.drain(), err)
		}
	}
	return (&stray{relaySession: s, body: b, head: read}).receive()
}

func wandered() *refusal {
	return refuse(554, "5.4.6", "Il messaggio e' gia' passato di qui o gira in tondo tra i server: controllare i connettori di invio e outgoing.smarthost.",
		"The message passed here before or goes in a circle between servers: look at the send connectors and outgoing.smarthost.", "loop")
}

package smtpd

import (
	"io"
	"net/netip"
	"strings"

	"github.com/emersion/go-sasl" // the interface of mechanisms that go-smtp asks for
	"github.com/emersion/go-smtp"

	"pecgate/policy"
)

// relaySession is the conversation with a groupware server. It stands for its users:
// who sends is known only with the header of each message, so that session.who is
// empty between messages.
type relaySession struct {
	*session
	shown proof

	// The transaction.
	peer  Peer
	null  bool   // the reverse path is <>
	ret   string // RFC 3461 section 4.3: FULL or HDRS; empty: not said
	envID string
	asked []Asked // for each of to
	// proof of the message: that the secret of peer was cut; nil: it needs none.
	secret *leak
	// journal is the report inside of which the message is; nil: it came as itself.
	journal *JournalOf
}

// Asked is what a sender asked to be told about one recipient (RFC 3461 section 4).
type Asked struct {
	Recipient string // as in Submission.Recipients
	Notify    string // NEVER, or SUCCESS, FAILURE and DELAY with commas; empty: not said
	ORCPT     string // type;address, decoded; empty: not said
}

// relaySession is called by the library at the first EHLO or HELO.
func (s *Server) relaySession(lc *smtp.Conn) (smtp.Session, error) {
	ses, err := s.session(lc)
	if err != nil {
		return nil, err
	}
	r := &relaySession{session: ses.(*session)}
	r.shown.tls = stateOf(r.c.link)
	r.shown.addr, _ = netip.ParseAddr(r.c.Remote()) // none: in no network
	r.admit()
	return r, nil
}

// admit notes whether the connection is a peer's by now, which then has time.
func (s *relaySession) admit() {
	if s.vouched {
		return
	}
	if _, why := s.shown.peer(s.srv.opt.Relay.Peers(), s.srv.opt.Now()); why == nil {
		s.vouched = true
		s.c.LoggedIn()
	}
}

// Reset ends the transaction.
func (s *relaySession) Reset() {
	s.session.Reset()
	s.who = policy.Identity{}
	s.peer, s.null, s.ret, s.envID, s.asked, s.secret = Peer{}, false, "", "", nil, nil
}

// Mail begins a transaction.
func (s *relaySession) Mail(_ string, o *smtp.MailOptions) error {
	if s.open {
		return s.reply(nested())
	}
	peer, why := s.shown.peer(s.srv.opt.Relay.Peers(), s.srv.opt.Now())
	if why != nil {
		if why.code == 554 {
			s.c.hangUp = silence
		}
		return s.reply(why)
	}
	null := s.c.pathOK && s.c.path == ""
	from := s.sender()
	if from == "" && !null {
		return s.reply(badReversePath())
	}
	if err := s.srv.opt.Intake.Ready(s.ctx); err != nil {
		return s.reply(err)
	}
	s.Reset()
	s.open, s.from, s.null, s.peer = true, from, null, peer
	if o != nil {
		s.declared, s.ret, s.envID = o.Size, string(o.Return), o.EnvelopeID
	}
	return nil
}

// Rcpt adds a recipient.
func (s *relaySession) Rcpt(_ string, o *smtp.RcptOptions) error {
	to, err := policy.ParseAddress(s.c.path)
	if !s.c.pathOK || err != nil || strings.ContainsAny(s.c.path, "%!") {
		// Old servers read user%host and host!user as ways on to somebody else.
		return s.reply(badRecipient())
	}
	if !s.null {
		if answered, err := s.answer(to); answered || err != nil {
			return err
		}
	}
	before := len(s.to)
	if err := s.another(to, s.srv.opt.Recipients); err != nil || len(s.to) == before {
		return err
	}
	a := Asked{Recipient: to}
	if o != nil {
		for _, n := range o.Notify {
			a.Notify = strings.TrimPrefix(a.Notify+","+string(n), ",")
		}
		if o.OriginalRecipient != "" {
			a.ORCPT = strings.ToLower(string(o.OriginalRecipientType)) + ";" + o.OriginalRecipient
		}
	}
	s.asked = append(s.asked, a)
	return nil
}

// Data takes the message from the connection itself, as session.Data does.
func (s *relaySession) Data(io.Reader) error {
	switch {
	case s.null, s.fromJournal():
		return s.taken(s.nullSender)
	case s.token != "":
		return s.taken(func(b *body) (Receipt, error) {
			return (&confirmation{session: s.session, body: b, author: s.author}).receive()
		})
	}
	return s.taken(func(b *body) (Receipt, error) {
		in := &submission{session: s.session, body: b, received: s.srv.opt.Now()}
		in.relayed = &relayed{relaySession: s}
		return in.receive()
	})
}

// AuthMechanisms are what EHLO offers.
func (s *relaySession) AuthMechanisms() []string {
	if l, _ := logins(near(s.srv.opt.Relay.Peers(), s.shown.addr)); len(l) == 0 || s.srv.opt.Relay.Auth == nil {
		return nil
	}
	return s.session.AuthMechanisms()
}

// Auth begins a login.
func (s *relaySession) Auth(mechanism string) (sasl.Server, error) {
	switch {
	case len(s.AuthMechanisms()) == 0:
		return nil, s.reply(refuse(503, "5.5.1", "Da questo server non serve alcun accesso.", "No login is needed from this server.", "nested"))
	case s.open:
		return nil, s.reply(nested())
	case s.shown.login != "":
		return nil, s.reply(refuse(503, "5.5.1", "Accesso gia' effettuato.", "Already logged in.", "nested"))
	}
	return s.mechanism(mechanism, s.login)
}

// login checks what a mechanism has gathered.
func (s *relaySession) login(name, password string) error {
	all, of := logins(near(s.srv.opt.Relay.Peers(), s.shown.addr))
	i, err := s.srv.opt.Relay.Auth.LoginServer(s.ctx, all, name, password, s.c.Remote())
	if err != nil {
		return s.refusedLogin(err)
	}
	s.shown.login, s.shown.hash = of[i].Login, of[i].Password
	s.admit()
	return nil
}

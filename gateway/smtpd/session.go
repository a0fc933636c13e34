package smtpd

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-sasl" // the interface of mechanisms that go-smtp asks for
	"github.com/emersion/go-smtp"

	"pecgate/gateway/auth"
	"pecgate/policy"
)

// maxDuplicates bounds RCPT commands that name a recipient again.
const maxDuplicates = 100

// session is one client's conversation. Only ctx is touched by more than its
// own goroutine.
type session struct {
	srv    *Server
	c      *conn
	ctx    context.Context
	cancel context.CancelFunc
	who    policy.Identity // empty until login
	entry  auth.Entry      // what that rests on
	// loginPIN came behind the password; it goes nowhere but to auth.
	loginPIN string
	tries    int    // refused logins
	far      string // address of who handed a message in another way; c is nil then
	vouched  bool   // a groupware server stands for its users: see relay_session.go

	// The transaction.
	sending  bool   // MAIL, RCPT or DATA of somebody logged in is being judged
	asked    string // sender of the MAIL being judged
	open     bool
	from     string // reverse path
	to       []string
	accepted int // RCPT commands, with repetitions
	declared int64
	// stranger is why nothing but the answer to a notice may be sent from the
	// reverse path; nil: anything that follows is judged by itself.
	stranger *refusal
	token    string // of the notice that is being answered; empty: this is a submission
}

// session is called by the library at the first EHLO or HELO.
func (s *Server) session(lc *smtp.Conn) (smtp.Session, error) {
	c, ok := lc.Conn().(*conn)
	if !ok {
		// A listener without Filter: a mistake of the program, not of the client.
		return nil, s.reply(errors.New("connection without filter"), nil)
	}
	ses := &session{srv: s, c: c}
	ses.ctx, ses.cancel = context.WithCancel(s.ctx)
	c.ses = ses
	return ses, nil
}

// remote is the client's address without port.
func (s *session) remote() string {
	if s.c == nil {
		return s.far
	}
	return s.c.Remote()
}

// Reset ends the transaction.
func (s *session) Reset() {
	s.open, s.from, s.to, s.accepted, s.declared, s.stranger, s.token = false, "", nil, 0, 0, nil, ""
	s.c.rcpts = 0
}

// Logout is called when the connection closes, perhaps by another goroutine.
func (s *session) Logout() error {
	s.cancel()
	return nil
}

// Mail begins a transaction.
func (s *session) Mail(_ string, o *smtp.MailOptions) error {
	if s.open {
		return s.reply(nested())
	}
	if s.who.User == "" {
		return s.reply(refuse(530, "5.7.0", "Per inviare serve l'accesso con nome utente e password.", "Log in with user name and password to send.", "no-login"))
	}
	from := s.sender()
	s.sending, s.asked = true, from
	defer func() { s.sending, s.asked = false, "" }()
	p := s.srv.opt.Policy()
	if err := s.still(); err != nil {
		return s.reply(err)
	}
	v := p.DecideSender(s.who, from, s.srv.opt.Now())
	answers := !v.Allow && s.mayAnswer(p, v)
	if !v.Allow && !answers {
		return s.reply(verdict(v))
	}
	if err := s.srv.opt.Intake.Ready(s.ctx); err != nil {
		return s.reply(err)
	}
	s.Reset()
	s.open, s.from = true, from
	if answers {
		s.stranger = verdict(v)
	}
	if o != nil {
		s.declared = o.Size
	}
	return nil
}

// sender is the address of the MAIL just read; "" where it is none, which
// policy refuses with its own sentence.
func (s *session) sender() string {
	from, err := policy.ParseAddress(s.c.path)
	if !s.c.pathOK || err != nil {
		return ""
	}
	return from
}

// Rcpt adds a recipient.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	s.sending = s.who.User != ""
	defer func() { s.sending = false }()
	to, err := policy.ParseAddress(s.c.path)
	if !s.c.pathOK || err != nil {
		return s.reply(badRecipient())
	}
	if answered, err := s.answer(to); answered || err != nil {
		return err
	}
	return s.another(to, s.most())
}

// most is how many recipients a message from the sender may have.
func (s *session) most() int {
	limit := s.srv.opt.Recipients
	if m, ok := s.srv.opt.Policy().Mailbox(s.from); ok && mayBeBlind(m.Split) {
		limit = min(limit, maxSplit) // the mailbox's own holds for each message that leaves
	} else if ok && m.Recipients > 0 {
		limit = min(limit, m.Recipients)
	}
	return limit
}

// another adds a recipient, of whom there may be limit.
func (s *session) another(to string, limit int) error {
	if among(s.to, to) {
		if s.accepted-len(s.to) >= maxDuplicates {
			return s.reply(tooMany())
		}
		s.accepted++
		return nil
	}
	if len(s.to) >= limit {
		return s.reply(tooMany())
	}
	s.accepted++
	s.to = append(s.to, to)
	return nil
}

// Data takes the message from the connection itself. The reader of the library
// gets only the end mark.
func (s *session) Data(io.Reader) error {
	s.sending = s.who.User != ""
	defer func() { s.sending = false }()
	return s.taken(func(b *body) (Receipt, error) {
		if s.token != "" {
			return (&confirmation{session: s, body: b}).receive()
		}
		return (&submission{session: s, body: b, received: s.srv.opt.Now()}).receive()
	})
}

// taken has a message taken and is the reply.
func (s *session) taken(receive func(*body) (Receipt, error)) error {
	s.c.Expect(dataPace, dataGrace)
	defer s.c.Expect(0, 0)
	if err := s.c.flush(); err != nil {
		s.c.cut()
		return s.reply(errLost)
	}
	receipt, err := receive(s.c.message())
	switch {
	case err == errReset:
		return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Annullato / reset"}
	case err == errQuit:
		s.c.hangUp = silence
		return &smtp.SMTPError{Code: 221, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Bye"}
	case errors.Is(err, errFlood):
		r := s.srv.tooLarge()
		_ = s.c.end(r.line())
		s.c.cut()
		_ = s.reply(r) // for the logs; the client has its answer
		return s.reply(errLost)
	case errors.Is(err, errLost):
		s.c.cut()
		return s.reply(errLost)
	case err != nil:
		return s.reply(err)
	}
	return receipt.reply()
}

// AuthMechanisms are what EHLO offers.
func (s *session) AuthMechanisms() []string { return []string{"PLAIN", "LOGIN"} }

// Auth begins a login.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch {
	case s.open:
		return nil, s.reply(refuse(503, "5.5.1", "Accesso non possibile durante un invio.", "No login during a transaction.", "nested"))
	case s.who.User != "":
		return nil, s.reply(refuse(503, "5.5.1", "Accesso gia' effettuato.", "Already logged in.", "nested"))
	}
	return s.mechanism(mechanism, s.login)
}

// mechanism gathers a login and has it checked.
func (s *session) mechanism(name string, check func(name, password string) error) (sasl.Server, error) {
	switch name {
	case "PLAIN":
		return &plain{login: check}, nil
	case "LOGIN":
		return &login{login: check}, nil
	}
	return nil, s.reply(noMechanism())
}

// login checks what a mechanism has gathered.
func (s *session) login(name, password string) error {
	e, err := s.srv.opt.Auth.LoginPIN(s.ctx, name, password, s.c.Remote())
	if err != nil {
		return s.refusedLogin(err)
	}
	s.who, s.entry, s.loginPIN = e.Identity, e, e.PIN
	s.c.LoggedIn()
	return nil
}

// refusedLogin is the reply to a login that failed.
func (s *session) refusedLogin(err error) error {
	if errors.Is(err, auth.ErrRefused) {
		if s.tries++; s.tries >= s.srv.opt.Logins {
			s.c.hangUp = "421 4.7.0 Troppi accessi rifiutati / too many refused logins"
		}
	}
	return s.reply(err)
}

// still ends a session whose login is another person's by now, or has another
// password: it must not outlive its person.
func (s *session) still() error {
	holds, err := s.entry.Holds(s.ctx)
	if err == nil && !holds {
		s.c.hangUp = silence
		err = anotherPerson()
	}
	return err
}

// among tells whether a recipient is one of a list. Local parts in another case
// are the same for every provider, whatever RFC 5321 section 2.4 allows.
func among(list []string, to string) bool {
	return slices.ContainsFunc(list, func(a string) bool { return strings.EqualFold(a, to) })
}

// reply is Server.reply with what is known of this session.
func (s *session) reply(err error) error { return s.srv.reply(err, s) }

package submit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pecgate/relay/upstream"
)

// Send makes one attempt to hand body to the provider for all of to. It returns
// when the outcome is known; when ctx ends the connection is closed at once,
// which after the dot means "uncertain". The Result's Err tells what was
// attempted and, in the provider's words, what came of it.
func Send(ctx context.Context, srv Server, from string, to []string, body Body, h Hooks) Result {
	e := Envelope{From: from}
	for _, a := range to {
		e.To = append(e.To, Recipient{Address: a})
	}
	return SendEnvelope(ctx, srv, e, body, h)
}

// SendEnvelope is Send with all that an envelope may say.
func SendEnvelope(ctx context.Context, srv Server, e Envelope, body Body, h Hooks) Result {
	if srv.Timeout <= 0 {
		srv.Timeout = defaultTimeout
	}
	if srv.DotTimeout <= 0 {
		srv.DotTimeout = defaultDotTimeout
	}
	s := &session{srv: srv}
	err := s.run(ctx, e, body, h)
	s.finish(ctx, err)
	return s.res
}

// finish writes class and words of the outcome into the Result.
func (s *session) finish(ctx context.Context, err error) {
	if err == nil {
		s.res.Class = HandedOver
		return
	}
	st := &stop{class: Temporary, err: err}
	errors.As(err, &st)
	s.res.Class, s.res.Err = st.class, err
	if st.rep != nil {
		s.res.Code = st.rep.code
		s.res.Enhanced, s.res.Text = st.rep.words(s.secrets)
	} else if cause := context.Cause(ctx); cause != nil {
		s.res.Err = fmt.Errorf("%w: %w", err, cause)
	}
}

func (s *session) run(ctx context.Context, e Envelope, body Body, h Hooks) error {
	s.res.Stage = StageMail
	if err := checkEnvelope(e.From, s.srv.Ordinary, e.addresses()); err != nil {
		return permanent("%w", err)
	}
	if strings.ContainsFunc(s.srv.Hello, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return temporary("EHLO name %q is not a host name", s.srv.Hello)
	}
	s.res.Stage = StageBody
	eightBit, err := inspect(ctx, body)
	if errors.Is(err, errBody) {
		return permanent("%w", err)
	} else if err != nil {
		return temporary("%w", err)
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	// s.conn becomes the TLS connection; what ctx closes is the socket below,
	// which stays the same and may be closed from another goroutine.
	socket := s.conn
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	defer func() { s.conn.Close() }()

	if err := s.login(ctx); err != nil {
		return err
	}
	if err := s.transaction(e, body.Size(), eightBit); err != nil {
		if !s.broken {
			s.leave("RSET\r\nQUIT\r\n", true)
		}
		return err
	}
	return s.handOver(ctx, body, h)
}

// open connects.
func (s *session) open(ctx context.Context) error {
	s.res.Stage = StageConnect
	if s.srv.Security != "tls" && s.srv.Security != "starttls" && !s.srv.clear() {
		return &stop{class: TLSFailed, err: fmt.Errorf("security %q: neither tls nor starttls", s.srv.Security)}
	}
	conn, err := upstream.Dial(ctx, s.options())
	if err != nil {
		return temporary("%w", err)
	}
	s.use(conn)
	return nil
}

// login goes from the open connection to an accepted login.
func (s *session) login(ctx context.Context) error {
	if s.srv.Security == "tls" {
		s.res.Stage = StageTLS
		if err := s.handshake(ctx); err != nil {
			return err
		}
	}
	s.res.Stage = StageGreeting
	if err := s.greeting(); err != nil {
		return err
	}
	s.res.Stage = StageHello
	if err := s.hello(); err != nil {
		return err
	}
	if s.srv.Security == "starttls" {
		s.res.Stage = StageTLS
		if err := s.startTLS(ctx); err != nil {
			return err
		}
		// What was offered in plain text is forgotten (RFC 3207 section 4.2).
		s.res.Stage = StageHello
		if err := s.hello(); err != nil {
			return err
		}
	}
	s.res.Stage = StageAuth
	if s.srv.Ordinary && s.srv.Username == "" {
		return nil
	}
	if s.srv.clear() {
		return &stop{class: TLSFailed, err: errors.New("no login without TLS")}
	}
	if ask := s.srv.BeforeLogin; ask != nil {
		if err := ask(ctx); err != nil {
			return temporary("login: %w", err)
		}
	}
	if err := s.auth(); err != nil {
		return err
	}
	if s.srv.LoggedIn != nil {
		s.srv.LoggedIn()
	}
	return nil
}

// transaction gives the envelope, up to the reply to DATA. On error nothing of
// the message was sent.
func (s *session) transaction(e Envelope, size int64, eightBit bool) error {
	s.res.Stage, s.res.DSN = StageMail, s.ext.dsn
	if s.ext.size > 0 && size > s.ext.size {
		return permanent("the message has %d bytes, %s takes at most %d", size, s.srv.who(), s.ext.size)
	}
	if eightBit && !s.ext.eightBit {
		return permanent("the message has 8-bit bytes, which %s does not take, and they may not be changed", s.srv.who())
	}
	line := "MAIL FROM:<" + e.From + ">"
	if s.ext.hasSize {
		line += " SIZE=" + strconv.FormatInt(size, 10)
	}
	if eightBit {
		line += " BODY=8BITMIME"
	}
	if s.ext.dsn {
		line += e.asked()
	}
	rep, err := s.command("MAIL", line)
	if err != nil {
		return err
	}
	if rep.code/100 != 2 {
		return s.refused("MAIL", rep.refusedAs(s.srv.Replies), rep)
	}

	s.res.Stage = StageRcpt
	if err := s.recipients(e); err != nil {
		return err
	}

	s.res.Stage = StageData
	rep, err = s.command("DATA", "DATA")
	if err != nil {
		return err
	}
	if rep.code == 354 {
		return nil
	}
	if rep.code < 400 {
		return s.refused("DATA", Temporary, rep)
	}
	return s.refused("DATA", rep.refusedAs(s.srv.Replies), rep)
}

// recipients names all of them and goes on after a refusal, so that the sender
// learns of every bad one at once. One refusal ends the attempt (B8), but for an
// envelope of which a part may go.
func (s *session) recipients(e Envelope) error {
	var first error
	class := Temporary
	for _, to := range e.To {
		rcpt, asked := to.Address, ""
		if s.ext.dsn {
			asked = to.asked()
		}
		rep, err := s.command("RCPT", "RCPT TO:<"+rcpt+">"+asked)
		if err != nil {
			return err
		}
		if rep.code/100 == 2 {
			continue
		}
		r := Refusal{Recipient: rcpt, Class: rep.refusedAs(s.srv.Replies), Code: rep.code}
		r.Enhanced, r.Text = rep.words(s.secrets)
		s.res.Refused = append(s.res.Refused, r)
		if first == nil || (class == Temporary && r.Class == Permanent) {
			class = r.Class
			first = s.refused("recipient "+rcpt, class, rep)
		}
		if rep.code == 421 {
			return first
		}
	}
	if e.Partial && len(s.res.Refused) < len(e.To) {
		return nil
	}
	return first
}

// handOver sends the body, has the intent recorded, sends the dot.
func (s *session) handOver(ctx context.Context, body Body, h Hooks) error {
	s.res.Stage = StageBody
	w := bufio.NewWriterSize(s, blockSize)
	err := writeDots(ctx, w, body)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return s.brokenBody(err)
	}
	if s.r.Buffered() > 0 {
		// A reply to a dot that was not sent would be taken for the reply to
		// the one that is.
		return temporary("message: %s answered before its end", s.srv.who())
	}
	if h.BeforeDot != nil {
		if err := h.BeforeDot(ctx); err != nil {
			return temporary("intent not recorded, message not sent: %w", err)
		}
	}
	s.res.Stage = StageDot
	if err := s.dot(); err != nil {
		return err
	}
	s.leave("QUIT\r\n", false)
	return nil
}

// brokenBody ends an attempt in the middle of the body. The dot was not sent,
// so the provider does not have the message, whatever it says.
func (s *session) brokenBody(err error) error {
	if errors.Is(err, errBody) {
		return permanent("message: %w", err)
	}
	if s.writeFailed {
		// A provider that will not have the message may say so and hang up
		// before the end; its words are better than "broken pipe".
		if rep, e := s.reply(time.Second); e == nil && rep.code >= 400 {
			return s.refused("message", rep.refusedAs(s.srv.Replies), rep)
		}
	}
	return temporary("message: %w", err)
}

// dot ends the message and reads the one reply that counts.
func (s *session) dot() error {
	unclear := func(format string, args ...any) error {
		return &stop{class: Uncertain, err: fmt.Errorf("final dot: "+format, args...)}
	}
	if err := s.write(".\r\n"); err != nil {
		return unclear("%w", err)
	}
	rep, err := s.reply(s.srv.DotTimeout)
	if err != nil {
		return unclear("%w", err)
	}
	if s.r.Buffered() > 0 {
		return unclear("%s answered twice", s.srv.who())
	}
	switch rep.code / 100 {
	case 2:
		s.res.Code = rep.code
		s.res.Enhanced, s.res.Text = rep.words(s.secrets)
		return nil
	case 4, 5:
		return s.refused("message", rep.refusedAs(s.srv.Replies), rep)
	default:
		return s.refused("final dot", Uncertain, rep)
	}
}

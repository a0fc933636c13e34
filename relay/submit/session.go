package submit

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"pecgate/relay/upstream"
)

// session is one connection to a provider.
type session struct {
	srv     Server
	conn    net.Conn
	r       *bufio.Reader
	ext     extensions
	secrets []string // never to appear in what is reported
	res     Result   // filled on the way

	broken      bool // a command went without a reply
	writeFailed bool // while the body was written
}

// extensions are the parts of the EHLO answer that matter here.
type extensions struct {
	startTLS bool
	hasSize  bool
	size     int64 // 0: no limit told
	eightBit bool
	dsn      bool
	auth     []string // upper case
}

// stop is how a step ends an attempt: the class and what to say. Step functions
// return it as error; Send turns it into the Result.
type stop struct {
	class Class
	rep   *reply // the deciding reply, if one came
	err   error
}

func (s *stop) Error() string { return s.err.Error() }
func (s *stop) Unwrap() error { return s.err }

func temporary(format string, args ...any) error {
	return &stop{class: Temporary, err: fmt.Errorf(format, args...)}
}

func permanent(format string, args ...any) error {
	return &stop{class: Permanent, err: fmt.Errorf(format, args...)}
}

// refused makes a stop of a reply, with the provider's words in the error.
func (s *session) refused(what string, class Class, rep reply) error {
	enhanced, text := rep.words(s.secrets)
	if enhanced != "" {
		enhanced += " "
	}
	return &stop{class: class, rep: &rep, err: fmt.Errorf("%s: %s answered %d %s%s", what, s.srv.who(), rep.code, enhanced, text)}
}

// use takes over a connection; what was buffered of an earlier one is gone.
func (s *session) use(conn net.Conn) {
	s.conn = conn
	s.r = bufio.NewReaderSize(conn, maxReplyLine)
}

// command writes one line and reads the reply to it. label stands for the line
// in errors, since the line may be a secret.
func (s *session) command(label, line string) (reply, error) {
	err := s.write(line + "\r\n")
	if err == nil {
		var rep reply
		if rep, err = s.reply(s.srv.Timeout); err == nil {
			return rep, nil
		}
	}
	s.broken = true
	return reply{}, temporary("%s: %w", label, err)
}

func (s *session) write(line string) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.srv.Timeout)); err != nil {
		return err
	}
	_, err := io.WriteString(s.conn, line)
	return err
}

// reply reads one whole reply within d.
func (s *session) reply(d time.Duration) (reply, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return reply{}, err
	}
	rep, err := readReply(s.r, s.secrets == nil)
	if errors.Is(err, io.EOF) {
		err = errors.New(s.srv.who() + " closed the connection")
	}
	return rep, err
}

// Write lets the session be the writer of a body: every block has the time of
// a command.
func (s *session) Write(p []byte) (int, error) {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.srv.Timeout)); err != nil {
		return 0, err
	}
	n, err := s.conn.Write(p)
	s.writeFailed = err != nil
	return n, err
}

// greeting reads the first reply. A refusal here is about the connection, so it
// never condemns the message.
func (s *session) greeting() error {
	rep, err := s.reply(s.srv.Timeout)
	if err != nil {
		return temporary("greeting: %w", err)
	}
	if rep.code != 220 {
		return s.refused("greeting", Temporary, rep)
	}
	return nil
}

// hello sends EHLO and reads what the server can do.
func (s *session) hello() error {
	rep, err := s.command("EHLO", "EHLO "+s.helloName())
	if err != nil {
		return err
	}
	if rep.code != 250 {
		return s.refused("EHLO", Temporary, rep)
	}
	s.ext = extensions{}
	for _, line := range rep.lines[1:] {
		word, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(word) {
		case "STARTTLS":
			s.ext.startTLS = true
		case "8BITMIME":
			s.ext.eightBit = true
		case "DSN":
			s.ext.dsn = true
		case "SIZE":
			// A number that cannot be read is no limit: the provider says it
			// again at MAIL.
			s.ext.hasSize = true
			s.ext.size, _ = strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		case "AUTH":
			s.ext.auth = strings.Fields(strings.ToUpper(rest))
		}
	}
	return nil
}

// helloName is the configured name or the address literal of our end
// (RFC 5321 4.1.3).
func (s *session) helloName() string {
	if s.srv.Hello != "" {
		return s.srv.Hello
	}
	if a, ok := s.conn.LocalAddr().(*net.TCPAddr); ok {
		if ip4 := a.IP.To4(); ip4 != nil {
			return "[" + ip4.String() + "]"
		}
		return "[IPv6:" + a.IP.String() + "]"
	}
	return "[127.0.0.1]"
}

// handshake puts TLS on the connection.
func (s *session) handshake(ctx context.Context) error {
	conn, facts, err := upstream.Handshake(ctx, s.conn, s.options())
	if err != nil {
		var bad *upstream.TLSError
		if errors.As(err, &bad) {
			return &stop{class: TLSFailed, err: err}
		}
		return temporary("%w", err)
	}
	s.use(conn)
	s.res.TLSVersion, s.res.Cipher, s.res.CertificateExpires = facts.Version, facts.Cipher, facts.CertificateExpires
	s.res.Staple = facts.Staple
	return nil
}

// startTLS asks for TLS (RFC 3207) and turns it on. A server that does not
// offer it, or that has already said something more, is not one to talk to.
func (s *session) startTLS(ctx context.Context) error {
	if !s.ext.startTLS {
		return &stop{class: TLSFailed, err: errors.New("STARTTLS is not offered")}
	}
	rep, err := s.command("STARTTLS", "STARTTLS")
	if err != nil {
		return err
	}
	if rep.code != 220 {
		class := TLSFailed
		if rep.code == 454 || rep.code == 421 {
			class = Temporary
		}
		return s.refused("STARTTLS", class, rep)
	}
	if s.r.Buffered() > 0 {
		return &stop{class: TLSFailed, err: errors.New("STARTTLS: plain text after the reply")}
	}
	return s.handshake(ctx)
}

func (s *session) options() upstream.Options {
	return upstream.Options{Host: s.srv.Host, Port: s.srv.Port, Roots: s.srv.Roots, Timeout: s.srv.Timeout, Dial: s.srv.Dial}
}

// auth logs in with XOAUTH2 where there is a token, else with PLAIN (RFC 4616) or
// LOGIN. It is called only on a connection that came out of handshake. The lines
// it writes appear nowhere.
func (s *session) auth() error {
	b64 := base64.StdEncoding.EncodeToString
	plain := b64([]byte("\x00" + s.srv.Username + "\x00" + s.srv.Password))
	bearer := b64([]byte("user=" + s.srv.Username + "\x01auth=Bearer " + s.srv.Token + "\x01\x01"))
	s.secrets = []string{plain, bearer, b64([]byte(s.srv.Password)), b64([]byte(s.srv.Token)), s.srv.Password, s.srv.Token}

	if s.srv.Username == "" || strings.ContainsAny(s.srv.Username+s.srv.Password+s.srv.Token, "\x00\x01") {
		return &stop{class: AuthRefused, err: errors.New("login: no usable user name and password")}
	}
	var steps []string
	var first string
	switch {
	case s.srv.Token != "" && !s.offers("XOAUTH2"):
		return temporary("login: %s does not offer XOAUTH2", s.srv.who())
	case s.srv.Token != "":
		// A refusal comes in a challenge, which an empty answer ends.
		first, steps = "AUTH XOAUTH2 "+bearer, []string{""}
	case s.offers("PLAIN"):
		// The second time is for servers that ask again after the initial
		// response of RFC 4954.
		first, steps = "AUTH PLAIN "+plain, []string{plain}
	case s.offers("LOGIN"):
		first, steps = "AUTH LOGIN", []string{b64([]byte(s.srv.Username)), b64([]byte(s.srv.Password))}
	default:
		return temporary("login: %s offers neither PLAIN nor LOGIN", s.srv.who())
	}
	rep, err := s.command("login", first)
	for i := 0; err == nil && rep.code == 334 && i < len(steps); i++ {
		rep, err = s.command("login", steps[i])
	}
	switch {
	case err != nil:
		return err
	case rep.code == 235:
		return nil
	case rep.code != 535 && upstream.JudgeRefusal(strings.Join(rep.lines, " ")) == upstream.Passing:
		return s.refused("login", Temporary, rep)
	case rep.code >= 500:
		return s.refused("login", AuthRefused, rep)
	default:
		return s.refused("login", Temporary, rep)
	}
}

func (s *session) offers(mechanism string) bool {
	for _, m := range s.ext.auth {
		if m == mechanism {
			return true
		}
	}
	return false
}

// leave ends a session in step with the given commands. wait hears the answers out,
// at most 2 seconds and 4 KiB, so that the provider sees an orderly end; it is
// not for a message just handed over, whose outcome must be recorded now.
func (s *session) leave(commands string, wait bool) {
	// The line may be dead already; then there is nobody to be polite to, and
	// no outcome depends on it.
	_ = s.conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(s.conn, commands); err == nil && wait {
		_, _ = io.Copy(io.Discard, io.LimitReader(s.r, maxReplyLine))
	}
}

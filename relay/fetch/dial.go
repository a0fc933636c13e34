package fetch

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	// go-imap is the IMAP protocol itself: commands, answers, numbers.
	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	// go-sasl is how imapclient takes a login that LOGIN cannot carry.
	"github.com/emersion/go-sasl"

	"pecgate/relay/upstream"
)

const (
	maxGreeting = 8 << 10 // a line before the library takes over
	maxBefore   = 20      // lines before the answer to STARTTLS
)

// Dial connects, checks the server and logs in. Errors: ErrTLS, ErrAuthRefused (with ErrAuthUnclear),
// otherwise temporary. ctx ends only the dialling, not the Session.
func Dial(ctx context.Context, srv Server) (*Session, error) {
	if srv.Timeout <= 0 {
		srv.Timeout = defaultTimeout
	}
	if srv.MaxMessage <= 0 {
		srv.MaxMessage = defaultMaxMessage
	}
	if len(srv.Folders) == 0 {
		srv.Folders = []string{"INBOX"}
	}
	if srv.Security != "tls" && srv.Security != "starttls" {
		return nil, fmt.Errorf("%w: security %q is neither tls nor starttls", ErrTLS, srv.Security)
	}
	o := upstream.Options{Host: srv.Host, Port: srv.Port, Roots: srv.Roots, Timeout: srv.Timeout, Dial: srv.Dial}
	socket, err := upstream.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &Session{srv: srv, hints: make(chan struct{}, 1)}
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	if err := s.open(ctx, socket, o); err != nil {
		socket.Close()
		if s.c != nil {
			s.c.Close() // waits for the library's reader; the reason is err
		}
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return nil, err
	}
	return s, nil
}

// open goes from the open socket to an accepted login.
func (s *Session) open(ctx context.Context, socket net.Conn, o upstream.Options) error {
	conn := socket
	var err error
	if s.srv.Security == "starttls" {
		if err = s.askTLS(conn); err != nil {
			return err
		}
	}
	if conn, err = s.handshake(ctx, socket, o); err != nil {
		return err
	}
	r := bufio.NewReaderSize(conn, maxGreeting)
	if s.srv.Security == "tls" {
		if err := s.greeting(conn, r); err != nil {
			return err
		}
	}
	s.g = &guard{
		Conn: conn, socket: socket, timeout: s.srv.Timeout, answer: maxAnswer, in: r,
		// The library waits for a greeting. It gets this one in both cases: the
		// provider's was read and judged already.
		head: []byte("* OK TLS is on\r\n"),
	}
	s.g.begin(0)
	defer s.g.end()
	s.c = imapclient.New(s.g, &imapclient.Options{
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{
			Mailbox: func(d *imapclient.UnilateralDataMailbox) {
				if d.NumMessages != nil {
					s.hint()
				}
			},
		},
	})
	if ask := s.srv.BeforeLogin; ask != nil {
		if err := ask(ctx); err != nil {
			return fmt.Errorf("login: %w", err)
		}
	}
	return s.login()
}

func (s *Session) handshake(ctx context.Context, socket net.Conn, o upstream.Options) (net.Conn, error) {
	conn, facts, err := upstream.Handshake(ctx, socket, o)
	var bad *upstream.TLSError
	if errors.As(err, &bad) {
		return nil, fmt.Errorf("%w: %w", ErrTLS, err)
	} else if err != nil {
		return nil, err
	}
	s.TLSVersion, s.Cipher, s.CertificateExpires = facts.Version, facts.Cipher, facts.CertificateExpires
	s.Staple = facts.Staple
	s.srv.secured(facts)
	return conn, nil
}

// greeting reads the first line. Only OK will do: PREAUTH would mean that
// somebody else has logged in for us (RFC 9051 7.1.4).
func (s *Session) greeting(conn net.Conn, r *bufio.Reader) error {
	line, err := s.readLine(conn, r)
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	status, _, _ := strings.Cut(strings.TrimPrefix(strings.ToUpper(line), "* "), " ")
	if status == "PREAUTH" {
		return fmt.Errorf("%w: the provider takes us for logged in before we are", ErrTLS)
	}
	if !strings.HasPrefix(line, "* ") || status != "OK" {
		return fmt.Errorf("greeting: the provider said %q", upstream.Clean(line))
	}
	return nil
}

// askTLS runs what comes before TLS in plain text: the greeting and STARTTLS.
// Nothing of it is used later.
func (s *Session) askTLS(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, maxGreeting)
	if err := s.greeting(conn, r); err != nil {
		return err
	}
	const tag = "S1"
	if err := conn.SetWriteDeadline(time.Now().Add(s.srv.Timeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(tag + " STARTTLS\r\n")); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	for range maxBefore {
		line, err := s.readLine(conn, r)
		if err != nil {
			return fmt.Errorf("STARTTLS: %w", err)
		}
		rest, ok := strings.CutPrefix(line, tag+" ")
		if !ok {
			continue
		}
		if status, _, _ := strings.Cut(rest, " "); !strings.EqualFold(status, "OK") {
			return fmt.Errorf("%w: STARTTLS: the provider said %q", ErrTLS, upstream.Clean(rest))
		}
		if r.Buffered() > 0 {
			return fmt.Errorf("%w: plain text after the answer to STARTTLS", ErrTLS)
		}
		return nil
	}
	return fmt.Errorf("%w: no answer to STARTTLS", ErrTLS)
}

// readLine reads one bounded line without its end, before the library runs.
func (s *Session) readLine(conn net.Conn, r *bufio.Reader) (string, error) {
	if err := conn.SetReadDeadline(time.Now().Add(s.srv.Timeout)); err != nil {
		return "", err
	}
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("%w: a line above %d bytes", errFlood, maxGreeting)
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

// login sends the login, once: XOAUTH2 where there is a token. Else LOGIN is what every provider knows; AUTHENTICATE
// PLAIN (RFC 4616) is for characters that LOGIN can carry only as a literal, and
// where LOGIN is switched off.
func (s *Session) login() error {
	user, password := s.srv.Username, s.srv.Password
	b64 := base64.StdEncoding.EncodeToString
	bearer := xoauth2{"user=" + user + "\x01auth=Bearer " + s.srv.Token + "\x01\x01"}
	s.secrets = []string{
		b64([]byte("\x00" + user + "\x00" + password)), b64([]byte(bearer.answer)), b64([]byte(password)), b64([]byte(s.srv.Token)), password, s.srv.Token,
	}
	if user == "" || strings.ContainsAny(user+password+s.srv.Token, "\x00\x01\r\n") {
		return fmt.Errorf("%w: no usable user name and password", ErrAuthRefused)
	}
	caps := s.c.Caps()
	if caps == nil {
		return s.explain(context.Background(), "capabilities", errors.New("no answer"))
	}
	plain := caps.Has(imap.AuthCap(sasl.Plain))
	ascii := !strings.ContainsFunc(user+password, func(r rune) bool { return r > '~' })
	var err error
	switch {
	case s.srv.Token != "" && !caps.Has(imap.AuthCap(mechanismXOAUTH2)):
		return errors.New("login: the provider does not offer XOAUTH2")
	case s.srv.Token != "":
		err = s.c.Authenticate(bearer)
	case !caps.Has(imap.CapLoginDisabled) && (ascii || !plain):
		err = s.c.Login(user, password).Wait()
	case plain:
		err = s.c.Authenticate(sasl.NewPlainClient("", user, password))
	default:
		return errors.New("login: the provider offers neither LOGIN nor PLAIN")
	}
	if err == nil {
		return nil
	}
	var no *imap.Error
	told := s.explain(context.Background(), "login", err)
	if errors.As(err, &no) {
		return refused(told, slices.Contains(ofCredential, no.Code), slices.Contains(passing, no.Code), no.Text)
	}
	return told
}

// refused is the error of a login that the provider did not take, by the code of
// its answer or, without one, by its words.
func refused(err error, credential, passing bool, words string) error {
	about := upstream.JudgeRefusal(words)
	switch {
	case passing, !credential && about == upstream.Passing:
		return err
	case credential, about == upstream.Credential:
		return fmt.Errorf("%w: %w", ErrAuthRefused, err)
	}
	return fmt.Errorf("%w: %w (%w)", ErrAuthRefused, err, ErrAuthUnclear)
}

// ofCredential are the codes of a refusal that is about the password (RFC 5530).
var ofCredential = []imap.ResponseCode{
	imap.ResponseCodeAuthenticationFailed, imap.ResponseCodeAuthorizationFailed, imap.ResponseCodeExpired,
}

// passing are the codes of a refusal that is not about the password (RFC 5530).
var passing = []imap.ResponseCode{
	imap.ResponseCodeUnavailable, imap.ResponseCodeInUse, imap.ResponseCodeLimit, imap.ResponseCodeServerBug,
}

const mechanismXOAUTH2 = "XOAUTH2"

// xoauth2 is a login with an access token. A refusal comes in a challenge, which
// an empty answer ends.
type xoauth2 struct{ answer string }

// Start gives the mechanism and the one answer.
func (x xoauth2) Start() (string, []byte, error) { return mechanismXOAUTH2, []byte(x.answer), nil }

// Next answers whatever the provider says with nothing, which the library writes as
// "=" (RFC 4959 has that for the first answer only). Whether a server takes it or says
// BAD, the login is over and refused.
func (x xoauth2) Next([]byte) ([]byte, error) { return []byte{}, nil }

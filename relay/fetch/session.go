package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/emersion/go-imap/v2" // commands and answers
	"github.com/emersion/go-imap/v2/imapclient"

	"pecgate/relay/upstream"
)

// Session is one connection to a provider, logged in. Its methods are for one
// goroutine at a time. After an error that is not about a folder it is over:
// Close it and Dial anew.
type Session struct {
	// What is known of the TLS connection.
	TLSVersion         string
	Cipher             string
	CertificateExpires time.Time
	Staple             string // see upstream.Facts

	srv     Server
	g       *guard
	c       *imapclient.Client
	secrets []string // never to appear in what is reported
	hints   chan struct{}
}

// goodbye is how long an orderly end may take.
const goodbye = 2 * time.Second

// Close says goodbye, waiting at most 2 seconds, and ends the connection.
func (s *Session) Close() error {
	if s.g.failure() == nil {
		s.g.mu.Lock()
		s.g.timeout = min(s.g.timeout, goodbye)
		s.g.mu.Unlock()
		s.g.begin(0)
		// A provider that hangs up instead of answering has understood.
		_ = s.c.Logout().Wait()
		s.g.end()
	}
	s.g.note(net.ErrClosed)
	err := s.c.Close()
	if errors.Is(err, net.ErrClosed) || s.g.failure() != nil {
		return nil // it was over before, and whoever used it was told
	}
	return err
}

// Over returns why the connection ended, nil while it lives. A command that the
// provider refused does not end it.
func (s *Session) Over() error { return s.g.failure() }

// do runs one command: with the time limit of a command, ended by ctx.
func (s *Session) do(ctx context.Context, what string, fn func() error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { s.g.abort(context.Cause(ctx)) })()
	s.g.begin(0)
	defer s.g.end()
	if err := fn(); err != nil {
		return s.explain(ctx, what, err)
	}
	return nil
}

// clean is an error in bounded words without secrets that still unwraps.
type clean struct {
	words string
	err   error
}

func (e *clean) Error() string { return e.words }
func (e *clean) Unwrap() error { return e.err }

// explain says why a command failed: the context, the connection, or the
// provider's answer, in this order, since the library reports every broken
// connection as some error of syntax.
func (s *Session) explain(ctx context.Context, what string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s: %w", what, cause)
	}
	words := err.Error()
	var no *imap.Error
	if errors.As(err, &no) {
		words = fmt.Sprintf("the provider answered %s", no.Type)
		if no.Code != "" {
			words += fmt.Sprintf(" [%s]", no.Code)
		}
		words += " " + no.Text
	} else if cause := s.g.failure(); cause != nil {
		words, err = cause.Error(), cause
	}
	return &clean{words: what + ": " + upstream.Clean(words, s.secrets...), err: err}
}

// examine opens a folder for reading only.
func (s *Session) examine(ctx context.Context, folder string) (State, error) {
	return s.selectFolder(ctx, folder, true)
}

func (s *Session) selectFolder(ctx context.Context, folder string, readOnly bool) (State, error) {
	var data *imap.SelectData
	err := s.do(ctx, "open "+folder, func() (err error) {
		data, err = s.c.Select(folder, &imap.SelectOptions{ReadOnly: readOnly}).Wait()
		return err
	})
	var no *imap.Error
	if errors.As(err, &no) {
		return State{}, fmt.Errorf("%w: %w", ErrNoFolder, err)
	} else if err != nil {
		return State{}, err
	}
	if data.UIDValidity == 0 {
		return State{}, fmt.Errorf("open %s: the provider tells no UIDVALIDITY", folder)
	}
	return State{UIDValidity: data.UIDValidity, UIDNext: uint32(data.UIDNext), Exists: data.NumMessages}, nil
}

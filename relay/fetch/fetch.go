// Package fetch reads new messages from the IMAP service of a PEC provider
// (RFC 9051, RFC 3501) over TLS, or from its POP3 service (relay/pop3).
//
// It owns the dialog with the provider and nothing else: no cursor, no storage,
// no schedule, no retry. A Session is one connection and belongs to one
// goroutine at a time.
//
// Invariants:
//   - No login before TLS is good (relay/upstream); STARTTLS is never given up,
//     PREAUTH is refused, nothing said before TLS is used after it
//     (reliability.md C19).
//   - Nothing is changed at the provider by reading: EXAMINE and BODY.PEEK only.
//     What Remove and Maildrop.Delete are told to delete goes, and nothing else:
//     by UID EXPUNGE, never by EXPUNGE or CLOSE, which take what others marked.
//   - A message is handed out byte for byte, and its Body ends in io.EOF only
//     when the bytes are as many as announced by the literal and by
//     RFC822.SIZE, and the command that asked for them was completed with OK; by
//     POP3 when the final dot came and LIST agrees.
//     The library ends a torn literal with a clean EOF; here it never does.
//   - Messages come in the order of their UIDs (New: ascending; Before: descending),
//     each once, the next one not before the callback returned, whatever the order
//     of the provider's answers (C12).
//   - What the provider sends is bounded before the library sees it: lines,
//     literals, all of one answer (guard.go, C16).
//   - No password in an error.
//
// It must not import relay, mailbox or gateway. Its tests hold their own
// scripted servers.
package fetch

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"pecgate/relay/upstream"
)

const (
	defaultTimeout = 2 * time.Minute
	// defaultMaxMessage leaves room above the 100 MB that providers take,
	// which a receipt of the complete kind wraps once more.
	defaultMaxMessage = 160 << 20
)

// Server is a provider's IMAP service and the login for one mailbox.
type Server struct {
	Host     string
	Port     int
	Security string         // "tls": from the first byte; "starttls": before anything else
	Roots    *x509.CertPool // nil: those of the system
	Username string
	Password string
	Token    string   // OAuth 2.0 access token, in place of Password (XOAUTH2)
	Folders  []string // those to poll; empty: INBOX. Idle listens to the first
	// Timeout is how long the provider may be silent while an answer is due,
	// also in the middle of a message; 0 is 2 minutes.
	Timeout time.Duration
	// MaxMessage is the largest message fetched, in bytes; 0 is 160 MiB.
	MaxMessage int64
	// Dial opens the TCP connection; nil is net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// BeforeLogin is asked right before the login is sent; an error ends the
	// connection without it, as a temporary one. nil: nobody.
	BeforeLogin func(ctx context.Context) error
	// Secured is told of TLS once the server was checked, before the login: its
	// version, and when the certificate ends. nil: nobody.
	Secured func(version string, certificateExpires time.Time)
}

func (s *Server) secured(f upstream.Facts) {
	if s.Secured != nil {
		s.Secured(f.Version, f.CertificateExpires)
	}
}

// Cursor is the last message fetched from a folder. The zero Cursor is before
// the first.
type Cursor struct {
	UIDValidity uint32
	UID         uint32
}

// Item is one message in the hands of a callback.
type Item struct {
	Folder       string
	UIDValidity  uint32
	UID          uint32
	ID           string    // by POP3, in place of Folder, UIDValidity and UID
	InternalDate time.Time // zero by POP3
	Size         int64     // -1: known at the end of Body only
	// Body gives exactly Size bytes and then io.EOF, or an error; it must be
	// read to its io.EOF before the message may be kept. Valid until the
	// callback returns. Never nil.
	Body io.Reader
	// Problem is set for a message that was not fetched although the session
	// is well: ErrTooLarge, ErrSize or ErrNoAnswer. Body then fails with it and
	// Size is only what was listed. The others keep coming (C16).
	Problem error
}

// State is what a folder looked like.
type State struct {
	UIDValidity uint32
	UIDNext     uint32 // 0: not told
	Exists      uint32
	Reset       bool     // UIDVALIDITY is not the cursor's: all UIDs begin anew (C11)
	More        bool     // max was reached, there are more new messages
	Gone        []uint32 // listed as new, gone before they could be fetched
}

// What Dial and the others fail with, for errors.Is. Any other error is
// temporary: the line, the provider, or the context.
var (
	// ErrAuthRefused: the login was refused. It must not be tried again with
	// the same password (B10).
	ErrAuthRefused = errors.New("login refused")
	// ErrAuthUnclear comes with ErrAuthRefused where nothing says that it is the
	// credential that is refused: one that was taken before may still be right.
	ErrAuthUnclear = errors.New("the provider does not say that the password is wrong")
	// ErrAuthSystem comes with ErrAuthRefused where the provider says that its own
	// system is at fault, and that it does not pass by itself (RFC 3206 section 4:
	// SYS/PERM). It is not about the credential.
	ErrAuthSystem = errors.New("the provider says that its system is at fault: ask its support")
	// ErrTLS: not the provider, or not safe. No login was sent (E1, E2).
	ErrTLS = errors.New("no trustworthy TLS")
	// ErrNoFolder: the provider refused to open the folder.
	ErrNoFolder = errors.New("folder not available")
	// ErrNoIdle: the provider does not offer IDLE.
	ErrNoIdle = errors.New("IDLE is not offered")
	// ErrTooLarge: a message above Server.MaxMessage.
	ErrTooLarge = errors.New("message too large")
	// ErrSize: the message has not the size that the provider listed.
	ErrSize = errors.New("message size differs from the listed one")
	// ErrNoAnswer: the message is there, but the provider does not give it out.
	ErrNoAnswer = errors.New("message listed but not given out")
	// ErrNoIDs: by POP3, messages that cannot be told from each other.
	ErrNoIDs = errors.New("messages without usable ids")
	// ErrRefused: the provider will not delete, for example because it has no
	// UID EXPUNGE (RFC 4315), without which what others marked would go too. The
	// session goes on.
	ErrRefused = errors.New("the provider does not delete")
)

// MessageError says at which message a session broke. The session is over; the
// messages before this one were handed out. A caller that meets the same one
// again and again goes on behind it, with a Cursor on it (C16).
type MessageError struct {
	Folder      string
	UIDValidity uint32
	UID         uint32
	ID          string // by POP3, in place of the others
	Err         error
}

func (e *MessageError) Error() string {
	if e.ID != "" {
		return fmt.Sprintf("message %q: %v", e.ID, e.Err)
	}
	return fmt.Sprintf("message %d of %s: %v", e.UID, e.Folder, e.Err)
}

// Unwrap returns the cause.
func (e *MessageError) Unwrap() error { return e.Err }

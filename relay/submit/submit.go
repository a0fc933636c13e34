// Package submit hands one message to a PEC provider by SMTP submission
// (RFC 6409) over TLS.
//
// It owns the dialog with the provider and nothing else: no queue, no state, no
// retry, no disk. One call of Send is one connection and one attempt.
//
// Invariants:
//   - No login before TLS is good (relay/upstream); STARTTLS is never given up
//     and nothing said before TLS is used after it.
//   - The bytes of the message reach the provider as they are: only the dots
//     that RFC 5321 4.5.2 asks for are added. A body with a bare CR, a bare LF,
//     a NUL, or an end other than CRLF is refused, never repaired: repair breaks
//     signatures, passing it on lets one message become two (reliability.md
//     B15).
//   - All recipients or none.
//   - Hooks.BeforeDot runs after the last byte of the body and before the dot.
//     Once it succeeded, everything but a clear reply is "uncertain" (B1, B2).
//   - No password and no AUTH line in a Result, in any form.
//   - What the provider says is bounded: 4 KiB a line, 64 KiB a reply (B16).
//
// The client is written here and not taken from go-smtp, whose DotWriter
// changes line ends and whose DATA has no time limit.
//
// It must not import relay, mailbox or gateway. Its tests hold their own
// scripted servers.
package submit

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"time"

	"pecgate/relay/upstream"
)

const (
	// defaultTimeout is the longest of RFC 5321 4.5.3.2 before the dot.
	defaultTimeout = 5 * time.Minute
	// defaultDotTimeout is RFC 5321 4.5.3.2.6. Shorter makes duplicates (B3).
	defaultDotTimeout = 10 * time.Minute
)

// Server is a provider's submission service and the login for one mailbox.
type Server struct {
	Host     string
	Port     int
	Security string         // "tls": from the first byte; "starttls": before anything else
	Roots    *x509.CertPool // nil: those of the system
	Username string
	Password string
	Token    string // OAuth 2.0 access token, in place of Password (XOAUTH2)
	// Replies are what this provider means by replies of its own, besides what
	// every provider means.
	Replies []ReplyRule
	Hello   string // name given at EHLO; empty: the address literal of our end
	// Timeout is for each command and reply, and for each block of the body;
	// 0 is 5 minutes.
	Timeout time.Duration
	// DotTimeout is for the reply to the final dot; 0 is 10 minutes.
	DotTimeout time.Duration
	// Dial opens the TCP connection; nil is net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// BeforeLogin is asked right before the login is sent; an error ends the
	// connection without it, as a temporary one. LoggedIn is called when the login
	// was taken. nil: nobody.
	BeforeLogin func(ctx context.Context) error
	LoggedIn    func()
	// Ordinary: it is a smarthost for ordinary mail and no provider. The sender may be
	// empty (a null return path), an empty Username means no login, and Security may be
	// "none" where Host is a loopback address.
	Ordinary bool
}

// who is the server in our own words.
func (s *Server) who() string {
	if s.Ordinary {
		return "the smarthost"
	}
	return "the provider"
}

// clear tells whether the line may be without TLS.
func (s *Server) clear() bool {
	ip := net.ParseIP(s.Host)
	return s.Ordinary && s.Security == "none" && ip != nil && ip.IsLoopback()
}

// Body is the message as it was accepted. Its bytes must not change during
// Send; that they are read twice is safe all the same.
type Body interface {
	io.ReaderAt
	Size() int64
}

// Hooks are called during Send, in its goroutine.
type Hooks struct {
	// BeforeDot records the synced intent to hand over. An error ends the
	// connection without the dot: nothing is sent, the class is temporary, and
	// Result.Err wraps it. nil: no hook.
	BeforeDot func(ctx context.Context) error
}

// Class is what an attempt means for the submission.
type Class string

// The classes. Only HandedOver and Uncertain may mean that the provider has the
// message; with all others it certainly has not.
const (
	HandedOver  Class = "handed-over"  // 2xx to the dot
	Temporary   Class = "temporary"    // try again later
	Permanent   Class = "permanent"    // will not get better: tell the sender
	Uncertain   Class = "uncertain"    // the intent is recorded, no clear reply came
	AuthRefused Class = "auth-refused" // login refused: suspend, do not try again with it (B10)
	TLSFailed   Class = "tls-failed"   // not the provider, or not safe: stays queued (E1, E6)
)

// Stage is where an attempt ended.
type Stage string

// The stages in their order. StageBody is also the stage of a body that was
// refused before a connection was made.
const (
	StageConnect  Stage = "connect"
	StageTLS      Stage = "tls"
	StageGreeting Stage = "greeting"
	StageHello    Stage = "hello"
	StageAuth     Stage = "auth"
	StageMail     Stage = "mail"
	StageRcpt     Stage = "rcpt"
	StageData     Stage = "data"
	StageBody     Stage = "body"
	StageDot      Stage = "dot"
)

// Refusal is one recipient that the provider did not take.
type Refusal struct {
	Recipient string
	Class     Class // Permanent or Temporary
	Code      int
	Enhanced  string
	Text      string
}

// Result is the outcome of Send.
type Result struct {
	Class    Class
	Stage    Stage
	Code     int       // the deciding reply, 0 if none
	Enhanced string    // its enhanced status code (RFC 3463), if any
	Text     string    // the provider's words: one line, at most 512 bytes
	Refused  []Refusal // recipients refused at RCPT; then nothing was sent to any, but for a Partial envelope
	DSN      bool      // the server takes what Envelope asks to be told

	TLSVersion         string
	Cipher             string
	CertificateExpires time.Time
	Staple             string // see upstream.Facts

	Err error // nil only when handed over
}

// Unclear tells of an AuthRefused whether nothing says that it is the credential
// that is refused. RFC 4954 section 6: 535 is the credential, 534 and 538 the way
// that it was sent.
func (r Result) Unclear() bool {
	return r.Class == AuthRefused && r.Code != 0 && r.Code != 534 && r.Code != 535 && r.Code != 538 && r.Enhanced != "5.7.8" &&
		upstream.JudgeRefusal(r.Text) != upstream.Credential
}

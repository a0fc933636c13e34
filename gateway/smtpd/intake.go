package smtpd

import (
	"context"
	"errors"
	"io"
	"time"

	"pecgate/policy"
)

// Errors of an Intake that have a reply of their own. They may come wrapped.
var (
	ErrNoSpace  = errors.New("no space for messages") // 452 4.3.1
	ErrDraining = errors.New("shutting down")         // 421 4.3.2

	// ErrKeyUsed: something else was submitted under the same Submission.Key. Not by SMTP.
	ErrKeyUsed = errors.New("the key stands for another submission")
)

// Intake is what smtpd needs of store and queue.
type Intake interface {
	// Ready is asked at each MAIL: ErrNoSpace below the space floor, ErrDraining
	// while stopping.
	Ready(ctx context.Context) error
	// Begin starts one submission.
	Begin(ctx context.Context, s Submission) (Delivery, error)
}

// Delivery takes the bytes of one submission, header first and edited.
type Delivery interface {
	io.Writer
	// Known returns the receipt of the submission of which this one, now whole,
	// is the client's repetition; without ID where it is none.
	Known(ctx context.Context) (Receipt, error)
	// Hold has Commit keep the message back until its sender confirms it, or
	// another member approves it. A
	// repetition of a message that is held is held as that one, and released by
	// one without Hold.
	Hold(why Lack)
	// Proved notes that the submission's PIN was asked for, and right.
	Proved()
	// Commit returns when everything about the submission is durable.
	Commit(ctx context.Context) (Receipt, error)
	// Abort drops everything. It does nothing after Commit.
	Abort()
}

// Receipt is the store's word for an accepted submission.
type Receipt struct {
	ID        string // of the submission; told to the client, so printable ASCII without blanks
	Duplicate bool   // the client's repetition of a submission already accepted under ID
	Held      bool   // it waits for its sender's PIN
	Lack      Lack   // then: what the PIN of this submission lacked; empty: not known
	Already   bool   // Confirmed, but it was so before
	Approval  bool   // it waits for a member who approves it
	Confirmed bool   // it was held under ID, and is so no more
	Stray     bool   // it has no sender and was filed for the administrator
	Passed    bool   // it is ordinary mail that passes through
	Reported  bool   // it is a journal report of which nothing leaves
	Replaced  bool   // its Message-ID was that of another submission, and is now one of ours
}

// Lack says what the PIN of a message that is held lacks.
type Lack string

// What a PIN may lack.
const (
	HoldMissing Lack = "missing"
	HoldWrong   Lack = "wrong"
	HoldLocked  Lack = "locked" // too many were wrong: none was looked at
	HoldSpent   Lack = "spent"  // a one-time code that was used before

	// HoldApproval: no PIN is asked of the sender; another member must approve.
	HoldApproval Lack = "approval"
)

// Submission is what is known of a message before its bytes.
type Submission struct {
	Identity        policy.Identity
	Mailbox         string    // PEC mailbox, lower case
	From            string    // reverse path, as the client wrote it, domain in lower case
	Envelope        []string  // of RCPT, each once, with the lists among them
	Recipients      []string  // Envelope without lists: each once, in the order of RCPT (see Split), domains in lower case
	Split           string    // "always": a message for each recipient; "blind": one for the first Visible, one for each other; empty: one for all
	Visible         int       // of a blind split
	MessageID       string    // of the message as handed on, with angle brackets
	ClientMessageID string    // as it came; empty where the client gave none
	HeaderEdits     []string  // what was changed in the header, in words
	Remote          string    // client's address without port
	Received        time.Time // when DATA began
	DeclaredSize    int64     // of MAIL SIZE=, octets; 0 where not given
	HeaderSize      int64     // octets of the header as handed on, with its blank line
	ClientHeader    [32]byte  // SHA-256 of the header as it came, but for the PIN: it tells a retry

	// Of what comes from a groupware server; empty for anything else.
	Relay          string           // its name
	OrdinarySender string           // the sender's ordinary address, lower case: for the audit log only; may be empty
	ReturnTo       string           // reverse path as the server gave it: to whom notices of failure go
	EnvID          string           // of MAIL, decoded (RFC 3461 section 4.4)
	Return         string           // FULL or HDRS; empty: not said
	Asked          []Asked          // for Recipients
	Warn           []policy.Warning // what its sender is told, once it is accepted
	// Way is the SHA-256, in hexadecimal digits, of the Received fields of a message to
	// which no ClientMessageID was given: only its repetition came the same way at the
	// same time. Empty: there were none, or a ClientMessageID.
	Way string
	// Journal is the report inside of which it came; nil: none. To are the Recipients.
	Journal *JournalOf

	// Key is what the client calls this submission, KeySum the digest of all that it
	// asked under that name: the same asked again is a repetition, something else
	// ErrKeyUsed. Empty: it gave none.
	Key, KeySum string
}

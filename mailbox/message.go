package mailbox

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/mailbox/segment"
)

// MessageID numbers the messages of a store; a number is never used again.
type MessageID uint64

// Direction is where a message came from.
type Direction string

// The directions.
const (
	In  Direction = "in"  // fetched from the provider
	Out Direction = "out" // submitted for relaying
	Own Direction = "own" // put there by a person's client, never relayed
)

// Message is the record of a stored message.
type Message struct {
	ID         MessageID   `json:"id"`
	Ref        segment.Ref `json:"ref"`
	Box        string      `json:"box,omitempty"` // the PEC mailbox it belongs to
	Direction  Direction   `json:"direction"`
	Author     Person      `json:"author,omitempty"`     // who submitted or appended it
	Submission string      `json:"submission,omitempty"` // the submission it is, or is about
	MessageID  string      `json:"msgid,omitempty"`      // of its own header, without brackets
	Arrived    time.Time   `json:"arrived"`              // our clock
	Date       time.Time   `json:"date"`                 // INTERNALDATE: the provider's for what was fetched
	History    bool        `json:"history,omitempty"`    // stood at the provider before the gateway did
	Generated  bool        `json:"generated,omitempty"`  // by FileGenerated: the gateway can make it anew
	Transit    bool        `json:"transit,omitempty"`    // ordinary mail that only passes through: see RemoveTransit

	// What the PEC reader found; empty for what a client submitted or appended.
	Kind    pec.Kind `json:"kind,omitempty"`
	Verdict string   `json:"verdict,omitempty"`
	Reason  string   `json:"reason,omitempty"`

	Register *RegisterNumber `json:"register,omitempty"` // by EnterRegister
	Charge   *Charge         `json:"charge,omitempty"`   // who takes care of it
	Was      Direction       `json:"was,omitempty"`      // of a Recovered message: what its origin says
}

// Size is the number of bytes of the message.
func (m *Message) Size() int64 { return m.Ref.Size }

// SHA256 is the hash of the message's bytes, in hexadecimal.
func (m *Message) SHA256() string { return hex.EncodeToString(m.Ref.Sum[:]) }

// Message returns the record of a message, or ErrNotFound.
func (tx *Tx) Message(id MessageID) (*Message, error) {
	m := new(Message)
	if err := tx.getJSON(key("m", id), m); err != nil {
		return nil, err
	}
	return m, nil
}

// PutMessage writes a changed record. ID, Box, MessageID and Arrived must not
// change; Ref and Charge stay what they are in the store, where a sweep or a
// person may have changed them since m was read.
func (tx *Tx) PutMessage(m *Message) error {
	switch now, err := tx.Message(m.ID); {
	case err == nil:
		m.Ref, m.Charge = now.Ref, now.Charge
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return tx.putJSON(key("m", m.ID), m)
}

func msgidKey(m *Message) []byte {
	return key("ms", strings.ToLower(m.Box), clipKey(m.MessageID), m.ID)
}

// ScanMessages calls fn for the records of messages behind a number, ascending,
// until it returns false.
func (tx *Tx) ScanMessages(after MessageID, fn func(*Message) (bool, error)) error {
	return tx.r.Scan(key("m"), key("m", after+1), func(_, b []byte) (bool, error) {
		m := new(Message)
		if err := json.Unmarshal(b, m); err != nil {
			return false, fmt.Errorf("record of a message: %w", err)
		}
		return fn(m)
	})
}

// ByContent returns the messages with these bytes, oldest first.
func (tx *Tx) ByContent(sum [32]byte) ([]MessageID, error) {
	return tx.numbers(key("mh", sum[:]))
}

// ByMessageID returns the messages of a mailbox that carry a Message-ID (as
// pec.NormalizeID writes it), oldest first. Strangers choose Message-IDs: this
// is a hint, never an identity.
func (tx *Tx) ByMessageID(box, msgid string) ([]MessageID, error) {
	return tx.numbers(key("ms", strings.ToLower(box), clipKey(msgid)))
}

func (tx *Tx) numbers(prefix []byte) ([]MessageID, error) {
	var ids []MessageID
	err := tx.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
		ids = append(ids, MessageID(tailUint64(k)))
		return len(ids) < 1000, nil
	})
	return ids, err
}

// Message is Tx.Message in a transaction of its own.
func (s *Store) Message(ctx context.Context, id MessageID) (*Message, error) {
	var m *Message
	err := s.View(ctx, func(tx *Tx) (err error) { m, err = tx.Message(id); return err })
	return m, err
}

// Index returns the offsets of a message's parts. Envelope, BodyStructure and
// Body are not in it: entries have them.
func (s *Store) Index(ctx context.Context, id MessageID) (*mime.Index, error) {
	ix := new(mime.Index)
	err := s.View(ctx, func(tx *Tx) error {
		b, err := tx.r.Get(key("mi", id))
		if err != nil {
			return err
		}
		return ix.UnmarshalBinary(b)
	})
	return ix, err
}

// Open returns the bytes of a message for reading by range. The caller closes
// it. Where a sweep has moved them since m was read, they are found all the
// same; ErrNotFound says that the message was removed.
func (s *Store) Open(m *Message) (*segment.Reader, error) {
	r, err := s.bytes.Open(m.Ref)
	if !errors.Is(err, segment.ErrNotFound) {
		return r, err
	}
	now, err := s.Message(context.Background(), m.ID) // local and short
	if err != nil {
		return nil, err
	}
	return s.bytes.Open(now.Ref)
}

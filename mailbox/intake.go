package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/mailbox/segment"
)

// Origin is kept beside the bytes of a message, so that the records can be
// made anew from the segments alone. It holds no secret.
type Origin struct {
	Box        string    `json:"mailbox,omitempty"`
	Direction  Direction `json:"direction"`
	At         time.Time `json:"at"`
	User       string    `json:"user,omitempty"` // login
	Submission string    `json:"submission,omitempty"`
	From       string    `json:"from,omitempty"`  // envelope
	To         []string  `json:"to,omitempty"`    // envelope
	Alias      string    `json:"alias,omitempty"` // the client's Message-ID, where it was replaced
	Split      string    `json:"split,omitempty"` // a submission that leaves as several messages, with
	Visible    int       `json:"visible,omitempty"`
	Held       string    `json:"held,omitempty"` // a submission that was not to leave before a person's PIN or approval: for which
	Folder     string    `json:"folder,omitempty"`
	Name       string    `json:"name,omitempty"`        // of a folder that the person made
	Validity   uint32    `json:"uidvalidity,omitempty"` // provider's, with UID
	UID        uint32    `json:"uid,omitempty"`
	UIDL       string    `json:"uidl,omitempty"` // by POP3, in place of folder, validity and UID
	Date       time.Time `json:"date,omitzero"`
	Relayed    *Relayed  `json:"relayed,omitempty"` // nil: it did not come through a groupware server
}

// Relayed is what a submission brought with it that came through a groupware server:
// by it its sender is told what becomes of it. All is bounded by who writes it.
type Relayed struct {
	Relay    string      `json:"relay"`               // its name in the policy
	ReturnTo string      `json:"return_to,omitempty"` // the ordinary address that it came from
	EnvID    string      `json:"envid,omitempty"`     // decoded (RFC 3461 section 4.4)
	Return   string      `json:"ret,omitempty"`       // FULL or HDRS
	Notify   []NotifyFor `json:"notify,omitempty"`    // of whom nothing was asked is left out
}

// NotifyFor is what was asked to be told of one recipient (RFC 3461 section 4).
type NotifyFor struct {
	To     int    `json:"to"` // index in Origin.To
	Notify string `json:"notify,omitempty"`
	ORCPT  string `json:"orcpt,omitempty"`
}

// generated tells whether the gateway wrote the message from its records; what a
// person put into the same folder is of no submission.
func (o *Origin) generated() bool {
	return o.Direction == Own && Role(o.Folder) == RoleOutcomes && o.Submission != ""
}

// Intake is a message on its way into the store: Begin, Write, Store, Record;
// or Abort. Nothing of it is visible before Record.
type Intake struct {
	s         *Store
	w         *segment.Writer
	unchecked int // bytes since the disk was looked at
}

// Begin starts a message. It fails with ErrNoSpace below the space floor.
func (s *Store) Begin(ctx context.Context) (*Intake, error) {
	if err := s.Room(); err != nil {
		return nil, err
	}
	w, err := s.bytes.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin a message: %w", s.watch(err))
	}
	return &Intake{s: s, w: w}, nil
}

// uploadStep is how many bytes of a message are taken between two looks at the
// disk.
const uploadStep = 1 << 20

// Write appends to the message. ErrNoSpace says that the disk has become so
// full that the message cannot be taken.
func (in *Intake) Write(p []byte) (int, error) {
	if in.unchecked += len(p); in.unchecked >= uploadStep {
		in.unchecked = 0
		if err := in.s.uploadRoom(); err != nil {
			return 0, err
		}
	}
	return in.w.Write(p)
}

// Size is the number of bytes written so far.
func (in *Intake) Size() int64 { return in.w.Size() }

// ReadAt reads what was written so far, before Store and Abort.
func (in *Intake) ReadAt(p []byte, off int64) (int, error) { return in.w.ReadAt(p, off) }

// Abort drops the message. It does nothing after Store.
func (in *Intake) Abort() { in.w.Abort() }

// Stored is a message whose bytes are durable and whose offsets are known, but
// which no record names yet.
type Stored struct {
	s      *Store
	Origin Origin
	Ref    segment.Ref
	Index  *mime.Index
	reader *segment.Reader
	words  Signature // nil: a search will make it
	fields []byte    // see fields.go

	// Of a message that was stored now, until Close.
	writer *segment.Writer
	flight *ticket
}

// Store makes the bytes and their origin durable and finds the offsets of the
// message's parts. The caller then records it and closes it, soon: until then
// its segment is not swept. One that does not record it leaves bytes without a
// record, which are never lost (see Recover).
func (in *Intake) Store(ctx context.Context, o Origin) (_ *Stored, err error) {
	if err := in.s.writeRoom(); err != nil {
		in.Abort()
		return nil, err
	}
	if o.At.IsZero() {
		o.At = in.s.opt.Now().UTC()
	}
	side, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	flight := in.s.flight.begin()
	defer func() {
		if err != nil {
			in.w.Release()
			flight.end()
		}
	}()
	ref, err := in.w.Commit(ctx, side)
	if err != nil {
		return nil, fmt.Errorf("make a message durable: %w", in.s.watch(err))
	}
	r, err := in.s.bytes.Open(ref)
	if err != nil {
		return nil, fmt.Errorf("read a message back: %w", err)
	}
	ix, err := mime.Parse(r, ref.Size, mime.Limits{})
	if err != nil {
		return nil, fmt.Errorf("find a message's parts: %w", joinClose(err, r))
	}
	words, err := MakeSignature(r, ix)
	if err != nil {
		return nil, fmt.Errorf("read a message's words: %w", joinClose(err, r))
	}
	fields, err := makeFields(r, ix)
	if err != nil {
		return nil, joinClose(err, r)
	}
	return &Stored{s: in.s, Origin: o, Ref: ref, Index: ix, reader: r, words: words, fields: fields, writer: in.w, flight: flight}, nil
}

// ReadAt reads the stored bytes.
func (st *Stored) ReadAt(p []byte, off int64) (int, error) { return st.reader.ReadAt(p, off) }

// Size is the number of bytes of the message.
func (st *Stored) Size() int64 { return st.Ref.Size }

// Close ends reading.
func (st *Stored) Close() error {
	if st.writer != nil {
		st.writer.Release()
		st.flight.end()
	}
	return st.reader.Close()
}

// Record makes the record of a stored message and whatever fn adds (folder
// entries, a queue item, a cursor, an audit line) durable in one transaction.
// fn may fill the message's fields; it may be called again. When Record
// returns nil everything is durable.
//
// After an error of fn, by which the caller decides against the message, its
// bytes are removed as well: nobody was promised anything about them. They stay
// where it is not certain that nothing was recorded.
func (s *Store) Record(ctx context.Context, st *Stored, fn func(*Tx, *Message) error) (*Message, error) {
	m, err := s.record(ctx, st, fn)
	if err != nil && !errors.Is(err, kv.ErrFailed) && !errors.Is(err, kv.ErrClosed) {
		s.refuse(context.WithoutCancel(ctx), st)
	}
	return m, err
}

// RecordAll is Record of several messages in one transaction, in their order; fn is
// told which of them it is. It is for few and small ones: a transaction is bounded
// (kv.MaxUpdateBytes). After an error none is recorded and the bytes of all are
// there: the caller records them one by one, or decides against them by Record.
func (s *Store) RecordAll(ctx context.Context, list []*Stored, fn func(tx *Tx, i int, m *Message) error) (all []*Message, err error) {
	err = s.Update(ctx, func(tx *Tx) error {
		all = make([]*Message, len(list))
		for i, st := range list {
			if all[i], err = tx.record(st, func(tx *Tx, m *Message) error { return fn(tx, i, m) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("record %d messages: %w", len(list), err)
	}
	return all, nil
}

// refuse removes the bytes of a message that was not recorded. What fails here
// is found by Recover.
func (s *Store) refuse(ctx context.Context, st *Stored) {
	named := true
	err := s.View(ctx, func(tx *Tx) error {
		ids, err := tx.named(st.Ref)
		named = len(ids) > 0 // by an earlier Record of the same bytes
		return err
	})
	if err == nil && !named {
		err = s.writeRoom() // a write that fails for want of room is the end of the store
	}
	if err == nil && !named {
		err = s.watch(s.bytes.Remove(ctx, st.Ref))
	}
	if err != nil {
		s.opt.Events.Fault("store", st.Origin.Box, err)
	}
}

func (s *Store) record(ctx context.Context, st *Stored, fn func(*Tx, *Message) error) (m *Message, err error) {
	err = s.Update(ctx, func(tx *Tx) error {
		m, err = tx.record(st, fn)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("record a message: %w", err)
	}
	return m, nil
}

// record is Record in a transaction.
func (tx *Tx) record(st *Stored, fn func(*Tx, *Message) error) (*Message, error) {
	offsets, err := st.Index.MarshalBinary()
	if err != nil {
		return nil, err
	}
	n, err := tx.next("message")
	if err != nil {
		return nil, err
	}
	m := &Message{
		ID: MessageID(n), Ref: st.Ref, Box: st.Origin.Box, Direction: st.Origin.Direction,
		Submission: st.Origin.Submission, MessageID: pec.NormalizeID(st.Index.MessageID),
		Arrived: st.Origin.At, Date: st.Origin.At,
	}
	if !st.Origin.Date.IsZero() {
		m.Date = st.Origin.Date
	}
	if err := tx.w.Put(key("mi", m.ID), offsets); err != nil {
		return nil, err
	}
	if err := tx.w.Put(key("mh", st.Ref.Sum[:], m.ID), nil); err != nil {
		return nil, err
	}
	if m.MessageID != "" {
		if err := tx.w.Put(msgidKey(m), nil); err != nil {
			return nil, err
		}
	}
	if err := tx.refer(m); err != nil {
		return nil, err
	}
	if err := fn(&Tx{s: tx.s, r: tx.r, w: tx.w, now: tx.now, parsed: st.Index, parsedID: m.ID, words: st.words, fields: st.fields}, m); err != nil {
		return nil, err
	}
	return m, tx.PutMessage(m)
}

// maxKeyText bounds what of a stranger's Message-ID goes into a key, in bytes.
const maxKeyText = 1000

func clipKey(s string) string {
	if len(s) > maxKeyText {
		return s[:maxKeyText]
	}
	return s
}

func joinClose(err error, r *segment.Reader) error {
	if cerr := r.Close(); cerr != nil {
		return fmt.Errorf("%w; %w", err, cerr)
	}
	return err
}

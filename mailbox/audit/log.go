package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note" // signed notes: the keys that heads are checked with
	"golang.org/x/mod/sumdb/tlog" // the Merkle tree of RFC 6962 and its proofs, as small as it can be

	"pecgate/mailbox/kv"
)

// Errors that callers tell apart; all may come wrapped, and kv's besides.
var (
	// ErrDamaged: the records of the log contradict themselves; Verify says where.
	ErrDamaged = errors.New("audit: the log is damaged")
	// ErrRolledBack: the file of heads knows more, or other, than the records.
	ErrRolledBack = errors.New("audit: the log is not the one whose heads were kept")
	// ErrHeadsMissing: there are heads, but their file is not there.
	ErrHeadsMissing = errors.New("audit: the file of heads is missing")
)

// maxSize bounds numbers of entries that come from outside. The tree's own
// arithmetic does not end for sizes above 2^62.
const maxSize = 1 << 40

const saltSize = 16

// Store is what heads and Verify need of the records: kv.Store is one.
type Store interface {
	View(ctx context.Context, fn func(kv.Reader) error) error
	Update(ctx context.Context, fn func(kv.Txn) error) error
}

// Options of a log.
type Options struct {
	Prefix []byte           // begins all keys of the log in the records, and no other room's
	Key    *Key             // signs heads; nil: none are made
	Public []string         // further public keys whose heads are believed, as Key.Public writes them
	File   string           // the file of heads, outside the folder of the records; empty: none
	Now    func() time.Time // time of heads; nil: time.Now
}

// Log is the log under one prefix. It is safe for use by many goroutines.
type Log struct {
	opt     Options
	known   note.Verifiers
	prefix  map[byte][]byte // by kind
	mu      sync.Mutex      // guards the file of heads and what follows
	started bool
	inFile  int64 // heads that the file has
}

// The kinds of records.
const (
	kindState = 's'
	kindHash  = 'h'
	kindEntry = 'e'
	kindHead  = 't'
)

// New returns the log below a prefix. It reads and writes nothing.
func New(o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	keys := o.Public
	if o.Key != nil {
		keys = append(o.Key.All(), keys...)
	}
	known, err := verifiers(keys)
	if err != nil {
		return nil, err
	}
	l := &Log{opt: o, known: known, prefix: map[byte][]byte{}}
	for _, kind := range []byte{kindState, kindHash, kindEntry, kindHead} {
		l.prefix[kind] = append(bytes.Clone(o.Prefix), kind)
	}
	return l, nil
}

// key is that of a numbered record.
func (l *Log) key(kind byte, n int64) []byte {
	p := l.prefix[kind]
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(p)+8), p...), uint64(n))
}

// number is the reverse of key; false for a key that key does not make.
func (l *Log) number(kind byte, k []byte) (int64, bool) {
	if len(k) != len(l.prefix[kind])+8 {
		return 0, false
	}
	n := binary.BigEndian.Uint64(k[len(k)-8:])
	return int64(n), n < maxSize
}

// state is the one record that every Append changes.
type state struct {
	size, heads int64
	last        tlog.Hash // leaf of the newest entry
}

const stateSize = 1 + 8 + 8 + tlog.HashSize

func (s state) bytes() []byte {
	b := append(make([]byte, 0, stateSize), version)
	b = binary.BigEndian.AppendUint64(b, uint64(s.size))
	b = binary.BigEndian.AppendUint64(b, uint64(s.heads))
	return append(b, s.last[:]...)
}

func parseState(b []byte) (s state, err error) {
	if len(b) != stateSize || b[0] != version {
		return s, fmt.Errorf("its state is malformed: %w", ErrDamaged)
	}
	size, heads := binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:])
	if size > maxSize || heads > maxSize {
		return s, fmt.Errorf("its state is malformed: %w", ErrDamaged)
	}
	s = state{size: int64(size), heads: int64(heads)}
	copy(s.last[:], b[17:])
	return s, nil
}

// prev is what the next entry says of the one before it.
func (s state) prev() string {
	if s.size == 0 {
		return ""
	}
	return s.last.String()
}

func (l *Log) state(r kv.Reader) (s state, err error) {
	b, err := r.Get(l.prefix[kindState])
	if err == nil {
		return parseState(b)
	}
	if !errors.Is(err, kv.ErrNotFound) {
		return s, err
	}
	// A lost state would begin the log anew, over what is there.
	for _, kind := range []byte{kindHash, kindHead} {
		some := false
		if err := r.Scan(l.prefix[kind], nil, func(_, _ []byte) (bool, error) { some = true; return false, nil }); err != nil {
			return s, err
		}
		if some {
			return s, fmt.Errorf("its state is missing: %w", ErrDamaged)
		}
	}
	return s, nil
}

// Append writes an entry in the caller's transaction and returns its number.
// It writes three keys, together about 600 bytes, and reads two or three.
// Errors: ErrEntry, ErrDamaged, and those of tx.
func (l *Log) Append(tx kv.Txn, e Entry) (int64, error) {
	if e.Event == removal {
		return 0, fmt.Errorf("the event %s is written by Remove only: %w", removal, ErrEntry)
	}
	return l.append(tx, e)
}

func (l *Log) append(tx kv.Txn, e Entry) (int64, error) {
	e, err := tidy(e)
	if err != nil {
		return 0, err
	}
	s, err := l.state(tx)
	if err != nil {
		return 0, err
	}
	n := s.size
	at := l.key(kindHash, n)
	if _, err := tx.Get(at); !errors.Is(err, kv.ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("entry %d is there already: %w", n, ErrDamaged)
		}
		return 0, err
	}
	record := make([]byte, saltSize, saltSize+512)
	rand.Read(record) // never fails
	record = append(record, text(n, s.prev(), e)...)
	s.last = leaf(record[:saltSize], record[saltSize:])
	hashes, err := tlog.StoredHashesForRecordHash(n, s.last, l.hashes(tx))
	if err != nil {
		return 0, err
	}
	stored := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		stored = append(stored, h[:]...)
	}
	s.size++
	if err := tx.Put(at, stored); err != nil {
		return 0, err
	}
	if err := tx.Put(l.key(kindEntry, n), record); err != nil {
		return 0, err
	}
	return n, tx.Put(l.prefix[kindState], s.bytes())
}

// hashes reads the tree's nodes. Node m of a level stands with the entry that
// completed it.
func (l *Log) hashes(r kv.Reader) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			level, m := tlog.SplitStoredHashIndex(index)
			n := (m+1)<<level - 1
			b, err := r.Get(l.key(kindHash, n))
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return nil, err
			}
			if len(b) < (level+1)*tlog.HashSize {
				return nil, fmt.Errorf("the hashes of entry %d are missing: %w", n, ErrDamaged)
			}
			copy(out[i][:], b[level*tlog.HashSize:])
		}
		return out, nil
	})
}

// root is the root of the tree over the first n entries.
func (l *Log) root(r kv.Reader, n int64) (tlog.Hash, error) { return tlog.TreeHash(n, l.hashes(r)) }

// Size is the number of entries, those without a text included.
func (l *Log) Size(r kv.Reader) (int64, error) {
	s, err := l.state(r)
	return s.size, err
}

// Line is an entry with its number.
type Line struct {
	Number int64 `json:"n"`
	Entry
}

// Scan calls fn for the entries from a number on, in their order, until fn
// answers false. Entries whose text was removed are passed over.
func (l *Log) Scan(r kv.Reader, from int64, fn func(Line) bool) error {
	return r.Scan(l.prefix[kindEntry], l.key(kindEntry, max(from, 0)), l.show(fn))
}

// Tail is Scan from the newest entry backwards.
func (l *Log) Tail(r kv.Reader, fn func(Line) bool) error {
	return r.ScanBack(l.prefix[kindEntry], l.show(fn))
}

func (l *Log) show(fn func(Line) bool) func(k, v []byte) (bool, error) {
	return func(k, v []byte) (bool, error) {
		n, ok := l.number(kindEntry, k)
		if !ok || len(v) < saltSize {
			return false, fmt.Errorf("a record among the entries is none: %w", ErrDamaged)
		}
		w, err := parse(v[saltSize:])
		if err != nil {
			return false, fmt.Errorf("entry %d: %w: %w", n, err, ErrDamaged)
		}
		return fn(Line{Number: n, Entry: w.Entry}), nil
	}
}

// Get returns one entry; kv.ErrNotFound if there is none or its text was
// removed.
func (l *Log) Get(r kv.Reader, n int64) (Entry, error) {
	b, err := r.Get(l.key(kindEntry, n))
	if err != nil {
		return Entry{}, err
	}
	if len(b) < saltSize {
		return Entry{}, fmt.Errorf("entry %d: %w", n, ErrDamaged)
	}
	w, err := parse(b[saltSize:])
	if err != nil {
		return Entry{}, fmt.Errorf("entry %d: %w: %w", n, err, ErrDamaged)
	}
	return w.Entry, nil
}

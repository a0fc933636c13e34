package mailbox

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"pecgate/mailbox/audit"
	"pecgate/mailbox/events"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/segment"
)

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("mailbox: not found")
	ErrNoSpace  = errors.New("mailbox: the disk has less free space than min_free")
	ErrExists   = errors.New("mailbox: already there")
	ErrRefused  = errors.New("mailbox: not allowed in this folder")
	// ErrRecordsMissing: the folder of records is gone.
	ErrRecordsMissing = errors.New("mailbox: the records are missing")
)

// Options says where the store lives and what it may use.
type Options struct {
	Dir     string           // the store makes its folders below it, mode 0700
	MinFree int64            // bytes that must stay free on the disk of Dir; 0: no floor
	Name    string           // of the appliance, which its audit key gets; a host name
	Zone    *time.Location   // of register years and archive days; nil: UTC
	Now     func() time.Time // nil: time.Now
	Events  *events.Log      // nil: none
	// Clock tells whether the clock is synchronised, as Store.Clock says it; nil: that
	// is not known.
	Clock func() string

	// Free asks the disk of Dir; nil: statfs. Tests give another.
	Free func() (DiskFree, error)
}

// Store is an open store. It is safe for use by many goroutines.
type Store struct {
	opt       Options
	records   kv.Store
	bytes     *segment.Store
	snapshots snapshotCache
	listings  listingCache
	flight    flight
	copying   sync.RWMutex // held for reading while a backup copies: no bytes are removed
	space     space
	audit     *audit.Log
	people    atomic.Uint64 // PeopleVersion
	failed    chan error    // holds the first failure
	broken    atomic.Pointer[error]
	closing   sync.Once
	closeErr  error
	opened    string // see Opened
}

// Open opens the store below o.Dir and makes it when there is none. It fails
// with ErrNoSpace before it touches anything when the disk is below the floor:
// the record store dies on a full disk instead of failing. A store of an older
// format is brought to this one; ErrNewer says that it is of a newer one.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Events == nil {
		o.Events = events.Discard()
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.Free == nil {
		o.Free = func() (DiskFree, error) { return diskFree(o.Dir) }
	}
	if err := privateDir(o.Dir); err != nil {
		return nil, err
	}
	s := &Store{opt: o, failed: make(chan error, 1), opened: rand.Text()}
	s.space.s = s
	if d, err := o.Free(); err != nil {
		return nil, err
	} else if d.Bytes < o.MinFree {
		return nil, noSpace(DiskSpace{Free: d.Bytes, Floor: o.MinFree})
	}
	if err := recordsThere(o.Dir); err != nil {
		return nil, err
	}
	var err error
	if s.records, err = openRecords(o, true); err != nil {
		return nil, err
	}
	// The time these take is bounded by the store, and half of it is of no use.
	ctx := context.Background()
	if err := s.upgradeRecords(ctx); err != nil {
		return nil, errors.Join(err, s.records.Close())
	}
	if err := s.openBytes(ctx); err != nil {
		return nil, errors.Join(err, s.records.Close())
	}
	if err := s.openSpace(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.openAudit(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.upgrade(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.finishRestore(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// recordsThere refuses a store that has messages and no folder of records: a
// new one would be made, and everything would stand there as if it had never
// been filed, sent or read.
func recordsThere(dir string) error {
	if err := restoreEnded(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "records")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	found, err := filepath.Glob(filepath.Join(dir, "segments", "*.tar"))
	if err != nil || len(found) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s is not there, but messages are in %s; put the folder back from a backup, "+
		"or make all records anew with `pecgate fsck --rebuild`",
		ErrRecordsMissing, filepath.Join(dir, "records"), filepath.Join(dir, "segments"))
}

// Close waits for what is under way and closes the store. It may be called
// more than once.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.space.close()
		s.closeErr = errors.Join(s.records.Close(), s.bytes.Close())
	})
	return s.closeErr
}

// Failed tells, once, that a write or sync failed for good: what was promised
// is on disk, but nothing more can be. The process answers "temporary failure",
// stops and reads everything anew at its next start; a failed sync is never
// tried again.
func (s *Store) Failed() <-chan error { return s.failed }

// Broken returns the failure that Failed told, or nil.
func (s *Store) Broken() error {
	if err := s.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// watch passes an error of the stores below through and keeps a final one.
func (s *Store) watch(err error) error {
	if errors.Is(err, kv.ErrFailed) || errors.Is(err, segment.ErrFailed) {
		if s.broken.CompareAndSwap(nil, &err) {
			s.failed <- err
		}
	}
	return err
}

// Opened names this opening of the store. Only one process has the records open at
// a time: whoever held something under another name is there no more.
func (s *Store) Opened() string { return s.opened }

// Now returns the store's time, the only one for leases.
func (s *Store) Now() time.Time { return s.records.Now() }

// Tx reads the store as it was at one instant and, in Update, changes it.
type Tx struct {
	s   *Store
	r   kv.Reader
	w   kv.Txn // nil in View
	now time.Time

	// The message that Record is making: its wire forms are not stored yet.
	parsed   *mime.Index
	parsedID MessageID
	words    Signature
	fields   []byte
}

// View calls fn with a consistent read-only state.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.records.View(ctx, func(r kv.Reader) error {
		return fn(&Tx{s: s, r: r, now: s.opt.Now()})
	})
}

// Update calls fn and makes what it wrote durable, all or nothing, before it
// returns nil. fn may be called again and must have no other effect. After an
// error of the store itself it is unknown whether the changes are there: the
// caller answers "temporary failure" and never "done". On a disk that is almost
// full it answers ErrNoSpace and does nothing (LevelCritical).
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.watch(s.records.Update(ctx, func(t kv.Txn) error {
		// Asked when the writer is about to commit, not when the caller began to
		// wait for it.
		if err := s.writeRoom(); err != nil {
			return err
		}
		return fn(&Tx{s: s, r: t, w: t, now: s.opt.Now()})
	}))
}

// Now is the time of this call of the transaction's function.
func (tx *Tx) Now() time.Time { return tx.now }

func (tx *Tx) getJSON(k []byte, into any) error {
	b, err := tx.r.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func (tx *Tx) putJSON(k []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.w.Put(k, b)
}

func (tx *Tx) has(k []byte) (bool, error) {
	_, err := tx.r.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// next raises the counter by one and returns it; the first value is 1.
func (tx *Tx) next(counter string) (uint64, error) {
	k := key("n", counter)
	b, err := tx.r.Get(k)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return 0, err
	}
	var n uint64
	if len(b) == 8 {
		n = binary.BigEndian.Uint64(b)
	}
	n++
	return n, tx.w.Put(k, binary.BigEndian.AppendUint64(nil, n))
}

// nextUIDValidity returns a value that no folder or view of this store had
// before: the seconds since 1970, or one more than the last one given.
func (tx *Tx) nextUIDValidity() (uint32, error) {
	k := key("n", "uidvalidity")
	b, err := tx.r.Get(k)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return 0, err
	}
	v := uint32(tx.now.Unix())
	if len(b) == 4 {
		v = max(v, binary.BigEndian.Uint32(b)+1)
	}
	return v, tx.w.Put(k, binary.BigEndian.AppendUint32(nil, v))
}

// Space is a room's own corner of the records, in the same transaction.
type Space struct {
	tx   *Tx
	room string
}

// Space returns the name space of a room, for example "relay".
func (tx *Tx) Space(room string) Space { return Space{tx: tx, room: room} }

func (sp Space) key(k string) []byte { return append(key("r", sp.room), k...) }

// Get decodes the JSON record under k into v, or returns ErrNotFound.
func (sp Space) Get(k string, v any) error { return sp.tx.getJSON(sp.key(k), v) }

// Put writes v as JSON under k; at most 64 KiB.
func (sp Space) Put(k string, v any) error { return sp.tx.putJSON(sp.key(k), v) }

// Delete removes k; no error when it is not there.
func (sp Space) Delete(k string) error { return sp.tx.w.Delete(sp.key(k)) }

// Scan calls fn for each key that begins with prefix, ascending, until it
// returns false. raw is the JSON and valid only during the call.
func (sp Space) Scan(prefix string, fn func(k string, raw []byte) (bool, error)) error {
	base := len(sp.key(""))
	return sp.tx.r.Scan(sp.key(prefix), nil, func(k, v []byte) (bool, error) {
		return fn(string(k[base:]), v)
	})
}

// WatchSpace wakes the caller after a commit that wrote the key k of the
// room's space. stop ends it.
func (s *Store) WatchSpace(room, k string) (wake <-chan struct{}, stop func()) {
	return s.records.Watch(append(key("r", room), k...))
}

// Package kv is the contract of the record store: ordered keys, small values,
// transactions, and a wake-up per key.
//
// It owns this interface and the form of a backup, which is the same for all
// implementations, so that the records can move from one to another.
// Implementations live below it and prove themselves with kvtest; nothing above
// may know which one runs.
//
// Invariants every implementation keeps:
//   - Update returns nil only when its writes would survive a power cut.
//   - Updates are serial: each sees all that were acknowledged before it began,
//     and none sees half of another.
//   - A reader sees one state, never a write that was answered with an error.
//   - A failed commit is fatal. Its writes may or may not be found after the
//     store is opened again, so it answers ErrFailed until then.
//   - Commits are counted apart from the records, so a store that lost some is
//     not opened: what was acknowledged is there, or the loss is named.
//   - No error text holds a value; keys are named in errors by length only.
//
// Keys compare as bytes. A plan of keys is safe when no prefix that is scanned
// is the beginning of another kind's key: end every part of variable length
// with a byte that cannot occur in it, or put its length before it.
//
// It imports the standard library only.
package kv

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that callers tell apart; all may come wrapped.
var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("kv: not found")
	// ErrTooBig: a record above MaxRecord, a key above MaxKey, or one fn of
	// Update that writes more than MaxUpdateBytes or MaxUpdateKeys.
	ErrTooBig = errors.New("kv: too big")
	// ErrClosed: the store, or the transaction, was ended before.
	ErrClosed = errors.New("kv: closed")
	// ErrFailed: a commit failed, the store must be opened again.
	ErrFailed = errors.New("kv: store failed")
	// ErrKey: an empty key, or one an implementation keeps for itself.
	ErrKey = errors.New("kv: bad key")
	// ErrCorrupt: what is stored, or a backup, is damaged or incomplete. The
	// store was not opened, the backup not believed.
	ErrCorrupt = errors.New("kv: corrupt")
	// ErrInUse: the store (its folder) is open elsewhere.
	ErrInUse = errors.New("kv: folder in use")
	// ErrFormat: written by a newer release, in a form this one does not know.
	ErrFormat = errors.New("kv: written by a newer release")
	// ErrSince: a position that is not of this store, which may have been
	// restored meanwhile; a full backup is needed.
	ErrSince = errors.New("kv: position of another store")
	// ErrNotEmpty: only an empty store can be restored into.
	ErrNotEmpty = errors.New("kv: store not empty")
)

// Limits in bytes and keys.
const (
	MaxKey         = 4 << 10  // of a key
	MaxRecord      = 64 << 10 // of a key and its value together
	MaxUpdateBytes = 1 << 20  // of all keys and values one fn writes; a fold has the same bound
	MaxUpdateKeys  = 1000     // that one fn writes; a fold has the same bound
)

// Reader reads one state of the store. It is used by one goroutine, and only
// inside the fn that was given it; afterwards it answers ErrClosed.
type Reader interface {
	// Get gives a copy of the value, which the caller may keep and change;
	// ErrNotFound if there is none. An empty value is found, with length 0.
	Get(key []byte) ([]byte, error)

	// Scan shows keys that begin with prefix and are not below from, in
	// ascending order, until fn answers false or an error, which Scan returns
	// as it is. A nil from starts at the prefix; an empty prefix means all
	// keys. Key and value are valid only inside fn and must not be changed.
	// Writes made while Scan runs are not shown by it. When ctx of View or
	// Update ends, Scan ends with its error.
	Scan(prefix, from []byte, fn func(key, value []byte) (bool, error)) error

	// ScanBack is Scan in descending order, from the last key of the prefix.
	ScanBack(prefix []byte, fn func(key, value []byte) (bool, error)) error
}

// Txn reads and writes. It sees its own writes. Key and value are copied by
// Put and Delete. An error of Put or Delete is final: the Update answers it
// even when fn passes over it.
type Txn interface {
	Reader
	// Put sets a value. Errors: ErrKey, ErrTooBig, ErrClosed.
	Put(key, value []byte) error
	// Delete removes a key; one that does not exist is no error.
	Delete(key []byte) error
}

// Store is a record store. Its methods may be called from any goroutine.
type Store interface {
	// View calls fn with one state of the store and returns its error as it is.
	View(ctx context.Context, fn func(Reader) error) error

	// Update calls fn and makes what it wrote durable. Waiting Updates share
	// one synced commit (a fold); to the outside they happened one after the
	// other. fn may run more than once and must have no effect but through its
	// Txn; it must not wait for anything, since all writers wait for it, nor
	// call Update. An error of fn drops its own writes and no others, and is
	// returned as it is.
	//
	// An error of ctx means that nothing was written: once fn has run, the
	// outcome is awaited.
	Update(ctx context.Context, fn func(Txn) error) error

	// Watch wakes whoever waits for a key: after each commit that wrote or
	// deleted exactly this key, wake holds one token (buffered, so many commits
	// may give one). To miss nothing: watch, read, then wait. stop ends it and
	// may be called twice. Nothing wakes when the store is closed.
	Watch(key []byte) (wake <-chan struct{}, stop func())

	// Backup writes one state of the store to w, in the form that BackupReader
	// reads, while others read and write. since 0 makes a full backup; the next
	// of an earlier one makes an incremental one: the records written after it,
	// and the names of those that stayed. next is the position of the state it
	// wrote. Positions mean nothing to callers, and nothing to another store:
	// ErrSince. A backup that ended with an error, ctx's included, is worthless.
	Backup(ctx context.Context, w io.Writer, since uint64) (next uint64, err error)

	// Restore fills an empty store, else ErrNotEmpty, with a full backup and the
	// incremental ones that follow it, one after the other in r, up to its end.
	// Nobody else may use the store meanwhile. It reads the whole of r: one that
	// ends too early, or does not fit together, is ErrCorrupt. After an error the
	// store is worthless, and is not opened again.
	Restore(ctx context.Context, r io.Reader) error

	// Now is the time by which leases are given and judged. With several nodes
	// it comes from the store, not from the machine.
	Now() time.Time

	// Close waits for every View and Update under way; later ones get
	// ErrClosed. It must not be called inside fn. A second Close gives the same
	// answer.
	Close() error
}

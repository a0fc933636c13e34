// Package badger keeps records in an embedded badger database.
//
// It owns one folder. It implements kv.Store and passes kvtest.
//
// Invariants:
//   - One goroutine writes. It lets each waiting Update run over the writes of
//     those before it, and commits them together: badger alone would sync once
//     for each. A fold is bounded by kv.MaxUpdateKeys and kv.MaxUpdateBytes.
//   - fn runs in the goroutine of its caller, when the writer says so. What goes
//     wrong in it (a panic, a test that ends) concerns its caller alone.
//   - After a failed commit badger shows the writes that were answered with an
//     error. No View begins on such a state, and nothing is written any more.
//   - No value is as long as badger's value threshold, so the value log, which
//     passes over failed syncs, is never used.
//   - badger writes through memory maps, so a full disk kills the process: who
//     opens a store keeps the disk from getting full.
//   - All tables are read and checked before badger opens them. It would take a
//     damaged block for the end of a table, and drop the rest when it compacts.
//   - The folder has mode 0700, since badger makes files with mode 0644.
//
// It must not import anything of pecgate but kv. Its tests make their own data.
package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"         // the embedded store
	"github.com/dgraph-io/badger/v4/options" // when it verifies checksums

	"pecgate/mailbox/kv"
)

// Options says where the store is.
type Options struct {
	// Dir is the folder, made when missing. Required.
	Dir string
	// Log gets badger's own messages, one line each; nil drops them. They hold
	// file names and numbers, no keys and no values.
	Log func(level slog.Level, text string)
	// Now is the clock behind Store.Now; nil means time.Now.
	Now func() time.Time
}

// Store is an open folder of records.
type Store struct {
	db  *badger.DB
	now func() time.Time
	put func([]item) error // one synced commit; tests let it fail

	watches watches
	calls   sync.WaitGroup // Views and Updates under way
	wake    chan struct{}  // buffered(1): an Update waits
	stop    chan struct{}
	ended   chan struct{}

	closing  sync.Once
	closeErr error

	mu      sync.Mutex
	judged  *sync.Cond // good or failed changed
	good    uint64     // badger's time of the last commit known to be durable
	failed  error
	closed  bool
	waiting []*call
}

var _ kv.Store = (*Store)(nil)

// Open opens the folder. It answers kv.ErrInUse when it is open elsewhere, and
// kv.ErrCorrupt, with the name of the file, when a table is damaged or missing.
func Open(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("kv: open: no folder given")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := makeDir(o.Dir); err != nil {
		return nil, fmt.Errorf("kv: make folder: %w", err)
	}
	if err := verify(o.Dir); err != nil {
		return nil, fmt.Errorf("kv: open: %w", err)
	}
	db, err := badger.Open(settings(o))
	if err != nil {
		return nil, fmt.Errorf("kv: open: %w", err)
	}
	s := &Store{
		db:    db,
		now:   o.Now,
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	s.put = s.commit
	s.judged = sync.NewCond(&s.mu)
	s.good = s.version()
	go s.run()
	return s, nil
}

// settings: SyncWrites because the default loses everything in a power cut,
// small tables because an appliance holds few records at a time, no metrics
// because they are variables of the whole process. Checksums of whole tables
// are the matter of verify, since badger dies of a wrong one while it opens.
func settings(o Options) badger.Options {
	return badger.DefaultOptions(o.Dir).
		WithSyncWrites(true).
		WithMemTableSize(16 << 20).
		WithNumMemtables(3).
		WithBlockCacheSize(32 << 20).
		WithIndexCacheSize(16 << 20).
		WithNumCompactors(2).
		WithValueLogFileSize(64 << 20).
		WithMetricsEnabled(false).
		WithDetectConflicts(true).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithLogger(logger{o.Log})
}

// makeDir makes the folder and its name durable, and closes it to others.
func makeDir(dir string) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return os.Chmod(dir, 0o700)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	up, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	return errors.Join(up.Sync(), up.Close())
}

// version is badger's time of the newest commit that is visible.
func (s *Store) version() uint64 {
	t := s.db.NewTransaction(false)
	defer t.Discard()
	return t.ReadTs()
}

// View calls fn with one state; see kv.Store.
func (s *Store) View(ctx context.Context, fn func(kv.Reader) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.calls.Done()
	t := s.db.NewTransaction(false)
	defer t.Discard()
	if err := s.judge(t.ReadTs()); err != nil {
		return err
	}
	r := &reader{ctx: ctx, txn: t}
	defer func() { r.ended = true }()
	return fn(r)
}

// judge waits until it is known whether the commit of this version is durable:
// badger shows it a moment before the writer learns how its sync ended.
func (s *Store) judge(version uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.failed == nil && version > s.good {
		s.judged.Wait()
	}
	return s.failed
}

// begin counts a call, unless the store takes no more.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return kv.ErrClosed
	case s.failed != nil:
		return s.failed
	}
	s.calls.Add(1)
	return nil
}

// Watch wakes after commits to a key; see kv.Store.
func (s *Store) Watch(key []byte) (<-chan struct{}, func()) { return s.watches.add(key) }

// Now is the time for leases; see kv.Store.
func (s *Store) Now() time.Time { return s.now() }

// Close waits for what is under way and closes the database; see kv.Store.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.calls.Wait()
		close(s.stop)
		<-s.ended
		if err := s.db.Close(); err != nil {
			s.closeErr = fmt.Errorf("kv: close: %w", err)
		}
	})
	return s.closeErr
}

// logger gives badger's messages on as lines.
type logger struct {
	log func(slog.Level, string)
}

func (l logger) line(level slog.Level, format string, args []any) {
	if l.log != nil {
		text := strings.TrimSpace(fmt.Sprintf(format, args...))
		l.log(level, strings.ReplaceAll(text, "\n", "; ")) // some of them are tables
	}
}

func (l logger) Errorf(f string, a ...any)   { l.line(slog.LevelError, f, a) }
func (l logger) Warningf(f string, a ...any) { l.line(slog.LevelWarn, f, a) }
func (l logger) Infof(f string, a ...any)    { l.line(slog.LevelInfo, f, a) }
func (l logger) Debugf(f string, a ...any)   { l.line(slog.LevelDebug, f, a) }

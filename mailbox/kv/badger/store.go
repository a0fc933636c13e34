// Package badger keeps records in an embedded badger database.
//
// It owns one folder. It implements kv.Store and passes kvtest.
//
// Invariants:
//   - One goroutine, the writer, commits. It lets each waiting Update run over
//     the writes of those before it, and commits them together (a fold): badger
//     alone would sync once for each. A fold is bounded by kv.MaxUpdateKeys and
//     kv.MaxUpdateBytes.
//   - Commits are numbered without a gap, and each has the hash of all before it
//     (mark). The number is badger's version of its records, the hash a record
//     in the same commit. When badger has synced it, another goroutine, the
//     counter, writes both into a file of its own (journal), syncs it, and only
//     then answers. badger ends the replay of a damaged log without a word:
//     without the count nobody would know.
//   - A View reads the newest state that is counted, so it waits for no commit
//     and never shows what may be answered with an error. fn of Update reads the
//     newest state that is committed, and is answered after its count.
//   - All files are checked before badger opens them, tables, logs and count
//     against each other (checkFolder). It would mend what is damaged by
//     forgetting it, and remove the traces. What becomes damaged while the store
//     is open is found by the next Backup or Open; until then badger answers "no
//     such key" for it.
//   - fn runs in the goroutine of its caller, when the writer says so. What goes
//     wrong in it (a panic, a test that ends) concerns its caller alone.
//   - After a failed commit or count, or a table that badger could not write
//     (background.go), nothing is read or written any more.
//   - No value is as long as badger's value threshold, so the value log, which
//     passes over failed syncs, is never used.
//   - badger writes through memory maps, so a full disk kills the process: who
//     opens a store keeps the disk from getting full, and tables are merged only
//     while there is room (Options.Room).
//   - The folder has mode 0700, since badger makes files with the mode that the
//     mask of the process leaves of 0666; those that others could read are closed
//     at the next Open.
//
// It must not import anything of pecgate but kv and planted. Its tests make their own data.
package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"         // the embedded store
	"github.com/dgraph-io/badger/v4/options" // when it verifies checksums

	"pecgate/mailbox/kv"
	"pecgate/mailbox/planted"
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

	// Form is the key of the record that says in which form the owner keeps all
	// others. Judge, when given, gets its newest value (nil: there is none) and
	// whether the commits of the folder are counted, before anything in the folder
	// is changed; its error is the answer of Open. Without a Judge that agrees, a
	// folder whose commits nobody counted is ErrCorrupt; with it, it is taken over.
	Form  []byte
	Judge func(value []byte, counted bool) error

	// NoRoom is asked by Close, which has badger write its memory table to disk:
	// on a full one it would die. Where it says yes, badger is left as a crash
	// leaves it, until the process ends. nil: there is always room.
	NoRoom func() bool

	// Room tells whether the disk has room for so many bytes. While it says no,
	// no tables are merged, which takes as much again as they hold. nil: there is
	// always room.
	Room func(bytes int64) bool

	tune func(badger.Options) badger.Options // tests make small tables
	step func()                              // tests end here, between the steps of adopt

	behind *background // made by Open
}

// Store is an open folder of records.
type Store struct {
	dir     string
	lock    *os.File
	db      *badger.DB
	journal *journal
	behind  *background
	now     func() time.Time
	noRoom  func() bool

	// Tests let these fail.
	put   func(mark, []item) error // one synced commit; of the writer
	count func(mark) error         // one synced count; of the counter

	last    mark // committed last; of the writer
	watches watches
	calls   sync.WaitGroup // Views, Updates and Backups under way

	wake         chan struct{} // buffered(1): an Update waits
	stop         chan struct{}
	ended        chan struct{}
	wakeCounter  chan struct{} // buffered(1): a commit waits for its count
	stopCounter  chan struct{}
	counterEnded chan struct{}

	closing  sync.Once
	closeErr error

	mu        sync.Mutex
	good      uint64         // number of commits that are counted
	looks     map[uint64]int // states that are being read, by that number
	failed    error
	closed    bool
	waiting   []*call  // for the writer
	uncounted []answer // for the counter
}

var _ kv.Store = (*Store)(nil)

// Open opens the folder and makes it when there is none. It reads all tables,
// at the speed of the disk or of the memory that has them already. It answers
// kv.ErrInUse when the folder is open elsewhere, kv.ErrCorrupt, with the name of
// the file, when records are damaged or missing, kv.ErrFormat, and what Judge
// says. After ErrFormat and an error of Judge every byte is as it was.
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
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("kv: open: %w", err)
	}
	s, err := openLocked(o, lock)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kv: open: %w", err), lock.Close())
	}
	return s, nil
}

func openLocked(o Options, lock *os.File) (*Store, error) {
	j, found, err := checkFolder(o)
	if err != nil {
		return nil, err
	}
	if err := closeFiles(o.Dir); err != nil {
		return nil, errors.Join(err, j.close())
	}
	o.behind = newBackground(o)
	b, err := roomToOpen(settings(o))
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	db, err := o.behind.open(b)
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	err = sameAsFound(db, found)
	if err == nil && found.seq > j.mark.seq {
		err = j.write(found)
	}
	if err != nil {
		return nil, errors.Join(err, o.behind.close(db), j.close())
	}
	s := &Store{
		dir:     o.Dir,
		lock:    lock,
		db:      db,
		journal: j,
		behind:  o.behind,
		now:     o.Now,
		noRoom:  o.NoRoom,
		count:   j.write,
		last:    found,
		good:    found.seq,
		looks:   make(map[uint64]int),

		wake:         make(chan struct{}, 1),
		stop:         make(chan struct{}),
		ended:        make(chan struct{}),
		wakeCounter:  make(chan struct{}, 1),
		stopCounter:  make(chan struct{}),
		counterEnded: make(chan struct{}),
	}
	s.put = s.commit
	s.discard()
	go s.run()
	go s.runCounter()
	s.behind.use(db, func(err error) { _ = s.fail(err) })
	return s, nil
}

// settings: SyncWrites because the default loses everything in a power cut,
// small tables because an appliance holds few records at a time, no metrics
// because they are variables of the whole process.
//
// Memory: each table in memory is 8 MiB, which is room for the largest fold
// (badger takes 15 % at once); at most three are there. badger keeps up to eight
// buffers of twice the size of a table for compaction, so tables have 1 MiB on
// every level; the price is an open file for each MiB of records. With many
// tables on its first level it makes a single large one of them, in memory: so
// there are few.
//
// Blocks are not compressed: they are read where the file is mapped, so there
// is no cache of them in memory that is ours, and checking a table is a read of
// the file and a sum over it. The value log is not used, so its file is as small
// as can be: badger syncs it with each commit. Conflicts cannot be, with one
// writer. The folder is locked before badger sees it.
func settings(o Options) badger.Options {
	b := badger.DefaultOptions(o.Dir).
		WithSyncWrites(!planted.Is(planted.NoSync) && !planted.Is(planted.NoSyncRecords)).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithBaseTableSize(1 << 20).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(10).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithNumCompactors(2).
		WithValueLogFileSize(1 << 20).
		WithMetricsEnabled(false).
		WithDetectConflicts(false).
		WithBypassLockGuard(true).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithLogger(logger{o.Log, o.behind})
	b.TableSizeMultiplier = 1
	if o.tune != nil {
		b = o.tune(b)
	}
	return b
}

// roomToOpen lets badger write out all logs that it finds before it merges any
// tables: a merge waits until badger is open, which waits for some of the logs.
func roomToOpen(b badger.Options) (badger.Options, error) {
	c, err := readList(b.Dir, badger.ManifestFilename)
	if err != nil && !missing(err) {
		return b, err
	}
	logs, err := logsOf(b.Dir)
	if err != nil {
		return b, err
	}
	tables := len(logs) + 1
	for _, t := range c.tables {
		if t.Level == 0 {
			tables++
		}
	}
	b.NumLevelZeroTablesStall = max(b.NumLevelZeroTablesStall, tables)
	return b, nil
}

// openDB opens badger. Versions are given by this package ("managed"): they are
// the numbers of the commits, and a View can read an older one. Damage that the
// check does not know may end in a panic of badger.
func openDB(o badger.Options) (db *badger.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("%w: badger does not open it", kv.ErrCorrupt)
		}
	}()
	db, err = badger.OpenManaged(o)
	return db, err
}

// sameAsFound makes sure that badger found what the check found, and that what
// is there is whole.
func sameAsFound(db *badger.DB, found mark) error {
	t := db.NewTransactionAt(math.MaxUint64, false)
	defer t.Discard()
	if _, err := t.Get([]byte(restoreKey)); !errors.Is(err, badger.ErrKeyNotFound) {
		return errors.Join(err, fmt.Errorf("%w: a restore into this folder was not finished; begin again with an empty one", kv.ErrCorrupt))
	}
	if found.seq == 0 {
		return nil
	}
	item, err := t.Get([]byte(chainKey))
	if err != nil {
		return fmt.Errorf("read the chain: %w", err)
	}
	chain, err := item.ValueCopy(nil)
	if err != nil {
		return fmt.Errorf("read the chain: %w", err)
	}
	if item.Version() != found.seq || !bytes.Equal(chain, found.chain[:]) {
		return fmt.Errorf("%w: records are missing: %d commits were opened, %d are in the files", kv.ErrCorrupt, item.Version(), found.seq)
	}
	return nil
}

// View calls fn with one state; see kv.Store.
func (s *Store) View(ctx context.Context, fn func(kv.Reader) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.calls.Done()
	at, release := s.look()
	defer release()
	t := s.db.NewTransactionAt(at, false)
	defer t.Discard()
	r := &reader{ctx: ctx, txn: t}
	defer func() { r.ended = true }()
	err := fn(r)
	if berr := s.behind.check(); berr != nil {
		return s.fail(berr) // what fn saw may not be all
	}
	return err
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
		close(s.stopCounter)
		<-s.counterEnded
		var err error
		if s.noRoom == nil || !s.noRoom() {
			err = s.behind.close(s.db)
		}
		if err = errors.Join(err, s.journal.close(), s.lock.Close()); err != nil {
			s.closeErr = fmt.Errorf("kv: close: %w", err)
		}
	})
	return s.closeErr
}

// logger gives badger's messages on as lines.
type logger struct {
	log    func(slog.Level, string)
	behind *background
}

func (l logger) line(level slog.Level, format string, args []any) {
	if l.log != nil {
		text := strings.TrimSpace(fmt.Sprintf(format, args...))
		l.log(level, strings.ReplaceAll(text, "\n", "; ")) // some of them are tables
	}
	l.behind.hear(format, args)
}

func (l logger) Errorf(f string, a ...any)   { l.line(slog.LevelError, f, a) }
func (l logger) Warningf(f string, a ...any) { l.line(slog.LevelWarn, f, a) }
func (l logger) Infof(f string, a ...any)    { l.line(slog.LevelInfo, f, a) }
func (l logger) Debugf(f string, a ...any)   { l.line(slog.LevelDebug, f, a) }

package badger

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4" // its iterators keep its tables
)

// background watches what badger does behind the scenes, where it goes on after
// errors that must not be passed over:
//
//   - A memory table cannot be written out. badger logs it and tries again, for
//     ever, with a list of tables that names what is not there (undone.go).
//   - Tables are merged and one of the new ones cannot be made (no descriptor, no
//     room, a failed sync). badger drops the error, takes the others for all, and
//     removes the old tables: committed records are gone.
//
// Both are the end of the store, like any other failed write, and the next Open
// finds everything. badger has no errors to give for it, but it says in its log
// how many tables a merge begins to make, and when a merge is done. From the
// first such line to the last an iterator keeps the old tables on disk; then as
// many tables must be in the list as were begun. Until that is known no state
// that was read is answered, and nothing that was read leads to a commit (check).
// While badger is being opened there can be no iterator yet, so a merge waits
// (open); while it is being closed it is one from before (close).
//
// Merges run one at a time, so that it is known whose tables are in the list.
//
// A merge takes as much disk as it merges, through memory maps: on a full disk
// the process would die. So it waits for room, before its first table and before
// each further one (roomFor). A close does not wait for it: badger is then left as
// a crash leaves it.
type background struct {
	dir  string
	room func(bytes int64) bool // nil: there is always room

	mu     sync.Mutex
	turn   sync.Cond  // db or holder changed
	db     *badger.DB // nil: it is being opened
	early  int        // workers that wait for db
	opened error      // why there will be none
	stuck  chan error // buffered(1): opened, while workers wait
	err    error
	tell   func(error)
	holder int           // number of the worker that merges; none: noWorker
	begun  int           // tables that it began to make
	pin    func()        // lets the old tables go
	before carriedOut    // the list when it began
	poor   int           // workers that wait for room
	ending bool          // badger is being closed
	left   chan struct{} // buffered(1): it is left unclosed, for a worker waits for room
	file   os.FileInfo
	seen   int64 // length of the list that was judged
}

const noWorker = -1

// Lines of badger's log. Each test of this package that merges tables fails if
// they are others.
const (
	lineMade    = "[%d] LOG Compact. Added %d keys." // worker, keys: a table is about to be made
	lineMerged  = "[Compactor: %d] Compaction for level: %d DONE"
	lineFailed  = "[Compactor: %d] LOG Compact FAILED"
	lineUnmoved = "error flushing memtable to disk"
	lineFutile  = "Received err: %v. Cleaning up" // it does not open
)

func newBackground(o Options) *background {
	b := &background{dir: o.Dir, room: o.Room, holder: noWorker, stuck: make(chan error, 1), left: make(chan struct{}, 1)}
	b.turn.L = &b.mu
	return b
}

// open opens badger. When badger gives up it waits for its workers, and one that
// is about to merge must not go on: then badger is left as it stands, and what is
// on disk is as it was.
func (b *background) open(o badger.Options) (*badger.DB, error) {
	type result struct {
		db  *badger.DB
		err error
	}
	done := make(chan result, 1)
	go func() {
		db, err := openDB(o)
		done <- result{db, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		b.use(r.db, nil)
		return r.db, nil
	case err := <-b.stuck:
		return nil, err
	}
}

// futile takes note that badger does not open.
func (b *background) futile(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = err
	b.leave()
}

// leave lets open go without badger where it would wait for ever.
func (b *background) leave() {
	if b.opened == nil || b.early == 0 {
		return
	}
	select {
	case b.stuck <- b.opened:
	default:
	}
}

// use gives the database, and whom to tell of a failure.
func (b *background) use(db *badger.DB, tell func(error)) {
	b.mu.Lock()
	b.db, b.tell = db, tell
	b.turn.Broadcast()
	err := b.err
	b.mu.Unlock()
	if err != nil && tell != nil {
		tell(err)
	}
}

// hear gets each line that badger logs, in the goroutine that does the work.
// The goroutine of a failure ends here: its deferred functions run, but it does
// not try again.
func (b *background) hear(format string, args []any) {
	if b == nil {
		return
	}
	switch {
	case strings.HasPrefix(format, lineMade) && len(args) > 1:
		worker, ok1 := args[0].(int)
		keys, ok2 := args[1].(uint64)
		if !ok1 || !ok2 {
			b.fail(fmt.Errorf("badger's log is not as expected: %T, %T", args[0], args[1]))
		}
		b.making(worker, keys > 0)
	case strings.HasPrefix(format, lineMerged) && len(args) > 0:
		if worker, ok := args[0].(int); ok && !b.merged(worker) {
			runtime.Goexit()
		}
	case strings.HasPrefix(format, lineFailed) && len(args) > 1:
		if worker, ok := args[0].(int); ok && b.holds(worker) {
			b.fail(fmt.Errorf("merge tables: %w", firstOf(args[1])))
			runtime.Goexit()
		}
	case strings.HasPrefix(format, lineUnmoved) && len(args) > 0:
		b.fail(fmt.Errorf("write a table: %w", firstOf(args[0])))
		runtime.Goexit()
	case strings.HasPrefix(format, lineFutile) && len(args) > 0:
		b.futile(firstOf(args[0]))
	}
}

// What is told of badger's line: the innermost error, not the tables before it.
const (
	maxLine = 300
	wrapped = "err: "
)

func firstOf(arg any) error {
	line := firstLine(fmt.Errorf("%v", arg))
	if i := strings.LastIndex(line, wrapped); i >= 0 {
		line = line[i+len(wrapped):]
	}
	return errors.New(line[:min(len(line), maxLine)])
}

// making waits until badger is open and no other worker merges, and keeps the
// tables that are there. After a failure it waits for ever: badger would go on
// without the table.
func (b *background) making(worker int, any bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.early++
	for b.db == nil {
		b.leave()
		b.turn.Wait()
	}
	b.early--
	for !b.mayMake(worker) {
	}
	if b.holder == noWorker {
		b.holder, b.begun = worker, 0
		if err := b.begin(); err != nil {
			b.failLocked(err)
			for {
				b.turn.Wait()
			}
		}
	}
	if any {
		b.begun++
	}
}

// What a merge takes of the disk before anything tells so: badger makes up to a
// dozen tables of 1 MiB at once, and the disk counts their blocks late.
const (
	mergeAhead = 16 << 20
	lookAgain  = time.Second // for room
)

// mayMake waits until no other worker merges and looks for room; where there is
// none it waits a moment and answers no. b.mu is held, but not while it waits.
func (b *background) mayMake(worker int) bool {
	for b.err != nil || b.holder != noWorker && b.holder != worker {
		b.turn.Wait()
	}
	if b.roomFor(worker) {
		return true
	}
	b.poor++
	b.leaveUnclosed()
	b.mu.Unlock()
	time.Sleep(lookAgain)
	b.mu.Lock()
	b.poor--
	return false
}

// roomFor tells whether a worker may make its next table. Those of level 0 may
// all become a single one.
func (b *background) roomFor(worker int) bool {
	if b.room == nil {
		return true
	}
	need := int64(mergeAhead)
	if b.holder == noWorker {
		for _, t := range b.db.Tables() {
			if t.Level == 0 {
				need += int64(t.OnDiskSize)
			}
		}
	}
	return b.room(need)
}

// leaveUnclosed ends a close that would wait for room. No worker goes on.
func (b *background) leaveUnclosed() {
	if !b.ending || b.poor == 0 {
		return
	}
	if b.err == nil {
		b.err = errNoRoom
	}
	select {
	case b.left <- struct{}{}:
	default:
	}
}

var errNoRoom = errors.New("closed while tables waited for room on the disk")

// begin keeps what is there.
func (b *background) begin() (err error) {
	b.pin = pinTables(b.db)
	if b.before, err = readList(b.dir, badger.ManifestFilename); err != nil {
		return err
	}
	b.file, err = os.Stat(filepath.Join(b.dir, badger.ManifestFilename))
	if err == nil {
		b.seen = b.file.Size()
	}
	return err
}

// pinTables keeps the files of all tables until it is called. While badger is
// being closed it cannot.
func pinTables(db *badger.DB) (letGo func()) {
	letGo = func() {}
	defer func() { _ = recover() }() // badger's answer when it is being closed
	txn := db.NewTransactionAt(math.MaxUint64, false)
	it := txn.NewIterator(badger.IteratorOptions{AllVersions: true})
	return func() {
		it.Close()
		txn.Discard()
	}
}

func (b *background) holds(worker int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.holder == worker
}

// merged judges a merge that is done, and lets the old tables go if it was good.
func (b *background) merged(worker int) (good bool) {
	b.mu.Lock()
	if b.holder != worker {
		b.mu.Unlock()
		return true
	}
	good = b.judge() == nil
	pin := b.pin
	if good {
		b.holder, b.pin = noWorker, nil
		b.turn.Broadcast()
	}
	b.mu.Unlock()
	if good {
		pin()
	}
	return good
}

// check says whether what was read until now can be believed. It costs nothing
// but while tables are merged.
func (b *background) check() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	if b.holder == noWorker {
		return nil
	}
	return b.judge()
}

// judge looks at what came to the list since the merge began.
func (b *background) judge() error {
	name := filepath.Join(b.dir, badger.ManifestFilename)
	now, err := os.Stat(name)
	if err != nil {
		return b.failLocked(err)
	}
	if os.SameFile(now, b.file) && now.Size() == b.seen {
		return nil
	}
	list, err := os.ReadFile(name)
	if err != nil {
		return b.failLocked(err)
	}
	sets, err := parseList(list)
	if err != nil {
		return b.failLocked(fmt.Errorf("file %s: %w", badger.ManifestFilename, err))
	}
	made, known := b.made(sets, os.SameFile(now, b.file))
	if known && made != b.begun {
		return b.failLocked(fmt.Errorf("tables were merged, and %d of %d new ones could not be made", b.begun-made, b.begun))
	}
	b.seen = now.Size()
	return nil
}

// made counts the tables that the merge has put into the list; not known before
// it has put any there. Where badger has written the list anew, which it does
// after thousands of merges, they are told by what was there before.
func (b *background) made(sets []changes, same bool) (n int, known bool) {
	if same {
		for _, s := range sets {
			if s.to > int(b.file.Size()) && !s.flush {
				return len(s.made), true
			}
		}
		return 0, false
	}
	now := map[uint64]badger.TableManifest{}
	for _, s := range sets {
		maps.Copy(now, s.made)
		for _, id := range s.removed {
			delete(now, id)
		}
	}
	level0, removed := 0, 0
	for id, t := range now {
		if _, old := b.before.tables[id]; !old && t.Level == 0 {
			level0++ // or it is of a memory table
		} else if !old {
			n++
		}
	}
	for id := range b.before.tables {
		if _, still := now[id]; !still {
			removed++
		}
	}
	if n == 0 && level0 > 0 && b.begun == 1 {
		n = 1 // merged inside level 0
	}
	return n, removed > 0
}

func (b *background) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failLocked(err)
}

func (b *background) failLocked(err error) error {
	if b.err == nil {
		b.err = err
		if b.tell != nil {
			b.tell(err)
		}
	}
	return b.err
}

// close closes badger, unless something has failed: then workers wait for ever,
// and what badger would write does not belong to what is on disk.
//
// badger writes its last memory table out, and may merge it with others before
// it stops. Then it gives no iterator any more, so all tables and logs of now
// are kept, with their list, until all has gone well.
func (b *background) close(db *badger.DB) error {
	if b.failed() {
		return nil
	}
	list, err := os.ReadFile(filepath.Join(b.dir, badger.ManifestFilename))
	if err != nil {
		return err
	}
	letGo := pinTables(db)
	if err = writeList(b.dir, closingList, list); err == nil {
		err = b.closeDB(db)
	}
	if err == nil && !b.failed() {
		err = os.Remove(filepath.Join(b.dir, closingList))
	}
	if err == nil && !b.failed() {
		letGo()
	}
	return err
}

// closeDB has badger close, unless one of its workers waits for room.
func (b *background) closeDB(db *badger.DB) error {
	b.mu.Lock()
	b.ending = true
	b.leaveUnclosed()
	poor := b.poor > 0
	b.mu.Unlock()
	if poor {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- db.Close() }()
	select {
	case err := <-done:
		return err
	case <-b.left:
		return nil
	}
}

func (b *background) failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil
}

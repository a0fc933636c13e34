package segment

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// CheckOptions says how far a check goes.
type CheckOptions struct {
	// Deep: every message is read and hashed, not only headers and sidecars.
	Deep bool
}

// Problem is a kind of Finding.
type Problem string

// The first group is damage, the second is harmless: Open, a sweep or nobody
// need do something about it.
const (
	BadEntry   Problem = "no whole entry where one must be"
	BadSidecar Problem = "sidecar differs from its sum"
	BadMessage Problem = "message differs from its name"
	NoEnd      Problem = "no end of archive"
	Gap        Problem = "entries are missing before this one"
	BadRemoval Problem = "removal of an entry that is not there"
	Unreadable Problem = "cannot be read"

	Unfinished Problem = "end of an unfinished write, which the next start cuts"
	Upload     Problem = "unfinished large message, which the next start removes"
	Twice      Problem = "stands twice until its interrupted sweep is done again"
	Unswept    Problem = "large message that was removed and waits for a sweep"
	Foreign    Problem = "not a file of the store"
)

// Harmless says whether nothing is lost or damaged.
func (p Problem) Harmless() bool {
	switch p {
	case Unfinished, Upload, Twice, Unswept, Foreign:
		return true
	}
	return false
}

// Finding is one thing a check has to say. It holds no byte of a message.
type Finding struct {
	Problem Problem
	File    string // base name
	Offset  int64  // in the file
	Ref     Ref    // of the message, if its header could be read
	Missing uint64 // of a Gap: how many messages
	Err     error  // of Unreadable
}

func (f Finding) String() string {
	text := fmt.Sprintf("%s, offset %d: %s", f.File, f.Offset, f.Problem)
	if f.Problem == Foreign || f.Problem == Upload {
		text = fmt.Sprintf("%s: %s", f.File, f.Problem)
	}
	if f.Missing > 0 {
		text += fmt.Sprintf(" (%d)", f.Missing)
	}
	if f.Err != nil {
		text += fmt.Sprintf(": %v", f.Err)
	}
	return text
}

// Checked counts what a check saw.
type Checked struct {
	Segments int
	Messages int   // whole ones, each counted once; with Deep: that hash to their name
	Removed  int   // of these
	Bytes    int64 // of these messages
	Damage   int   // findings that are not harmless
}

// Check reads a whole folder that no Store has open and changes nothing in it.
// It reports everything it finds and goes on; its error is of the folder, of
// ctx, or ErrInUse. See Store.Check for one that is open.
func Check(ctx context.Context, o Options, c CheckOptions, report func(Finding)) (_ Checked, err error) {
	if o.FS == nil {
		o.FS = Disk()
	}
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return Checked{}, fmt.Errorf("segment: check: %w", err)
	}
	if slices.Contains(names, lockName) { // else nobody ever opened it here
		lock, err := o.FS.Lock(filepath.Join(o.Dir, lockName))
		if errors.Is(err, ErrInUse) {
			return Checked{}, fmt.Errorf("segment: check: %w", err)
		}
		if err == nil { // a copy on a medium that cannot be written needs none
			defer func() { err = errors.Join(err, lock.Close()) }()
		}
	}
	o.Now = time.Now
	k := newChecker(&Store{opts: o, fs: o.FS}, c, report)
	if err := k.atRest(ctx, names); err != nil {
		return k.sum, fmt.Errorf("segment: check: %w", err)
	}
	return k.sum, nil
}

// Check is as the function Check, of what was durable when it was called; it
// lets no sweep run meanwhile. report must not wait for one.
func (s *Store) Check(ctx context.Context, c CheckOptions, report func(Finding)) (Checked, error) {
	if err := s.turns.walk(ctx); err != nil {
		return Checked{}, fmt.Errorf("segment: check: %w", err)
	}
	defer s.turns.endWalk()
	s.mu.Lock()
	until, closed := s.durable, s.closed
	s.mu.Unlock()
	if closed {
		return Checked{}, fmt.Errorf("segment: check: %w", ErrClosed)
	}
	names, err := s.fs.List(s.opts.Dir)
	if err != nil {
		return Checked{}, fmt.Errorf("segment: check: %w", err)
	}
	k := newChecker(s, c, report)
	k.until, k.serving = until, true
	if err := k.run(ctx, names); err != nil {
		return k.sum, fmt.Errorf("segment: check: %w", err)
	}
	return k.sum, nil
}

// checker is one check under way.
type checker struct {
	s       *Store
	o       CheckOptions
	report  func(Finding)
	sum     Checked
	serving bool
	until   Place
	tag     string

	stands   map[uint64]bool // segments with entries
	empty    bool            // the first pass found nothing in the segment
	removals map[uint64]named
	copies   map[uint64]uint64 // number of the copy, by that of the first place
	refused  int64             // where tail found the damage; -1: it did not
	found    map[int64]bool    // offsets of findings in the segment
}

// named is what a removal says.
type named struct {
	sum     [32]byte
	segment uint64 // where the removal stands
	off     int64
}

func newChecker(s *Store, o CheckOptions, report func(Finding)) *checker {
	return &checker{
		s: s, o: o, report: report, tag: s.tag, refused: -1,
		stands: make(map[uint64]bool), removals: make(map[uint64]named), copies: make(map[uint64]uint64),
	}
}

func (k *checker) find(f Finding) {
	if !f.Problem.Harmless() {
		k.sum.Damage++
	}
	if k.found != nil {
		k.found[f.Offset] = true
	}
	k.report(f)
}

// atRest learns of a closed folder what an open Store knows.
func (k *checker) atRest(ctx context.Context, names []string) error {
	numbers, _ := sortNames(names)
	var last uint64
	for _, n := range numbers {
		if !large(n) {
			last = n
		}
	}
	var err error
	if k.tag, err = k.s.findTag(numbers); err != nil {
		k.tag = "" // the damaged file is reported below
	}
	if last == 0 {
		return k.run(ctx, names)
	}
	k.until = Place{Segment: last}
	f, err := k.s.openSegment(last)
	if err != nil {
		return k.run(ctx, names)
	}
	size, err := f.Size()
	k.until.End = size
	var e extent
	if err == nil {
		e, err = tail(f, last, size, k.tag, k.s.opts.Named)
	}
	switch {
	case errors.Is(err, ErrCorrupt):
		k.refused = e.end
	case err == nil && !e.sealed && e.end < size:
		k.until.End = e.end
		k.find(Finding{Problem: Unfinished, File: k.file(last), Offset: e.end})
	}
	if err := f.Close(); err != nil {
		return err
	}
	return k.run(ctx, names)
}

func (k *checker) run(ctx context.Context, names []string) error {
	numbers, uploads := sortNames(names)
	ours := map[string]bool{lockName: true}
	for _, n := range numbers {
		k.stands[n] = true
		ours[k.file(n)] = true
	}
	for _, name := range uploads {
		ours[name] = true
		if !k.serving {
			k.find(Finding{Problem: Upload, File: name})
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if !ours[name] {
			k.find(Finding{Problem: Foreign, File: name})
		}
	}
	numbers = slices.DeleteFunc(numbers, func(n uint64) bool { return !large(n) && n > k.until.Segment })
	for _, n := range numbers {
		k.empty = true
		err := k.segment(ctx, n, k.collect(n), func(int64, error) { k.empty = false })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && large(n) && k.empty {
			delete(k.stands, n) // it only keeps its number
		}
	}
	for _, n := range numbers {
		c := counted{segment: n, next: n*perSegment + 1}
		k.found = make(map[int64]bool)
		err := k.segment(ctx, n, func(f File, p piece) error { return k.piece(ctx, &c, f, p) }, func(off int64, problem error) {
			what := BadEntry
			if errors.Is(problem, errNoEnd) {
				what = NoEnd
			}
			k.find(Finding{Problem: what, File: k.file(n), Offset: off})
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrNotFound) && large(n) && k.serving:
			continue // removed meanwhile
		case err != nil:
			k.find(Finding{Problem: Unreadable, File: k.file(n), Err: err})
		case n == k.until.Segment && k.refused >= 0 && !k.found[k.refused]:
			k.find(Finding{Problem: BadEntry, File: k.file(n), Offset: k.refused}) // cut off
		}
		k.sum.Segments++
	}
	k.found = nil
	for number, r := range k.removals {
		if k.stands[segmentOf(number)] {
			k.find(Finding{Problem: BadRemoval, File: k.file(r.segment), Offset: r.off})
		}
	}
	return nil
}

// segment goes through one segment.
func (k *checker) segment(ctx context.Context, n uint64, each func(File, piece) error, damage func(int64, error)) (err error) {
	f, size, grows, err := k.s.openUntil(n, k.until)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return scanner{
		f: f, segment: n, size: size, grows: grows, tag: k.tag,
		piece:  func(p piece) error { return each(f, p) },
		damage: damage,
	}.run(ctx)
}

// collect is the first pass: it learns what later entries say of earlier ones.
func (k *checker) collect(n uint64) func(File, piece) error {
	return func(_ File, p piece) error {
		k.empty = false
		if p.removal && k.stands[segmentOf(p.number)] {
			k.removals[p.number] = named{sum: p.ref.Sum, segment: n, off: p.start}
		} else if p.from != 0 && k.stands[segmentOf(p.from)] {
			k.copies[p.from] = p.number
		}
		return nil
	}
}

// counted is how far the second pass is in a segment.
type counted struct{ segment, next uint64 }

func (k *checker) piece(ctx context.Context, c *counted, f File, p piece) error {
	if p.removal {
		return nil
	}
	what := Finding{File: k.file(c.segment), Offset: p.start, Ref: p.ref}
	tell := func(problem Problem) {
		what.Problem = problem
		k.find(what)
	}
	if p.number != c.next {
		if p.number > c.next {
			what.Missing = p.number - c.next
		}
		tell(Gap)
		what.Missing = 0
	}
	c.next = p.number + 1
	r, removed := k.removals[p.number]
	if removed = removed && r.sum == p.ref.Sum; removed {
		delete(k.removals, p.number)
	}
	if copied := k.copies[p.number]; copied != 0 && k.removals[copied].sum == p.ref.Sum {
		removed = true
	}
	if p.from != 0 && k.copies[p.from] != 0 {
		tell(Twice)
	}
	if removed && large(c.segment) {
		tell(Unswept)
	}
	_, err := readSidecar(f, p)
	bad := BadSidecar
	if err == nil && (k.o.Deep || c.segment == k.until.Segment && p.start == k.refused) {
		err, bad = checkMessage(ctx, f, p.ref), BadMessage
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrCorrupt):
		tell(bad)
		return nil
	case err != nil:
		what.Err = err
		tell(Unreadable)
		return nil
	}
	if p.from != 0 && k.copies[p.from] != 0 {
		return nil // counted where it stands first
	}
	k.sum.Messages++
	k.sum.Bytes += p.ref.Size
	if removed {
		k.sum.Removed++
	}
	return nil
}

func (k *checker) file(n uint64) string { return filepath.Base(k.s.path(n)) }

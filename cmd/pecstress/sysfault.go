package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// faultCalls is a set of system calls that fail together.
type faultCalls struct {
	name  string
	calls string // as strace names them
	most  int    // n that the quick run draws from: how many of them a thread makes in one life

	// everywhere: also sockets, pipes and the files of others are hit. The
	// runtime of Go takes some of those for the end of the world, so only the mail
	// is judged, not how the process ended.
	everywhere bool
}

// faultSets are the calls by which a store reaches the disk. The records are
// written through memory maps, which msync alone makes durable.
func faultSets() []faultCalls {
	return []faultCalls{
		{name: "msync", calls: "msync", most: 60},
		{name: "fsync", calls: "fsync", most: 8},
		{name: "fdatasync", calls: "fdatasync", most: 40},
		{name: "ftruncate", calls: "ftruncate", most: 4},
		{name: "write", calls: "write,pwrite64,writev,pwritev,pwritev2", most: 40},
		{name: "rename", calls: "rename,renameat,renameat2", most: 3},
		{name: "openat", calls: "openat", most: 20},
		{name: "write everywhere", calls: "write,pwrite64,writev", most: 200, everywhere: true},
		{name: "openat everywhere", calls: "openat,socket,accept4", most: 20, everywhere: true},
	}
}

func faultErrors() []string { return []string{"EIO", "ENOSPC", "EMFILE", "EDQUOT"} }

// faultPoint is one life of the gateway in which the n-th call of each of its
// threads fails.
type faultPoint struct {
	set   faultCalls
	errno string
	n     int
}

func (f faultPoint) String() string { return fmt.Sprintf("%s, %s at n=%d", f.set.name, f.errno, f.n) }

// mostPoints bounds n, should a life never be clean. Where sockets are hit too
// there would be thousands.
const (
	mostPoints     = 150
	mostEverywhere = 40
)

func sysfaultScenario() scenario {
	return scenario{
		name: "sysfault", what: "system calls fail one after the other: no sync, no room, no descriptor",
		root: true, need: []string{"strace"},
		run: func(ctx context.Context, e env) (counts, error) {
			if !e.full {
				return sysfaultSample(ctx, e)
			}
			return sysfaultAll(ctx, e)
		},
	}
}

// sysfaultSample tries a drawn point of each set, and one more of some.
func sysfaultSample(ctx context.Context, e env) (counts, error) {
	l := &faultLives{e: e, name: "sample"}
	rnd := rand.New(rand.NewPCG(e.seed, 8))
	var points []faultPoint
	for i, s := range faultSets() {
		points = append(points, faultPoint{set: s, errno: faultErrors()[(i+int(e.seed))%4], n: 1 + rnd.IntN(s.most)})
		if s.calls == "msync" || s.calls == "fdatasync" { // what each commit needs
			points = append(points, faultPoint{set: s, errno: "EIO", n: 1 + rnd.IntN(1+s.most/4)})
		}
	}
	for i, p := range points {
		if _, err := l.live(ctx, p); err != nil {
			return l.c, errors.Join(err, l.end(ctx))
		}
		e.step(i+1, len(points))
	}
	return l.c, l.end(ctx)
}

// sysfaultAll raises n for each set until a life is clean: no thread made so many
// calls.
func sysfaultAll(ctx context.Context, e env) (counts, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total counts
		errs  []error
		next  int
	)
	sets := faultSets()
	for range 2 {
		wg.Go(func() {
			for {
				mu.Lock()
				if next == len(sets) || len(errs) > 0 {
					mu.Unlock()
					return
				}
				s := sets[next]
				next++
				mu.Unlock()
				l := &faultLives{e: e, name: strings.ReplaceAll(s.name, " ", "-")}
				l.e.step = func(int, int) { // others count too, and nobody knows how many there will be
					mu.Lock()
					defer mu.Unlock()
					e.step(next-1, len(sets))
				}
				last, err := l.untilClean(ctx, s)
				err = errors.Join(err, l.end(ctx))
				l.c.Notes = append(l.c.Notes, fmt.Sprintf("%s: %d lives, n up to %d", s.name, l.c.Cycles, last))
				mu.Lock()
				total.add(l.c)
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return total, errors.Join(errs...)
}

// faultLives is a world that goes through one faulty life after the other.
type faultLives struct {
	e      env
	name   string
	w      *world
	worlds int
	lives  int      // of this world
	points []string // of this world
	c      counts
}

// livesEach is how many lives a world has. It is judged at the end, since what a
// stop has interrupted is tried again only after half a minute.
const livesEach = 24

// allErrorsTo is up to which n each error is tried; behind it they take turns.
const allErrorsTo = 16

func (l *faultLives) untilClean(ctx context.Context, set faultCalls) (last int, err error) {
	most := mostPoints
	if set.everywhere {
		most = mostEverywhere
	}
	errnos := faultErrors()
	for clean := 0; last < most && clean < 2; {
		last++
		try := errnos
		if last > allErrorsTo {
			try = errnos[last%len(errnos):][:1]
		}
		clean++
		for _, errno := range try {
			hit, err := l.live(ctx, faultPoint{set, errno, last})
			if err != nil {
				return last, err
			}
			if hit {
				clean = 0
			}
			l.e.step(0, 0)
		}
	}
	return last, nil
}

// open makes a world where there is none.
func (l *faultLives) open() (err error) {
	if l.w != nil {
		return nil
	}
	l.worlds++
	dir := filepath.Join(l.e.dir, fmt.Sprintf("%s-%d", l.name, l.worlds))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	l.w, err = newWorld(worldOptions{Binary: l.e.binary, Dir: dir, Seed: l.e.seed + uint64(l.worlds)})
	l.lives = 0
	return err
}

// end checks and closes the world.
func (l *faultLives) end(ctx context.Context) error {
	if l.w == nil {
		return nil
	}
	err := ctx.Err()
	if err == nil && len(l.points) > 0 {
		err = l.check(ctx)
	}
	err = errors.Join(err, l.w.close())
	if err == nil && l.c.faults() == 0 {
		err = os.RemoveAll(l.w.o.Dir)
	}
	l.w = nil
	return err
}

// live runs the gateway once with a fault and once without. hit says whether any
// call failed.
func (l *faultLives) live(ctx context.Context, p faultPoint) (hit bool, err error) {
	if err := l.open(); err != nil {
		return false, err
	}
	w := l.w
	l.c.Cycles++
	l.points = append(l.points, p.String())
	trace := filepath.Join(w.o.Dir, "strace.log")
	if err := os.Remove(trace); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	said, err := fileSize(w.log())
	if err != nil {
		return false, err
	}
	w.o.Wrap = l.strace(trace, p)
	if err := l.faulty(ctx, p); err != nil {
		return false, err
	}
	w.o.Wrap = nil
	b, err := os.ReadFile(trace)
	if err != nil {
		return false, fmt.Errorf("strace did not run: %w: %s", err, w.said())
	}
	hit = strings.Contains(string(b), "(INJECTED)")
	if err := l.lastWords(said, p); err != nil {
		return hit, err
	}
	if err := w.start(ctx); errors.Is(err, errNotStarted) {
		l.c.fault(&l.c.NotStarted, "after %s: %v", p, err)
		return hit, l.giveUp()
	} else if err != nil {
		return hit, err
	}
	l.lives++
	if err := errors.Join(l.drained(ctx), w.stop()); err != nil {
		return hit, err
	}
	if status := w.exit(); status != 0 {
		l.c.fault(&l.c.Wrong, "after %s the next run ended with status %d: %s", p, status, w.said())
	}
	if l.lives >= livesEach {
		return hit, l.end(ctx)
	}
	return hit, nil
}

// faulty is the life with the fault: people submit, mail arrives, it is stopped.
func (l *faultLives) faulty(ctx context.Context, p faultPoint) error {
	w := l.w
	defer w.kill()
	err := w.start(ctx)
	if err == nil {
		if err := w.arrive(1, 3000); err != nil {
			return err
		}
		if err := w.drive(ctx, load{Sessions: 4, Each: 4, Size: 20000, Large: 9, Repeat: true}); err != nil {
			return err
		}
		if err := l.alive(ctx, p); err != nil {
			return err
		}
		if err := l.drained(ctx); err != nil {
			return err
		}
		err = w.stop() // where it runs still
		// What it traced has ended before strace has.
		select {
		case <-w.ended():
		case <-time.After(tracerWait):
		case <-ctx.Done():
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case w.running():
		l.c.fault(&l.c.Wrong, "with %s it does not end (%v): %s: %s", p, err, w.states(), w.said())
		return nil
	case errors.Is(err, errNotStarted):
		l.c.Detected++
		if w.exit() == 0 {
			l.c.fault(&l.c.Wrong, "with %s it does not start, and ends with status 0", p)
		}
	}
	return nil
}

// drainWait is how long a gateway may go on handing over before it is stopped.
const drainWait = 3 * time.Second

// drained waits, a little, until the gateway has handed over what it has: what
// a stop interrupts is tried again only after a while, for which the check would
// have to wait.
func (l *faultLives) drained(ctx context.Context) error {
	for end := time.Now().Add(drainWait); time.Now().Before(end) && l.w.running(); {
		if q, err := l.w.queue(ctx); err == nil && q["queued"]+q["attempting"] == 0 {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// aliveWait is how long a gateway whose store has failed may take to end: its
// open connections have ten seconds.
const aliveWait = 20 * time.Second

// tracerWait is how long strace may take to end after what it traced.
const tracerWait = time.Minute

// alive waits until the gateway either promises something once more or has
// ended with a status that is not 0. What is neither would be a dead body that
// nobody restarts.
func (l *faultLives) alive(ctx context.Context, p faultPoint) error {
	w := l.w
	for end := time.Now().Add(aliveWait); time.Now().Before(end); {
		if !w.running() {
			l.c.Detected++
			if w.exit() == 0 {
				l.c.fault(&l.c.Wrong, "with %s it ended by itself, with status 0", p)
			}
			return nil
		}
		before := w.ledger.promises()
		if err := w.drive(ctx, load{Sessions: 1, Each: 1, Size: 100}); err != nil {
			return err
		}
		if w.ledger.promises() > before {
			l.c.Harmless++
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	l.c.fault(&l.c.Wrong, "with %s it neither takes messages nor ends: %s", p, w.said())
	return nil
}

// lastWords looks for the traces of a crash in what the gateway wrote.
func (l *faultLives) lastWords(from int64, p faultPoint) error {
	if p.set.everywhere {
		return nil
	}
	b, err := os.ReadFile(l.w.log())
	if err != nil {
		return err
	}
	if word, line := crashWord(b[from:]); word != "" {
		l.c.fault(&l.c.Wrong, "with %s it crashed: %s", p, line)
	}
	return nil
}

// crashWord finds the line by which the Go runtime says that it ends a program.
func crashWord(log []byte) (word, line string) {
	for text := range strings.Lines(string(log)) {
		for _, w := range []string{"panic:", "fatal error:", "unexpected fault address", "SIGBUS", "SIGSEGV"} {
			if strings.HasPrefix(text, w) || strings.HasPrefix(text, "[signal "+w) {
				return w, strings.TrimSpace(text)
			}
		}
	}
	return "", ""
}

// check starts the gateway without faults and judges everything.
func (l *faultLives) check(ctx context.Context) error {
	if err := l.w.start(ctx); errors.Is(err, errNotStarted) {
		l.c.fault(&l.c.NotStarted, "after %s: %v", strings.Join(l.points, "; "), err)
		return nil
	} else if err != nil {
		return err
	}
	c, err := l.w.settleAndCheck(ctx)
	if c.faults() > 0 {
		l.c.Faults = append(l.c.Faults, "after "+strings.Join(l.points, "; ")+":")
	}
	l.c.add(c)
	return errors.Join(err, l.w.stop())
}

// giveUp leaves a world that does not start any more.
func (l *faultLives) giveUp() error {
	err := l.w.close()
	l.w, l.points = nil, nil
	return err
}

func fileSize(name string) (int64, error) {
	info, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// strace is the command line that the gateway runs below.
func (l *faultLives) strace(log string, p faultPoint) []string {
	line := []string{"strace", "-f", "-qq", "--seccomp-bpf", "-o", log, "-e", "trace=" + p.set.calls,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", p.set.calls, p.errno, p.n)}
	// msync has no file to tell apart; nothing else of the gateway calls it.
	if p.set.everywhere || p.set.calls == "msync" {
		return line
	}
	for _, f := range storeFiles(l.w.data()) {
		line = append(line, "-P", f)
	}
	return line
}

// storeFiles names every file that a store of this size can have, since strace
// wants them by name.
func storeFiles(data string) []string {
	out := []string{data}
	for _, f := range []string{"audit.key", "audit.key.new", "audit.key.pub", "audit.heads", "audit.heads.new", "ballast", "segments", "records"} {
		out = append(out, filepath.Join(data, f))
	}
	add := func(folder, format string, most int) {
		for n := range most + 1 {
			out = append(out, filepath.Join(data, folder, fmt.Sprintf(format, n)))
		}
	}
	add("segments", "%016d.tar", 120)
	add("segments", "%016d.tmp", 120)
	for _, f := range []string{"LOCK", "JOURNAL", "JOURNAL.new", "MANIFEST", "MANIFEST-REWRITE", "KEYREGISTRY", "REWRITE-KEYREGISTRY", "DISCARD"} {
		out = append(out, filepath.Join(data, "records", f))
	}
	out = append(out, filepath.Join(data, "segments", "LOCK"))
	add("records", "%05d.mem", 120)
	add("records", "%06d.sst", 200)
	add("records", "%06d.vlog", 120)
	return out
}

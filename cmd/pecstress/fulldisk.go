package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2" // what to read
	"golang.org/x/sys/unix"          // mount and statfs
)

func fulldiskScenario() scenario {
	return scenario{
		name: "fulldisk", what: "the disk becomes full, or has no inodes left, or is read-only, under load, and has room again",
		root: true, need: []string{"losetup", "mkfs.ext4"},
		run: fulldisk,
	}
}

// What a disk of the scenario has.
const (
	fullSize   = 192 << 20 // bytes, in memory
	longSize   = 1 << 30   // the same for many rounds, in which mail piles up
	fullFloor  = 16 << 20  // min_free
	fullInodes = 2000
)

// fulldisk runs its parts one after the other.
func fulldisk(ctx context.Context, e env) (c counts, err error) {
	rounds, hold, size := 1, time.Second, int64(fullSize)
	if e.full {
		rounds, hold, size = 12, 6*time.Second, longSize
	}
	parts := []struct {
		name string
		run  func(ctx context.Context, o worldOptions) (counts, error)
	}{
		{"bytes", func(ctx context.Context, o worldOptions) (counts, error) {
			return fullRounds(ctx, o, size, rounds, hold, (*tmpfs).fill, fillLevels())
		}},
		{"inodes", func(ctx context.Context, o worldOptions) (counts, error) {
			return fullRounds(ctx, o, size, (rounds+4)/5, hold, (*tmpfs).crowd, crowdLevels())
		}},
		{"read-only", readOnly},
	}
	for i, p := range parts {
		dir := filepath.Join(e.dir, p.name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return c, err
		}
		found, err := p.run(ctx, worldOptions{
			Binary: e.binary, Dir: dir, Seed: e.seed + uint64(i), Clear: true, MinFree: fmt.Sprintf("%dMiB", fullFloor>>20),
		})
		c.add(found)
		if err != nil {
			return c, fmt.Errorf("%s: %w", p.name, err)
		}
		e.step(i+1, len(parts))
	}
	return c, nil
}

// tmpfs is a file system in memory that can be filled.
type tmpfs struct {
	dir     string
	mounted bool
	files   int // that crowd it
}

func newTmpfs(folder string, size int64) (*tmpfs, error) {
	t := &tmpfs{dir: filepath.Join(folder, "small")}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, err
	}
	options := fmt.Sprintf("size=%d,nr_inodes=%d,mode=0700", size, fullInodes)
	if err := unix.Mount("pecstress", t.dir, "tmpfs", 0, options); err != nil {
		return nil, fmt.Errorf("mount a file system in memory: %w", err)
	}
	t.mounted = true
	return t, os.Mkdir(filepath.Join(t.dir, "filler"), 0o700)
}

// close takes it away; nobody may have a file open there.
func (t *tmpfs) close() error {
	if !t.mounted {
		return nil
	}
	t.mounted = false
	var err error
	for range 100 {
		if err = unix.Unmount(t.dir, 0); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond) // the kernel lets go of a process
	}
	return errors.Join(fmt.Errorf("unmount %s: %w", t.dir, err), unix.Unmount(t.dir, unix.MNT_DETACH))
}

// fill leaves so many bytes free, as others on the disk would.
func (t *tmpfs) fill(left int64) error {
	f, err := os.OpenFile(filepath.Join(t.dir, "filler", "big"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // nothing of it matters
	var st unix.Statfs_t
	info, err := f.Stat()
	if err := errors.Join(err, unix.Fstatfs(int(f.Fd()), &st)); err != nil {
		return err
	}
	size := info.Size() + int64(st.Bavail)*st.Bsize - left
	if size < info.Size() {
		return f.Truncate(max(size, 0))
	}
	for ; size > info.Size(); size -= 4096 { // somebody else may take the last of it
		err = unix.Fallocate(int(f.Fd()), 0, 0, size)
		if !errors.Is(err, unix.ENOSPC) {
			break
		}
	}
	return err
}

// crowd leaves so many inodes free.
func (t *tmpfs) crowd(left int64) error {
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(t.dir, &st); err != nil {
			return err
		}
		name := func(n int) string { return filepath.Join(t.dir, "filler", fmt.Sprint(n)) }
		switch free := int64(st.Ffree); {
		case free > left:
			f, err := os.OpenFile(name(t.files), os.O_WRONLY|os.O_CREATE, 0o600)
			if errors.Is(err, unix.ENOSPC) {
				return nil
			}
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			t.files++
		case free < left && t.files > 0:
			t.files--
			if err := os.Remove(name(t.files)); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// level is how much is left, and what the gateway then does.
type level struct {
	name  string
	left  int64
	takes bool // submissions
}

func fillLevels() []level {
	return []level{
		{"room", 8 * fullFloor, true},
		{"below the floor", fullFloor * 9 / 10, false},
		{"below half of it", fullFloor * 4 / 10, false},
		{"below a quarter", fullFloor / 8, false},
		{"nothing", 0, false},
		{"below the floor again", fullFloor / 2, false},
		{"room again", 8 * fullFloor, true},
	}
}

func crowdLevels() []level {
	return []level{
		{"room", fullInodes / 2, true},
		{"below the floor", 200, false},
		{"below a quarter", 40, false},
		{"nothing", 0, false},
		{"room again", fullInodes / 2, true},
	}
}

// reactWait is how long the gateway may take to notice; it looks each second.
const reactWait = 15 * time.Second

// fullRounds takes room away and gives it back, under load. At each level the
// gateway must answer as it promises within some seconds, and lets people read.
// Then it is stopped and started without any room.
func fullRounds(ctx context.Context, o worldOptions, size int64, rounds int, hold time.Duration, leave func(*tmpfs, int64) error, levels []level) (c counts, err error) {
	fs, err := newTmpfs(o.Dir, size)
	if err != nil {
		return c, err
	}
	o.Data = filepath.Join(fs.dir, "data")
	w, err := newWorld(o)
	if err != nil {
		return c, errors.Join(err, fs.close())
	}
	defer func() { err = errors.Join(err, w.close(), fs.close()) }()
	if err := w.start(ctx); err != nil {
		return c, err
	}
	f := &full{w: w, c: &c, every: hold / 5}
	stop, err := f.load(ctx)
	if err != nil {
		return c, err
	}
	for range rounds {
		c.Cycles++
		for _, l := range levels {
			if err := leave(fs, l.left); err != nil {
				return c, errors.Join(err, stop())
			}
			if err := f.stands(ctx, l, hold); err != nil {
				return c, errors.Join(err, stop())
			}
		}
	}
	if err := stop(); err != nil {
		return c, err
	}
	if len(f.resumed) > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: %d times full; %d refused with 452; took mail again after %s s",
			filepath.Base(o.Dir), len(f.resumed), f.refused.Load(), strings.Join(f.resumed[:min(len(f.resumed), 10)], ", ")))
	}
	if err := f.withoutRoom(ctx, func(left int64) error { return leave(fs, left) }, levels); err != nil {
		return c, err
	}
	found, err := w.settleAndCheck(ctx)
	c.add(found)
	return c, errors.Join(err, f.end())
}

// full judges a gateway on a disk that becomes full.
type full struct {
	w       *world
	c       *counts
	every   time.Duration // something arrives
	refused atomic.Int64  // answers 452
	resumed []string      // seconds until mail was taken again
}

// load lets people submit and mail arrive until stop is called.
func (f *full) load(ctx context.Context) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	loop := func(every time.Duration, what func() error) {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := what()
				if err == nil {
					err = pause(ctx, every)
				}
				if err != nil && ctx.Err() == nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	loop(100*time.Millisecond, func() error {
		return f.w.drive(ctx, load{Sessions: 3, Each: 10, Size: 20000, Large: 30, Pause: f.every / 6, Repeat: true})
	})
	loop(f.every, func() error { return f.w.arrive(1, 20000) })
	return func() error {
		cancel()
		wg.Wait()
		return failed
	}, nil
}

// stands waits until the gateway acts as at a level, then looks for a while
// whether it goes on so.
func (f *full) stands(ctx context.Context, l level, hold time.Duration) error {
	began := time.Now()
	if !f.eventually(ctx, func() bool { return f.takes(ctx) == answerOf(l.takes) }) {
		if !f.w.running() {
			f.c.fault(&f.c.Wrong, "%s: the gateway ended: %s", l.name, f.w.said())
			return f.w.start(ctx) // the rest is worth knowing
		}
		f.c.fault(&f.c.Wrong, "%s: after %v submissions are answered with %d: %s", l.name, reactWait, f.takes(ctx), f.w.said())
	}
	if l.takes && l.name != "room" {
		f.resumed = append(f.resumed, fmt.Sprintf("%.1f", time.Since(began).Seconds()))
	}
	first, last := -1, -1 // messages in the folder of what arrived
	for end := time.Now().Add(hold); time.Now().Before(end) && ctx.Err() == nil; {
		code := f.takes(ctx)
		if code == 452 {
			f.refused.Add(1)
		}
		if !l.takes && code == 250 {
			f.c.fault(&f.c.Wrong, "%s: a submission is taken", l.name)
		}
		n, err := f.reads(ctx)
		if err != nil && ctx.Err() == nil {
			f.c.fault(&f.c.Wrong, "%s: people cannot read: %v", l.name, err)
		}
		if last = n; first < 0 {
			first = n
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	if !l.takes && last > first+underWay {
		f.c.fault(&f.c.Wrong, "%s: it fetches on: %d messages, then %d", l.name, first, last)
	}
	if log, err := os.ReadFile(f.w.log()); err != nil {
		return err
	} else if word, line := crashWord(log); word != "" {
		f.c.fault(&f.c.Wrong, "%s: it crashed: %s", l.name, line)
		return fmt.Errorf("it crashed: %s", line)
	}
	return context.Cause(ctx)
}

// underWay is how many messages may still come in that were being fetched when
// the room went.
const underWay = 3

func answerOf(takes bool) int {
	if takes {
		return 250
	}
	return 452
}

func (f *full) eventually(ctx context.Context, ok func() bool) bool {
	for end := time.Now().Add(reactWait); time.Now().Before(end); {
		if ok() {
			return true
		}
		if !f.w.running() || pause(ctx, 50*time.Millisecond) != nil {
			return false
		}
	}
	return false
}

// takes is the answer to MAIL, 0 if there is none.
func (f *full) takes(ctx context.Context) int {
	s := &submitter{w: f.w, from: people()[0]}
	if err := s.open(ctx); err != nil {
		return 0
	}
	defer s.conn.Close() // asked only
	code, err := s.command("MAIL FROM:<" + s.from.box + ">")
	if err != nil {
		return 0
	}
	return code
}

// reads counts the messages in the folder of what arrived and reads a few. That
// all of them are whole is judged later.
func (f *full) reads(ctx context.Context) (int, error) {
	c, err := f.w.imap(ctx, people()[0])
	if err != nil {
		return 0, err
	}
	defer c.Close() // read only
	state, err := c.Select(inbox, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil || state.NumMessages == 0 {
		return 0, err
	}
	n := state.NumMessages
	whole := &imap.FetchItemBodySection{Peek: true}
	got, err := c.Fetch(imap.SeqSet{{Start: n - min(n, few) + 1, Stop: n}}, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{whole}}).Collect()
	if err == nil && len(got) != int(min(n, few)) {
		err = fmt.Errorf("%d of %d messages are given", len(got), min(n, few))
	}
	return int(n), err
}

// few is how many messages are read while there is no room.
const few = 5

// withoutRoom stops the gateway where there is no room, tries to start it there,
// and starts it where there is room again.
func (f *full) withoutRoom(ctx context.Context, leave func(int64) error, levels []level) error {
	f.c.Cycles++
	for _, l := range levels[1 : len(levels)-1] {
		if err := leave(l.left); err != nil {
			return err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	if err := leave(0); err != nil {
		return err
	}
	if err := f.end(); err != nil {
		return err
	}
	err := f.w.start(ctx)
	switch {
	case errors.Is(err, errNotStarted):
		if f.w.exit() != 1 || !strings.Contains(f.w.said(), "free") && !strings.Contains(f.w.said(), "no space") {
			f.c.fault(&f.c.Wrong, "on a full disk it ends with status %d: %s", f.w.exit(), f.w.said())
		}
	case err != nil:
		return err
	default:
		if code := f.takes(ctx); code == 250 {
			f.c.fault(&f.c.Wrong, "on a full disk it starts and takes a submission")
		}
		if err := f.end(); err != nil {
			return err
		}
	}
	if err := leave(levels[len(levels)-1].left); err != nil {
		return err
	}
	if err := f.w.start(ctx); errors.Is(err, errNotStarted) {
		f.c.fault(&f.c.NotStarted, "with room again: %v", err)
		return err
	} else if err != nil {
		return err
	}
	return nil
}

// end stops the gateway, which must not crash.
func (f *full) end() error {
	from, err := fileSize(f.w.log())
	if err != nil {
		return err
	}
	if err := f.w.stop(); err != nil {
		return err
	}
	log, err := os.ReadFile(f.w.log())
	if err != nil {
		return err
	}
	if word, line := crashWord(log[from:]); word != "" || f.w.exit() > 1 || f.w.exit() < 0 {
		f.c.fault(&f.c.Wrong, "stopped on a full disk it ends with status %d: %s", f.w.exit(), line)
	}
	return nil
}

// readOnly takes away the right to write, as Linux does after an error of a
// disk. The gateway may end, but promises nothing that is not there when the
// disk can be written again.
func readOnly(ctx context.Context, o worldOptions) (c counts, err error) {
	d, err := newDisk(ctx, o.Dir, diskSize)
	if err != nil {
		return c, err
	}
	o.Data = filepath.Join(d.dir, "data")
	w, err := newWorld(o)
	if err != nil {
		return c, errors.Join(err, d.close())
	}
	defer func() { err = errors.Join(err, w.close(), d.close()) }()
	if err := w.start(ctx); err != nil {
		return c, err
	}
	f := &full{w: w, c: &c, every: 100 * time.Millisecond}
	stop, err := f.load(ctx)
	if err != nil {
		return c, err
	}
	err = pause(ctx, time.Second)
	if err == nil {
		// "abort" is what ext4 does after an error: nothing is written any more.
		err = unix.Mount(d.device, d.dir, "ext4", unix.MS_REMOUNT, "abort")
	}
	if err != nil {
		return c, errors.Join(err, stop())
	}
	c.Cycles++
	if !f.eventually(ctx, func() bool { return !w.running() || f.takes(ctx) >= 400 }) && ctx.Err() == nil && w.running() {
		c.fault(&c.Wrong, "read-only: after %v it still takes submissions", reactWait)
	}
	err = stop()
	if w.running() {
		c.Notes = append(c.Notes, "read-only: it runs on")
		if _, rerr := f.reads(ctx); rerr != nil {
			c.fault(&c.Wrong, "read-only: people cannot read: %v", rerr)
		}
	} else {
		c.Notes = append(c.Notes, fmt.Sprintf("read-only: it ended with status %d", w.exit()))
	}
	w.kill()
	if err := errors.Join(err, d.again()); err != nil {
		return c, err
	}
	if err := w.start(ctx); errors.Is(err, errNotStarted) {
		c.fault(&c.NotStarted, "after the disk was read-only: %v", err)
		return c, nil
	} else if err != nil {
		return c, err
	}
	found, err := w.settleAndCheck(ctx)
	c.add(found)
	return c, errors.Join(err, w.stop())
}

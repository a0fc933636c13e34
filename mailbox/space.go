package mailbox

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix" // statfs: the standard library has no portable form
)

// DiskFree is what a disk has left for an unprivileged process.
type DiskFree struct {
	Bytes  int64
	Inodes int64 // -1: the file system does not count them
}

// minInodes is the floor of free inodes: a segment, a table and a log file
// each need one, and others on this disk take them too.
const minInodes = 256

// Level is how much the store does with the room it has.
type Level string

// The levels. Reading goes on at each of them.
const (
	LevelRoom Level = "room" // everything is done
	// LevelFloor: nothing new is accepted or fetched; what is under way ends. Below
	// half of the floor no upload goes on.
	LevelFloor Level = "floor"
	// LevelCritical: below a quarter of the floor nothing at all is written, since
	// the record store dies on a full disk.
	LevelCritical Level = "critical"
)

// DiskSpace is the room on the store's disk, in bytes.
type DiskSpace struct {
	Free    int64
	Floor   int64 // Options.MinFree
	Ballast int64 // held back by the store for the end of what is under way
	Inodes  int64 // free ones; -1: not counted
	Level   Level
}

// space keeps the floor. It is judged anew each time somebody asks, and each
// second, so that it recovers by itself.
//
// With the floor goes a ballast file: real blocks that are given free when the
// floor is reached, so that work under way can end though others fill the disk.
// It does not move the level: as long as it is given up it counts as taken. The
// way back is two ballasts above the floor: one to make it again, one so that
// the level does not swing with each message.
type space struct {
	s *Store

	mu      sync.Mutex
	low     bool
	ballast int64         // its size as it should be
	held    bool          // it is there
	stop    chan struct{} // nil: nobody looks unasked
	ended   chan struct{}
}

// spacePoll is how often the disk is looked at when nobody asks.
const spacePoll = time.Second

// openSpace makes the ballast, where there is room for it, and begins to look.
func (s *Store) openSpace() error {
	sp := &s.space
	sp.s, sp.ballast = s, min(64<<20, s.opt.MinFree/10)
	held, err := s.ballastStands(sp.ballast)
	if err != nil {
		return err
	}
	sp.held = held
	free, err := s.opt.Free()
	if err != nil {
		return err
	}
	if !held && sp.ballast > 0 && free.Bytes >= s.opt.MinFree+sp.ballast {
		if err := s.makeBallast(sp.ballast); err != nil {
			return err
		}
		sp.held = true
	}
	if s.opt.MinFree > 0 {
		sp.stop, sp.ended = make(chan struct{}), make(chan struct{})
		go sp.run()
	}
	return nil
}

func (sp *space) run() {
	defer close(sp.ended)
	tick := time.NewTicker(spacePoll)
	defer tick.Stop()
	for {
		select {
		case <-sp.stop:
			return
		case <-tick.C:
			_, _ = sp.look() // whoever needs room asks again and gets the error
		}
	}
}

// close ends the looking. The ballast stays for the next Open.
func (sp *space) close() {
	if sp.stop != nil {
		close(sp.stop)
		<-sp.ended
	}
}

// look judges the disk and acts on it.
func (sp *space) look() (DiskSpace, error) {
	free, err := sp.s.opt.Free()
	if err != nil {
		return DiskSpace{}, err
	}
	floor := sp.s.opt.MinFree
	out := DiskSpace{Free: free.Bytes, Floor: floor, Inodes: free.Inodes, Level: LevelRoom}
	if floor <= 0 {
		return out, nil
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	few := free.Inodes >= 0 && free.Inodes < minInodes
	enough := floor + 2*sp.ballast
	if sp.held {
		enough = floor + sp.ballast
	}
	switch {
	case !sp.low && (free.Bytes < floor || few):
		sp.low = true
		sp.s.opt.Events.Fault("space", "", fmt.Errorf("%w: %d bytes and %d inodes free", ErrNoSpace, free.Bytes, free.Inodes))
		if sp.release() {
			if free, err = sp.s.opt.Free(); err != nil {
				return out, err
			}
			out.Free = free.Bytes
		}
	case free.Bytes >= enough && !few && (sp.low || !sp.held):
		if !sp.held && sp.s.makeBallast(sp.ballast) != nil {
			break // next time
		}
		sp.held = sp.ballast > 0
		if sp.low {
			sp.low = false
			sp.s.opt.Events.Slog().Info("space is back", "free", free.Bytes, "floor", floor)
		}
	}
	if sp.held {
		out.Ballast = sp.ballast
	}
	if sp.low {
		out.Level = LevelFloor
		if free.Bytes < floor/4 || (few && free.Inodes < minInodes/4) {
			out.Level = LevelCritical
		}
	}
	return out, nil
}

// release gives the ballast free and tells whether there was one; the caller
// holds the lock.
func (sp *space) release() bool {
	if !sp.held {
		return false
	}
	if err := sp.s.removeBallast(); err != nil {
		sp.s.opt.Events.Fault("space", "", err)
		return false
	}
	sp.held = false
	return true
}

// closingRoom is what the records may write at their end, and a few times that.
const closingRoom = 32 << 20

// noRoom tells that the records must not be closed in their usual way.
func (o Options) noRoom() bool {
	if o.MinFree <= 0 {
		return false
	}
	d, err := o.Free()
	return err == nil && d.Bytes < closingRoom && d.Bytes < o.MinFree
}

// roomFor tells whether the records may take so many bytes to put them in order.
// Above the floor they always may.
func (o Options) roomFor(bytes int64) bool {
	if o.MinFree <= 0 {
		return true
	}
	d, err := o.Free()
	return err != nil || d.Bytes >= min(bytes, o.MinFree)
}

// Space tells how the store's disk stands.
func (s *Store) Space() (DiskSpace, error) { return s.space.look() }

// Room returns ErrNoSpace when the disk has less free space than the floor.
// It is asked before anything is accepted or fetched.
func (s *Store) Room() error {
	if s.opt.MinFree <= 0 {
		return nil
	}
	d, err := s.space.look()
	if err == nil && d.Level != LevelRoom {
		err = noSpace(d)
	}
	return err
}

// uploadRoom is Room for an upload that has begun.
func (s *Store) uploadRoom() error {
	if s.opt.MinFree <= 0 {
		return nil
	}
	d, err := s.space.look()
	if err == nil && d.Level != LevelRoom && d.Free < d.Floor/2 {
		err = noSpace(d)
	}
	return err
}

// writeRoom is Room for a change of records.
func (s *Store) writeRoom() error {
	if s.opt.MinFree <= 0 {
		return nil
	}
	d, err := s.space.look()
	if err == nil && d.Level == LevelCritical {
		err = noSpace(d)
	}
	return err
}

func noSpace(d DiskSpace) error {
	return fmt.Errorf("%w: %d bytes free of at least %d; make room on the disk of data_dir", ErrNoSpace, d.Free, d.Floor)
}

// Free returns the bytes that an unprivileged process may still write on the
// store's disk.
func (s *Store) Free() (int64, error) {
	d, err := s.opt.Free()
	return d.Bytes, err
}

// diskFree asks the disk of a folder.
func diskFree(dir string) (DiskFree, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return DiskFree{}, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	d := DiskFree{Bytes: int64(st.Bavail) * st.Bsize, Inodes: -1}
	if st.Files > 0 {
		d.Inodes = int64(st.Ffree)
	}
	return d, nil
}

package mailbox

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix" // how many blocks a file has
)

// disk is a disk whose free space a test sets. The ballast takes of it.
type disk struct {
	dir    string
	bytes  atomic.Int64 // without the ballast
	inodes atomic.Int64
	broken atomic.Bool
}

func (d *disk) free() (DiskFree, error) {
	if d.broken.Load() {
		return DiskFree{}, errors.New("statfs failed")
	}
	free := DiskFree{Bytes: d.bytes.Load(), Inodes: d.inodes.Load()}
	if info, err := os.Stat(filepath.Join(d.dir, ballastName)); err == nil {
		free.Bytes -= info.Size()
	}
	return free, nil
}

// TestK1_Floor drives the free space down and up again: nothing new below the
// floor, no upload below half of it, no write below a quarter; reading always,
// and everything again when there is room.
func TestK1_Floor(t *testing.T) {
	const mib = 1 << 20
	const floor = 100 * mib
	ctx, d := context.Background(), &disk{dir: t.TempDir()}
	d.inodes.Store(-1)
	d.bytes.Store(floor - 1)
	o := Options{Dir: d.dir, MinFree: floor, Free: d.free}
	if _, err := Open(o); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("opened below the floor: %v", err)
	}
	if left, err := os.ReadDir(d.dir); err != nil || len(left) != 0 {
		t.Errorf("it touched the folder: %v, %v", left, err)
	}
	d.bytes.Store(floor + 5*mib)
	s := openWith(t, o)
	v := Viewer{Person: person(t, s, "mario")}
	m, _ := put(t, s, inbox, text("before"), Filing{})
	at := func(bytes int64, level Level, ballast int64) {
		t.Helper()
		d.bytes.Store(bytes)
		got, err := s.Space()
		if err != nil || got.Level != level || got.Ballast != ballast || got.Floor != floor {
			t.Errorf("with %d MiB: %+v, %v", bytes/mib, got, err)
		}
		r, err := s.Open(m)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(io.NewSectionReader(r, 0, m.Size()))
		if err := errors.Join(err, r.Close()); err != nil {
			t.Errorf("reading with %d MiB: %v", bytes/mib, err)
		}
		if got := snapshot(t, s, inbox, v).UIDs; len(got) == 0 {
			t.Error("the folder is empty")
		}
		_, err = s.Begin(ctx)
		if none := errors.Is(err, ErrNoSpace); none != (level != LevelRoom) {
			t.Errorf("a message with %d MiB: %v", bytes/mib, err)
		}
		if err := s.Room(); (err == nil) != (level == LevelRoom) {
			t.Errorf("room with %d MiB: %v", bytes/mib, err)
		}
		err = s.Update(ctx, func(tx *Tx) error { return tx.Space("x").Put("k", 1) })
		if (err == nil) != (level != LevelCritical) {
			t.Errorf("a record with %d MiB: %v", bytes/mib, err)
		}
		if err := s.SignAudit(ctx); errors.Is(err, ErrNoSpace) != (level == LevelCritical) {
			t.Errorf("a signed head with %d MiB: %v", bytes/mib, err)
		}
	}
	at(floor+5*mib, LevelRoom, 0) // no room for the ballast yet
	at(floor+30*mib, LevelRoom, 10*mib)
	under, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	at(floor+9*mib, LevelFloor, 0) // the ballast is given up, and is no way back
	at(floor+9*mib, LevelFloor, 0)
	// What is under way ends.
	if _, err := under.Write(make([]byte, 3*mib)); err != nil {
		t.Error(err)
	}
	st, err := under.Store(ctx, Origin{Box: box, Direction: In})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record(ctx, st, func(tx *Tx, m *Message) error { _, _, err := tx.File(inbox, m, Filing{}); return err }); err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	at(floor+15*mib, LevelFloor, 0) // not before there is room for it and for more
	at(floor+20*mib, LevelRoom, 10*mib)
	late, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	at(floor/3, LevelFloor, 0)
	if _, err := late.Write(make([]byte, 3*mib)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("an upload below half of the floor: %v", err)
	}
	late.Abort()
	at(floor/5, LevelCritical, 0)
	at(floor/2, LevelFloor, 0)
	at(floor+20*mib, LevelRoom, 10*mib)
	put(t, s, inbox, text("after"), Filing{})
	d.broken.Store(true)
	if err := s.Room(); err == nil || errors.Is(err, ErrNoSpace) {
		t.Errorf("when the disk does not answer: %v", err)
	}
	d.broken.Store(false)
	recounted(t, s)
	// The ballast stays for the next start, and goes with another floor.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for min, want := range map[int64]int64{floor: 10 * mib, 10 * mib: mib, 0: 0} {
		o.MinFree = min
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(d.dir, ballastName))
		if (want == 0) != errors.Is(err, os.ErrNotExist) || err == nil && info.Size() != want {
			t.Errorf("the ballast of a floor of %d is %v: %v", min, info, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestK2_InodesGone: a disk without inodes is full.
func TestK2_InodesGone(t *testing.T) {
	d := &disk{dir: t.TempDir()}
	d.inodes.Store(100000)
	d.bytes.Store(1 << 40)
	s := openWith(t, Options{Dir: d.dir, MinFree: 10 << 20, Free: d.free})
	for inodes, want := range map[int64]Level{minInodes - 1: LevelFloor, minInodes/4 - 1: LevelCritical} {
		d.inodes.Store(inodes)
		if got, err := s.Space(); err != nil || got.Level != want {
			t.Errorf("%d inodes: %+v, %v", inodes, got, err)
		}
	}
	d.inodes.Store(minInodes)
	put(t, s, inbox, text("again"), Filing{})
}

// TestBallastIsRealBlocks: a file of holes would give nothing back.
func TestBallastIsRealBlocks(t *testing.T) {
	d := &disk{dir: t.TempDir()}
	s := &Store{opt: Options{Dir: d.dir}}
	for name, make := range map[string]func() error{
		"allocated": func() error { return s.makeBallast(3<<20 + 5) },
		"written": func() error {
			f, err := os.Create(s.ballastPath())
			if err != nil {
				return err
			}
			return errors.Join(fillRandom(f, 3<<20+5), f.Sync(), f.Close())
		},
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if got := blocks(t, s.ballastPath()); got < 3<<20 {
			t.Errorf("%s: %d bytes of blocks", name, got)
		}
		if err := s.removeBallast(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.removeBallast(); err != nil {
		t.Errorf("without one: %v", err)
	}
}

func blocks(t *testing.T, name string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

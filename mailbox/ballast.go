package mailbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix" // fallocate: the standard library has none
)

// ballastName is the only file of the store that holds nothing.
const ballastName = "ballast"

func (s *Store) ballastPath() string { return filepath.Join(s.opt.Dir, ballastName) }

// ballastStands tells whether the ballast is there in its size. One of another
// size goes: the floor was changed, or its making was interrupted.
func (s *Store) ballastStands(size int64) (bool, error) {
	info, err := os.Lstat(s.ballastPath())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the ballast file: %w", err)
	}
	if size > 0 && info.Mode().IsRegular() && info.Size() == size {
		return true, nil
	}
	return false, s.removeBallast()
}

// makeBallast takes real blocks from the disk, durably. A failure leaves
// nothing.
func (s *Store) makeBallast(size int64) error {
	if size <= 0 {
		return nil
	}
	f, err := os.OpenFile(s.ballastPath(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make the ballast file: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = fillRandom(f, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("make the ballast file: %w", err), s.removeBallast())
	}
	return nil
}

// fillRandom writes what no file system stores in less space.
func fillRandom(f *os.File, size int64) error {
	b := make([]byte, 1<<20)
	for size > 0 {
		b = b[:min(int64(len(b)), size)]
		rand.Read(b) // never fails
		if _, err := f.Write(b); err != nil {
			return err
		}
		size -= int64(len(b))
	}
	return nil
}

// removeBallast gives the blocks back to the disk.
func (s *Store) removeBallast() error {
	if err := os.Remove(s.ballastPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give the ballast file up: %w", err)
	}
	return nil
}

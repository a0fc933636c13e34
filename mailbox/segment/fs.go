package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"pecgate/mailbox/planted"
)

// FS is what a store needs of a file system. It exists so that tests can make
// any single operation fail or lose what was not synced. Errors for a missing
// file satisfy errors.Is(err, fs.ErrNotExist).
type FS interface {
	MkdirAll(dir string) error           // mode 0700, durable on return
	List(dir string) ([]string, error)   // base names, any order
	Open(name string) (File, error)      // for reading
	Edit(name string) (File, error)      // an existing file, for reading and writing
	Create(name string) (File, error)    // a new file, mode 0600; fails if it exists
	Rename(from, to string) error        //
	Remove(name string) error            //
	SyncDir(dir string) error            // makes names made by Create and Rename durable
	Lock(name string) (io.Closer, error) // ErrInUse when another has it
}

// File is an open file. WriteAt that writes less than it was given returns an error.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error // content and size durable on return
	Size() (int64, error)
	Close() error
}

// Disk is the file system of the machine.
func Disk() FS { return disk{} }

type disk struct{}

func (d disk) MkdirAll(dir string) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	up := filepath.Dir(filepath.Clean(dir))
	if up != dir {
		if err := d.MkdirAll(up); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(up)
}

func (disk) List(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (disk) Open(name string) (File, error) { return open(name, os.O_RDONLY) }
func (disk) Edit(name string) (File, error) { return open(name, os.O_RDWR) }
func (disk) Create(name string) (File, error) {
	return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}
func (disk) Rename(from, to string) error { return os.Rename(from, to) }
func (disk) Remove(name string) error     { return os.Remove(name) }
func (disk) SyncDir(dir string) error     { return syncDir(dir) }

func (disk) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

func open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

type diskFile struct{ *os.File }

func (f diskFile) Sync() error {
	if planted.Is(planted.NoSync) || planted.Is(planted.NoSyncSegment) {
		return nil
	}
	return datasync(f.File)
}

func (f diskFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func syncDir(dir string) error {
	if planted.Is(planted.NoSync) {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

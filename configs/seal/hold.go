package seal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Held keeps all others from changing a key file, and who holds it from reading keys that another is about to replace.
type Held struct {
	file   string
	folder *os.File
}

// ErrHeld means that another process has been changing the keys for longer than anybody waits.
var ErrHeld = errors.New("another `pecgate seal` is changing the keys: run this again when it has ended")

// A rotation takes far less than a second; who holds the keys for longer hangs.
const (
	holdTries = 250
	holdEvery = 20 * time.Millisecond
)

// Hold waits some seconds at most until nobody else holds the key file: ErrHeld, or the error of the context. The lock is on
// its folder, because the file is replaced; it ends with Free or the process.
func Hold(ctx context.Context, file string) (*Held, error) {
	name, err := filepath.EvalSymlinks(file)
	if errors.Is(err, os.ErrNotExist) {
		name, err = file, nil // about to be made
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return &Held{file: file, folder: f}, nil
		}
		switch {
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(fmt.Errorf("lock the folder of the keys: %w", err), f.Close())
		case n == holdTries:
			return nil, errors.Join(ErrHeld, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(holdEvery):
		}
	}
}

// Free lets the next one in.
func (h *Held) Free() error { return h.folder.Close() }

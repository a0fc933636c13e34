package segment

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Forgo lets a folder be opened whose bytes are lost or damaged: segments that
// are missing get an empty archive in their place, which keeps their number,
// and if the last one is damaged a new one is begun, so that nothing is cut
// from it. No file that stands is touched: whatever is put back later counts.
// What is lost stays lost, and Check and Walk go on to tell it.
//
// The caller holds the lock of the folder (or knows that nobody opens it).
func Forgo(fs FS, dir string, missing []uint64, damaged bool) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("segment: list folder: %w", err)
	}
	numbers, _ := sortNames(names)
	last := uint64(0)
	for _, n := range append(numbers, missing...) {
		if !large(n) {
			last = max(last, n)
		}
	}
	for _, n := range missing {
		if err := begin(fs, filepath.Join(dir, FileName(n)), endSize); err != nil {
			return fmt.Errorf("segment: put an empty archive for segment %d: %w", n, err)
		}
	}
	if damaged {
		if err := begin(fs, filepath.Join(dir, FileName(last+2)), 0); err != nil {
			return fmt.Errorf("segment: begin segment %d: %w", last+2, err)
		}
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("segment: sync folder: %w", err)
	}
	return nil
}

// begin makes a file of so many zeros.
func begin(fs FS, name string, size int64) error {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, size), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

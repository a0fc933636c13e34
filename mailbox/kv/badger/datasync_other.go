//go:build !linux

package badger

import "os"

// datasync: only Linux has the lighter call in the standard library.
func datasync(f *os.File) error { return f.Sync() }

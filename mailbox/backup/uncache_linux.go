package backup

import (
	"golang.org/x/sys/unix" // fadvise: the standard library has none

	"pecgate/mailbox/segment"
)

// uncache asks that a file be read from its medium and not from memory: what
// was synced is to be seen as it lies there. It is a wish only.
func uncache(f segment.File) {
	if file, ok := f.(interface{ Fd() uintptr }); ok {
		_ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED) // then it is read as it can be
	}
}

package badger

import (
	"errors"
	"os"
	"syscall"
)

// datasync makes content durable and leaves times alone. An interrupted call
// was not carried out, so it is made again; any other error is final.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

package segment

import (
	"errors"
	"os"
	"syscall"
)

// datasync makes content and size durable and leaves times alone, which saves
// a write of the inode on most file systems. An interrupted call was not
// carried out, so it is made again; any other error is final.
func datasync(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = c.Control(func(fd uintptr) {
		for {
			failed = syscall.Fdatasync(int(fd))
			if !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	if err == nil && failed != nil {
		err = os.NewSyscallError("fdatasync", failed)
	}
	return err
}

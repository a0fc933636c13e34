package mailbox

import (
	"fmt"

	"golang.org/x/sys/unix" // statfs: the standard library has no portable form
)

// Room returns ErrNoSpace when the disk has less free space than the floor.
// It is asked before anything is accepted or fetched.
func (s *Store) Room() error {
	if s.opt.MinFree <= 0 {
		return nil
	}
	free, err := s.Free()
	if err != nil {
		return err
	}
	if free < s.opt.MinFree {
		return fmt.Errorf("%w: %d bytes free of at least %d; make room on the disk of data_dir", ErrNoSpace, free, s.opt.MinFree)
	}
	return nil
}

// Free returns the bytes that an unprivileged process may still write on the
// store's disk.
func (s *Store) Free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.opt.Dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", s.opt.Dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// privateDir makes the store's folder, or closes it to others where somebody
// else has made it. What lies in it is made with mode 0600 and 0700, under
// whatever mask of the process.
func privateDir(dir string) error {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = os.MkdirAll(dir, 0o700)
	case err == nil && st.Mode().Perm() != 0o700:
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the store's folder: %w", err)
	}
	return nil
}

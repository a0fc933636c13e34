package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// readRegular reads a whole file of at most limit octets. A pipe or device is refused before it is opened, so that it
// cannot hold the reader up.
func readRegular(name string, limit int64) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, nil, plain(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, plain(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, plain(err)
	}
	if int64(len(b)) > limit {
		return nil, nil, fmt.Errorf("it is larger than %s", Size(limit))
	}
	// The rights of what was read, not of what stood there before.
	if info, err = f.Stat(); err != nil {
		return nil, nil, plain(err)
	}
	return b, info, nil
}

// plain takes the file name out of a file error, because the fault names it already.
func plain(err error) error {
	var p *fs.PathError
	if !errors.As(err, &p) {
		return err
	}
	switch {
	case errors.Is(p.Err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case errors.Is(p.Err, fs.ErrPermission):
		return errors.New("it cannot be read: permission denied")
	}
	return fmt.Errorf("it cannot be read: %w", p.Err)
}

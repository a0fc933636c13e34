package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

const (
	inMemory = 1 << 20 // unpacked bytes kept in memory; more go into a temporary file
	headSize = 4 << 10 // bytes by which a file is recognised
)

// source is bytes that several Items share, given back with the last of them.
// Whoever makes it has the first hold.
type source struct {
	io.ReaderAt
	size   int64
	weight int64 // bytes of progress that it stands for: of the file that holds it
	holds  atomic.Int64
	close  func() error // nil where there is nothing to do
}

func newSource(r io.ReaderAt, size int64, close func() error) *source {
	s := &source{ReaderAt: r, size: size, weight: size, close: close}
	s.holds.Store(1)
	return s
}

func (s *source) hold() *source {
	s.holds.Add(1)
	return s
}

func (s *source) release() error {
	if s.holds.Add(-1) > 0 || s.close == nil {
		return nil
	}
	return s.close()
}

// head gives the first bytes.
func (s *source) head() ([]byte, error) {
	b := make([]byte, min(s.size, headSize))
	n, err := s.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// openFile opens a file that was named. A pipe is read to its end first, at most
// limit bytes.
func openFile(ctx context.Context, path string, limit int64) (*source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case st.Mode().IsRegular():
		return newSource(f, st.Size(), f.Close), nil
	default:
		var s *source
		s, err = spool(ctx, f, limit)
		return s, errors.Join(err, f.Close())
	}
	return nil, errors.Join(err, f.Close())
}

// limitError says that something is larger than its limit in bytes.
type limitError struct{ limit int64 }

func (e limitError) Error() string {
	if e.limit < 1<<20 {
		return fmt.Sprintf("larger than %d bytes", e.limit)
	}
	return fmt.Sprintf("larger than %d MiB", e.limit>>20)
}

// spool copies r to where it can be read at will.
func spool(ctx context.Context, r io.Reader, limit int64) (s *source, err error) {
	// One byte more than allowed tells that there is more.
	r = io.LimitReader(&untilDone{ctx, r}, limit+1)
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, inMemory))
	switch {
	case err != nil:
		return nil, err
	case n > limit:
		return nil, limitError{limit}
	case n < inMemory:
		return newSource(bytes.NewReader(b.Bytes()), n, nil), nil
	}
	f, remove, err := tempFile()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove())
		}
	}()
	if _, err = f.Write(b.Bytes()); err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	more, err := io.Copy(f, r)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if n += more; n > limit {
		return nil, limitError{limit}
	}
	return newSource(f, n, remove), nil
}

// tempFile makes a file of mode 0600 without a name. remove closes it, and takes
// its name away where the system did not let go of it before.
func tempFile() (f *os.File, remove func() error, err error) {
	f, err = os.CreateTemp("", "pecgate-")
	if err != nil {
		return nil, nil, fmt.Errorf("a temporary file: %w", err)
	}
	if os.Remove(f.Name()) == nil {
		return f, f.Close, nil
	}
	return f, func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }, nil
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

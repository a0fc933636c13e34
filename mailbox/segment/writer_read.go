package segment

import (
	"fmt"
	"io"
)

// ReadAt reads what was taken so far. It belongs to the goroutine that writes, before
// Commit and Abort.
func (w *Writer) ReadAt(p []byte, off int64) (n int, err error) {
	if w.ended {
		return 0, fmt.Errorf("read an unfinished message: %w", ErrClosed)
	}
	if off < 0 || off >= w.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), w.size-off)]
	at := off
	if w.up != nil {
		at += block // the header stands before it
		if at < w.off {
			if n, err = w.up.ReadAt(want[:min(int64(len(want)), w.off-at)], at); err != nil {
				return n, fmt.Errorf("read an unfinished message: %w", err)
			}
			at += int64(n)
		}
		at -= w.off
	}
	if n < len(want) {
		n += copy(want[n:], w.buf[at:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

var _ io.ReaderAt = (*Writer)(nil)

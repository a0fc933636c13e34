package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// flippedMessage changes one byte of a stored message while the gateway is
// stopped: the deep check must tell.
func flippedMessage(ctx context.Context, o worldOptions) (counts, error) {
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		var c counts
		all, err := w.stored(ctx, 4)
		if err != nil {
			return c, err
		}
		if err := w.stop(); err != nil {
			return c, err
		}
		// A line that stands in the body of one message only.
		if err := w.flip("segments/*.tar", "000003 "+all[0].ID); err != nil {
			return c, err
		}
		c.Cycles++
		out, status, err := w.pecgate(ctx, "fsck", "--deep")
		if err != nil {
			return c, err
		}
		if status == 0 {
			c.fault(&c.Silent, "a byte of a message was changed, and fsck --deep says %s", lastLine(out))
		} else {
			c.Detected++
		}
		return c, nil
	})
}

// flippedRecord changes one byte in the log of the records after a kill: the
// gateway must refuse to start with fewer of them.
func flippedRecord(ctx context.Context, o worldOptions) (counts, error) {
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		var c counts
		all, err := w.stored(ctx, 4)
		if err != nil {
			return c, err
		}
		w.kill()
		if err := w.flip("records/*.mem", all[len(all)-1].ID); err != nil {
			return c, err
		}
		c.Cycles++
		err = w.start(ctx)
		if errors.Is(err, errNotStarted) {
			c.Detected++
			return c, nil
		}
		if err != nil {
			return c, err
		}
		c.fault(&c.Silent, "a byte of the records was changed, and the gateway starts")
		return c, nil
	})
}

// stored starts the gateway and submits n letters.
func (w *world) stored(ctx context.Context, n int) ([]*letter, error) {
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	all := w.letters(n)
	for _, m := range all { // one after the other: they stand in this order
		if err := w.submit(ctx, m); err != nil {
			return nil, err
		}
	}
	if w.ledger.promises() != n {
		return nil, fmt.Errorf("only %d of %d messages were accepted", w.ledger.promises(), n)
	}
	return all, nil
}

// flip changes a bit in the middle of where text stands first, in one of the
// files of data_dir that match.
func (w *world) flip(pattern, text string) error {
	names, err := filepath.Glob(filepath.Join(w.o.Data, pattern))
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		at := bytes.Index(b, []byte(text))
		if at < 0 {
			continue
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		at += len(text) / 2
		_, err = f.WriteAt([]byte{b[at] ^ 1}, int64(at))
		return errors.Join(err, f.Close())
	}
	return fmt.Errorf("nothing of %s in %s holds %q", w.o.Data, pattern, text)
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

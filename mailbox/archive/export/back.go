package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// errOther says that what was read back is not what was written.
var errOther = errors.New("the bytes are not those that were written: is the disk in order?")

// readBack reads every file of a part and compares every message.
func (p *part) readBack(ctx context.Context) error {
	next := 0
	for i, f := range p.files {
		from := next
		for next < len(p.records) && p.records[next].file == int32(i) {
			next++
		}
		if err := p.readFile(ctx, f, p.records[from:next]); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func (p *part) readFile(ctx context.Context, f file, of []record) (err error) {
	r, err := p.to.open(f.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	in := &counted{w: io.Discard, sum: sha256.New()}
	src := bufio.NewReaderSize(io.TeeReader(&interrupted{ctx, r}, in), 1<<16)
	if p.o.Format == Mbox && len(of) > 0 {
		for _, m := range of {
			if err := readMboxMessage(src, m); err != nil {
				return err
			}
			if err := p.o.Wrote(m.size, true); err != nil {
				return err
			}
		}
	}
	if _, err := io.Copy(io.Discard, src); err != nil {
		return err
	}
	if in.size != f.size || [sha256.Size]byte(in.sum.Sum(nil)) != f.sum {
		return errOther
	}
	if p.o.Format != Mbox && len(of) > 0 {
		return p.o.Wrote(of[0].size, true)
	}
	return nil
}

// readMboxMessage reads one message with its separator and undoes its quoting.
func readMboxMessage(src io.Reader, m record) error {
	head := make([]byte, len(separator(m.arrived)))
	if _, err := io.ReadFull(src, head); err != nil || string(head) != separator(m.arrived) {
		return errors.Join(errOther, err)
	}
	h := sha256.New()
	q := newQuoter(h, true)
	// Each quoted line has one byte more.
	if _, err := io.CopyN(q, src, m.size+int64(m.quoted)); err != nil {
		return errors.Join(errOther, err)
	}
	if err := q.Close(); err != nil {
		return err
	}
	if q.lines != int(m.quoted) || [sha256.Size]byte(h.Sum(nil)) != m.sum {
		return errOther
	}
	end := make([]byte, 1)
	if m.ended {
		end = make([]byte, 2)
	}
	if _, err := io.ReadFull(src, end); err != nil || end[0] != '\n' || end[len(end)-1] != '\n' {
		return errors.Join(errOther, err)
	}
	return nil
}

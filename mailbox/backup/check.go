package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// Checked is what a check of a backup found. JSON keys are stable.
type Checked struct {
	Folder    string      `json:"folder"`
	Run       uint64      `json:"run"`
	At        time.Time   `json:"at"`
	Encrypted bool        `json:"encrypted"`
	Parts     int         `json:"parts"`
	Bytes     int64       `json:"bytes"`
	Bad       []PartError `json:"bad"`      // parts that are not what was written
	Content   bool        `json:"content"`  // what is in them was looked at
	Records   int64       `json:"records"`  // there are in it
	Messages  int64       `json:"messages"` // that records name
	Missing   int64       `json:"missing"`  // of these: without their bytes
	Damaged   int64       `json:"damaged"`  // of these: with other bytes than were stored
	Examples  []string    `json:"examples"` // of both: the first 100
}

// OK tells that nothing is missing.
func (c *Checked) OK() bool { return len(c.Bad) == 0 && c.Missing == 0 && c.Damaged == 0 }

// named is a message that a record names: 32 bytes each are held.
type named struct {
	segment uint64
	offset  int64
	size    int64
	sum     [8]byte // the beginning: the segment's own entry has all of it
}

func (a named) before(b named) int {
	return cmp.Or(cmp.Compare(a.segment, b.segment), cmp.Compare(a.offset, b.offset))
}

// Check reads all of a backup. ref says for each record whether it names a
// message, and where that is. Where nothing can be decrypted only the files are
// compared with their sums.
func (s *Source) Check(ctx context.Context, ref func(key, value []byte) (segment.Ref, bool, error)) (*Checked, error) {
	c := &check{s: s, ctx: ctx, Checked: &Checked{
		Folder: s.dir, Run: s.m.Run, At: s.m.At, Encrypted: s.m.Encryption != "",
		Parts: len(s.m.Parts), Bytes: s.m.Bytes(), Bad: []PartError{}, Examples: []string{},
	}}
	if s.m.Encryption != "" && s.keys == nil {
		for _, p := range s.m.Parts {
			if err := c.note(readBack(ctx, s.fs, s.dir, p, false, s.Progress)); err != nil {
				return nil, err
			}
		}
		return c.Checked, nil
	}
	if err := s.Readable(); err != nil {
		return nil, err
	}
	c.Content = true
	for _, kind := range []string{KindKeys, KindHeads} {
		for _, p := range s.m.parts(kind) {
			if err := c.drain(p, io.Discard); err != nil {
				return nil, err
			}
		}
	}
	if err := c.records(ref); err != nil {
		return nil, err
	}
	if err := c.segments(); err != nil {
		return nil, err
	}
	return c.Checked, nil
}

type check struct {
	*Checked
	s   *Source
	ctx context.Context
	all []named
}

// note keeps what is wrong with a part; other errors end the check.
func (c *check) note(err error) error {
	var bad *PartError
	if !errors.As(err, &bad) {
		return err
	}
	if !slices.Contains(c.Bad, *bad) {
		c.Bad = append(c.Bad, *bad)
	}
	return nil
}

// drain reads a part whole.
func (c *check) drain(p Part, to io.Writer) error {
	in, err := c.s.open(c.ctx, p)
	if err == nil {
		_, err = io.Copy(to, in)
		err = errors.Join(err, in.Close())
	}
	return c.note(err)
}

// records goes through the state that the chain of records holds.
func (c *check) records(ref func(key, value []byte) (segment.Ref, bool, error)) (err error) {
	var parts []io.Reader
	for _, p := range c.s.m.parts(KindRecords) {
		in, err := c.s.open(c.ctx, p)
		if err != nil {
			return c.note(err)
		}
		defer func() { err = errors.Join(err, in.Close()) }()
		parts = append(parts, in)
	}
	err = kv.MergeBackup(parts, func(k, v []byte) error {
		c.Records++
		r, ok, err := ref(k, v)
		if err != nil || r.Segment == 0 && ok {
			return fmt.Errorf("a record of a message cannot be read: %w", kv.ErrCorrupt)
		}
		if ok {
			n := named{segment: r.Segment, offset: r.Offset, size: r.Size}
			copy(n.sum[:], r.Sum[:])
			c.all = append(c.all, n)
		}
		return nil
	})
	c.Messages = int64(len(c.all))
	slices.SortFunc(c.all, named.before)
	if errors.Is(err, kv.ErrCorrupt) {
		return c.blame(err)
	}
	return c.note(err)
}

// blame looks for the part of the records that makes them unreadable.
func (c *check) blame(err error) error {
	bad, berr := c.s.blame(c.ctx)
	if berr != nil {
		return berr
	}
	if len(bad) == 0 {
		bad = []PartError{{"records", "do not fit together: " + err.Error()}}
	}
	for i := range bad {
		if err := c.note(&bad[i]); err != nil {
			return err
		}
	}
	return nil
}

// segments reads every segment and looks for the messages that records name.
func (c *check) segments() error {
	left := c.all
	for _, p := range c.s.m.parts(KindSegment) {
		look := newScan(p.Segment, p.From, func(f found) {
			at := named{segment: f.segment, offset: f.offset}
			for len(left) > 0 && left[0].before(at) < 0 {
				c.lost(left[0])
				left = left[1:]
			}
			for ; len(left) > 0 && left[0].before(at) == 0; left = left[1:] {
				switch {
				case left[0].size != f.size || left[0].sum != [8]byte(f.sum[:8]):
					c.lost(left[0])
				case !f.whole:
					c.Damaged++
					c.example("%s is damaged, it was so when it was copied", left[0])
				}
			}
		}, func(int64) {})
		if err := c.drain(p, look); err != nil {
			return err
		}
		look.end()
	}
	for _, n := range left {
		c.lost(n)
	}
	return nil
}

func (c *check) lost(n named) {
	c.Missing++
	c.example("%s is missing", n)
}

func (c *check) example(format string, n named) {
	if len(c.Examples) < maxDamaged {
		c.Examples = append(c.Examples, fmt.Sprintf(format, fmt.Sprintf("message in segment %d at offset %d", n.segment, n.offset)))
	}
}

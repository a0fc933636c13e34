package kv

import (
	"bytes"
	"io"
)

// MergeBackup shows the state that a full backup and the incremental ones that
// follow it hold together, in ascending order of keys, without a store. Each
// part has a reader of its own. Key and value are valid only during the call of
// fn, whose error ends it. What was shown is to be believed only when it answers
// nil; else ErrCorrupt, ErrFormat, or the error of a reader.
//
// The newest part names every key there is, so the others are read beside it.
func MergeBackup(parts []io.Reader, fn func(key, value []byte) error) error {
	m := make(merge, len(parts))
	var before BackupHeader
	for i, r := range parts {
		in := NewBackupReader(r)
		in.parts, in.part = i, before
		h, err := in.Part()
		if err == io.EOF {
			err = in.short(io.EOF)
		}
		if err != nil {
			return err
		}
		before = h
		m[i] = &cursor{in: in}
	}
	for top := len(m) - 1; top >= 0; {
		switch err := m[top].next(); {
		case err == io.EOF:
			return m.rest()
		case err != nil:
			return err
		}
		value, err := m.find(top, m[top].now.Key)
		if err == nil {
			err = fn(m[top].now.Key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type merge []*cursor

// cursor is how far a part was read.
type cursor struct {
	in  *BackupReader
	now BackupEntry
	on  bool // now is an entry
	end bool
}

func (c *cursor) next() (err error) {
	if c.now, err = c.in.Next(); err == io.EOF {
		c.end = true
	}
	c.on = err == nil
	return err
}

// find gives the value of a key as the parts up to one have it; that one stands
// at the key or before it.
func (m merge) find(at int, key []byte) ([]byte, error) {
	for ; at >= 0; at-- {
		c := m[at]
		for !c.end && (!c.on || bytes.Compare(c.now.Key, key) < 0) {
			if err := c.next(); err != nil && err != io.EOF {
				return nil, err
			}
		}
		if c.end || !bytes.Equal(c.now.Key, key) {
			return nil, errLost
		}
		if !c.now.Kept {
			return c.now.Value, nil
		}
	}
	return nil, errLost
}

// rest reads every part to its end, where its sum stands.
func (m merge) rest() error {
	for _, c := range m {
		for !c.end {
			if err := c.next(); err != nil && err != io.EOF {
				return err
			}
		}
		if _, err := c.in.in.Peek(1); err != io.EOF {
			return c.in.short(io.EOF)
		}
	}
	return nil
}

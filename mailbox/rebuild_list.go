package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"pecgate/mailbox/segment"
)

// The list of what Refile still has to file stands in the records themselves, in
// a space that is empty before and after: a store may hold more messages than
// fit into memory, and they are filed in another order than they stand in the
// segments. A message has a line
//
//	l/ class, time, segment, offset / 0000
//
// in hexadecimal, so that what receipts are about comes before them, and each
// class in the order in which it arrived. An origin that is too long for one
// record goes on under 0001 and so on.
const listRoom = "refile"

// Bounds of the list.
const (
	listPart = 24 << 10  // bytes of an origin in one record
	listKeys = 400       // records of one transaction
	listSize = 512 << 10 // their bytes
)

// listed is a message that is to be filed.
type listed struct {
	Ref    segment.Ref  `json:"ref"`
	Copy   *segment.Ref `json:"copy,omitempty"`
	At     time.Time    `json:"at"` // of the commit of its bytes
	Origin []byte       `json:"origin"`

	line string // its key without the part
}

// class orders what is filed: a receipt finds the submission that it is about.
func class(d Direction) byte {
	switch d {
	case Out:
		return '1'
	case In:
		return '3'
	}
	return '2'
}

// place gives l its line.
func (l *listed) place() {
	var origin Origin
	if json.Unmarshal(l.Origin, &origin) != nil || origin.At.IsZero() {
		origin.At = l.At
	}
	// Times before 1970 are mistakes: they come first.
	l.line = fmt.Sprintf("l/%c%016x%016x%016x/", class(origin.Direction), max(origin.At.UnixMilli(), 0), l.Ref.Segment, l.Ref.Offset)
}

// listWriter adds messages to the list, in bounded transactions.
type listWriter struct {
	s    *Store
	keys []string
	recs []any
	size int
}

func (w *listWriter) add(ctx context.Context, l listed) error {
	l.place()
	rest := l.Origin
	head := min(len(rest), listPart)
	l.Origin, rest = rest[:head], rest[head:]
	if err := w.put(ctx, l.line+"0000", l, head+300); err != nil {
		return err
	}
	for n := 1; len(rest) > 0; n++ {
		size := min(len(rest), listPart)
		if err := w.put(ctx, fmt.Sprintf("%s%04x", l.line, n), rest[:size], size); err != nil {
			return err
		}
		rest = rest[size:]
	}
	return nil
}

func (w *listWriter) put(ctx context.Context, k string, v any, size int) error {
	size = size*4/3 + len(k) + 100 // base64
	if len(w.keys) == listKeys || w.size+size > listSize {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.keys, w.recs, w.size = append(w.keys, k), append(w.recs, v), w.size+size
	return nil
}

func (w *listWriter) flush(ctx context.Context) error {
	if len(w.keys) == 0 {
		return nil
	}
	err := w.s.Update(ctx, func(tx *Tx) error {
		for i, k := range w.keys {
			if err := tx.Space(listRoom).Put(k, w.recs[i]); err != nil {
				return err
			}
		}
		return nil
	})
	w.keys, w.recs, w.size = w.keys[:0], w.recs[:0], 0
	if err != nil {
		return fmt.Errorf("list the messages: %w", err)
	}
	return nil
}

var errList = errors.New("mailbox: a line of the list of messages is malformed")

// nextListed returns the next messages behind a line, at most most.
func (s *Store) nextListed(ctx context.Context, after string, most int) (out []listed, err error) {
	err = s.View(ctx, func(tx *Tx) error {
		out = nil
		sp := tx.Space(listRoom)
		base, from := len(sp.key("")), sp.key("l/")
		if after != "" {
			from = append(sp.key(after), 0xff)
		}
		return tx.r.Scan(sp.key("l/"), from, func(k, raw []byte) (bool, error) {
			name := string(k[base:])
			if len(name) < 4 {
				return false, errList
			}
			line := name[:len(name)-4]
			n, err := strconv.ParseUint(name[len(name)-4:], 16, 16)
			if err != nil {
				return false, errList
			}
			if n == 0 {
				if len(out) == most {
					return false, nil
				}
				l := listed{line: line}
				out = append(out, l)
				return true, json.Unmarshal(raw, &out[len(out)-1])
			}
			if len(out) == 0 || out[len(out)-1].line != line {
				return false, errList
			}
			var part []byte
			if err := json.Unmarshal(raw, &part); err != nil {
				return false, err
			}
			last := &out[len(out)-1]
			last.Origin = append(last.Origin, part...)
			return true, nil
		})
	})
	return out, err
}

// clearList takes the list away.
func (s *Store) clearList(ctx context.Context) error { return s.clear(ctx, key("r", listRoom)) }

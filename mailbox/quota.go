package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// Usage is what a mailbox takes: its message records, and the bytes of these
// messages, where bytes that several records name count once.
type Usage struct {
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

func (tx *Tx) usage(box string) (Usage, error) {
	b, err := tx.r.Get(key("q", strings.ToLower(box)))
	if errors.Is(err, kv.ErrNotFound) {
		return Usage{}, nil
	}
	if err != nil {
		return Usage{}, err
	}
	return readUsage(b)
}

func readUsage(b []byte) (Usage, error) {
	if len(b) != 16 {
		return Usage{}, fmt.Errorf("mailbox: the counters of a mailbox have %d bytes", len(b))
	}
	return Usage{Messages: int64(binary.BigEndian.Uint64(b)), Bytes: int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

func (tx *Tx) count(box string, messages, bytes int64) error {
	u, err := tx.usage(box)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(u.Messages+messages))
	return tx.w.Put(key("q", strings.ToLower(box)), binary.BigEndian.AppendUint64(b, uint64(u.Bytes+bytes)))
}

// Usage returns what a mailbox takes; "" is what belongs to none: notices, and
// what people keep outside all PEC trees.
func (tx *Tx) Usage(box string) (Usage, error) { return tx.usage(box) }

// Usages returns what every mailbox takes.
func (s *Store) Usages(ctx context.Context) (map[string]Usage, error) {
	out := map[string]Usage{}
	err := s.View(ctx, func(tx *Tx) (err error) { out, err = tx.usages(); return err })
	return out, err
}

func (tx *Tx) usages() (map[string]Usage, error) {
	out := map[string]Usage{}
	prefix := key("q")
	err := tx.r.Scan(prefix, nil, func(k, v []byte) (bool, error) {
		u, err := readUsage(v)
		out[strings.TrimSuffix(string(k[len(prefix):]), "\x00")] = u
		return true, err
	})
	return out, err
}

// Miscount is a mailbox whose counters differ from its records.
type Miscount struct {
	Box              string
	Counted, Correct Usage
}

// Recount compares the counters with the records, as they are at one instant.
// It reads every message record and changes nothing.
func (s *Store) Recount(ctx context.Context) ([]Miscount, error) {
	var out []Miscount
	err := s.View(ctx, func(tx *Tx) error {
		counted, err := tx.usages()
		if err != nil {
			return err
		}
		correct, err := tx.recount()
		if err != nil {
			return err
		}
		for box := range counted {
			correct[box] = correct[box] // those without messages are compared too
		}
		for _, box := range slices.Sorted(maps.Keys(correct)) {
			if counted[box] != correct[box] {
				out = append(out, Miscount{Box: box, Counted: counted[box], Correct: correct[box]})
			}
		}
		return nil
	})
	return out, err
}

func (tx *Tx) recount() (map[string]Usage, error) {
	correct := map[string]Usage{}
	type where struct{ segment, offset uint64 }
	var at where
	boxes := map[string]bool{} // that name these bytes
	prefix := key("mb")
	err := tx.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
		if len(k) != len(prefix)+24 {
			return false, fmt.Errorf("mailbox: a key of the places of bytes has %d bytes", len(k))
		}
		here := where{binary.BigEndian.Uint64(k[len(prefix):]), binary.BigEndian.Uint64(k[len(prefix)+8:])}
		if here != at {
			at = here
			clear(boxes)
		}
		m, err := tx.Message(MessageID(tailUint64(k)))
		if err != nil {
			return false, fmt.Errorf("message %d: %w", tailUint64(k), err)
		}
		box := strings.ToLower(m.Box)
		u := correct[box]
		u.Messages++
		if !boxes[box] {
			u.Bytes += m.Ref.Size
			boxes[box] = true
		}
		correct[box] = u
		return true, nil
	})
	return correct, err
}

func placeKey(ref segment.Ref) []byte { return key("mb", ref.Segment, uint64(ref.Offset)) }

// named returns the messages whose records name these bytes, oldest first.
func (tx *Tx) named(ref segment.Ref) ([]MessageID, error) {
	var ids []MessageID
	err := tx.r.Scan(placeKey(ref), nil, func(k, _ []byte) (bool, error) {
		ids = append(ids, MessageID(tailUint64(k)))
		return true, nil
	})
	return ids, err
}

// sharedIn tells whether another message of the same mailbox names the bytes
// of m.
func (tx *Tx) sharedIn(m *Message, ids []MessageID) (bool, error) {
	for _, id := range ids {
		if id == m.ID {
			continue
		}
		other, err := tx.Message(id)
		if err != nil {
			return false, err
		}
		if strings.EqualFold(other.Box, m.Box) {
			return true, nil
		}
	}
	return false, nil
}

// refer makes it known that m names its bytes, and counts it.
func (tx *Tx) refer(m *Message) error {
	ids, err := tx.named(m.Ref)
	if err != nil {
		return err
	}
	shared, err := tx.sharedIn(m, ids)
	if err != nil {
		return err
	}
	bytes := m.Ref.Size
	if shared {
		bytes = 0
	}
	if err := tx.count(m.Box, 1, bytes); err != nil {
		return err
	}
	return tx.w.Put(append(placeKey(m.Ref), key("", m.ID)[1:]...), nil)
}

// unrefer takes back refer. last tells that no record names the bytes now.
func (tx *Tx) unrefer(m *Message) (last bool, err error) {
	if err := tx.w.Delete(append(placeKey(m.Ref), key("", m.ID)[1:]...)); err != nil {
		return false, err
	}
	ids, err := tx.named(m.Ref)
	if err != nil {
		return false, err
	}
	shared, err := tx.sharedIn(m, ids)
	if err != nil {
		return false, err
	}
	bytes := m.Ref.Size
	if shared {
		bytes = 0
	}
	return len(ids) == 0, tx.count(m.Box, -1, -bytes)
}

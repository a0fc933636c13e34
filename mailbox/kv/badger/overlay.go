package badger

import (
	"bytes"
	"slices"
)

// item is a write that is not in badger yet.
type item struct {
	key, value []byte
	deleted    bool
}

func (i item) size() int { return len(i.key) + len(i.value) }

// overlay is a set of writes in the order of their keys. The bounds of an
// Update keep it small enough for a sorted slice.
type overlay struct {
	items []item
	bytes int // keys and values
}

func (o *overlay) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(o.items, key, func(i item, k []byte) int { return bytes.Compare(i.key, k) })
}

// set adds a write, in place of an earlier one to the same key.
func (o *overlay) set(i item) {
	at, found := o.find(i.key)
	o.bytes += i.size()
	if found {
		o.bytes -= o.items[at].size()
		o.items[at] = i
		return
	}
	o.items = slices.Insert(o.items, at, i)
}

// add takes over all writes of another.
func (o *overlay) add(other *overlay) {
	for _, i := range other.items {
		o.set(i)
	}
}

// within gives a copy of the writes to keys that begin with prefix and are not
// below from. A copy, because fn of Scan may write.
func (o *overlay) within(prefix, from []byte) []item {
	start, _ := o.find(later(prefix, from))
	end := start
	for end < len(o.items) && bytes.HasPrefix(o.items[end].key, prefix) {
		end++
	}
	return slices.Clone(o.items[start:end])
}

// later gives the greater of two keys.
func later(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

// merge joins two sorted lists; where both have a key, the first one counts.
func merge(upper, lower []item) []item {
	if len(upper) == 0 {
		return lower
	}
	if len(lower) == 0 {
		return upper
	}
	out := make([]item, 0, len(upper)+len(lower))
	for len(upper) > 0 && len(lower) > 0 {
		c := bytes.Compare(upper[0].key, lower[0].key)
		if c <= 0 {
			out = append(out, upper[0])
			upper = upper[1:]
		} else {
			out = append(out, lower[0])
		}
		if c >= 0 {
			lower = lower[1:]
		}
	}
	return append(append(out, upper...), lower...)
}

// successor is the smallest key above all keys that begin with prefix; nil if
// there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			next := slices.Clone(prefix[:i+1])
			next[i]++
			return next
		}
	}
	return nil
}

package cms

import (
	"crypto/sha256"
	"sync"
)

// Recent is a bounded map by SHA-256 that keeps what is used: it holds two
// generations, what was used since the last turn and what was used in the one
// before, which goes at the next turn. So the few values in constant use survive
// however many others strangers send. It is safe for use by many at once.
type Recent[V any] struct {
	half     int
	mu       sync.Mutex
	now, old map[[sha256.Size]byte]V
}

// NewRecent returns a map that keeps at most n values, n at least 2.
func NewRecent[V any](n int) *Recent[V] {
	return &Recent[V]{half: max(n/2, 1), now: map[[sha256.Size]byte]V{}}
}

// Get returns the value of key, if it is kept.
func (r *Recent[V]) Get(key [sha256.Size]byte) (v V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok = r.now[key]; ok {
		return v, true
	}
	if v, ok = r.old[key]; ok {
		r.put(key, v)
	}
	return v, ok
}

// Put keeps a value, in place of an earlier one.
func (r *Recent[V]) Put(key [sha256.Size]byte, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(key, v)
}

func (r *Recent[V]) put(key [sha256.Size]byte, v V) {
	if _, ok := r.now[key]; !ok && len(r.now) >= r.half {
		r.old, r.now = r.now, make(map[[sha256.Size]byte]V, r.half)
	}
	r.now[key] = v
}

// Len is the count of values kept; one that was used in both generations
// counts twice.
func (r *Recent[V]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.now) + len(r.old)
}

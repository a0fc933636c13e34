package badger

import "sync"

// watches are those who wait for keys.
type watches struct {
	mu   sync.Mutex
	keys map[string]map[chan struct{}]struct{}
}

func (w *watches) add(key []byte) (<-chan struct{}, func()) {
	k, wake := string(key), make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keys == nil {
		w.keys = make(map[string]map[chan struct{}]struct{})
	}
	if w.keys[k] == nil {
		w.keys[k] = make(map[chan struct{}]struct{})
	}
	w.keys[k][wake] = struct{}{}
	return wake, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.keys[k], wake)
		if len(w.keys[k]) == 0 {
			delete(w.keys, k)
		}
	}
}

// wake gives a token to all who wait for one of the keys.
func (w *watches) wake(items []item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.keys) == 0 {
		return
	}
	for _, i := range items {
		for wake := range w.keys[string(i.key)] {
			select {
			case wake <- struct{}{}:
			default: // there is one already
			}
		}
	}
}

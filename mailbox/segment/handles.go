package segment

import (
	"container/list"
	"errors"
	"sync"
	"syscall"
)

// handles shares open files among readers. Files nobody reads are kept, up to
// a bound, the ones used last.
type handles struct {
	mu      sync.Mutex
	bound   int
	closed  bool
	open    map[uint64]*handle
	idle    *list.List // of *handle without readers, the one used last in front
	opening int        // files being opened without the lock
	// gone are the segments unlinked while files were being opened: such a file
	// must not be kept, or its space would not come back.
	gone map[uint64]bool
}

// fewHandles is n, or less where the process may open so few files that idle
// ones would take them from others.
func fewHandles(n int) int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1
	}
	return max(1, int(min(uint64(n), uint64(l.Cur)/16)))
}

type handle struct {
	f       File
	segment uint64
	readers int
	at      *list.Element // in idle, nil while in use
	gone    bool          // unlinked: closed by its last reader
}

func (h *handles) init(bound int) {
	h.bound = bound
	h.open = make(map[uint64]*handle)
	h.idle = list.New()
	h.gone = make(map[uint64]bool)
}

// get gives the file of a segment; every get is followed by one put.
func (h *handles) get(segment uint64, open func() (File, error)) (*handle, error) {
	h.mu.Lock()
	if e := h.open[segment]; e != nil {
		h.use(e)
		h.mu.Unlock()
		return e, nil
	}
	h.opening++
	h.mu.Unlock()
	f, err := open() // without the lock: a slow disk must not stop other readers

	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.open[segment]
	switch {
	case err != nil:
	case e != nil:
		f.Close() // another reader was faster; nothing was written through it
		h.use(e)
	default:
		e = &handle{f: f, segment: segment, gone: h.gone[segment]}
		if !e.gone {
			h.open[segment] = e
		}
		e.readers++
	}
	if h.opening--; h.opening == 0 {
		clear(h.gone)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// use counts one more reader. Callers hold the lock.
func (h *handles) use(e *handle) {
	e.readers++
	if e.at != nil {
		h.idle.Remove(e.at)
		e.at = nil
	}
}

func (h *handles) put(e *handle) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.readers--
	if e.readers > 0 {
		return nil
	}
	if e.gone {
		return e.f.Close()
	}
	e.at = h.idle.PushFront(e)
	if h.closed {
		return h.shrink(0)
	}
	return h.shrink(h.bound)
}

// drop forgets the file of a segment that was unlinked. Readers that have it
// go on; the last of them closes it.
func (h *handles) drop(segment uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.opening > 0 {
		h.gone[segment] = true
	}
	e := h.open[segment]
	if e == nil {
		return nil
	}
	delete(h.open, segment)
	if e.at == nil {
		e.gone = true
		return nil
	}
	h.idle.Remove(e.at)
	return e.f.Close()
}

// shrink closes idle files until at most n are left. Callers hold the lock.
func (h *handles) shrink(n int) error {
	var errs []error
	for h.idle.Len() > n {
		e := h.idle.Remove(h.idle.Back()).(*handle)
		delete(h.open, e.segment)
		errs = append(errs, e.f.Close())
	}
	return errors.Join(errs...)
}

// close closes what nobody reads; the rest goes with its last reader.
func (h *handles) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return h.shrink(0)
}

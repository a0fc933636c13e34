package auth

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of the throttle. A user at an address may mistype a few times; an
// address, behind which a whole office may sit, somewhat more. Then each
// failure doubles the time in which nothing more is looked at.
const (
	freeOfPair    = 4
	freeOfAddress = 20
	firstDelay    = time.Second
	longestPair   = 5 * time.Minute
	longestAddr   = time.Minute
	forgetAfter   = 30 * time.Minute    // without a failure
	knownFor      = 30 * 24 * time.Hour // a pair that logged in is not held for its neighbours
	maxKeys       = 1 << 16
	maxStale      = 8 // wrong passwords of a pair that are remembered
	staleFor      = 6 * time.Hour
)

// throttle counts failures by user and address, and by address. The oldest
// keys are forgotten when there are too many.
type throttle struct {
	now func() time.Time

	mu   sync.Mutex
	by   map[string]*list.Element
	used *list.List // of *record, newest use first
}

type record struct {
	key   string
	fails int
	last  time.Time // last failure
	until time.Time // nothing is looked at before
	known time.Time // last success of a pair
	// stale are keyed digests of the last wrong passwords. A mail program that
	// was not told of a new password tries the old one for ever: that is no
	// guess, and must not keep its user out elsewhere in the office.
	stale []stale
}

type stale struct {
	entry [32]byte
	until time.Time // it is looked at again, whatever made us refuse it
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, by: map[string]*list.Element{}, used: list.New()}
}

// place is where a login comes from: an address, or for IPv6 its /64, all of
// which belongs to one client.
func place(remote string) string {
	if a, err := netip.ParseAddr(remote); err == nil && a.Is6() && !a.Is4In6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return remote
}

// address is the throttle's key of an address.
func address(remote string) string { return "addr:" + place(remote) }

// blocked reports whether this try must not be looked at. A pair that has
// logged in before is not held up by the failures of its neighbours.
func (t *throttle) blocked(pair, addr string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	p := t.find(pair)
	if p != nil && now.Before(p.until) {
		return true
	}
	if p != nil && !p.known.IsZero() && now.Sub(p.known) < knownFor {
		return false
	}
	a := t.find(addr)
	return a != nil && now.Before(a.until)
}

// failed counts a wrong password, of which entry is a keyed digest.
func (t *throttle) failed(pair, addr string, entry [32]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail(addr, freeOfAddress, longestAddr)
	r := t.fail(pair, freeOfPair, longestPair)
	now := t.now()
	r.stale = slices.DeleteFunc(r.stale, func(s stale) bool { return !now.Before(s.until) })
	if len(r.stale) >= maxStale {
		r.stale = append(r.stale[:0:0], r.stale[1:]...)
	}
	r.stale = append(r.stale, stale{entry, now.Add(staleFor)})
}

// strike counts a failure of a place that has no pair, and reports whether it was
// looked at: false while too many came before it.
func (t *throttle) strike(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.find(key); r != nil && t.now().Before(r.until) {
		return false
	}
	t.fail(key, freeOfAddress, longestAddr)
	return true
}

// again tells that this very password was wrong for this pair in the last hours.
// It need not be looked at, nor counted.
func (t *throttle) again(pair string, entry [32]byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, now := t.find(pair), t.now()
	return r != nil && slices.ContainsFunc(r.stale, func(s stale) bool { return s.entry == entry && now.Before(s.until) })
}

// rank says in which line a pair waits for its hash.
func (t *throttle) rank(pair, addr string) rank {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if p := t.find(pair); p != nil && !p.known.IsZero() && now.Sub(p.known) < knownFor {
		return knownDevice
	}
	if a := t.find(addr); a != nil && a.fails > 0 && now.Sub(a.last) < forgetAfter {
		return noisyPlace
	}
	return quietPlace
}

// succeeded forgets the failures of a pair. Those of the address stay: one good
// account must not buy more guesses at others.
func (t *throttle) succeeded(pair string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.make(pair)
	*r = record{key: r.key, known: t.now(), stale: r.stale}
}

// seen notes an earlier success of a pair.
func (t *throttle) seen(pair string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.make(pair); at.After(r.known) {
		r.known = at
	}
}

func (t *throttle) fail(key string, free int, longest time.Duration) *record {
	now := t.now()
	r := t.make(key)
	if now.Sub(r.last) > forgetAfter {
		r.fails = 0
	}
	r.fails++
	r.last = now
	if over := r.fails - free; over > 0 {
		d := longest
		if over < 16 { // beyond that the longest is reached anyway
			d = min(longest, firstDelay<<(over-1))
		}
		r.until = now.Add(d)
	}
	return r
}

func (t *throttle) find(key string) *record {
	if e := t.by[key]; e != nil {
		return e.Value.(*record)
	}
	return nil
}

func (t *throttle) make(key string) *record {
	if e := t.by[key]; e != nil {
		t.used.MoveToFront(e)
		return e.Value.(*record)
	}
	for len(t.by) >= maxKeys {
		old := t.used.Remove(t.used.Back()).(*record)
		delete(t.by, old.key)
	}
	r := &record{key: key}
	t.by[key] = t.used.PushFront(r)
	return r
}

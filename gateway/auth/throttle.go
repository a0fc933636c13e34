package auth

import (
	"container/list"
	"net/netip"
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
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, by: map[string]*list.Element{}, used: list.New()}
}

// address is the throttle's key of an address: for IPv6 its /64.
func address(remote string) string {
	if a, err := netip.ParseAddr(remote); err == nil && a.Is6() && !a.Is4In6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return "addr:" + p.String()
		}
	}
	return "addr:" + remote
}

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

func (t *throttle) failed(pair, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail(pair, freeOfPair, longestPair)
	t.fail(addr, freeOfAddress, longestAddr)
}

// succeeded forgets the failures of a pair. Those of the address stay: one good
// account must not buy more guesses at others.
func (t *throttle) succeeded(pair string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.make(pair)
	*r = record{key: r.key, known: t.now()}
}

func (t *throttle) fail(key string, free int, longest time.Duration) {
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

package api

import (
	"context"
	"sync"
	"time"
)

// rates count the requests of each application.
type rates struct {
	now func() time.Time
	mu  *sync.Mutex
	by  map[string]*bucket // by name: as many as the policy has had
}

type bucket struct {
	left float64
	at   time.Time
}

func newRates(now func() time.Time) rates {
	return rates{now: now, mu: new(sync.Mutex), by: map[string]*bucket{}}
}

// take counts one request of an application that may send so many in a minute, also all
// at once. It returns 0, or when the next is let in.
func (r rates) take(name string, perMinute int) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	b := r.by[name]
	if b == nil {
		b = &bucket{left: float64(perMinute), at: now}
		r.by[name] = b
	}
	each := float64(perMinute) / float64(time.Minute)
	b.left = min(float64(perMinute), b.left+max(0, float64(now.Sub(b.at)))*each)
	b.at = now
	if b.left < 1 {
		return time.Duration((1 - b.left) / each)
	}
	b.left--
	return 0
}

// Requests at a time. What is large is held in memory more than once, so few may be.
const (
	smallBody   = 1 << 20
	smallPlaces = 32
	largePlaces = 2
	placeWait   = 20 * time.Second
)

// places bound the requests at a time.
type places struct{ small, large chan struct{} }

func newPlaces() places {
	return places{small: make(chan struct{}, smallPlaces), large: make(chan struct{}, largePlaces)}
}

// enter waits for a place for a request with a body of so many octets; negative: it is
// not known, and may be large.
func (p places) enter(ctx context.Context, length int64) (leave func(), ok bool) {
	room := p.small
	if length < 0 || length > smallBody {
		room = p.large
	}
	wait := time.NewTimer(placeWait)
	defer wait.Stop()
	select {
	case room <- struct{}{}:
		return func() { <-room }, true
	case <-wait.C:
	case <-ctx.Done():
	}
	return nil, false
}

package relay

import (
	"maps"
	"strings"
	"time"
)

// An acceptance is late only where somebody looked for it after its time: while the
// mailbox cannot be read at the provider, or is suspended, the watch waits; after
// unseenMost it is told that nobody can know, and once the mailbox is read again and
// the acceptance is not there, that it did not come. Of a mailbox that the policy has
// made inactive nothing is read: what is said then is that, of deliveries too.

// unseenAgain is how often a watch looks again after that was told.
const unseenAgain = 15 * time.Minute

// These end the kind of what is told of it (watchLines).
const (
	unseenKind   = "-unseen"
	inactiveKind = "-inactive"
)

// lastReads is when each mailbox that is fetched from here was read at the provider
// the last time; zero: not since the start. One that another gateway on this store
// fetches is not among them.
func (s *Service) lastReads() map[string]time.Time {
	s.mu.Lock()
	workers := maps.Clone(s.workers)
	s.mu.Unlock()
	read := map[string]time.Time{}
	for box, w := range workers {
		if !w.otherFetches() {
			read[strings.ToLower(box)] = w.status().LastFetch
		}
	}
	return read
}

// otherFetches tells whether another gateway on the store fetched it in the last round.
func (w *worker) otherFetches() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.otherHas
}

// notReadSince tells that a mailbox is fetched, and was not read for some time: nobody
// can know whether the receipt came. What was read by a clock that stood ahead says nothing.
func notReadSince(read map[string]time.Time, box string, now time.Time, d time.Duration) bool {
	at, fetched := read[strings.ToLower(box)]
	return fetched && (!at.After(now.Add(-d)) || at.After(now.Add(clockSlack)))
}

// unseenMost is for how long after its deadline an acceptance is not called late
// while the mailbox cannot be read; then it is told that nobody can know.
func unseenMost(a Account) time.Duration { return max(time.Hour, 2*a.Every) }

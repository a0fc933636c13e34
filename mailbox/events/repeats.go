package events

import (
	"math/bits"
	"sync"
	"time"
)

// A program with a wrong password tries it again each minute for months. So of what
// one address is refused again and again there is a line the first time, then the
// 2nd, 4th, 8th and so on, with how often it was; the audit log counts on.

const (
	repeatsMost   = 2000 // addresses and logins that are counted apart; what is beyond is counted together
	repeatsReason = 16   // reasons of one
	repeatsFor    = 24 * time.Hour
)

// repeats counts refusals. The zero value is ready. Safe for concurrent use.
type repeats struct {
	mu    sync.Mutex
	began time.Time // of what is counted: a day
	seen  map[repeat]map[string]int
}

type repeat struct{ login, remote string }

// again counts a refusal and tells whether it has a line; times is how often it came
// since it had none for a day, or since a good login.
func (r *repeats) again(who repeat, reason string, now time.Time) (times int, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := now.Sub(r.began); r.seen == nil || d < 0 || d > repeatsFor {
		r.began, r.seen = now, map[repeat]map[string]int{}
	}
	if _, known := r.seen[who]; !known && len(r.seen) >= repeatsMost {
		who = repeat{}
	}
	of := r.seen[who]
	if of == nil {
		of = map[string]int{}
		r.seen[who] = of
	}
	if _, known := of[reason]; !known && len(of) >= repeatsReason {
		reason = ""
	}
	of[reason]++
	times = of[reason]
	return times, bits.OnesCount(uint(times)) == 1
}

// good forgets what one was refused.
func (r *repeats) good(who repeat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.seen, who)
}

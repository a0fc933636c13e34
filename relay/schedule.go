package relay

import (
	"math/rand/v2"
	"time"
)

// Schedule says when things are tried again.
type Schedule struct {
	First  time.Duration // after the first failure; doubled each time
	Most   time.Duration // longest wait between two attempts
	GiveUp time.Duration // after this time since the submission it is not accepted
	Hurry  []time.Duration
}

func (s Schedule) orDefault() Schedule {
	if s.First == 0 {
		s.First = 30 * time.Second
	}
	if s.Most == 0 {
		s.Most = 15 * time.Minute
	}
	if s.GiveUp == 0 {
		s.GiveUp = 5 * 24 * time.Hour // RFC 5321 section 4.5.4.1: at least 4 to 5 days
	}
	if s.Hurry == nil {
		// Receipts come within seconds, and the sender looks for them.
		s.Hurry = []time.Duration{
			500 * time.Millisecond, time.Second, time.Second, 2 * time.Second, 4 * time.Second,
			8 * time.Second, 15 * time.Second, 30 * time.Second,
		}
	}
	return s
}

// after returns the wait before the next attempt, given how many have failed:
// doubled each time, with a fifth of jitter so that mailboxes do not march in
// step when a provider comes back.
func (s Schedule) after(attempts int) time.Duration {
	d := s.First
	for i := 1; i < attempts && d < s.Most; i++ {
		d *= 2
	}
	d = min(d, s.Most)
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}

package auth

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/events"
	"pecgate/policy"
)

// office is a policy of many users, all with the password "office password" and
// hashes as the appliance makes them.
func office(b *testing.B, n int) *policy.Policy {
	b.Helper()
	hash, err := HashSecret("office password")
	if err != nil {
		b.Fatal(err)
	}
	p := &policy.Policy{}
	for i := range n {
		p.Users = append(p.Users, policy.User{Login: fmt.Sprint("user", i), Password: hash})
	}
	return p
}

// p99 is the time that 99 of 100 stay below.
func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}

// BenchmarkMorning: users log in at the same moment, four connections each, from
// behind one address; with attackers, 200 others guess at names all the while, and
// the users' devices are known of the day before.
// "hashes" is the time of one hash for each user on two cores, which is what
// cannot be saved.
func BenchmarkMorning(b *testing.B) {
	for _, c := range []struct{ users, attackers int }{{100, 0}, {100, 200}, {1000, 0}, {1000, 200}} {
		b.Run(fmt.Sprintf("users=%d/attackers=%d", c.users, c.attackers), func(b *testing.B) {
			p := office(b, c.users)
			h, err := parseHash(p.Users[0].Password)
			if err != nil {
				b.Fatal(err)
			}
			begin := time.Now()
			for range 20 {
				h.matches("office password")
			}
			one := time.Since(begin) / 20
			for b.Loop() {
				s := New(Options{Policy: func() *policy.Policy { return p }, Events: events.Discard()})
				for i := range c.users {
					if c.attackers > 0 {
						_ = s.Seen(b.Context(), fmt.Sprint("user", i), "203.0.113.7", time.Now().Add(-24*time.Hour))
					}
				}
				ctx, stop := context.WithCancel(b.Context())
				var attack, honest sync.WaitGroup
				for i := range c.attackers {
					attack.Go(func() {
						for n := 0; ctx.Err() == nil; n++ {
							_, _ = s.Login(ctx, fmt.Sprint("user", n%c.users), fmt.Sprint("guess", n), fmt.Sprintf("198.51.%d.%d", i/250, i%250))
							time.Sleep(100 * time.Millisecond) // a connection and a handshake
						}
					})
				}
				took := make([]time.Duration, 4*c.users)
				begin := time.Now()
				for i := range took {
					honest.Go(func() {
						if _, err := s.Login(b.Context(), fmt.Sprint("user", i/4), "office password", "203.0.113.7"); err != nil {
							b.Error(err)
						}
						took[i] = time.Since(begin)
					})
				}
				honest.Wait()
				all := time.Since(begin)
				stop()
				attack.Wait()
				b.ReportMetric(all.Seconds(), "s/all")
				b.ReportMetric(p99(took).Seconds(), "s/p99")
				b.ReportMetric((one * time.Duration(c.users) / 2).Seconds(), "s/hashes")
			}
		})
	}
}

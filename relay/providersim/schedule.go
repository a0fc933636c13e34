package providersim

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// schedule runs work at its time, by a fixed number of workers.
type schedule struct {
	wake chan struct{}
	done func() // after every piece of work

	mu      sync.Mutex
	queue   jobs
	pending int // waiting and running
	serial  uint64
}

type job struct {
	due    time.Time
	serial uint64 // keeps the order of what is due at once
	run    func()
}

type jobs []job

func (j jobs) Len() int { return len(j) }
func (j jobs) Less(a, b int) bool {
	if j[a].due.Equal(j[b].due) {
		return j[a].serial < j[b].serial
	}
	return j[a].due.Before(j[b].due)
}
func (j jobs) Swap(a, b int) { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)   { *j = append(*j, x.(job)) }
func (j *jobs) Pop() any {
	old := *j
	last := old[len(old)-1]
	old[len(old)-1] = job{}
	*j = old[:len(old)-1]
	return last
}

func newSchedule(done func()) *schedule {
	return &schedule{wake: make(chan struct{}, 1), done: done}
}

// after runs fn when d has passed. Work may schedule more work.
func (s *schedule) after(d time.Duration, fn func()) {
	s.mu.Lock()
	s.serial++
	s.pending++
	heap.Push(&s.queue, job{due: time.Now().Add(d), serial: s.serial, run: fn})
	s.mu.Unlock()
	s.rouse()
}

func (s *schedule) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *schedule) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending == 0
}

// next takes what is due, or tells how long until something is.
func (s *schedule) next() (run func(), wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil, time.Hour
	}
	if d := time.Until(s.queue[0].due); d > 0 {
		return nil, d
	}
	run = heap.Pop(&s.queue).(job).run
	if len(s.queue) > 0 {
		s.rouse() // one wake-up may stand for several pieces of work
	}
	return run, 0
}

// work is one worker; it ends with ctx and drops what is left.
func (s *schedule) work(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		run, wait := s.next()
		if run != nil {
			run()
			s.mu.Lock()
			s.pending--
			s.mu.Unlock()
			s.done()
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
	}
}

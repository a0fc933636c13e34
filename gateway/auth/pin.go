package auth

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Counters keep small numbers, if possible over restarts. Keys are short, made
// by this package, and hold no secret.
type Counters interface {
	// Count is the number under a key, 0 where there is none.
	Count(ctx context.Context, key string) (int, error)
	// Add adds one and returns the new number once it is durable. The key may be
	// forgotten after the time given.
	Add(ctx context.Context, key string, forget time.Time) (int, error)
	// Raise puts a larger number in the place of one, and reports whether it was
	// larger, once that is durable. Of two at once with the same number one was.
	Raise(ctx context.Context, key string, to int, forget time.Time) (bool, error)
}

// Use is what a PIN is given for and from where; for the logs only.
type Use struct {
	Mailbox string
	Remote  string // address without port
}

// CheckPIN compares a user's PIN, or the one-time code of one who has these: a
// code that was taken before is ErrCodeSpent. A wrong one counts; ErrPINLocked once
// ten wrong ones were given since midnight in Options.Location. A code that was
// taken before does not count: who gives it had it, and a program repeats it by
// itself, after a temporary error or for the next message of its session. Any other error
// means that nothing is known (the count could not be read or kept, or too
// many wait) and is temporary.
func (s *Service) CheckPIN(ctx context.Context, login, pin string, use Use) (bool, error) {
	p := s.opt.Policy()
	hash, codes := "", ""
	if u, ok := p.User(login); ok {
		hash, codes = u.PIN, u.TOTP
	}
	login = strings.ToLower(login)
	// One at a time for each user: two at once could both be the tenth.
	free, err := s.enter(ctx, login)
	if err != nil {
		return false, err
	}
	defer free()
	now := s.opt.Now().In(s.opt.Location)
	person, err := s.opt.People.Number(ctx, login)
	if err != nil {
		return false, fmt.Errorf("look for who has a login: %w", err)
	}
	key := PINKey(login, person, now)
	n, err := s.opt.Counters.Count(ctx, key)
	if err != nil {
		return false, fmt.Errorf("count of wrong PINs: %w", err)
	}
	if n >= WrongPINs {
		s.opt.Events.PINLocked(login, use.Mailbox, use.Remote)
		s.locked(ctx, login, use) // once more: a crash may have come before it was told
		return false, ErrPINLocked
	}
	found := wrong
	switch {
	case len(pin) == 0 || len(pin) > maxSecret:
	case codes != "":
		if found, err = s.takeCode(ctx, login, codes, pin, now); err != nil {
			return false, err
		}
	default:
		err := s.inTurn(ctx, knownDevice, func() {
			if s.matches(p, login, "pin", hash, pin) {
				found = right
			}
		})
		if err != nil {
			return false, err
		}
	}
	switch found {
	case right:
		s.opt.Events.PINRight(login, use.Mailbox, use.Remote)
		return true, nil
	case spent:
		s.opt.Events.CodeSpent(login, use.Mailbox, use.Remote)
		return false, ErrCodeSpent
	}
	// The day after tomorrow is past midnight in every zone and season.
	if n, err = s.opt.Counters.Add(ctx, key, now.AddDate(0, 0, 2)); err != nil {
		return false, fmt.Errorf("count a wrong PIN: %w", err)
	}
	s.opt.Events.PINWrong(login, use.Mailbox, use.Remote, n)
	if n >= WrongPINs {
		s.locked(ctx, login, use)
	}
	return false, nil
}

// PINKey is where the wrong PINs of the person who has a login are counted on the
// day of a time, which is in the zone that days are of.
func PINKey(login string, person uint32, at time.Time) string {
	return fmt.Sprintf("pin/%s/%d/%s", at.Format(time.DateOnly), person, strings.ToLower(login))
}

// locked tells that a PIN is locked, where anybody wants to know.
func (s *Service) locked(ctx context.Context, login string, use Use) {
	if s.opt.Locked != nil {
		s.opt.Locked(context.WithoutCancel(ctx), login, use)
	}
}

// enter waits for a user's turn.
func (s *Service) enter(ctx context.Context, login string) (func(), error) {
	v, _ := s.pins.LoadOrStore(login, make(chan struct{}, 1))
	turn := v.(chan struct{})
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// memory is Counters that forget at a restart.
type memory struct {
	now func() time.Time
	mu  sync.Mutex
	n   map[string]counted
}

type counted struct {
	n      int
	forget time.Time
}

func newMemory(now func() time.Time) *memory {
	return &memory{now: now, n: map[string]counted{}}
}

func (m *memory) Count(_ context.Context, key string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n[key].n, nil
}

func (m *memory) Raise(_ context.Context, key string, to int, forget time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n[key].n >= to {
		return false, nil
	}
	m.n[key] = counted{n: to, forget: forget}
	return true, nil
}

func (m *memory) Add(_ context.Context, key string, forget time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for k, c := range m.n { // as many as users that were wrong in two days
		if now.After(c.forget) {
			delete(m.n, k)
		}
	}
	c := counted{n: m.n[key].n + 1, forget: forget}
	m.n[key] = c
	return c.n, nil
}

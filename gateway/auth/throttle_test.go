package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pecgate/mailbox/events"
	"pecgate/policy"
)

// counted makes a service count the hashes that it computes.
func (s *Service) countHashes() func() int {
	var mu sync.Mutex
	n := 0
	s.compare = func(h verifier, secret string) bool {
		mu.Lock()
		n++
		mu.Unlock()
		return h.matches(secret)
	}
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func TestG8_Throttle(t *testing.T) {
	now := time.Now()
	s := service(t, func(o *Options) { o.Now = func() time.Time { return now } })
	try := func(name, password, from string) error {
		t.Helper()
		_, err := s.Login(t.Context(), name, password, from)
		return err
	}
	// The office has worked before the attack.
	if err := try("lucia", "other password", "203.0.113.7"); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		_ = try("mario", fmt.Sprint("guess", i), "203.0.113.7")
	}
	if err := try("mario", "good password", "203.0.113.7"); err != ErrRefused {
		t.Errorf("a throttled pair was looked at: %v", err)
	}
	if err := try("mario", "good password", "192.0.2.1"); err != nil {
		t.Errorf("the user elsewhere: %v", err)
	}
	for i := range 60 { // one guess at each of many names
		_ = try(fmt.Sprintf("name%d", i), "guess", "203.0.113.7")
	}
	if err := try("nopin", "third password", "203.0.113.7"); err != ErrRefused {
		t.Errorf("a throttled address was looked at: %v", err)
	}
	if err := try("lucia", "other password", "203.0.113.7"); err != nil {
		t.Errorf("known device inside an attack: %v", err)
	}
	now = now.Add(2 * time.Minute)
	if err := try("nopin", "third password", "203.0.113.7"); err != nil {
		t.Errorf("after the delay of the address: %v", err)
	}
	if err := try("lucia", "wrong", "2001:db8:1:2::3"); err != ErrRefused {
		t.Error(err)
	}
	if s.pair("x", "2001:db8:1:2::3") != s.pair("x", "2001:db8:1:2:ffff::4") || s.pair("x", "192.0.2.1") == s.pair("x", "192.0.2.2") {
		t.Error("a client of IPv6 has not one place")
	}
	if a, b := address("2001:db8:1:2::3"), address("2001:db8:1:2:ffff::4"); a != b {
		t.Errorf("one /64, two keys: %s %s", a, b)
	}
	for i := range maxKeys + 10 {
		s.fails.failed(fmt.Sprint("pair:", i), "addr:x", [32]byte{})
	}
	if len(s.fails.by) > maxKeys || s.fails.used.Len() != len(s.fails.by) {
		t.Errorf("%d keys, %d in the list", len(s.fails.by), s.fails.used.Len())
	}
}

// TestG8_KnownBeforeTheRestart: who was known before the service began is not
// held up by neighbours, and who was so too long ago is.
func TestG8_KnownBeforeTheRestart(t *testing.T) {
	now := time.Now()
	s := service(t, func(o *Options) { o.Now = func() time.Time { return now } })
	_ = s.Seen(t.Context(), "MARIO", "203.0.113.7", now.Add(-24*time.Hour))
	_ = s.Seen(t.Context(), "lucia", "203.0.113.7", now.Add(-31*24*time.Hour))
	for i := range 60 {
		_, _ = s.Login(t.Context(), fmt.Sprint("name", i), "guess", "203.0.113.7")
	}
	if _, err := s.Login(t.Context(), "lucia", "other password", "203.0.113.7"); err != ErrRefused {
		t.Errorf("known long ago: %v", err)
	}
	if _, err := s.Login(t.Context(), "mario", "good password", "203.0.113.7"); err != nil {
		t.Errorf("known yesterday: %v", err)
	}
}

// TestG8_GuessesAnHour: how many guesses are really compared with a hash in an
// hour of one try a second.
func TestG8_GuessesAnHour(t *testing.T) {
	for _, c := range []struct {
		name string
		user func(i int) string
		most int
	}{
		{"one user from one address", func(int) string { return "mario" }, 40},
		{"many users from one address", func(i int) string { return fmt.Sprint("user", i) }, 120},
	} {
		now := time.Now()
		s := service(t, func(o *Options) { o.Now = func() time.Time { return now } })
		hashes := s.countHashes()
		for i := range 3600 {
			now = now.Add(time.Second)
			_, _ = s.Login(t.Context(), c.user(i), fmt.Sprint("guess", i), "203.0.113.7")
		}
		if n := hashes(); n > c.most || n < 10 {
			t.Errorf("%s: %d guesses an hour", c.name, n)
		}
	}
}

// TestG8_StaleDevice: a phone that goes on with the password of yesterday keeps
// its owner's other devices in the same office out at no time.
func TestG8_StaleDevice(t *testing.T) {
	now := time.Now()
	s := service(t, func(o *Options) { o.Now = func() time.Time { return now } })
	hashes := s.countHashes()
	for i := range 2000 {
		now = now.Add(5 * time.Second)
		if _, err := s.Login(t.Context(), "mario", "password of yesterday", "203.0.113.7"); err != ErrRefused {
			t.Fatal(err)
		}
		if _, err := s.Login(t.Context(), "mario", "good password", "203.0.113.7"); err != nil {
			t.Fatalf("after %d tries of the phone: %v", i, err)
		}
	}
	if n := hashes(); n > 1+2000*5/300+1 {
		t.Errorf("%d hashes", n)
	}
	// What is remembered does not make guessing free.
	for i := range 100 {
		_, _ = s.Login(t.Context(), "lucia", fmt.Sprint("guess", i%20), "203.0.113.7")
	}
	if _, err := s.Login(t.Context(), "lucia", "other password", "203.0.113.7"); err != ErrRefused {
		t.Errorf("twenty guesses in a round: %v", err)
	}
}

// TestG8_StaleForOneKindOfLogin: a password with a PIN behind it is wrong for
// Login and right for LoginPIN, whatever came first; and nothing is wrong for
// ever.
func TestG8_StaleForOneKindOfLogin(t *testing.T) {
	now := time.Now()
	s := service(t, func(o *Options) { o.Now = func() time.Time { return now } })
	hashes := s.countHashes()
	const both, from = "good password 123456", "203.0.113.7"
	for range 100 { // a program that uses it for reading and for sending
		if _, err := s.Login(t.Context(), "mario", both, from); err != ErrRefused {
			t.Fatal(err)
		}
		if e, err := s.LoginPIN(t.Context(), "mario", both, from); err != nil || e.User != "mario" || e.PIN != "123456" {
			t.Fatal(e, err)
		}
	}
	if n := hashes(); n != 3 {
		t.Errorf("%d hashes", n)
	}
	now = now.Add(staleFor)
	if _, err := s.Login(t.Context(), "mario", both, from); err != ErrRefused || hashes() != 4 {
		t.Errorf("%v, %d hashes when what is remembered has ended", err, hashes())
	}
}

// Tries that arrive together must not all pass before the first has failed.
func TestG8_ManyTriesAtOnce(t *testing.T) {
	var log bytes.Buffer
	s := service(t, func(o *Options) {
		o.Workers, o.Waiting = 1, 200
		o.Events = events.New(slog.New(slog.NewTextHandler(&log, nil)))
	})
	var wg sync.WaitGroup
	if err := s.turns.take(t.Context(), noisyPlace); err != nil { // nobody's turn comes before all wait
		t.Fatal(err)
	}
	for i := range 100 {
		wg.Go(func() { _, _ = s.Login(t.Context(), "mario", fmt.Sprint("guess", i), "192.0.2.1") })
	}
	for s.turns.standing() < 100 {
		runtime.Gosched()
	}
	s.turns.done()
	wg.Wait()
	if n := strings.Count(log.String(), "reason=password"); n > freeOfPair+1 {
		t.Errorf("%d guesses looked at", n)
	}
}

// TestG9_OneHashEach: whatever is wrong with a login, one hash of the same work
// is computed for it, in its turn, and the answer is the same.
func TestG9_OneHashEach(t *testing.T) {
	s := service(t, nil)
	hashes := s.countHashes()
	for i, name := range []string{
		"mario", "nobody", "broken", "mario.rossi@example.org", "nobody@example.org", "mario/protocollo@pec.example.org",
		"lucia/protocollo@pec.example.org", "", "mario\x00", "MARIO",
	} {
		before, from := hashes(), fmt.Sprint("192.0.2.", i)
		if id, err := s.Login(t.Context(), name, "wrong", from); err != ErrRefused || id != (Entry{}) {
			t.Errorf("%q: %v, %v", name, id, err)
		}
		if n := hashes() - before; n != 1 {
			t.Errorf("%q: %d hashes", name, n)
		}
		if _, err := s.LoginPIN(t.Context(), name, "wrong 123456", from); err != ErrRefused {
			t.Errorf("%q with a PIN: %v", name, err)
		}
		if n := hashes() - before; n != 3 {
			t.Errorf("%q with a PIN: %d hashes", name, n-1)
		}
	}
	// Both ways pass the same line: with none free, both wait.
	for range 2 {
		if err := s.turns.take(t.Context(), noisyPlace); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"mario", "nobody"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := s.Login(ctx, name, "x", "198.51.100.1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// TestG9_WorkOfUnknownNames: an unknown name costs what some user's costs, each
// time the same, and the kinds are as frequent among unknown names as among users.
func TestG9_WorkOfUnknownNames(t *testing.T) {
	s := service(t, nil)
	if h := s.like(&policy.Policy{}, "x"); h.(phc).cost != DefaultCost() {
		t.Errorf("without users: %+v", h)
	}
	p := &policy.Policy{Users: []policy.User{
		{Login: "a", Password: bcryptSecret}, {Login: "b", Password: cheap(t, "b")}, {Login: "c"}, {Login: "d", Password: cheap(t, "d")},
	}}
	old := 0
	for i := range 1000 {
		name := fmt.Sprint("name", i)
		h := s.like(p, name)
		if fmt.Sprint(h) != fmt.Sprint(s.like(p, name)) {
			t.Fatal("one name, two hashes")
		}
		if _, is := h.(bcryptHash); is {
			old++
		}
	}
	if old < 150 || old > 350 {
		t.Errorf("%d of 1,000 names cost what one user of four costs", old)
	}
}

func TestG10_BoundedWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, func(o *Options) { o.Workers, o.Waiting = 1, 3 })
		if err := s.turns.take(t.Context(), noisyPlace); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		busy := 0
		for i := range 10 {
			wg.Go(func() {
				_, err := s.Login(t.Context(), "lucia", fmt.Sprint("guess", i), fmt.Sprint("192.0.2.", i))
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, ErrBusy) {
					busy++
				} else if err != ErrRefused {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		s.turns.done()
		wg.Wait()
		if busy != 7 {
			t.Errorf("%d told to come again", busy)
		}
		if s.turns.free != 1 || s.turns.waiting != 0 {
			t.Errorf("%d free, %d wait", s.turns.free, s.turns.waiting)
		}
	})
}

// TestG10_OneHashForAProgram: what a mail program opens at once costs one hash,
// however many workers there are, if the password is right and if it is wrong.
func TestG10_OneHashForAProgram(t *testing.T) {
	for _, c := range []struct{ name, password string }{{"lucia", "other password"}, {"lucia", "wrong"}, {"nobody", "wrong"}} {
		synctest.Test(t, func(t *testing.T) {
			s := service(t, func(o *Options) { o.Workers = 8 })
			n := 0
			s.compare = func(h verifier, secret string) bool {
				n++ // one at a time, or the race detector tells
				time.Sleep(time.Second)
				return h.matches(secret)
			}
			var wg sync.WaitGroup
			good := make(chan error, 50)
			for range 50 {
				wg.Go(func() {
					_, err := s.Login(t.Context(), c.name, c.password, "192.0.2.1")
					good <- err
				})
			}
			wg.Wait()
			close(good)
			for err := range good {
				if want := c.password == "wrong"; (err == ErrRefused) != want || !want && err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
			if n != 1 || len(s.flights.under) != 0 {
				t.Errorf("%s with %s: %d hashes, %d still looked at", c.name, c.password, n, len(s.flights.under))
			}
		})
	}
}

// TestG10_KnownDevicesFirst: those who guess wait behind those who do not, and
// who gives up leaves nothing behind.
func TestG10_KnownDevicesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := newTurns(1, 10)
		if err := line.take(t.Context(), noisyPlace); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order []string
		for i, r := range []rank{noisyPlace, quietPlace, noisyPlace, knownDevice, quietPlace, knownDevice} {
			wg.Go(func() {
				if err := line.take(t.Context(), r); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, fmt.Sprint(i))
				mu.Unlock()
				line.done()
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if err := line.take(ctx, knownDevice); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		line.done()
		wg.Wait()
		if got := strings.Join(order, ""); got != "351402" {
			t.Errorf("order %s", got)
		}
		if line.free != 1 || line.waiting != 0 {
			t.Errorf("%d free, %d wait", line.free, line.waiting)
		}
	})
	// Who has logged in is known, and who was refused is not quiet.
	s := service(t, nil)
	rankOf := func(login, from string) rank {
		return s.fails.rank(s.pair(userKey(login, 0), from), address(from))
	}
	_, _ = s.Login(t.Context(), "lucia", "other password", "203.0.113.7")
	_, _ = s.Login(t.Context(), "mario", "wrong", "203.0.113.7")
	if a, b, c := rankOf("lucia", "203.0.113.7"), rankOf("mario", "203.0.113.7"), rankOf("mario", "192.0.2.1"); a != knownDevice || b != noisyPlace || c != quietPlace {
		t.Error(a, b, c)
	}
}

// TestG8_AnAppPasswordBuysNoGuesses: whoever holds an app password (a stolen
// phone) and logs in with it between guesses at the password gets no more of
// them.
func TestG8_AnAppPasswordBuysNoGuesses(t *testing.T) {
	password, digest := NewAppPassword()
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	s := service(t, func(o *Options) {
		o.Apps = &keptApps{names: map[[32]byte]string{digest: "phone"}}
		o.Now = func() time.Time { return now }
	})
	hashes := s.countHashes()
	for n := range 200 {
		if _, err := s.Login(t.Context(), "mario", fmt.Sprint("guess ", n), "192.0.2.1"); err != ErrRefused {
			t.Fatal(err)
		}
		if n%3 == 2 {
			if _, err := s.Login(t.Context(), "mario", password, "192.0.2.1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := hashes(); n > 10 {
		t.Errorf("%d guesses were looked at", n)
	}
}

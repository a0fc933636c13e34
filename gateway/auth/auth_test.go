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

	"go.uber.org/goleak" // finds goroutines that nobody waited for

	"pecgate/mailbox/events"
	"pecgate/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cheap is the smallest cost, so that tests do not wait for hashes.
func cheap(t testing.TB, secret string) string {
	t.Helper()
	h, err := HashSecretCost(secret, Cost{Time: 1, Memory: 8, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func people(t testing.TB) *policy.Policy {
	return &policy.Policy{
		Users: []policy.User{
			{Login: "mario", Email: "mario.rossi@example.org", Password: cheap(t, "good password"), PIN: cheap(t, "123456")},
			{Login: "lucia", Email: "lucia.bianchi@example.org", Password: cheap(t, "other password"), PIN: cheap(t, "654321")},
			{Login: "nopin", Password: cheap(t, "third password")},
			{Login: "broken", Password: "$argon2id$v=19$m=99999999,t=99,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA"},
		},
		Mailboxes: []policy.Mailbox{{Address: "protocollo@pec.example.org", Active: true,
			Members: []policy.Member{{User: "mario", Send: true, Receive: true}}}},
	}
}

func service(t testing.TB, change func(*Options)) *Service {
	p := people(t)
	o := Options{Policy: func() *policy.Policy { return p }, Events: events.Discard()}
	if change != nil {
		change(&o)
	}
	return New(o)
}

func TestLoginNames(t *testing.T) {
	s := service(t, nil)
	tests := []struct {
		name, password string
		want           policy.Identity
		err            error
	}{
		{"mario", "good password", policy.Identity{User: "mario"}, nil},
		{"MARIO", "good password", policy.Identity{User: "mario"}, nil},
		{"mario.rossi@example.org", "good password", policy.Identity{User: "mario"}, nil},
		{"mario/protocollo@pec.example.org", "good password", policy.Identity{User: "mario", Box: "protocollo@pec.example.org"}, nil},
		{"mario", "good password ", policy.Identity{}, ErrRefused},
		{"mario", "", policy.Identity{}, ErrRefused},
		{"", "", policy.Identity{}, ErrRefused},
		{"nobody", "good password", policy.Identity{}, ErrRefused},
		{"lucia/protocollo@pec.example.org", "other password", policy.Identity{}, ErrRefused},
		{"broken", "x", policy.Identity{}, ErrRefused},
		{"mario\x00", "good password", policy.Identity{}, ErrRefused},
		{strings.Repeat("m", maxName+1), "x", policy.Identity{}, ErrRefused},
		{"mario", strings.Repeat("x", maxSecret+1), policy.Identity{}, ErrRefused},
	}
	for i, tt := range tests {
		got, err := s.Login(t.Context(), tt.name, tt.password, fmt.Sprintf("192.0.2.%d", i))
		if got != tt.want || err != tt.err { // the error itself: nothing wrapped, one text
			t.Errorf("%.20q: %v, %v", tt.name, got, err)
		}
	}
}

func TestCacheFollowsThePolicy(t *testing.T) {
	now := time.Now()
	p := people(t)
	s := service(t, func(o *Options) {
		o.Policy = func() *policy.Policy { return p }
		o.Now = func() time.Time { return now }
	})
	login := func() error {
		_, err := s.Login(t.Context(), "mario", "good password", "192.0.2.1")
		return err
	}
	hash := p.Users[0].Password
	if err := login(); err != nil {
		t.Fatal(err)
	}
	k := s.cache.key("mario", hash, "good password")
	if !s.cache.holds(k) || s.cache.holds(s.cache.key("mario", hash, "wrong")) {
		t.Error("the verified login is not what is remembered")
	}
	p2 := people(t) // same password, another salt
	p = p2
	if s.cache.holds(s.cache.key("mario", p2.Users[0].Password, "good password")) {
		t.Error("remembered under another hash")
	}
	p2.Users[0].Password = cheap(t, "changed")
	if err := login(); err != ErrRefused {
		t.Errorf("old password after a change: %v", err)
	}
	p2.Users[0].Password = hash
	now = now.Add(3 * time.Minute)
	if err := login(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(3 * time.Minute)
	if s.cache.holds(k) {
		t.Error("use has lengthened the life of the entry")
	}
	c := newCache(time.Minute, time.Now)
	for i := range maxCached + 10 {
		c.put(c.key("u", "h", fmt.Sprint(i)))
	}
	if len(c.entries) > maxCached {
		t.Errorf("%d entries", len(c.entries))
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
	for range 8 {
		_ = try("mario", "guess", "203.0.113.7")
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
	// How many guesses an hour are really looked at.
	n := 0
	for range 3600 {
		now = now.Add(time.Second)
		if !s.fails.blocked("pair:x", "addr:198.51.100.1") {
			n++
			s.fails.failed("pair:x", "addr:198.51.100.1")
		}
	}
	if n > 40 {
		t.Errorf("%d guesses an hour at one user from one address", n)
	}
	if a, b := address("2001:db8:1:2::3"), address("2001:db8:1:2:ffff::4"); a != b {
		t.Errorf("one /64, two keys: %s %s", a, b)
	}
	for i := range maxKeys + 10 {
		s.fails.failed(fmt.Sprint("pair:", i), "addr:x")
	}
	if len(s.fails.by) > maxKeys || s.fails.used.Len() != len(s.fails.by) {
		t.Errorf("%d keys, %d in the list", len(s.fails.by), s.fails.used.Len())
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
	s.work <- struct{}{} // nobody's turn comes before all wait
	for i := range 100 {
		wg.Go(func() { _, _ = s.Login(t.Context(), "mario", fmt.Sprint("guess", i), "192.0.2.1") })
	}
	for len(s.line) < 100 {
		runtime.Gosched()
	}
	<-s.work
	wg.Wait()
	if n := strings.Count(log.String(), "reason=password"); n > freeOfPair+1 {
		t.Errorf("%d guesses looked at", n)
	}
}

func TestG9_UnknownNamesCostAHash(t *testing.T) {
	p := people(t)
	s := service(t, nil)
	if c := s.like(p).cost; c != (Cost{Time: 1, Memory: 8, Threads: 1}) {
		t.Errorf("an unknown name costs %+v", c)
	}
	if c := s.like(&policy.Policy{}).cost; c != DefaultCost() {
		t.Errorf("without users: %+v", c)
	}
	// Both ways pass the same worker: with none free, both wait.
	s.work <- struct{}{}
	s.work <- struct{}{}
	for _, name := range []string{"mario", "nobody"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := s.Login(ctx, name, "x", "192.0.2.1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

func TestG10_BoundedWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, func(o *Options) { o.Workers, o.Waiting = 1, 2 })
		s.work <- struct{}{}
		var wg sync.WaitGroup
		var mu sync.Mutex
		busy := 0
		for i := range 10 {
			wg.Go(func() {
				_, err := s.Login(t.Context(), "lucia", "other password", fmt.Sprint("192.0.2.", i))
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, ErrBusy) {
					busy++
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		<-s.work
		wg.Wait()
		if busy != 7 {
			t.Errorf("%d told to come again", busy)
		}
	})
}

func TestG5_PIN(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	kept := newMemory(func() time.Time { return now })
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	open := func() *Service { // a restart
		return service(t, func(o *Options) {
			o.Counters, o.Location = kept, rome
			o.Now = func() time.Time { return now }
		})
	}
	s := open()
	check := func(login, pin string) (bool, error) {
		t.Helper()
		return s.CheckPIN(t.Context(), login, pin, Use{Mailbox: "protocollo@pec.example.org", Remote: "192.0.2.7"})
	}
	if ok, err := check("mario", "123456"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := check("nopin", ""); ok || err != nil {
		t.Fatal(ok, err)
	}
	for i, pin := range []string{"000000", "654321", "", "12345", "1234567", strings.Repeat("1", 2000), "123456 ", "٣", "1", "2"} {
		if i%3 == 0 {
			s = open()
		}
		if ok, err := check("Mario", pin); ok || err != nil {
			t.Errorf("%.10q: %v, %v", pin, ok, err)
		}
	}
	s = open()
	for _, pin := range []string{"123456", "000000"} {
		if ok, err := check("mario", pin); ok || err != ErrPINLocked {
			t.Errorf("after ten wrong ones: %v, %v", ok, err)
		}
	}
	if ok, err := check("lucia", "654321"); !ok || err != nil {
		t.Errorf("another user: %v, %v", ok, err)
	}
	now = time.Date(2026, 11, 21, 22, 59, 59, 0, time.UTC) // 23:59:59 in Rome
	if _, err := check("mario", "123456"); err != ErrPINLocked {
		t.Errorf("before midnight: %v", err)
	}
	now = now.Add(time.Second)
	if ok, err := check("mario", "123456"); !ok || err != nil {
		t.Errorf("after midnight: %v, %v", ok, err)
	}
}

func TestG5_ManyPINsAtOnce(t *testing.T) {
	s := service(t, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	looked := 0
	for i := range 100 {
		wg.Go(func() {
			ok, err := s.CheckPIN(t.Context(), "mario", fmt.Sprint(i), Use{Mailbox: "protocollo@pec.example.org", Remote: "192.0.2.7"})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				looked++
			}
			if ok {
				t.Error("guessed")
			}
		})
	}
	wg.Wait()
	if looked != WrongPINs {
		t.Errorf("%d PINs looked at", looked)
	}
}

// failing keeps nothing.
type failing struct{ n int }

func (f failing) Count(context.Context, string) (int, error) { return f.n, nil }
func (failing) Add(context.Context, string, time.Time) (int, error) {
	return 0, errors.New("disk")
}

func TestG5_AnUncountedPINIsNotAnswered(t *testing.T) {
	s := service(t, func(o *Options) { o.Counters = failing{} })
	if ok, err := s.CheckPIN(t.Context(), "mario", "000000", Use{Mailbox: "protocollo@pec.example.org", Remote: "192.0.2.7"}); ok || err == nil || errors.Is(err, ErrPINLocked) {
		t.Errorf("%v, %v", ok, err)
	}
	if ok, err := s.CheckPIN(t.Context(), "mario", "123456", Use{Mailbox: "protocollo@pec.example.org", Remote: "192.0.2.7"}); !ok || err != nil {
		t.Errorf("the right one needs no count: %v, %v", ok, err)
	}
}

func TestS5_NoSecretInEvents(t *testing.T) {
	var log bytes.Buffer
	s := service(t, func(o *Options) { o.Events = events.New(slog.New(slog.NewJSONHandler(&log, nil))) })
	for _, name := range []string{"mario", "good password", "nobody", "broken", strings.Repeat("n", 1000)} {
		_, _ = s.Login(t.Context(), name, "good password", "192.0.2.1")
		_, _ = s.Login(t.Context(), name, "wrong secret\r\n\x1b[31m", "192.0.2.1")
		_, _ = s.CheckPIN(t.Context(), "mario", "999111", Use{Mailbox: "protocollo@pec.example.org", Remote: "192.0.2.7"})
	}
	_, _ = s.CheckPIN(t.Context(), "mario", "123456", Use{Mailbox: "protocollo@pec.example.org", Remote: "192.0.2.7"})
	for _, secret := range []string{"good password", "wrong secret", "999111", "123456", "argon2id", "\x1b", "nobody"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q in the log:\n%s", secret, log.String())
		}
	}
	for line := range strings.Lines(log.String()) {
		if !strings.HasPrefix(line, `{"time":`) {
			t.Errorf("line %q", line)
		}
	}
}

// TestS7_DeedsOfLogins: each outcome of a login and of a PIN goes to the audit
// log, and a name that is nobody's does not.
func TestS7_DeedsOfLogins(t *testing.T) {
	var got []string
	s := service(t, func(o *Options) {
		o.Events.AuditTo(func(d events.Deed) {
			got = append(got, strings.Join([]string{d.Event, d.Login, d.Mailbox, d.From, d.Result, d.Reason}, " "))
		})
	})
	const from, box = "192.0.2.9", "protocollo@pec.example.org"
	_, _ = s.Login(t.Context(), "mario", "good password", from)
	_, _ = s.Login(t.Context(), "mario", "wrong", from)
	_, _ = s.Login(t.Context(), "pa55word", "wrong", from)
	for range freeOfPair + 2 {
		_, _ = s.Login(t.Context(), "mario", "wrong", from)
	}
	_, _ = s.CheckPIN(t.Context(), "mario", "123456", Use{box, from})
	for range WrongPINs + 1 {
		_, _ = s.CheckPIN(t.Context(), "mario", "000000", Use{box, from})
	}
	want := "login mario  192.0.2.9 good |login mario  192.0.2.9 refused password|login   192.0.2.9 refused unknown|" +
		strings.Repeat("login mario  192.0.2.9 refused password|", freeOfPair) + "login mario  192.0.2.9 refused throttled|" +
		"login mario  192.0.2.9 refused throttled|pin mario " + box + " 192.0.2.9 right |" +
		strings.Repeat("pin mario "+box+" 192.0.2.9 wrong |", WrongPINs) + "pin mario " + box + " 192.0.2.9 locked "
	if all := strings.Join(got, "|"); all != want {
		t.Errorf("%s\nwant %s", all, want)
	}
}

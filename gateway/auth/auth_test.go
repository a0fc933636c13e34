package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
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
		if got.Identity != tt.want || err != tt.err { // the error itself: nothing wrapped, one text
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
func (failing) Raise(context.Context, string, int, time.Time) (bool, error) {
	return false, errors.New("disk")
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
	for i := range freeOfPair + 2 {
		_, _ = s.Login(t.Context(), "mario", fmt.Sprint("wrong", i), from)
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

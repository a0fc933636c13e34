package auth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/events"
	"pecgate/policy"
)

// TestCodesOfRFC6238: the values of its appendix B, as far as they have SHA-1; of their eight digits apps show the last six.
func TestCodesOfRFC6238(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		if got, err := CodeAt(secret, time.Unix(at, 0)); err != nil || got != want[2:] {
			t.Errorf("at %d: %s, %v; want %s", at, got, err, want[2:])
		}
	}
	for _, short := range [][]byte{nil, make([]byte, minCode-1), make([]byte, maxCode+1)} {
		if code, err := CodeAt(short, time.Unix(59, 0)); !errors.Is(err, ErrCodeSecret) || code != "" {
			t.Errorf("a secret of %d octets: %s, %v", len(short), code, err)
		}
	}
}

func TestCodeURL(t *testing.T) {
	text := CodeURL("pecgate: pec gate.example", "mario+x@rossi", []byte("12345678901234567890"))
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/pecgate  pec gate.example:mario+x@rossi" || strings.ContainsAny(u.RawQuery, "+ ") {
		t.Fatalf("%s, %v", text, err)
	}
	if q := u.Query(); q.Get("secret") != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" || q.Get("issuer") != "pecgate  pec gate.example" {
		t.Errorf("%s", text)
	}
	if a, b := NewCodeSecret(), NewCodeSecret(); len(a) != 20 || bytes.Equal(a, b) {
		t.Error("secrets are not new")
	}
}

// coded is a service on a clock where Mario has one-time codes.
type coded struct {
	*Service
	now    time.Time
	secret []byte
	open   error // of the sealed secret
}

func withCodes(t *testing.T, counters Counters, change func(*Options)) *coded {
	c := &coded{now: time.Date(2026, 11, 22, 10, 0, 15, 0, time.UTC), secret: []byte("12345678901234567890")}
	p := people(t)
	p.Users[0].TOTP = "sealed"
	c.Service = service(t, func(o *Options) {
		o.Policy = func() *policy.Policy { return p }
		o.Now = func() time.Time { return c.now }
		o.Counters = counters
		o.Codes = func(login, sealed string) ([]byte, error) {
			if login != "mario" || sealed != "sealed" {
				t.Errorf("%s of %s is to be opened", sealed, login)
			}
			return bytes.Clone(c.secret), c.open
		}
		if change != nil {
			change(o)
		}
	})
	return c
}

// code is the one of some steps from now.
func (c *coded) code(t *testing.T, steps int) string {
	t.Helper()
	code, err := CodeAt(c.secret, c.now.Add(time.Duration(steps)*codeStep))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func (c *coded) check(t *testing.T, code string) bool {
	t.Helper()
	ok, err := c.CheckPIN(t.Context(), "Mario", code, Use{})
	if err != nil && !errors.Is(err, ErrCodeSpent) {
		t.Fatal(err)
	}
	return ok
}

// TestG4_OneTimeCodes: a code is good from one step before its own to one after, and nothing else is; the fixed PIN is not
// looked at any more.
func TestG4_OneTimeCodes(t *testing.T) {
	for _, s := range []struct {
		steps int
		want  bool
	}{{-2, false}, {-1, true}, {0, true}, {1, true}, {2, false}, {-60, false}} {
		c := withCodes(t, nil, nil)
		if got := c.check(t, c.code(t, s.steps)); got != s.want {
			t.Errorf("the code of %d steps from now: %v", s.steps, got)
		}
	}
	c := withCodes(t, nil, nil)
	code := c.code(t, 0)
	for _, wrong := range []string{"123456", code[:5], code + "0", "0" + code, "", "hunter2", strings.Repeat("0", 2000)} {
		if c.check(t, wrong) {
			t.Errorf("%.20q is taken", wrong)
		}
	}
	if !c.check(t, " "+code[:3]+" "+code[3:]) {
		t.Error("not as apps show it")
	}
}

// TestG5_ACodeIsTakenOnce: it and all before it are worth nothing then, also to a service that begins anew; who
// gives it again had it, so that does not count.
func TestG5_ACodeIsTakenOnce(t *testing.T) {
	kept := newMemory(time.Now)
	kept.now = func() time.Time { return time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC) }
	c := withCodes(t, kept, nil)
	if now := c.code(t, 0); !c.check(t, now) || c.check(t, now) || c.check(t, c.code(t, -1)) {
		t.Error("a code is taken twice, or one before it")
	}
	after := withCodes(t, kept, nil)
	if after.check(t, after.code(t, 0)) {
		t.Error("a code is taken again after a restart")
	}
	if !after.check(t, after.code(t, 1)) || after.check(t, after.code(t, 1)) {
		t.Error("the next one is not taken once")
	}
	after.now = after.now.Add(codeStep)
	if after.check(t, after.code(t, 0)) {
		t.Error("a code is taken again in its own step")
	}
	if n, err := kept.Count(t.Context(), PINKey("mario", 0, c.now)); n != 0 || err != nil {
		t.Errorf("%d wrong ones, %v", n, err)
	}
}

// TestG5_OneOfManyTakesACode: the same code given many times at once is taken once.
func TestG5_OneOfManyTakesACode(t *testing.T) {
	c := withCodes(t, nil, nil)
	code := c.code(t, 0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 8 {
		wg.Go(func() {
			ok, err := c.CheckPIN(context.Background(), "mario", code, Use{})
			if ok != (err == nil) || err != nil && !errors.Is(err, ErrCodeSpent) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if ok {
				taken++
			}
		})
	}
	wg.Wait()
	if taken != 1 {
		t.Errorf("taken %d times", taken)
	}
}

// TestG5_WrongCodesLock: ten wrong codes in a day are as ten wrong PINs: no code is looked at any more until midnight.
func TestG5_WrongCodesLock(t *testing.T) {
	c := withCodes(t, nil, nil)
	for range WrongPINs {
		if c.check(t, "hunter2") {
			t.Fatal("taken")
		}
	}
	if _, err := c.CheckPIN(t.Context(), "mario", c.code(t, 0), Use{}); !errors.Is(err, ErrPINLocked) {
		t.Errorf("the right code after ten wrong ones: %v", err)
	}
	c.now = c.now.AddDate(0, 0, 1)
	if !c.check(t, c.code(t, 0)) {
		t.Error("locked on the next day")
	}
}

// TestG5_ACodeThatCannotBeCheckedIsNotWrong: without the secret, or where it cannot be kept that a code was taken, nothing
// is known: it is neither taken nor counted.
func TestG5_ACodeThatCannotBeCheckedIsNotWrong(t *testing.T) {
	kept := newMemory(time.Now)
	var log bytes.Buffer
	events := events.New(slog.New(slog.NewJSONHandler(&log, nil)))
	closed := withCodes(t, kept, func(o *Options) { o.Events = events })
	closed.open = errors.New("sealed with another key")
	short := withCodes(t, kept, func(o *Options) { o.Events = events })
	none := withCodes(t, kept, func(o *Options) { o.Events, o.Codes = events, nil })
	disk := withCodes(t, failing{}, func(o *Options) { o.Events = events })
	for _, c := range []*coded{closed, short, none, disk} {
		code := c.code(t, 0)
		if c == short {
			c.secret = c.secret[:10]
		}
		if ok, err := c.CheckPIN(t.Context(), "mario", code, Use{}); ok || err == nil || errors.Is(err, ErrPINLocked) || strings.Contains(err.Error(), code) {
			t.Errorf("%v, %v", ok, err)
		}
		for _, secret := range []string{code, string(c.secret), CodeText(c.secret)} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("%s in the log:\n%s", secret, &log)
			}
		}
	}
	if n, err := kept.Count(t.Context(), PINKey("mario", 0, closed.now)); n != 0 || err != nil {
		t.Errorf("%d wrong ones, %v", n, err)
	}
}

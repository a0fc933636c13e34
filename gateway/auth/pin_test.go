package auth

import (
	"context"
	"testing"
	"time"
)

// TestG5_LockIsTold: whoever wants to know hears of the tenth wrong PIN of a
// day, and of each try after it; not before.
func TestG5_LockIsTold(t *testing.T) {
	var told []string
	ctx, cancel := context.WithCancel(t.Context())
	s := service(t, func(o *Options) {
		o.Locked = func(ctx context.Context, login string, use Use) {
			if ctx.Err() != nil {
				t.Error("who hung up keeps the administrator from being told")
			}
			told = append(told, login+" "+use.Mailbox)
		}
	})
	for n := range WrongPINs {
		if len(told) > 0 {
			t.Fatalf("told after %d", n)
		}
		if ok, err := s.CheckPIN(ctx, "Mario", "000000", Use{Mailbox: "box"}); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if len(told) != 1 || told[0] != "mario box" {
		t.Errorf("told %q", told)
	}
	if _, err := s.CheckPIN(ctx, "mario", "123456", Use{Mailbox: "box"}); err != ErrPINLocked || len(told) != 2 {
		t.Errorf("%v, told %q", err, told)
	}
	cancel()
}

// TestPINKey: the count of a day is that of the user, however the login is
// written, and of that day alone.
func TestPINKey(t *testing.T) {
	day := time.Date(2026, 11, 22, 23, 59, 59, 0, time.UTC)
	if PINKey("Mario", 1, day) != PINKey("mario", 1, day.Add(-time.Hour)) || PINKey("mario", 1, day) == PINKey("mario", 1, day.Add(time.Second)) ||
		PINKey("mario", 1, day) == PINKey("maria", 1, day) || PINKey("mario", 1, day) == PINKey("mario", 2, day) {
		t.Error("the keys do not tell users and days apart")
	}
}

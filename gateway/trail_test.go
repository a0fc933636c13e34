package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak" // no goroutine outlives a test

	"pecgate/mailbox"
	"pecgate/mailbox/events"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// told lists the lines of the audit log but the store's own, oldest first.
func told(t *testing.T, s *mailbox.Store) (out []string) {
	t.Helper()
	err := s.View(context.Background(), func(tx *mailbox.Tx) error {
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if l.Actor != "store" {
				out = append([]string{strings.Join(strings.Fields(fmt.Sprintln(l.Actor, l.Event, l.Box, l.From, l.Result, l.Reason, l.More["count"])), " ")}, out...)
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func storeWith(t *testing.T, o mailbox.Options) *mailbox.Store {
	t.Helper()
	o.Dir = t.TempDir()
	s, err := mailbox.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestS7_TrailSums: what is repeated costs two lines a minute however often it
// comes, and strangers with many names or addresses cost a bounded number.
func TestS7_TrailSums(t *testing.T) {
	s := storeWith(t, mailbox.Options{})
	now := time.Unix(1_800_000_000, 0)
	tr := newTrail(s, events.Discard())
	tr.now = func() time.Time { return now }
	refused := events.Deed{Event: "login", Login: "mario", From: "192.0.2.1", Result: "refused", Reason: "throttled", Much: true}
	good := events.Deed{Event: "login", Login: "lucia", From: "192.0.2.2", Result: "good"}
	for range 1000 {
		tr.write(tr.met(refused, nil))
	}
	tr.write(tr.met(good, nil))
	now = now.Add(sumUp)
	tr.write(tr.sums(false))
	tr.write(tr.met(refused, nil)) // a new period, its first line
	want := "mario login 192.0.2.1 refused throttled|lucia login 192.0.2.2 good|" +
		"mario login 192.0.2.1 refused throttled 999|mario login 192.0.2.1 refused throttled"
	if got := strings.Join(told(t, s), "|"); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	now = now.Add(sumUp)
	for i := range 5000 {
		refused.From = fmt.Sprintf("2001:db8::%x", i)
		tr.write(tr.met(refused, nil))
	}
	tr.write(tr.met(good, nil)) // who may enter is still named
	tr.write(tr.sums(true))
	all := told(t, s)[4:]
	if n := len(all); n != trailStrangers+3 || all[n-2] != "lucia login 192.0.2.2 good" || all[n-1] != fmt.Sprintf("login refused many %d", 5000-trailStrangers-1) {
		t.Errorf("%d lines, the last %q", n, all[max(0, n-3):])
	}
	if len(tr.kinds) != 0 || tr.strangers != 0 {
		t.Errorf("%d kinds are left", len(tr.kinds))
	}
}

// TestS7_TrailRuns: deeds given to the events are in the log when the trail has
// ended, whoever gives them.
func TestS7_TrailRuns(t *testing.T) {
	s := storeWith(t, mailbox.Options{})
	ev := events.Discard()
	tr := newTrail(s, ev)
	ev.AuditTo(tr.take)
	go tr.run()
	for range 10 {
		ev.LoginOK("mario", "protocollo@pec.alfa.example", "192.0.2.1")
		ev.LoginRefused("mario", "192.0.2.1", "password")
	}
	ev.PINWrong("mario", "protocollo@pec.alfa.example", "192.0.2.1", 1)
	tr.close()
	got := strings.Join(told(t, s), "|")
	for _, want := range []string{
		"mario login protocollo@pec.alfa.example 192.0.2.1 good 9", "mario login 192.0.2.1 refused password 9",
		"mario pin protocollo@pec.alfa.example 192.0.2.1 wrong",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}
	if n := len(told(t, s)); n != 5 {
		t.Errorf("%d lines: %s", n, got)
	}
}

// TestS7_TrailBelowTheFloor: nothing is written, nothing waits, and the log
// tells instead.
func TestS7_TrailBelowTheFloor(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 40)
	s := storeWith(t, mailbox.Options{MinFree: 1 << 20, Free: func() (mailbox.DiskFree, error) {
		return mailbox.DiskFree{Bytes: free.Load(), Inodes: -1}, nil
	}})
	var log bytes.Buffer
	ev := events.New(slog.New(slog.NewJSONHandler(&log, nil)))
	tr := newTrail(s, ev)
	ev.AuditTo(tr.take)
	free.Store(1000)
	go tr.run()
	ev.LoginOK("mario", "", "192.0.2.1")
	tr.close()
	if got := told(t, s); len(got) != 0 || !errors.Is(s.Room(), mailbox.ErrNoSpace) {
		t.Errorf("%q", got)
	}
	if !strings.Contains(log.String(), `"audit line not stored","event":"login","user":"mario"`) {
		t.Errorf("%s", log.String())
	}
	// One who logs in does not wait for a trail that does not come along.
	for range 2 * trailQueue {
		ev.LoginOK("mario", "", "192.0.2.1")
	}
	if !strings.Contains(log.String(), errTrailFull.Error()) {
		t.Error("nobody tells of what is lost")
	}
	free.Store(1 << 40) // on a full disk the records are left as a crash leaves them
}

// TestS7_Configured: each load tells the sums before and after.
func TestS7_Configured(t *testing.T) {
	s := storeWith(t, mailbox.Options{})
	now := Sums{"c1", "p1"}
	g := &Gateway{store: s, events: events.Discard(), sums: func() Sums { return now }}
	configured := func(result string) {
		t.Helper()
		if err := g.configured(t.Context(), result); err != nil {
			t.Fatal(err)
		}
	}
	configured("loaded")
	configured("reloaded")
	now.Policy = "p2"
	configured("reloaded")
	configured("refused")
	var got []string
	err := s.View(t.Context(), func(tx *mailbox.Tx) error {
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if l.Event == "configuration" {
				got = append(got, fmt.Sprintf("%s %s-%s %s-%s %t", l.Result, l.More["config_before"], l.More["config_after"],
					l.More["policy_before"], l.More["policy_after"], l.Reason != ""))
			}
			return true
		})
	})
	want := "refused c1-c1 p2-p2 true|reloaded c1-c1 p1-p2 false|reloaded c1-c1 p1-p1 true|loaded -c1 -p1 false"
	if err != nil || strings.Join(got, "|") != want {
		t.Errorf("%q, %v", got, err)
	}
}

package auth

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/events"
)

// The audit log tells of the first login of a server from an address on a day, and of
// each that is refused; the log of all.
func TestServerLoginsInTheAuditLog(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var log bytes.Buffer
	var deeds []events.Deed
	ev := events.New(slog.New(slog.NewJSONHandler(&log, nil)))
	ev.AuditTo(func(d events.Deed) { deeds = append(deeds, d) })
	s := service(t, func(o *Options) {
		o.Now = func() time.Time { return now }
		o.Events = ev
	})
	logins := []ServerLogin{{"exchange", cheap(t, "secret")}, {"domino", cheap(t, "secret")}}
	in := func(name, password, from string) {
		_, _ = s.LoginServer(t.Context(), logins, name, password, from)
	}
	for range 50 {
		in("exchange", "secret", "192.0.2.10")
	}
	in("Exchange", "secret", "192.0.2.11")
	in("domino", "secret", "192.0.2.10")
	in("exchange", "wrong", "192.0.2.10")
	if len(deeds) != 4 || deeds[0].Login != "server:exchange" || deeds[1].From != "192.0.2.11" || deeds[2].Login != "server:domino" || deeds[3].Result != "refused" {
		t.Errorf("%+v", deeds)
	}
	if n := strings.Count(log.String(), `"msg":"login"`); n != 52 {
		t.Errorf("%d lines of the log", n)
	}
	now = now.Add(24 * time.Hour)
	in("exchange", "secret", "192.0.2.10")
	in("exchange", "secret", "192.0.2.10")
	if len(deeds) != 5 {
		t.Errorf("a day later %+v", deeds)
	}
	for n := range maxServers + 10 {
		s.servers.first("x", fmt.Sprint(n), now)
	}
	if len(s.servers.seen) > maxServers {
		t.Errorf("%d are kept", len(s.servers.seen))
	}
}

// The login of a groupware server is looked at as one of a person is: throttled, at
// one cost for every name, and never written down.
func TestLoginServer(t *testing.T) {
	now := time.Now()
	var log bytes.Buffer
	s := service(t, func(o *Options) {
		o.Now = func() time.Time { return now }
		o.Events = events.New(slog.New(slog.NewJSONHandler(&log, nil)))
	})
	hashes := s.countHashes()
	logins := []ServerLogin{{"exchange", cheap(t, "first secret")}, {"exchange", cheap(t, "second secret")}, {"", cheap(t, "no name")}, {"domino", "broken"}}
	try := func(name, password, from string) (int, error) {
		t.Helper()
		return s.LoginServer(t.Context(), logins, name, password, from)
	}
	for _, tc := range []struct {
		name, password string
		want           int
	}{
		{"exchange", "first secret", 0}, {"EXCHANGE", "second secret", 1}, {"exchange", "wrong", -1}, {"", "no name", -1},
		{"domino", "broken", -1}, {"mario", "good password", -1}, {"exchange", "", -1}, {strings.Repeat("x", 500), "first secret", -1},
	} {
		if i, err := try(tc.name, tc.password, "192.0.2.10"); i != tc.want || (err == nil) != (tc.want >= 0) {
			t.Errorf("%.20q with %q: %d, %v", tc.name, tc.password, i, err)
		}
	}
	before := hashes()
	if _, err := try("exchange", "first secret", "192.0.2.10"); err != nil || hashes() != before {
		t.Errorf("a connection more costs a hash: %v", err)
	}
	for i := range 8 {
		_, _ = try("exchange", fmt.Sprint("guess", i), "198.51.100.1")
	}
	if _, err := try("exchange", "first secret", "198.51.100.1"); err != ErrRefused {
		t.Errorf("a throttled server was looked at: %v", err)
	}
	if _, err := try("exchange", "first secret", "192.0.2.10"); err != nil {
		t.Errorf("the server elsewhere: %v", err)
	}
	now = now.Add(10 * time.Minute)
	if _, err := try("exchange", "first secret", "198.51.100.1"); err != nil {
		t.Errorf("for ever throttled: %v", err)
	}
	for _, secret := range []string{"first secret", "second secret", "good password", "guess"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

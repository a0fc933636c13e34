package gate_test

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"pecgate/gateway/gate"
	"pecgate/mailbox/events"
)

type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestLogBound: whoever knocks without ever speaking TLS, and whoever is turned
// away, cannot fill the log: some lines a minute tell of them, and one counts the
// rest.
func TestLogBound(t *testing.T) {
	log := new(logLines)
	e := start(t, gate.Options{Events: events.New(slog.New(slog.NewTextHandler(log, nil))), Limits: gate.NewLimits(0, 2)})
	const knocks = 300
	for range knocks {
		c := e.dial(t)
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		_, _ = io.Copy(io.Discard, c) // its end
		_ = c.Close()
	}
	if err := e.l.Close(); err != nil {
		t.Fatal(err)
	}
	got := log.String()
	told := strings.Count(got, "no TLS") + strings.Count(got, "connection refused")
	if told == 0 || told > 60 || strings.Count(got, "more connections refused than are told") != 1 {
		t.Errorf("%d lines for %d knocks:\n%s", told, knocks, got[max(0, len(got)-300):])
	}
}

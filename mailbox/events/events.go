// Package events turns what happens in the appliance into one line each.
//
// It owns the form of every log line: one method per event, one event one
// line, fixed keys. It is a leaf that every room may use, and imports nothing
// of pecgate.
//
// Deeds of people go to the audit log too, where there is one (AuditTo).
//
// Invariants: no content of a message, no subject, no secret of any kind is a
// parameter of an event; values that a stranger chose are bounded by Clip
// before they are written.
package events

import (
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
)

// maxValue is the longest value, in bytes, that a line carries of anything a
// stranger chose.
const maxValue = 256

// Log writes events. The zero value is not usable; see New and Discard.
type Log struct {
	out   *slog.Logger
	trail atomic.Pointer[func(Deed)]

	panics  atomic.Int64
	logins  atomic.Int64 // refused
	refused repeats
}

// New returns a Log that writes to l, each value bounded and without what a terminal obeys.
func New(l *slog.Logger) *Log { return &Log{out: slog.New(tidy{l.Handler()})} }

// Discard returns a Log that writes nowhere, for tests.
func Discard() *Log { return New(slog.New(slog.NewTextHandler(io.Discard, nil))) }

// Panic says that serving one connection panicked, in a room (smtp, imap, gate,
// autoconfig): that connection is gone, the process and all others live. The stack
// holds no values, and what was panicked with is not told: it may hold a peer's
// bytes. count is how many that makes since the start.
func (l *Log) Panic(room, stack string) {
	l.out.Error("connection panic", "room", room, "count", l.panics.Add(1), "stack", clipTo(stack, maxStack))
}

// LoginsRefused is how many logins and tokens were refused since the start.
func (l *Log) LoginsRefused() int64 { return l.logins.Load() }

// Panics is how many connections have panicked since the start.
func (l *Log) Panics() int64 { return l.panics.Load() }

// Slog returns the logger below, for libraries that want one.
func (l *Log) Slog() *slog.Logger { return l.out }

// Clip bounds a value that a stranger chose to 256 bytes and replaces control
// characters, so that a line stays one line in every log format.
func Clip(s string) string {
	if len(s) > maxValue {
		s = s[:maxValue] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

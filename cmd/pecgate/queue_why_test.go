package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
)

// The list says why something has not left, and of a suspended mailbox no time at which
// it would.
func TestQueueListSaysWhy(t *testing.T) {
	var out bytes.Buffer
	now, soon := time.Now(), time.Now().Add(time.Hour)
	p := &queuePrinter{out: &out, loc: time.UTC}
	for _, it := range []relay.QueueItem{
		{ID: "one", State: relay.Queued, StateReason: relay.ReasonSuspended, Next: &now, Why: "the provider refused the login"},
		{ID: "two", State: relay.Queued, Next: &soon, Attempts: 2, Why: "mail: 451 4.3.0 later\nand " + strings.Repeat("x", 300)},
		{ID: "three", State: relay.Queued, Next: &now},
	} {
		if err := p.line(it); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range [][]string{
		{"NEXT", "WHY"}, {"00:00:00  suspended ", "the provider refused the login"}, {soon.UTC().Format(time.DateTime), "mail: 451 4.3.0 later and xxx"}, {"now", "-"},
	} {
		for _, w := range want {
			if !strings.Contains(lines[i], w) || len(lines[i]) > 300 {
				t.Errorf("line %d lacks %q: %s", i, w, lines[i])
			}
		}
	}
}

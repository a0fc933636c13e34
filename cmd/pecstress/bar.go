package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term" // tells a terminal from a file
)

// bar shows on a terminal how far the run has come. On anything else it is off.
// Safe for concurrent use.
type bar struct {
	out   io.Writer
	on    bool
	start time.Time

	mu    sync.Mutex
	shown time.Time
}

func newBar(out io.Writer) *bar {
	f, ok := out.(*os.File)
	return &bar{out: out, on: ok && term.IsTerminal(int(f.Fd())), start: time.Now()}
}

// draw shows which of the scenarios is under way and how much of it is done.
func (b *bar) draw(scenario, of int, name string, done, parts int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.on || time.Since(b.shown) < 200*time.Millisecond {
		return
	}
	b.shown = time.Now()
	const width = 30
	full := min(width, max(0, width*done/max(parts, 1)))
	fmt.Fprintf(b.out, "\r\x1b[K%d/%d %-10s [%s%s] %d/%d  %.0f s", scenario+1, of, name,
		strings.Repeat("#", full), strings.Repeat(".", width-full), done, parts, time.Since(b.start).Seconds())
}

// clear makes room for a line of text.
func (b *bar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on && !b.shown.IsZero() {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.shown = time.Time{}
	}
}

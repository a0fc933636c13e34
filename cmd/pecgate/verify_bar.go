package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term" // tells a terminal from a file
)

const (
	barEvery = 200 * time.Millisecond
	barAfter = time.Second // work that is done sooner shows none
)

// bar shows on a terminal how far long work has come. On anything else it is
// off. It belongs to one goroutine.
type bar struct {
	out   io.Writer
	on    bool
	start time.Time
	now   func() time.Time
	shown bool
}

func newBar(out io.Writer) *bar {
	f, ok := out.(*os.File)
	return &bar{out: out, on: ok && term.IsTerminal(int(f.Fd())), start: time.Now(), now: time.Now}
}

// draw shows that so many thousandths are behind.
func (b *bar) draw(thousandths int64) {
	if !b.on || b.now().Sub(b.start) < barAfter {
		return
	}
	const width = 40
	full := int(min(max(thousandths, 0), 1000) * width / 1000)
	fmt.Fprintf(b.out, "\r[%s%s] %3d %%", strings.Repeat("#", full), strings.Repeat(".", width-full), thousandths/10)
	b.shown = true
}

// clear makes room for a line of text.
func (b *bar) clear() {
	if b.shown {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.shown = false
	}
}

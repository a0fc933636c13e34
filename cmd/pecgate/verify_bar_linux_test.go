package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestVerifyBar(t *testing.T) {
	now := time.Date(2026, 7, 3, 0, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	b := &bar{out: &out, on: true, start: now, now: func() time.Time { return now }}
	b.draw(500)
	b.clear()
	if out.Len() > 0 {
		t.Errorf("work that was just begun shows %q", out.String())
	}
	now = now.Add(barAfter)
	b.draw(505)
	b.clear()
	b.clear()
	if want := "\r[" + strings.Repeat("#", 20) + strings.Repeat(".", 20) + "]  50 %\r\x1b[K"; out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
	if newBar(&out).on {
		t.Error("a bar on what is no terminal")
	}
	_, tty := terminal(t)
	if !newBar(tty).on {
		t.Error("no bar on a terminal")
	}
}

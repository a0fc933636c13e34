package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// TestL1_StopDuringDATA: at SIGTERM a message that is coming in may end, or its
// client hears 421 (or finds the line closed): what was told 250 is kept, nothing
// else is, and nothing half is.
func TestL1_StopDuringDATA(t *testing.T) {
	down := strings.Replace(mailboxText(boxA, false, "", "mario"), "SMTPPORT", "1", 1) // it stays in the queue
	h := newHouse(t, down)
	p := h.launch()
	const goesOn, silent, idle = "goes-on@pec.alfa.example", "silent@pec.alfa.example", "idle@pec.alfa.example"
	begin := func(id string) *wire {
		t.Helper()
		w := h.logged()
		for _, c := range []struct {
			say  string
			code int
		}{{"MAIL FROM:<" + boxA + ">", 250}, {"RCPT TO:<" + boxB + ">", 250}, {"DATA", 354}} {
			if err := w.say(c.say + "\r\n"); err != nil {
				t.Fatal(err)
			}
			if code, err := w.reply(); err != nil || code != c.code {
				t.Fatalf("%s: %d, %v", c.say, code, err)
			}
		}
		if err := w.say(mail(boxA, boxB, "Prova", id) + strings.Repeat("una riga\r\n", 1000)); err != nil {
			t.Fatal(err)
		}
		return w
	}
	on, mute, quiet := begin(goesOn), begin(silent), h.logged()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// One that has nothing under way is told at once: the stop has begun.
	if code, err := quiet.reply(); err == nil && code != 421 {
		t.Errorf("who was idle heard %d", code)
	}
	told := 0
	if err := on.say("ultima riga\r\n.\r\n"); err == nil {
		if told, err = on.reply(); err == nil && told != 250 && told != 421 {
			t.Errorf("who goes on heard %d %q", told, on.last)
		}
	}
	if code, err := mute.reply(); err == nil && code != 421 {
		t.Errorf("who stays silent heard %d %q", code, mute.last)
	}
	if state := p.ended(); state != exitGood {
		t.Errorf("it ended with %d:\n%s", state, tail(p.said.String(), 2000))
	}
	p.quiet()
	if told != 250 {
		t.Errorf("a message whose end came at once was not taken: %d", told)
	}
	for id, want := range map[string]bool{goesOn: told == 250, silent: false, idle: false} {
		state, out, _ := program(t, "", "--config", h.config(), "show", id)
		if (state == exitGood) != want {
			t.Errorf("%s is kept: %v, want %v", id, state == exitGood, want)
		}
		if want && !strings.Contains(out, fmt.Sprint("<", id, ">")) {
			t.Errorf("%s", out)
		}
	}
	if state, out, errs := program(t, "", "--config", h.config(), "fsck", "--deep"); state != exitGood {
		t.Errorf("fsck: %s%s", out, errs)
	}
}

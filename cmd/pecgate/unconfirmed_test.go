package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// TestRebuiltHoldNeedsItsFlag: a message that waits for its PIN outlives the loss
// of the records as one that nobody but its author sees and that a plain retry does
// not send, whether the appliance runs or not.
func TestRebuiltHoldNeedsItsFlag(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, replyBox, "mario", "anna"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", "h1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.stop()
	if err := os.RemoveAll(filepath.Join(h.dir, "data", "records")); err != nil {
		t.Fatal(err)
	}
	pecgate := func(args ...string) (int, string) {
		t.Helper()
		state, out, errs := program(t, "", append(args, "--config", h.config())...)
		return state, out + errs
	}
	if state, text := pecgate("fsck", "--rebuild"); state != exitGood {
		t.Fatal(text)
	}
	refused := func(when string) {
		t.Helper()
		if state, text := pecgate("queue", "retry", "h1@alfa.example"); state != exitFailed || !strings.Contains(text, "with --unconfirmed it is sent all the same") {
			t.Errorf("%s: %d %s", when, state, text)
		}
		if _, text := pecgate("queue", "list"); !strings.Contains(text, "held (restored), may have left, no PIN on record") {
			t.Errorf("%s: %s", when, text)
		}
	}
	refused("stopped")
	h.start()
	refused("running")
	for _, login := range []string{"mario", "anna"} {
		if n := len(h.folder(login, treeA+"Posta inviata")); n != 0 {
			t.Errorf("%s sees it among what was sent", login)
		}
	}
	before, _ := h.sentTimes()
	if state, text := pecgate("queue", "retry", "--unconfirmed", "h1@alfa.example"); state != exitGood {
		t.Error(text)
	}
	h.settled("h1@alfa.example", relay.Accepted)
	if all, _ := h.sentTimes(); all != before+1 {
		t.Errorf("it was sent %d times", all-before)
	}
	if n := len(h.folder("anna", treeA+"Posta inviata")); n != 1 {
		t.Errorf("anna sees %d among what was sent", n)
	}
}

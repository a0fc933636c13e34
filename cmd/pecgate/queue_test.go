package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay"
	"pecgate/relay/submit"
)

// TestQueue is the queue as the person uses it who runs an appliance: while it
// runs and after it was stopped.
func TestQueue(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.unsafe(true) // nothing leaves
	h.start()
	const one, two = "q1@alfa.example", "q2@alfa.example"
	for _, id := range []string{one, two} {
		if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "prova", id)); r.Class != submit.HandedOver {
			t.Fatalf("%+v", r)
		}
	}
	h.until("the first attempts have failed", func() bool {
		items := h.listed("--state", "queued")
		return len(items) == 2 && items[0].Attempts+items[1].Attempts > 0
	})
	queue := func(args ...string) (int, string, string) {
		t.Helper()
		return program(t, "", append(append([]string{"queue"}, args...), "--config", h.config())...)
	}
	id := func(msgid string) string {
		t.Helper()
		_, out, _ := queue("show", msgid, "--json")
		var s relay.QueueShown
		if err := json.Unmarshal([]byte(out), &s); err != nil || s.MsgID != msgid {
			t.Fatalf("%s: %v", out, err)
		}
		return s.ID
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if state, out, errs := queue(args...); state != exitFailed || out != "" || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: %d %s%s", args, state, out, errs)
		}
	}
	// The attempt that is under way just now holds nobody up for long.
	h.until("it can be held", func() bool { state, _, _ := queue("hold", one); return state == exitGood })
	if _, out, _ := queue("list"); !strings.Contains(out, "ID ") || !strings.Contains(out, id(one)) || !strings.Contains(out, "held (operator)") || !strings.Contains(out, "\n2 submissions. Times are of ") {
		t.Error(out)
	}
	if items := h.listed("--state", "held", "--mailbox", boxA); len(items) != 1 || items[0].MsgID != one {
		t.Errorf("%+v", items)
	}
	if items := h.listed("--mailbox", boxB); len(items) != 0 {
		t.Errorf("%+v", items)
	}
	if _, out, _ := queue("list", "--mailbox", boxB); out != "no submission\n" {
		t.Error(out)
	}
	if _, out, _ := queue("show", one); !strings.Contains(out, "What can be done: retry, cancel\n") || !strings.Contains(out, "In the queue: held since ") {
		t.Error(out)
	}
	refused("is held already (operator)", "hold", one)
	refused("no submission has this id", "retry", "none")
	for _, args := range [][]string{{"retry"}, {"list", "x"}, {"list", "--state", "gone"}, {"show"}, {"retry", "--may-have-left", one}} {
		if state, out, errs := queue(args...); state != exitUsage || out != "" || errs == "" {
			t.Errorf("%v: %d %s%s", args, state, out, errs)
		}
	}
	if state, out, errs := queue("cancel", one, "none"); state != exitFailed || out != id(one)+" is cancelled (operator)\n" || !strings.Contains(errs, "no submission has this id") {
		t.Errorf("%d %s%s", state, out, errs)
	}
	h.until("its sender is told", func() bool { return len(h.folder("mario", "INBOX")) == 1 })
	h.stop()

	// The same with the store alone.
	if _, out, errs := queue("list"); !strings.HasPrefix(out, "The appliance is not running: this is what its store says.\n") || !strings.Contains(out, "\n1 submission. ") {
		t.Errorf("%s%s", out, errs)
	}
	if state, out, errs := queue("hold", two, "--json"); state != exitGood || !strings.Contains(out, `"state_reason":"operator"`) || !strings.Contains(out, `"can":["retry","cancel"]`) {
		t.Errorf("%d %s%s", state, out, errs)
	}
	refused("is held already", "hold", two)
	refused("it was cancelled; a new message is needed", "retry", one)
	refused("no submission has this id", "show", "none")

	// It leaves when it may.
	h.unsafe(false)
	h.start()
	if state, out, errs := queue("retry", two); state != exitGood || !strings.HasSuffix(out, " is queued\n") {
		t.Errorf("%d %s%s", state, out, errs)
	}
	h.settled(two, relay.Accepted)
	refused("the provider has it (accepted)", "cancel", two, "--may-have-left")
	if all, _ := h.sentTimes(); all != 1 {
		t.Errorf("%d messages at the provider", all)
	}
	// Who did it is in the audit log.
	h.stop()
	store, err := mailbox.Open(mailbox.Options{Dir: h.dir + "/data"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	err = store.View(t.Context(), func(tx *mailbox.Tx) error {
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if strings.HasPrefix(l.Event, "queue ") && l.Event != "queue list" && l.Event != "queue show" {
				lines = append(lines, fmt.Sprintf("%s %s %s %s", l.Actor, l.Event, l.Result, l.Reason))
				if !strings.HasPrefix(l.From, fmt.Sprintf("uid %d pid ", os.Getuid())) {
					t.Errorf("%+v", l)
				}
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{
		"control socket queue cancel refused", "control socket queue retry queued it was held (operator)", "pecgate queue queue hold held it was queued",
		"control socket queue cancel cancelled it was held (operator)", "control socket queue hold refused", "control socket queue hold held it was queued",
		"control socket queue retry not found",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no audit line %q in\n%s", want, text)
		}
	}
}

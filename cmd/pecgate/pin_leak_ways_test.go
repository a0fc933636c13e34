package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// tracer finds the traces of many PINs in one pass over a text for each length
// that they have.
type tracer struct {
	first  [1 << 16]bool // two bytes that some trace begins with
	traces map[int]map[string]bool
}

func newTracer(pins []string) *tracer {
	tr := &tracer{traces: map[int]map[string]bool{}}
	for _, pin := range pins {
		for _, trace := range traces(pin) {
			if tr.traces[len(trace)] == nil {
				tr.traces[len(trace)] = map[string]bool{}
			}
			tr.traces[len(trace)][string(trace)] = true
			tr.first[int(trace[0])<<8|int(trace[1])] = true
		}
	}
	return tr
}

// in is the first trace in a text, "" where there is none.
func (tr *tracer) in(b []byte) string {
	for i := 0; i+1 < len(b); i++ {
		if !tr.first[int(b[i])<<8|int(b[i+1])] {
			continue
		}
		for n, all := range tr.traces {
			if i+n <= len(b) && all[string(b[i:i+n])] {
				return string(b[i : i+n])
			}
		}
	}
	return ""
}

func TestTracerFindsEveryTrace(t *testing.T) {
	pins := []string{randomPIN(), randomPIN(), randomPIN()}
	tr := newTracer(pins)
	for _, pin := range pins {
		for i, trace := range traces(pin) {
			if tr.in([]byte("x"+string(trace)+"y")) == "" || tr.in(trace) == "" {
				t.Errorf("form %d is not found", i)
			}
		}
	}
	if got := tr.in([]byte(strings.Repeat(randomPIN(), 100))); got != "" {
		t.Errorf("%q is found", got)
	}
}

// pins is few so that the test is quick; the promise is about 10,000: -pins 10000.
var pins = flag.Int("pins", 60, "random PINs that TestG6_NoWayLeavesATrace gives in messages")

// TestG6_NoWayLeavesATrace gives random PINs in every way there is.
func TestG6_NoWayLeavesATrace(t *testing.T) { leaveNoTrace(t, *pins) }

// leaveNoTrace gives many PINs in every way: in messages that need none, as
// nobody has so many wrong ones; in replies to nothing; in copies that clients
// append; and, as far as wrong ones are looked at, where they are asked for. Then
// it searches every byte that was kept, sent, logged, told or backed up.
func leaveNoTrace(t *testing.T, many int) {
	right := randomPIN()
	h := newHouse(t, mailboxText(boxA, true, "    pin_methods: [subject, header, password, reply]\n", "mario"),
		mailboxText(boxB, false, "    pin_methods: [subject, header, password]\n", "lucia"))
	start := strings.Index(h.policy, "    pin: ")
	end := start + strings.IndexByte(h.policy[start:], '\n')
	h.writePolicy(h.policy[:start] + "    pin: " + cheapHash(t, right) + h.policy[end:])
	h.start()

	secrets, sent := []string{right}, 0
	another := func() string { secrets = append(secrets, randomPIN()); return secrets[len(secrets)-1] }
	message := func(from, to, subject, more string) string {
		sent++
		return more + "From: <" + from + ">\r\nTo: <" + to + ">\r\nSubject: " + subject + "\r\n" +
			fmt.Sprintf("Date: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <w%d@beta.example>\r\n\r\ncorpo\r\n", sent)
	}
	taken := func(what string, r submit.Result) {
		t.Helper()
		if r.Class != submit.HandedOver {
			t.Fatalf("%s: %+v", what, r)
		}
	}
	nowhere := "confirm+" + strings.Repeat("a", 26) + "@gateway.example"
	for n := range many {
		pin := another()
		switch n % 6 {
		case 0:
			all := subjects(pin)
			taken("subject", h.send("lucia", "lucialucia", boxB, []string{boxA}, message(boxB, boxA, all[n/6%len(all)], "")))
		case 1:
			taken("header", h.send("lucia", "lucialucia", boxB, []string{boxA}, message(boxB, boxA, "Diffida", "X-Pecgate-PIN: "+pin+"\r\n")))
		case 2:
			taken("password", h.send("lucia", "lucialucia "+pin, boxB, []string{boxA}, message(boxB, boxA, "Diffida", "")))
		case 3:
			if r := h.reply("mario", nowhere, pin); r.Code != 550 {
				t.Fatalf("a reply to nothing: %+v", r)
			}
		case 4:
			h.append("mario", `"Bozze"`, message("mario@ordinary.example", nowhere, "Re: x [PIN:"+pin, "")+pin+"\r\n")
		case 5:
			h.append("mario", `"Posta inviata"`, "X-Pecgate-PIN: "+pin+"\r\n"+message(boxA, boxB, "Re: x ["+"PIN:"+pin+"]", ""))
		}
	}
	// The ways of one who is asked for the PIN: nine wrong ones, then the right one.
	var id string
	held := 0
	for n := range 9 {
		pin := another()
		if n%4 < 3 {
			held++
		}
		switch n % 4 {
		case 0:
			taken("wrong subject", h.send("mario", "mariomario", boxA, []string{boxB}, message(boxA, boxB, "Diffida [PIN:"+pin+"]", "Thread-Topic: Diffida [PIN:"+pin+"]\r\n")))
			id = fmt.Sprintf("w%d@beta.example", sent)
		case 1:
			taken("wrong header", h.send("mario", "mariomario", boxA, []string{boxB}, message(boxA, boxB, "Diffida", "X-Pecgate-PIN: "+pin+"\r\n")))
		case 2:
			taken("wrong password", h.send("mario", "mariomario "+pin, boxA, []string{boxB}, message(boxA, boxB, "Diffida", "")))
		case 3:
			to, _ := h.confirmAt("mario", 3)
			if r := h.reply("mario", to, pin); r.Code != 550 {
				t.Fatalf("a wrong reply: %+v", r)
			}
		}
	}
	for n := range held {
		to, _ := h.confirmAt("mario", n+1)
		r := h.reply("mario", to, right)
		taken("the right reply", r)
		h.append("mario", `"Posta inviata"`, message("mario@ordinary.example", to, "Re: x", "")+right+"\r\n")
	}
	taken("the right header", h.send("mario", "mariomario", boxA, []string{boxB}, message(boxA, boxB, "Diffida", "X-Pecgate-PIN: "+right+"\r\n")))
	taken("the right password", h.send("mario", "mariomario "+right, boxA, []string{boxB}, message(boxA, boxB, "Diffida", "")))
	for before := -1; ; { // with many it takes more than a minute, so what counts is that it goes on
		q := h.status().Queue
		left := q[relay.Queued] + q[relay.Attempting] + q[relay.HandedOver]
		if left == 0 {
			break
		}
		if left == before {
			h.until("one more is accepted", func() bool {
				q := h.status().Queue
				return q[relay.Queued]+q[relay.Attempting]+q[relay.HandedOver] != left
			})
		}
		before = left
	}
	h.settled(id, relay.Accepted)
	backup := filepath.Join(h.dir, "backup")
	var out, errs strings.Builder
	if state := run(context.Background(), []string{"--config", h.config(), "backup", backup}, nil, &out, &errs); state != 0 {
		t.Fatalf("backup: status %d: %s%s", state, &out, &errs)
	}
	h.stop()

	tr := newTracer(secrets)
	searched, places := 0, 0
	look := func(where string, b []byte) {
		searched, places = searched+len(b), places+1
		if found := tr.in(b); found != "" {
			t.Errorf("a PIN stands in %s", where)
		}
	}
	h.everyByte(backup, look)
	t.Logf("%d PINs, %d bytes in %d places searched", len(secrets), searched, places)
}

// everyByte shows all that a run has left behind: the log, what went to the
// provider, the store and a backup of it.
func (h *house) everyByte(backup string, look func(where string, b []byte)) {
	h.t.Helper()
	look("the log", []byte(h.log.String()))
	for _, l := range h.provider.Ledger() {
		look("what the provider got", l.Raw)
	}
	for _, dir := range []string{filepath.Join(h.dir, "data"), backup} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			look(path, b)
			return err
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

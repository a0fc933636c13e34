package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/relay"
)

// ledger is what the gateway said 250 for, kept outside of it.
type ledger struct {
	mu       sync.Mutex
	promises []promise
}

// promise is a message for which the gateway said 250.
type promise struct{ msgid, body string }

// text is the whole message of a promise, from boxA to boxB.
func (p promise) text() string {
	return "From: <" + boxA + ">\r\nTo: <" + boxB + ">\r\nSubject: s\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <" + p.msgid + ">\r\n\r\n" + p.body
}

// letterOf makes the message that a promise is about; its body has at least so
// many bytes, and a line that is a dot.
func letterOf(name string, size int) promise {
	p := promise{msgid: name + "@alfa.example"}
	line := strings.Repeat("x", 70) + "\r\n"
	p.body = p.msgid + "\r\n.\r\n" + strings.Repeat(line, size/len(line)+1)
	return p
}

func (l *ledger) add(p promise) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promises = append(l.promises, p)
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.promises)
}

// deliver sends a message that is to be accepted.
func (l *ledger) deliver(t *testing.T, w *wire, p promise) {
	t.Helper()
	if code, err := w.deliver(boxA, boxB, p.text()); err != nil || code != 250 {
		t.Fatalf("%s: %d %q, %v", p.msgid, code, w.last, err)
	}
	l.add(p)
}

// verdict is what became of the promises.
type verdict struct{ promised, sent, waiting, lost, torn, twice, uncertain int }

func (v verdict) String() string {
	return fmt.Sprintf("%d accepted, %d at the provider, %d waiting for their next try: %d lost, %d torn, %d twice, %d uncertain",
		v.promised, v.sent, v.waiting, v.lost, v.torn, v.twice, v.uncertain)
}

// judge lets the running gateway send what it can and fetch every receipt, and
// then compares what it promised with what the provider got.
func (h *house) judge(l *ledger) (v verdict) {
	h.t.Helper()
	// What failed once for want of files or room waits for its next try longer
	// than a test does. A kill between the intent and the dot leaves a submission
	// that nobody can tell anything of: it stays uncertain, which is no loss.
	patience := time.Now().Add(5 * time.Second)
	done := func() bool {
		q := h.status().Queue
		return q[relay.Attempting]+q[relay.HandedOver] == 0 && h.accepted() == len(h.provider.Ledger()) &&
			(q[relay.Queued] == 0 || time.Now().After(patience))
	}
	for before := -1; before < h.accepted() && !done(); { // as long as it gets on
		before = h.accepted()
		h.until("more is sent and its receipt is in", func() bool { return done() || h.accepted() > before })
	}
	got := h.got()
	var kept map[string]string // hashes of the bodies of the copies kept here
	v.promised = len(l.promises)
	for _, p := range l.promises {
		s, err := h.shown(p.msgid)
		if err != nil {
			h.t.Errorf("%s: %v", p.msgid, err)
		}
		if s.State == relay.Attempting || s.State == relay.HandedOver {
			s = h.settled(p.msgid, relay.Accepted) // its next try has come
		}
		if len(got[p.msgid]) == 0 && s.State == relay.Accepted {
			got = h.got()
		}
		g := got[p.msgid]
		if len(g) == 0 && s.State == relay.Queued {
			if kept == nil {
				kept = map[string]string{}
				for _, m := range h.folder("mario", treeA+"Posta inviata") {
					kept[idOf(m)] = sum(bodyOf(m))
				}
			}
			v.waiting++
			g = []string{kept[p.msgid]}
			s.State = relay.Accepted
		}
		switch {
		case len(g) == 0 && s.State == relay.Uncertain:
			v.uncertain++
		case len(g) == 0:
			v.lost++
			h.t.Errorf("%s was accepted and never sent: it is %s", p.msgid, s.State)
		case g[0] != sum(p.body):
			v.torn++
			h.t.Errorf("%s arrived with other bytes", p.msgid)
		case s.State != relay.Accepted:
			h.t.Errorf("%s was sent and is %s", p.msgid, s.State)
		}
	}
	// What left without its 250 being seen is single all the same.
	for id, g := range h.got() {
		if len(g) > 1 {
			v.twice++
			h.t.Errorf("%s was sent %d times", id, len(g))
		}
		v.sent++
	}
	return v
}

// got are the hashes of the bodies that the provider got until now, by
// Message-ID.
func (h *house) got() map[string][]string {
	out := map[string][]string{}
	for _, m := range h.provider.Ledger() {
		id := idOf(string(m.Raw))
		out[id] = append(out[id], sum(bodyOf(string(m.Raw))))
	}
	return out
}

// idOf is the Message-ID of a message of letterOf, bodyOf what follows its
// header.
func idOf(message string) string {
	header, _, _ := strings.Cut(message, "\r\n\r\n")
	_, rest, _ := strings.Cut(header, "Message-ID: <")
	id, _, _ := strings.Cut(rest, ">")
	return id
}

func bodyOf(message string) string {
	_, body, _ := strings.Cut(message, "\r\n\r\n")
	return body
}

// accepted counts the submissions of which the signed acceptance is here.
func (h *house) accepted() int { return h.status().Queue[relay.Accepted] }

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

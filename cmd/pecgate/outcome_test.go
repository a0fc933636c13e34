package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// reading is an IMAP connection of a person with a folder selected.
func (h *house) reading(login, folder string) *wire {
	h.t.Helper()
	w, err := dialWire(h.imaps, h.roots())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(w.close)
	if status, err := w.imapLogin(login, login+login); err != nil || status != "OK" {
		h.t.Fatalf("login of %s: %s, %v", login, status, err)
	}
	if _, status, err := w.imap(`SELECT "` + folder + `"`); err != nil || status != "OK" {
		h.t.Fatalf("%s selects %s: %s, %v", login, folder, status, err)
	}
	return w
}

// told reads what an idling connection is told until a line fits, for half a
// minute each, and returns all lines.
func (w *wire) told(fits func(line string) bool) (all []string, err error) {
	for len(all) < 1000 {
		s, err := w.line()
		if err != nil {
			return all, err
		}
		if all = append(all, s); fits(s) {
			return all, nil
		}
	}
	return all, fmt.Errorf("nothing of %d lines fits", len(all))
}

// TestOutcomeIsSeenAsItComes: while the provider accepts a message, delivers it to
// one recipient and fails for another, a connection that idles on the sent copy
// and one that asks now and then see its keywords change, one that idles on the
// outcomes sees the report come and be replaced, and at the end one report says
// what became of whom.
func TestOutcomeIsSeenAsItComes(t *testing.T) {
	h := newHouse(t).start()
	const nobody = "nessuno@pec.beta.example"
	idles, asks, report := h.reading("mario", treeA+"Posta inviata"), h.reading("mario", "Posta inviata"), h.reading("anna", treeA+"Esiti")
	for _, w := range []*wire{idles, report} {
		if err := w.say("i1 IDLE\r\n"); err != nil {
			t.Fatal(err)
		}
		if s, err := w.line(); err != nil || !strings.HasPrefix(s, "+ ") {
			t.Fatalf("%q, %v", s, err)
		}
	}
	h.provider.Faults().DeferAtDot.On() // so that both have been told of the message before anything becomes of it
	r := h.send("mario", "mariomario", boxA, []string{boxB, nobody},
		strings.Replace(mail(boxA, boxB, "Diffida [PIN:"+pinMario+"]", "m1@alfa.example"), "\r\nSubject", ", <"+nobody+">\r\nSubject", 1))
	if r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.until("NOOP tells of the message", func() bool {
		answer, _, err := asks.imap("NOOP")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(answer, "* 1 EXISTS")
	})
	h.until("a report tells that it waits", func() bool { return len(h.folder("mario", treeA+"Esiti")) == 1 })
	h.provider.Faults().DeferAtDot.Off()
	var out strings.Builder
	h.until("it is tried, perhaps again", func() bool {
		state := run(t.Context(), []string{"queue", "retry", "m1@alfa.example", "--config", h.config()}, strings.NewReader(""), &out, &out)
		s, err := h.shown("m1@alfa.example")
		return state == exitGood || err == nil && (s.State == relay.HandedOver || s.State == relay.Accepted)
	})
	lines, err := idles.told(func(s string) bool {
		return strings.Contains(s, "$PecAccepted") && strings.Contains(s, "$PecFailed")
	})
	if err != nil {
		t.Fatalf("%v after %q", err, lines)
	}
	if lines[0] != "* 1 EXISTS" || !slices.ContainsFunc(lines, func(s string) bool {
		return strings.HasPrefix(s, "* 1 FETCH (UID 1 FLAGS (") && strings.Contains(s, "$PecAccepted")
	}) {
		t.Errorf("%q", lines)
	}
	answer, status, err := asks.imap("NOOP")
	if err != nil || status != "OK" || !strings.Contains(answer, "* 1 FETCH (UID 1 FLAGS (") || !strings.Contains(answer, "$PecFailed") {
		t.Errorf("%s %s, %v", status, answer, err)
	}
	h.until("the end of both recipients is known", func() bool {
		s, err := h.shown("m1@alfa.example")
		return err == nil && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered && s.Recipients[1].State == relay.Failed
	})
	var reports []string
	h.until("the report tells the end", func() bool {
		reports = h.folder("mario", treeA+"Esiti")
		return len(reports) == 1 && strings.Contains(reports[0], "X-PEC-Esito: D=2 A=1 C=1 E=1\r\n")
	})
	s, err := h.shown("m1@alfa.example")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(reports[0], "References: <m1@alfa.example>\r\n <"+s.Identifier+">\r\n") {
		t.Errorf("%s", reports[0])
	}
	lines, err = report.told(func(s string) bool { return strings.HasSuffix(s, " EXPUNGE") })
	if err != nil || lines[0] != "* 1 EXISTS" {
		t.Errorf("%q, %v", lines, err)
	}
	// Nobody outside the mailbox sees it.
	stranger := h.reading("lucia", "INBOX")
	if answer, status, err := stranger.imap(`SELECT "` + treeA + `Esiti"`); err != nil || status != "NO" {
		t.Errorf("%s %s, %v", status, answer, err)
	}
	if answer, _, err := stranger.imap(`LIST "" "*Esiti"`); err != nil || !strings.Contains(answer, treeB+"Esiti") || strings.Contains(answer, boxA) {
		t.Errorf("%s, %v", answer, err)
	}
	// A restart makes no other.
	h.stop()
	h.start()
	if again := h.folder("anna", treeA+"Esiti"); len(again) != 1 || again[0] != reports[0] {
		t.Errorf("%d reports after a restart", len(again))
	}
}

// TestAnArrivalIsToldByIDLE: what comes to the provider is told to a client that
// idles, and the gateway's next poll is an hour away: the provider's own IDLE does it.
func TestAnArrivalIsToldByIDLE(t *testing.T) {
	h := newHouse(t)
	h.policy = strings.ReplaceAll(h.policy, "every: 1s", "every: 60m")
	h.writePolicy(h.policy)
	h.start()
	w := h.reading("mario", treeA+"Posta in arrivo")
	if err := w.say("i1 IDLE\r\n"); err != nil {
		t.Fatal(err)
	}
	if s, err := w.line(); err != nil || !strings.HasPrefix(s, "+ ") {
		t.Fatalf("%q, %v", s, err)
	}
	for n := 1; n <= 5; n++ {
		h.webmail(boxB, "provider-b", boxA, mail(boxB, boxA, fmt.Sprint("Lettera ", n), fmt.Sprint("l", n, "@beta.example")))
		h.until("it is at the provider", func() bool {
			list, err := h.provider.Folder(boxA, "INBOX")
			if err != nil {
				t.Fatal(err)
			}
			return len(list) >= n
		})
		began := time.Now()
		if all, err := w.told(func(s string) bool { return strings.TrimSpace(s) == fmt.Sprintf("* %d EXISTS", n) }); err != nil {
			t.Fatalf("%q, %v", all, err)
		}
		t.Logf("told %s after it came", time.Since(began).Round(time.Millisecond))
	}
}

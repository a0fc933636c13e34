package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rolling are the clients of TestL7_RollingRestarts: what they saw.
type rolling struct {
	h    *house
	told ledger
	over atomic.Bool // the last restart is done

	cut    atomic.Int64 // lines that ended without a word
	polite atomic.Int64 // lines that ended with 421 or BYE
	read   atomic.Int64 // whole messages read
}

// TestL7_RollingRestarts stops the appliance with SIGTERM ten times and starts
// it again while people send and read. Each stop ends by itself with status 0
// and cuts nobody: a client hears 421 or BYE, and no answer ends in the middle.
// What was accepted goes out, whole and once.
func TestL7_RollingRestarts(t *testing.T) {
	const restarts, senders, readers = 10, 8, 4
	r := &rolling{h: loadedHouse(t)}
	h := r.h
	rnd := rand.New(rand.NewPCG(7, 2026))
	p := h.launch()
	var wg sync.WaitGroup
	for n := range senders {
		wg.Go(func() { r.send(n) })
	}
	for n := range readers {
		wg.Go(func() { r.watch(n%2 == 0) })
	}
	for cycle := range restarts {
		done := r.told.len()
		h.until("something is under way", func() bool { return r.told.len() > done+senders || p.gone() })
		time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond) // when the stop falls, not what is true
		before := len(p.said.String())
		p.stop()
		drained := p.said.String()[before:]
		if n := strings.Count(drained, `"msg":"listener drained"`); n != 2 || strings.Count(drained, `"cut":0`) != n {
			t.Errorf("stop %d cut connections:\n%s", cycle, tail(drained, 2000))
		}
		p = h.launch()
	}
	r.over.Store(true)
	wg.Wait()
	p.stop()
	if n := r.cut.Load(); n > 0 {
		t.Errorf("%d lines were cut without a word", n)
	}
	if r.polite.Load() < restarts || r.read.Load() == 0 {
		t.Errorf("%d lines ended politely, %d messages were read: too few to tell anything", r.polite.Load(), r.read.Load())
	}
	h.start()
	t.Logf("%d restarts, %d lines ended politely, %d cut; %d messages read; %s", restarts, r.polite.Load(), r.cut.Load(), r.read.Load(), h.judge(&r.told))
}

// gone tells whether it has ended.
func (p *process) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ended notes how a line ended whose conversation had begun.
func (r *rolling) ended(w *wire, err error) {
	if err == nil {
		return
	}
	if w.polite() {
		r.polite.Add(1)
		return
	}
	if r.cut.Add(1) < 5 {
		r.h.t.Logf("a line ended after %q, %q: %v", w.last, w.torn, err)
	}
}

// send submits on one connection after the other, many messages on each.
func (r *rolling) send(sender int) {
	for n := 0; !r.over.Load(); {
		w, err := dialWire(r.h.smtps, r.h.roots())
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue // it is down
		}
		code, err := w.smtpLogin("mario", "mariomario")
		for err == nil && code == 235 && !r.over.Load() {
			m := letterOf(fmt.Sprintf("s%d.n%d", sender, n), 5_000)
			n++
			if code, err = w.deliver(boxA, boxB, m.text()); err == nil && code == 250 {
				r.told.add(m)
				code = 235
			}
		}
		switch {
		case err == nil && code == 421:
			err = os.ErrClosed
		case err == nil && code != 235:
			r.h.t.Errorf("an answer that nobody expects: %q", w.last)
		}
		r.ended(w, err)
		w.close()
	}
}

// watch reads a folder, or waits for what is new in it.
func (r *rolling) watch(idle bool) {
	for !r.over.Load() {
		w, err := dialWire(r.h.imaps, r.h.roots())
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue // it is down
		}
		status, err := w.imapLogin("lucia", "lucialucia")
		if err == nil && status == "OK" {
			_, status, err = w.imap(`SELECT "` + treeB + `Posta in arrivo"`)
		}
		for n := 0; err == nil && status == "OK" && !r.over.Load(); n++ {
			if idle {
				err = w.idle()
				continue
			}
			var all string
			if all, status, err = w.imap(fmt.Sprintf("FETCH %d:%d (UID BODY.PEEK[])", 1+n%20, 1+n%20+5)); status == "NO" || status == "BAD" {
				status = "OK" // there are not as many yet
			}
			r.read.Add(int64(strings.Count(all, "\r\nSubject: ")))
		}
		if strings.HasPrefix(w.last, "* BYE") {
			err = os.ErrClosed
		}
		r.ended(w, err)
		w.close()
	}
}

// idle waits with IDLE for three answers.
func (w *wire) idle() error {
	w.n++
	tag := fmt.Sprint("a", w.n)
	_ = w.say(tag + " IDLE\r\n") // a line that breaks has its reason waiting to be read
	for range 3 {
		if s, err := w.line(); err != nil || strings.HasPrefix(s, "* BYE") {
			return errors.Join(err, os.ErrClosed)
		}
	}
	_ = w.say("DONE\r\n")
	for {
		s, err := w.line()
		if strings.HasPrefix(s, "* BYE") {
			return os.ErrClosed // the answer to DONE may still follow
		}
		if err != nil || strings.HasPrefix(s, tag+" ") {
			return err
		}
	}
}

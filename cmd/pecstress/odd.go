package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// trial is one small story in a world of its own. It must find nothing in the
// gateway as it is, and something where its fault is planted.
type trial func(ctx context.Context, o worldOptions) (counts, error)

func oddScenario() scenario {
	return scenario{
		name: "odd", what: "odd mail: retries, equal Message-IDs, PINs, forged receipts, refusals, a flipped byte, an old backup",
		root: true, need: []string{"strace"},
		run: func(ctx context.Context, e env) (counts, error) {
			all := oddTrials()
			return inTurn(ctx, e, len(all), func(ctx context.Context, e env, done func()) (counts, error) {
				defer done()
				return all[e.seed%1000](ctx, worldOptions{Binary: e.binary, Dir: e.dir, Seed: e.seed})
			}, 1)
		},
	}
}

func oddTrials() []trial {
	return []trial{plain, retried, sameID, withPIN, arrivedTwice, forgedReceipt, deferred, failedSync, flippedMessage, flippedRecord, rolledBack}
}

// in runs a story in a new world.
func in(ctx context.Context, o worldOptions, story func(ctx context.Context, w *world) (counts, error)) (counts, error) {
	w, err := newWorld(o)
	if err != nil {
		return counts{}, err
	}
	c, err := story(ctx, w)
	if errors.Is(err, errNotStarted) {
		c.fault(&c.NotStarted, "%v", err)
		err = nil
	}
	return c, errors.Join(err, w.close())
}

// plain is what happens on a good day.
func plain(ctx context.Context, o worldOptions) (counts, error) {
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		if err := w.start(ctx); err != nil {
			return counts{}, err
		}
		err := errors.Join(w.arrive(3, 5000), w.drive(ctx, load{Sessions: 4, Each: 5, Size: 5000, Large: 10}))
		if err != nil {
			return counts{}, err
		}
		return w.settleAndCheck(ctx)
	})
}

// letters makes n messages of the first person to the second.
func (w *world) letters(n int) []*letter {
	var all []*letter
	for range n {
		k := w.next()
		all = append(all, newLetter(fmt.Sprintf("n%d.%x@driver.example", k, w.o.Seed), people()[0], people()[1].box, 400))
	}
	return all
}

// submit sends the letters over one session each.
func (w *world) submit(ctx context.Context, all ...*letter) error {
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	for n, m := range all {
		wg.Go(func() {
			s := &submitter{w: w, from: m.From, to: m.To}
			if errs[n] = s.open(ctx); errs[n] == nil {
				errs[n] = s.send(m)
				s.conn.Close() // all was said
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// retried is a client that sends the same again, at once and later: one
// submission.
func retried(ctx context.Context, o worldOptions) (counts, error) {
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		if err := w.start(ctx); err != nil {
			return counts{}, err
		}
		m := w.letters(1)[0]
		if err := errors.Join(w.submit(ctx, m, m, m), w.submit(ctx, m)); err != nil {
			return counts{}, err
		}
		return w.settleAndCheck(ctx)
	})
}

// sameID is a client that gives two messages one Message-ID: both go.
func sameID(ctx context.Context, o worldOptions) (c counts, err error) {
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		if err := w.start(ctx); err != nil {
			return c, err
		}
		m := w.letters(1)[0]
		other := newLetter(m.ID, m.From, m.To, 900)
		if err := errors.Join(w.submit(ctx, m), w.submit(ctx, other)); err != nil {
			return c, err
		}
		c, err := w.settle(ctx)
		if err != nil {
			return c, err
		}
		mine, err := w.read(ctx, m.From)
		if err != nil {
			return c, err
		}
		c.Promised, c.Taken = 2, len(w.provider.Ledger())
		for _, l := range []*letter{m, other} {
			taken, kept := 0, 0
			for _, s := range w.provider.Ledger() {
				if bodySum(s.Raw) == l.Body {
					taken++
				}
			}
			for _, s := range mine {
				if s.body == l.Body && !archived(s.folder) {
					kept++
				}
			}
			if taken != 1 || kept != 1 {
				c.fault(&c.Lost, "of two messages with one Message-ID, one was sent %d times and is kept %d times", taken, kept)
			}
		}
		return c, nil
	})
}

// withPIN sends with a PIN: its digits must be nowhere outside.
func withPIN(ctx context.Context, o worldOptions) (counts, error) {
	o.PIN = true
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		if err := w.start(ctx); err != nil {
			return counts{}, err
		}
		m := w.letters(1)[0]
		mark := "[PIN:" + pin + "]"
		m.Raw = strings.Replace(m.Raw, "Subject: ", "Subject: "+mark+" ", 1)
		m.Raw = "Thread-Topic: " + mark + " " + subject(m.ID) + "\r\n" + m.Raw
		if err := w.submit(ctx, m); err != nil {
			return counts{}, err
		}
		c, err := w.settleAndCheck(ctx)
		if err != nil {
			return c, err
		}
		if c.Promised != 1 {
			c.fault(&c.Wrong, "a message with the right PIN was refused")
		}
		for _, s := range w.provider.Ledger() {
			if bytes.Contains(s.Raw, []byte(pin)) {
				c.fault(&c.Wrong, "the PIN was sent to the provider")
			}
		}
		log, err := os.ReadFile(w.log())
		if err == nil && bytes.Contains(log, []byte(pin)) {
			c.fault(&c.Wrong, "the PIN is in the log")
		}
		for _, p := range people() {
			all, rerr := w.read(ctx, p)
			err = errors.Join(err, rerr)
			for _, s := range all {
				if s.pin {
					c.fault(&c.Wrong, "%s, folder %s, UID %d: the PIN is in a stored message", p.login, s.folder, s.uid)
				}
			}
		}
		return c, err
	})
}

// arrivedTwice is mail of strangers with one Message-ID and different content:
// each is kept.
func arrivedTwice(ctx context.Context, o worldOptions) (counts, error) {
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		if err := w.start(ctx); err != nil {
			return counts{}, err
		}
		for n := range 3 {
			raw := fmt.Sprintf("From: <a@strangers.example>\r\nTo: <%s>\r\nSubject: numero %d\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n"+
				"Message-ID: <always.the.same@strangers.example>\r\n\r\ntesto %d\r\n", people()[0].box, n, n)
			if err := w.provider.Inject(people()[0].box, []byte(raw)); err != nil {
				return counts{}, err
			}
		}
		return w.settleAndCheck(ctx)
	})
}

// forgedReceipt lets all receipts come with a signature that does not hold: the
// submission stays where the provider's 250 brought it.
func forgedReceipt(ctx context.Context, o worldOptions) (counts, error) {
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		w.provider.Faults().WrongSignature.On()
		if err := w.start(ctx); err != nil {
			return counts{}, err
		}
		all := w.letters(2)
		if err := w.submit(ctx, all...); err != nil {
			return counts{}, err
		}
		if _, err := w.until(ctx, func(context.Context) (bool, error) { return len(w.provider.Ledger()) == len(all), nil }); err != nil {
			return counts{}, err
		}
		waitCtx, cancel := context.WithTimeout(ctx, w.patience())
		defer cancel()
		if err := w.provider.Settle(waitCtx); err != nil {
			return counts{}, fmt.Errorf("the simulated provider does not settle: %w", err)
		}
		w.provider.Faults().WrongSignature.Off()
		c, err := w.settle(ctx)
		if err != nil {
			return c, err
		}
		c.Promised, c.Taken, c.Arrived = len(all), len(w.provider.Ledger()), len(w.provider.Emitted())
		for _, m := range all {
			s, err := w.shown(ctx, m.ID)
			if err != nil {
				return c, err
			}
			if s.State != "handed-over" {
				c.fault(&c.Wrong, "%s is %s by a receipt with a bad signature", m.ID, s.State)
			}
		}
		return c, nil
	})
}

// deferred is a provider that answers the dot with "try again later": the
// message is not gone.
func deferred(ctx context.Context, o worldOptions) (counts, error) {
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		w.provider.Faults().DeferAtDot.Next(1)
		if err := w.start(ctx); err != nil {
			return counts{}, err
		}
		if err := w.submit(ctx, w.letters(1)...); err != nil {
			return counts{}, err
		}
		var c counts
		ok, err := w.until(ctx, func(ctx context.Context) (bool, error) {
			q, err := w.queue(ctx)
			return err == nil && !w.provider.Faults().DeferAtDot.Active() && q["attempting"] == 0, nil
		})
		if err != nil {
			return c, err
		}
		if !ok {
			c.fault(&c.NotStarted, "nothing was handed over: %s", w.said())
		}
		found, err := w.check(ctx)
		c.add(found)
		return c, err
	})
}

// failedSync lets a sync fail: nobody is told 250 for what it was to make
// durable, and the gateway ends.
func failedSync(ctx context.Context, o worldOptions) (counts, error) {
	o.Wrap = []string{"strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=25+"}
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		if err := w.start(ctx); err != nil {
			return counts{}, err
		}
		// A gateway that takes no notice would go on for ever.
		loadCtx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := w.drive(loadCtx, load{Sessions: 8, Each: 60, Size: 2000, Repeat: true}); err != nil {
			return counts{}, err
		}
		var c counts
		select {
		case <-w.ended():
			if w.exit() == 0 {
				c.fault(&c.Wrong, "after a failed sync it ended as if all were well")
			}
		case <-time.After(w.patience()):
			c.fault(&c.Wrong, "it goes on after a failed sync")
			w.kill()
		case <-ctx.Done():
			return c, context.Cause(ctx)
		}
		w.o.Wrap = nil
		c.Cycles++
		found, err := w.afterwards(ctx)
		c.add(found)
		return c, err
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// moment says when a gateway under load is ended.
type moment int

// The moments; the scenarios go round them.
const (
	atRandom    moment = iota // at any time
	afterDot                  // a client has written its dot
	afterReply                // a client has read its 250
	atProvider                // the provider has taken a message and may not have answered yet
	duringStart               // the gateway has only been launched
	moments                   // how many there are
)

func killScenario() scenario {
	return scenario{
		name: "kill", what: "SIGKILL at random times, right after the dot, after the 250, in a hand-over, while starting",
		run: func(ctx context.Context, e env) (counts, error) {
			rounds, each := 2, 13
			if e.full {
				rounds, each = 30, 26
			}
			return inTurn(ctx, e, rounds, func(ctx context.Context, e env, done func()) (counts, error) {
				w, err := newWorld(worldOptions{Binary: e.binary, Dir: e.dir, Seed: e.seed, Clear: e.seed%2 == 1})
				if err != nil {
					return counts{}, err
				}
				c, err := w.kills(ctx, each, func(n int) moment { return moment(n % int(moments)) }, done)
				return c, errors.Join(err, w.close())
			}, each)
		},
	}
}

// inTurn runs so many rounds, each in a folder and with a seed of its own, two
// at a time. parts is how often a round calls done.
func inTurn(ctx context.Context, e env, rounds int, run func(ctx context.Context, e env, done func()) (counts, error), parts int) (counts, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var all counts
	var failed error
	var behind atomic.Int64
	next := make(chan int)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for n := range next {
				inner := e
				inner.seed = e.seed*1000 + uint64(n)
				var c counts
				var err error
				if inner.dir, err = subfolder(e.dir, n); err == nil {
					c, err = run(ctx, inner, func() { e.step(int(behind.Add(1)), rounds*parts) })
				}
				if err == nil && c.faults() == 0 {
					err = os.RemoveAll(inner.dir) // a long run would fill the disk
				}
				mu.Lock()
				all.add(c)
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("round %d: %w", n, err))
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	for n := range rounds {
		select {
		case next <- n:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return all, failed
}

// subfolder makes a folder with a number for its name.
func subfolder(dir string, n int) (string, error) {
	dir = filepath.Join(dir, fmt.Sprint(n))
	return dir, os.Mkdir(dir, 0o700)
}

// kills ends the gateway so often under load, then checks everything.
func (w *world) kills(ctx context.Context, kills int, at func(n int) moment, done func()) (counts, error) {
	var c counts
	for n := range kills {
		if err := w.underLoad(ctx, at(n), w.kill); err != nil {
			if !errors.Is(err, errNotStarted) {
				return c, err
			}
			c.fault(&c.NotStarted, "after %d kills: %v", n, err)
			return c, nil
		}
		c.Cycles++
		done()
	}
	found, err := w.afterwards(ctx)
	c.add(found)
	return c, err
}

// underLoad starts the gateway, lets people submit and mail arrive, and calls
// end at the given moment, which must end the gateway.
func (w *world) underLoad(ctx context.Context, at moment, end func()) error {
	if at == duringStart {
		if err := w.launch(); err != nil {
			return err
		}
		err := pause(ctx, time.Duration(w.rnd.IntN(250))*time.Millisecond)
		if !w.running() {
			return fmt.Errorf("%w: %s", errNotStarted, w.said())
		}
		end()
		return err
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	loadCtx, stop := context.WithCancel(ctx)
	defer stop()
	var once sync.Once
	now := make(chan struct{})
	fire := func() { once.Do(func() { close(now) }) }
	// The how-manieth of what is waited for; and a time by which it happens anyway.
	left := atomic.Int64{}
	left.Store(int64(2 + w.rnd.IntN(20)))
	count := func() {
		if left.Add(-1) == 0 {
			fire()
		}
	}
	latest := time.Duration(100+w.rnd.IntN(500)) * time.Millisecond
	jitter := time.Duration(w.rnd.IntN(2000)) * time.Microsecond
	taken := len(w.provider.Ledger()) + 2 + w.rnd.IntN(10)
	sizes := rand.New(rand.NewPCG(w.o.Seed, w.rnd.Uint64()))
	o := load{Sessions: 16, Each: 4, Size: 6000, Large: 25, Repeat: true}
	switch at {
	case atRandom:
	case afterDot:
		o.OnDot, latest = count, 2*time.Second
	case afterReply:
		o.OnReply, latest = count, 2*time.Second
	case atProvider:
		latest = 2 * time.Second
	}
	var wg sync.WaitGroup
	var driveErr, arriveErr error
	wg.Go(func() { driveErr = w.drive(loadCtx, o) })
	wg.Go(func() { arriveErr = w.trickle(loadCtx, 6, 20*time.Millisecond, sizes) })
	if at == atProvider {
		wg.Go(func() {
			// It fails only when the load ends first.
			if w.provider.Wait(loadCtx, func() bool { return len(w.provider.Ledger()) >= taken }) == nil {
				fire()
			}
		})
	}
	select {
	case <-now:
		if at != atRandom {
			time.Sleep(jitter) // where in the commit it falls; decides nothing
		}
	case <-time.After(latest):
	case <-ctx.Done():
	}
	ended := !w.running()
	end()
	stop()
	wg.Wait()
	if err := errors.Join(driveErr, arriveErr); err != nil {
		return err
	}
	if ended {
		return fmt.Errorf("%w for good: it ended by itself: %s", errNotStarted, w.said())
	}
	return ctx.Err()
}

// trickle lets n messages arrive for each mailbox, one after the other.
func (w *world) trickle(ctx context.Context, n int, every time.Duration, sizes *rand.Rand) error {
	for range n {
		if err := w.arrive(1, sizes.IntN(4000)); err != nil {
			return err
		}
		if pause(ctx, every) != nil {
			return nil
		}
	}
	return nil
}

// afterwards starts the gateway once more and checks everything: the ledgers
// while it runs, the store's own check and the audit log when it has stopped.
func (w *world) afterwards(ctx context.Context) (counts, error) {
	var c counts
	if err := w.start(ctx); err != nil {
		if errors.Is(err, errNotStarted) {
			c.fault(&c.NotStarted, "%v", err)
			return c, nil
		}
		return c, err
	}
	found, err := w.settleAndCheck(ctx)
	c.add(found)
	if err != nil {
		return c, err
	}
	if err := w.stop(); err != nil {
		c.fault(&c.Wrong, "%v", err)
	} else if w.exit() != 0 {
		c.fault(&c.Wrong, "stopped by SIGTERM it ended with status %d: %s", w.exit(), w.said())
	}
	for _, args := range [][]string{{"fsck", "--deep"}, {"audit", "verify"}} {
		out, status, err := w.pecgate(ctx, args...)
		if err != nil {
			return c, err
		}
		if status != 0 {
			c.fault(&c.Wrong, "pecgate %s: status %d: %s", strings.Join(args, " "), status, strings.ReplaceAll(strings.TrimSpace(out), "\n", " | "))
		}
	}
	return c, nil
}

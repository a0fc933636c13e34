package main

import (
	"context"
	"fmt"
	"time"

	"pecgate/mailbox/planted"
)

// plant is one fault planted into the gateway, and what must report it.
type plant struct {
	bug  planted.Bug
	by   trial
	want func(c *counts) int // must not be 0
}

// plants are all of them but planted.NoSync, which is the negative control.
func plants() []plant {
	missing := func(c *counts) int { return c.Lost + c.False250 + c.NotStarted }
	twice := func(c *counts) int { return c.Twice }
	wrong := func(c *counts) int { return c.Wrong }
	silent := func(c *counts) int { return c.Silent }
	return []plant{
		{planted.NoSyncSegment, cut(2), missing},
		{planted.NoSyncRecords, cut(2), missing},
		{planted.ReplyBeforeCommit, killed(4, afterReply), missing},
		{planted.CommitErrorIgnored, failedSync, missing},
		{planted.CutTailSilently, killed(3, atRandom), func(c *counts) int { return c.Wrong + missing(c) }},
		{planted.SkipRecordCount, flippedRecord, silent},
		{planted.SkipHashCheck, flippedMessage, silent},
		{planted.ServeOtherBytes, plain, func(c *counts) int { return c.InboundTorn + c.InboundLost }},
		{planted.IntentNotWritten, inHandOver(3), twice},
		{planted.ResendUncertain, inHandOver(3), twice},
		{planted.AnyAnswerIsGood, deferred, func(c *counts) int { return c.Lost }},
		{planted.RetryIsAnother, retried, wrong},
		{planted.SameIDSuppressed, sameID, func(c *counts) int { return c.Lost }},
		{planted.RestoredResends, rolledBack, twice},
		{planted.PINInThreadTopic, withPIN, wrong},
		{planted.CursorBeforeRecord, killed(4, atRandom), func(c *counts) int { return c.InboundLost }},
		{planted.DedupeByMessageID, arrivedTwice, func(c *counts) int { return c.InboundLost }},
		{planted.ReceiptBelieved, forgedReceipt, wrong},
		{planted.WrongMailbox, plain, func(c *counts) int { return c.WrongOwner }},
	}
}

// plantPatience: a planted fault may keep something from ever being done, and
// that it is not done is not what it is known by.
const plantPatience = 8 * time.Second

// tries is how often a fault that shows by chance may be looked for.
const tries = 4

func plantsScenario() scenario {
	return scenario{
		name: "plants", what: "faults planted into the gateway, one after the other: each must be reported",
		root: true, bugs: true, need: []string{"losetup", "mkfs.ext4", "strace"},
		run: func(ctx context.Context, e env) (counts, error) {
			all := plants()
			return inTurn(ctx, e, len(all), func(ctx context.Context, e env, done func()) (counts, error) {
				defer done()
				return all[e.seed%1000].run(ctx, e)
			}, 1)
		},
	}
}

// run looks for the fault until it is reported. What is reported besides it
// does not matter.
func (p plant) run(ctx context.Context, e env) (counts, error) {
	var last counts
	for n := range tries {
		o := worldOptions{
			Binary: e.planted, Seed: e.seed + uint64(n)*100000, Patience: plantPatience,
			Env: []string{planted.Variable + "=" + string(p.bug)},
		}
		var err error
		if o.Dir, err = subfolder(e.dir, n); err != nil {
			return counts{}, err
		}
		if last, err = p.by(ctx, o); err != nil {
			return counts{}, fmt.Errorf("%s: %w", p.bug, err)
		}
		if p.want(&last) > 0 {
			return counts{Cycles: 1, Detected: 1}, nil
		}
	}
	c := counts{Cycles: 1}
	c.fault(&c.Silent, "the planted fault %q was not reported in %d tries; seen was: %s", p.bug, tries, last.line())
	return c, nil
}

// killed is a world that is killed n times at such moments.
func killed(n int, at ...moment) trial {
	return func(ctx context.Context, o worldOptions) (counts, error) {
		return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
			return w.kills(ctx, n, func(k int) moment { return at[k%len(at)] }, func() {})
		})
	}
}

// inHandOver is killed n times while the provider has a message and has not
// answered, and the provider gives no receipts that would tell.
func inHandOver(n int) trial {
	return func(ctx context.Context, o worldOptions) (counts, error) {
		return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
			w.provider.Faults().NoReceipts.On()
			w.provider.Faults().HoldDot.Set(100 * time.Millisecond)
			var c counts
			for range n {
				if err := w.underLoad(ctx, atProvider, w.kill); err != nil {
					return c, err
				}
			}
			w.provider.Faults().HoldDot.Set(0)
			err := w.start(ctx)
			if err != nil {
				return c, err
			}
			c, err = w.settleAndCheck(ctx)
			c.Cycles = n
			return c, err
		})
	}
}

// cut is a world whose power is cut n times.
func cut(n int) trial {
	return func(ctx context.Context, o worldOptions) (counts, error) {
		return powerRound(ctx, o, n, func(int) moment { return afterReply }, func() {})
	}
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/emersion/go-imap/v2" // what to search for
)

// patience is how long a world waits for the gateway to get somewhere before it
// calls it stuck. It only bounds a run that fails: nothing good waits for it.
const patience = 90 * time.Second

// quiet is how long nothing more comes when all was fetched: some rounds.
const quiet = 4 * time.Second

// settle waits until the running gateway has handed over what it can, the
// provider has given all its receipts, and all of them were fetched. Then every
// message that is missing is lost. What does not come to an end is counted.
//
// That all was fetched is known from a marker: a message that arrives last and
// is fetched last, since the gateway goes by rising UIDs. At first contact it goes
// from the newest on: so nothing more may come for a while, either.
func (w *world) settle(ctx context.Context) (counts, error) {
	var c counts
	stuck := func(what string) {
		c.fault(&c.NotStarted, "after %v still not: %s; the gateway's log ends with %s", w.patience(), what, w.said())
	}
	ok, err := w.until(ctx, func(ctx context.Context) (bool, error) {
		q, err := w.queue(ctx)
		return err == nil && q["queued"]+q["attempting"] == 0, nil
	})
	if err != nil {
		return c, err
	}
	if !ok {
		stuck("the queue is empty")
	}
	ctx2, cancel := context.WithTimeout(ctx, w.patience())
	defer cancel()
	if err := w.provider.Settle(ctx2); err != nil {
		return c, fmt.Errorf("the simulated provider does not settle: %w", err)
	}
	last := w.next()
	if err := w.arriveOne(last, 10); err != nil {
		return c, err
	}
	for _, p := range people() {
		ok, err := w.until(ctx, func(ctx context.Context) (bool, error) { return w.hasMarker(ctx, p, last), nil })
		if err != nil {
			return c, err
		}
		if !ok {
			stuck("all mail of " + p.box + " is fetched")
		}
		before, since := uint32(0), time.Now()
		if _, err := w.until(ctx, func(ctx context.Context) (bool, error) {
			if n := w.arrivedAt(ctx, p); n != before {
				before, since = n, time.Now()
			}
			return time.Since(since) > quiet, nil
		}); err != nil {
			return c, err
		}
	}
	return c, nil
}

// patience is that of this world.
func (w *world) patience() time.Duration {
	if w.o.Patience > 0 {
		return w.o.Patience
	}
	return patience
}

// until asks again and again until ok says yes, false when patience ends or the
// gateway does.
func (w *world) until(ctx context.Context, ok func(context.Context) (bool, error)) (bool, error) {
	for end := time.Now().Add(w.patience()); time.Now().Before(end) && w.running(); {
		if yes, err := ok(ctx); yes || err != nil {
			return yes, err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return false, err
		}
	}
	return false, nil
}

// hasMarker looks for the arriving message of a number.
func (w *world) hasMarker(ctx context.Context, p person, number int) bool {
	c, err := w.imap(ctx, p)
	if err != nil {
		return false
	}
	defer c.Close() // only read
	if _, err := c.Select(inbox, &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		return false
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: arriving(number)}}}, nil).Wait()
	return err == nil && len(found.AllUIDs()) > 0
}

// arrivedAt is how many messages a person's inbox has; 0 where nobody can say.
func (w *world) arrivedAt(ctx context.Context, p person) uint32 {
	c, err := w.imap(ctx, p)
	if err != nil {
		return 0
	}
	defer c.Close() // only read
	state, err := c.Select(inbox, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return 0
	}
	return state.NumMessages
}

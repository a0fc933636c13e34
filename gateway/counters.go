package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"pecgate/gateway/auth"
	"pecgate/mailbox"
)

// counters keep auth's numbers in the store, so that a restart gives nobody
// new tries.
type counters struct{ store *mailbox.Store }

var _ auth.Counters = counters{}

// counted is one number.
type counted struct {
	N      int       `json:"n"`
	Forget time.Time `json:"forget"`
}

func readCount(tx *mailbox.Tx, key string) (counted, error) {
	var c counted
	err := tx.Space("auth").Get(key, &c)
	if errors.Is(err, mailbox.ErrNotFound) || (err == nil && c.Forget.Before(tx.Now())) {
		return counted{}, nil
	}
	return c, err
}

// Count is the number under a key, 0 where there is none.
func (c counters) Count(ctx context.Context, key string) (int, error) {
	var now counted
	err := c.store.View(ctx, func(tx *mailbox.Tx) (err error) { now, err = readCount(tx, key); return err })
	return now.N, err
}

// Raise puts a larger number in the place of one, and reports whether it was.
func (c counters) Raise(ctx context.Context, key string, to int, forget time.Time) (bool, error) {
	raised := false
	err := c.store.Update(ctx, func(tx *mailbox.Tx) error {
		now, err := readCount(tx, key)
		if err != nil {
			return err
		}
		if raised = now.N < to; !raised {
			return nil
		}
		return tx.Space("auth").Put(key, counted{N: to, Forget: forget})
	})
	return raised && err == nil, err
}

// Add adds one and returns the new number once it is durable.
func (c counters) Add(ctx context.Context, key string, forget time.Time) (int, error) {
	var now counted
	err := c.store.Update(ctx, func(tx *mailbox.Tx) (err error) {
		if now, err = readCount(tx, key); err != nil {
			return err
		}
		now.N++
		now.Forget = forget
		return tx.Space("auth").Put(key, now)
	})
	return now.N, err
}

// clockKey is where stands how evenly the clock goes on, in the room "gateway".
const clockKey = "clock"

// countersAtOnce is how many one transaction drops.
const countersAtOnce = 500

// drop removes the numbers that may be forgotten, once the clock is believed:
// they do not count any more, but nobody else takes them away.
func (c counters) drop(ctx context.Context, zone *time.Location) (dropped int, err error) {
	if zone == nil {
		zone = time.UTC
	}
	even := false
	err = c.store.Update(ctx, func(tx *mailbox.Tx) error {
		var clock mailbox.EvenClock
		if err := tx.Space("gateway").Get(clockKey, &clock); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return err
		}
		even = clock.Look(tx.Now(), zone)
		return tx.Space("gateway").Put(clockKey, clock)
	})
	for more := even; more && err == nil; {
		n := 0
		err = c.store.Update(ctx, func(tx *mailbox.Tx) error {
			var over []string
			err := tx.Space("auth").Scan("", func(k string, raw []byte) (bool, error) {
				var one counted
				if err := json.Unmarshal(raw, &one); err != nil {
					return false, err
				}
				if one.Forget.Before(tx.Now()) {
					over = append(over, k)
				}
				return len(over) < countersAtOnce, nil
			})
			for _, k := range over {
				err = errors.Join(err, tx.Space("auth").Delete(k))
			}
			n = len(over)
			return err
		})
		dropped, more = dropped+n, n == countersAtOnce
	}
	return dropped, err
}

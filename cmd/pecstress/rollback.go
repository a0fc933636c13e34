package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// rolledBack restores a backup that was made while messages waited to be sent,
// which they were soon after: none is sent again.
func rolledBack(ctx context.Context, o worldOptions) (counts, error) {
	return in(ctx, o, func(ctx context.Context, w *world) (counts, error) {
		// A provider that takes its time lets a queue grow.
		w.provider.Faults().HoldDot.Set(300 * time.Millisecond)
		if err := w.start(ctx); err != nil {
			return counts{}, err
		}
		all := w.letters(12)
		if err := w.submit(ctx, all...); err != nil {
			return counts{}, err
		}
		backup := filepath.Join(w.o.Dir, "backup")
		if err := w.must(ctx, "backup", backup); err != nil {
			return counts{}, err
		}
		before := len(w.provider.Ledger())
		w.provider.Faults().HoldDot.Set(0)
		c, err := w.settleAndCheck(ctx)
		if err != nil || c.faults() > 0 {
			return c, err
		}
		if before == len(all) {
			return c, errors.New("all was sent before the backup was made: this tells nothing")
		}
		validity, err := w.validities(ctx)
		if err != nil {
			return c, err
		}
		w.kill()
		if err := errors.Join(os.RemoveAll(w.o.Data), os.Mkdir(w.o.Data, 0o700)); err != nil {
			return c, err
		}
		if err := w.must(ctx, "restore", backup); err != nil {
			return c, err
		}
		c.Cycles++
		w.uids = map[string]string{} // all begins anew, under another UIDVALIDITY
		found, err := w.afterwards(ctx)
		c.Taken, c.Arrived, c.Promised = 0, 0, 0 // counted again
		c.add(found)
		if err != nil {
			return c, err
		}
		if err := w.start(ctx); err != nil {
			return c, err
		}
		again, err := w.validities(ctx)
		for folder, v := range validity {
			if again[folder] == v {
				c.fault(&c.Wrong, "after a restore %s has the UIDVALIDITY that it had", folder)
			}
		}
		return c, err
	})
}

// must runs a command of the gateway that must succeed.
func (w *world) must(ctx context.Context, args ...string) error {
	out, status, err := w.pecgate(ctx, args...)
	if err != nil {
		return err
	}
	if status != 0 {
		return fmt.Errorf("pecgate %s: status %d: %s", args[0], status, strings.ReplaceAll(strings.TrimSpace(out), "\n", " | "))
	}
	return nil
}

// validities are the UIDVALIDITY of all folders with messages, by person and folder.
func (w *world) validities(ctx context.Context) (map[string]uint32, error) {
	found := map[string]uint32{}
	for _, p := range people() {
		all, err := w.read(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			found[p.login+"/"+s.folder] = s.validity
		}
	}
	return found, nil
}

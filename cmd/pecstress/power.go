package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix" // syncfs

	"pecgate/mailbox/planted"
)

// diskSize is that of the file system whose power is cut; only what is written
// takes room.
const diskSize = 1 << 30

func powerScenario() scenario {
	return scenario{
		name: "power", what: "power cuts under load: data_dir on its own ext4, which loses what was not synced",
		root: true, need: []string{"losetup", "mkfs.ext4"},
		run: func(ctx context.Context, e env) (counts, error) {
			rounds, each := 2, 5
			if e.full {
				rounds, each = 20, 15
			}
			return inTurn(ctx, e, rounds, func(ctx context.Context, e env, done func()) (counts, error) {
				// Not while starting: nothing is promised then.
				at := func(n int) moment { return moment(n % int(duringStart)) }
				return powerRound(ctx, worldOptions{Binary: e.binary, Dir: e.dir, Seed: e.seed, Clear: e.seed%2 == 1}, each, at, done)
			}, each)
		},
	}
}

// controlScenario proves that the power cut really cuts.
func controlScenario() scenario {
	return scenario{
		name: "control", what: "the same with every sync left out, which must lose mail: else the power cuts prove nothing",
		root: true, bugs: true, need: []string{"losetup", "mkfs.ext4"},
		run: func(ctx context.Context, e env) (counts, error) {
			var c counts
			for n := range tries {
				o := worldOptions{
					Binary: e.planted, Seed: e.seed + uint64(n), Patience: plantPatience,
					Env: []string{planted.Variable + "=" + string(planted.NoSync)},
				}
				var err error
				if o.Dir, err = subfolder(e.dir, n); err != nil {
					return c, err
				}
				found, err := powerRound(ctx, o, 1, func(int) moment { return afterReply }, func() { e.step(n+1, tries) })
				if err != nil {
					return c, err
				}
				c.Cycles += found.Cycles
				c.Promised += found.Promised
				c.Taken += found.Taken
				c.Arrived += found.Arrived
				if c.Detected = found.Lost + found.False250; c.Detected > 0 {
					return c, nil
				}
			}
			c.fault(&c.Silent, "%d power cuts with every sync left out lost nothing of %d messages: the cuts do not cut", c.Cycles, c.Promised)
			return c, nil
		},
	}
}

// powerRound cuts the power so often, then checks everything.
func powerRound(ctx context.Context, o worldOptions, cuts int, at func(n int) moment, done func()) (c counts, err error) {
	d, err := newDisk(ctx, o.Dir, diskSize)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	o.Data = filepath.Join(d.dir, "data")
	w, err := newWorld(o)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	// The first start, as on any machine, is long past when the power fails.
	if err := errors.Join(w.start(ctx), w.stop(), d.sync()); err != nil {
		return c, err
	}
	for n := range cuts {
		var cutErr error
		err := w.underLoad(ctx, at(n), func() { cutErr = w.cutPower(d) })
		if cutErr != nil {
			return c, cutErr
		}
		if errors.Is(err, errNotStarted) {
			c.fault(&c.NotStarted, "after %d power cuts: %v", n, err)
			return c, nil
		}
		if err != nil {
			return c, err
		}
		c.Cycles++
		done()
	}
	found, err := w.afterwards(ctx)
	c.add(found)
	return c, err
}

// cutPower freezes the gateway, cuts the power of its disk, and brings the disk
// back. The gateway has ended then.
func (w *world) cutPower(d *disk) error {
	if err := w.freeze(); err != nil {
		return err
	}
	if err := d.cut(); err != nil {
		return err
	}
	w.kill()
	return d.again()
}

// freeze stops the gateway with SIGSTOP and waits until each of its threads
// stands still: one may still be in the middle of a write.
func (w *world) freeze() error {
	pid := w.pid()
	if pid == 0 {
		return nil // it ended by itself, which the caller sees
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended meanwhile
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && w.running(); time.Sleep(time.Millisecond) {
		if still(pid) {
			return nil
		}
	}
	if !w.running() {
		return nil
	}
	return errors.New("the gateway does not stand still after SIGSTOP")
}

// still tells whether all threads of a process are stopped (proc_pid_stat(5),
// field 3).
func still(pid int) bool {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(names) == 0 {
		return false
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // this thread has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if !strings.HasPrefix(rest, "T") && !strings.HasPrefix(rest, "t") {
			return false
		}
	}
	return true
}

// sync makes all of the disk durable.
func (d *disk) sync() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close() // read only
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", d.dir, err)
	}
	return nil
}

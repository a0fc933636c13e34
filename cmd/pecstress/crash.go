package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/mailbox/planted"
)

// env is what every scenario gets.
type env struct {
	dir     string             // for this scenario alone, empty
	binary  string             // the gateway
	planted string             // the gateway with planted faults (see mailbox/planted)
	seed    uint64             // of everything random
	full    bool               // the long run: more cycles, all places
	step    func(done, of int) // progress of this scenario; may be called often
}

// scenario is one way of breaking the gateway. run returns counts and an error:
// faults of the gateway are counted, an error says that the scenario itself
// could not be carried out.
type scenario struct {
	name string
	what string   // one line for the help
	root bool     // needs root: mounts, or traces
	bugs bool     // needs the gateway with planted faults
	need []string // programs it needs, with their Debian packages: "strace"
	run  func(ctx context.Context, e env) (counts, error)
}

// scenarios are all there are, in the order of a run.
func scenarios() []scenario {
	return []scenario{
		oddScenario(),
		killScenario(),
		powerScenario(),
		sysfaultScenario(),
		corruptScenario(),
		fulldiskScenario(),
		controlScenario(),
		plantsScenario(),
	}
}

// result is what is told of one scenario.
type result struct {
	Scenario string  `json:"scenario"`
	Seconds  float64 `json:"seconds"`
	OK       bool    `json:"ok"`
	Error    string  `json:"error,omitempty"`
	counts
}

// crash is one run of the command.
type crash struct {
	full   bool
	json   bool
	keep   bool
	seed   uint64
	dir    string
	binary string
	only   []string
	limit  time.Duration
	out    io.Writer
	bar    *bar
}

func newCrashCommand() *cobra.Command {
	var o crash
	var quick bool
	var names []string
	for _, s := range scenarios() {
		names = append(names, fmt.Sprintf("  %-10s %s", s.name, s.what))
	}
	c := &cobra.Command{
		Use:   "crash",
		Short: "kills, power cuts, broken system calls, full disks and damaged files, judged from outside",
		Long: `Runs the gateway of this source tree against a simulated provider, breaks it in
every way below, starts it again, and compares what was promised with what is
there. One line for each scenario; a fault is told in words.

` + strings.Join(names, "\n") + `

It needs root on Linux, and util-linux, e2fsprogs and strace. A scenario that
cannot run here is a failure. Everything happens in a folder of its own, which
goes at the end; with --keep, and after a fault, it stays.

Exit status 0 if nothing is wrong, 1 if something is or could not be tried, 2 for
wrong usage.`,
		Example: "  go run ./cmd/pecstress crash --quick\n  pecstress crash --full --json --seed 7\n  pecstress crash --only kill,power",
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { _, err := o.chosen(); return err },
		RunE: func(c *cobra.Command, _ []string) error {
			o.out = c.OutOrStdout()
			o.bar = newBar(c.ErrOrStderr())
			return o.run(c.Context())
		},
	}
	c.Flags().BoolVar(&quick, "quick", true, "some of everything, in under four minutes")
	c.Flags().BoolVar(&o.full, "full", false, "at least 500 kills and 200 power cuts, all places, in under an hour")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON object for each scenario")
	c.Flags().BoolVar(&o.keep, "keep", false, "leave the folder")
	c.Flags().Uint64Var(&o.seed, "seed", 1, "of everything random")
	c.Flags().StringVar(&o.dir, "dir", "", "`FOLDER` to work in, for the time of the run (default: one in the system's temporary folder)")
	c.Flags().StringVar(&o.binary, "pecgate", "", "the gateway's `FILE` (default: built from this tree)")
	c.Flags().StringSliceVar(&o.only, "only", nil, "these scenarios only")
	c.Flags().DurationVar(&o.limit, "limit", 0, "give up after this time (default: 15m, with --full 90m)")
	c.MarkFlagsMutuallyExclusive("quick", "full")
	return c
}

// run carries out the scenarios one after the other.
func (o *crash) run(ctx context.Context) (err error) {
	all, err := o.chosen()
	if err != nil {
		return err
	}
	if err := usable(all); err != nil {
		return err
	}
	if o.limit == 0 {
		o.limit = 15 * time.Minute
		if o.full {
			o.limit = 90 * time.Minute
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("not done within %v: see --limit", o.limit))
	defer cancel()
	dir, err := os.MkdirTemp(o.dir, "pecstress-")
	if err != nil {
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	bad := 0
	defer func() {
		if o.keep || bad > 0 || err != nil {
			err = errors.Join(err, o.note("the folder of this run is "+dir))
			return
		}
		err = os.RemoveAll(dir)
	}()
	began := time.Now()
	binary, buggy, err := o.programs(ctx, dir, slices.ContainsFunc(all, func(s scenario) bool { return s.bugs }))
	if err != nil {
		return err
	}
	for n, s := range all {
		e := env{
			dir: filepath.Join(dir, s.name), binary: binary, planted: buggy, seed: o.seed, full: o.full,
			step: func(done, of int) { o.bar.draw(n, len(all), s.name, done, of) },
		}
		if err := os.Mkdir(e.dir, 0o700); err != nil {
			return err
		}
		at := time.Now()
		c, err := s.run(ctx, e)
		r := result{Scenario: s.name, Seconds: time.Since(at).Seconds(), counts: c, OK: err == nil && c.faults() == 0}
		if err != nil {
			r.Error = err.Error()
		}
		o.bar.clear()
		if err := o.tell(r); err != nil {
			return err
		}
		if !r.OK {
			bad++
		}
		if ctx.Err() != nil {
			return fmt.Errorf("ended before all was tried: %w", context.Cause(ctx))
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d scenarios found faults or could not run (seed %d)", bad, len(all), o.seed)
	}
	return o.note(fmt.Sprintf("all good: %d scenarios in %.0f s, seed %d", len(all), time.Since(began).Seconds(), o.seed))
}

// chosen are the scenarios to run.
func (o *crash) chosen() ([]scenario, error) {
	all := scenarios()
	for _, name := range o.only {
		if !slices.ContainsFunc(all, func(s scenario) bool { return s.name == name }) {
			return nil, fmt.Errorf("there is no scenario %q (see pecstress crash --help)", name)
		}
	}
	if len(o.only) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(all, func(s scenario) bool { return !slices.Contains(o.only, s.name) }), nil
}

// programs builds the gateway as it is and, if bugs are asked for, with planted
// faults.
func (o *crash) programs(ctx context.Context, dir string, bugs bool) (binary, buggy string, err error) {
	o.bar.draw(0, 1, "building", 0, 1)
	defer o.bar.clear()
	if binary = o.binary; binary == "" {
		if binary, err = build(ctx, dir, ""); err != nil {
			return "", "", err
		}
	} else if binary, err = filepath.Abs(binary); err != nil {
		return "", "", err
	} else if binary, err = filepath.EvalSymlinks(binary); err != nil {
		return "", "", err
	}
	if !bugs {
		return binary, "", plantable(binary, false)
	}
	if buggy, err = build(ctx, dir, "planted"); err != nil {
		return "", "", err
	}
	return binary, buggy, errors.Join(plantable(binary, false), plantable(buggy, true))
}

// plantable makes sure that a fault can be planted into one of the programs,
// and never into the one that people run.
func plantable(binary string, want bool) error {
	b, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	if bytes.Contains(b, []byte(planted.Variable)) != want {
		return fmt.Errorf("%s: faults can be planted into it: %t, must be %t", binary, !want, want)
	}
	return nil
}

// tell prints one result.
func (o *crash) tell(r result) error {
	if o.json {
		return json.NewEncoder(o.out).Encode(r)
	}
	verdict := "good "
	if !r.OK {
		verdict = "FAULT"
	}
	_, err := fmt.Fprintf(o.out, "%s %-10s %5.0f s  %s\n", verdict, r.Scenario, r.Seconds, r.line())
	for _, text := range slices.Concat(r.Notes, r.Faults) {
		fmt.Fprintf(o.out, "      %s\n", text)
	}
	if r.Error != "" {
		fmt.Fprintf(o.out, "      could not go on: %s\n", r.Error)
	}
	return err
}

// note says something that is no result; with --json it goes nowhere.
func (o *crash) note(text string) error {
	if o.json {
		return nil
	}
	_, err := fmt.Fprintln(o.out, text)
	return err
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/mailbox/planted"
)

// handover is one run of the command: the gateway is killed in the window in
// which the provider has a message and the gateway does not know it yet.
type handover struct {
	cycles   int
	receipts string // on or off
	quick    bool
	control  bool
	json     bool
	keep     bool
	seed     uint64
	dir      string
	binary   string
	limit    time.Duration
	out      io.Writer
	bar      *bar
}

func newHandoverCommand() *cobra.Command {
	var o handover
	c := &cobra.Command{
		Use:   "handover",
		Short: "kills in the window between the provider's 250 and the gateway's record of it",
		Long: `Runs the gateway of this source tree, hands it one message after the other, and
cuts each hand-over in a proxy before the provider: at the dot, when the 250
passes, 1, 10 and 100 ms later, with SIGKILL to the gateway; or only the 250 is
dropped. Then the gateway starts again. The provider's receipts come at once,
late, or (--receipts=off) never. One mailbox holds what is uncertain and is read
by IMAP, the other resends and is read by POP3.

The simulated provider judges: what it took and how often, against what the
gateway's client was promised and what its people are shown by IMAP. Nothing may
be lost; nothing sent twice that is not flagged; and with receipts, nothing twice.
A gateway with a planted fault (what may have left is sent again at once) must be
found out, or the run fails.

Exit status 0 if nothing is wrong, 1 if something is or could not be tried, 2 for
wrong usage.`,
		Example: "  go run ./cmd/pecstress handover --quick\n  pecstress handover --cycles 500 --json\n  pecstress handover --receipts=off --cycles 100",
		Args:    cobra.NoArgs,
		PreRunE: func(c *cobra.Command, _ []string) error {
			switch {
			case o.cycles < 1 || o.cycles > 100_000:
				return errors.New("--cycles must be from 1 to 100000")
			case o.receipts != "on" && o.receipts != "off":
				return fmt.Errorf("--receipts is on or off, not %q", o.receipts)
			case o.quick && c.Flags().Changed("cycles"):
				return errors.New("--quick has cycles of its own: give one of --quick and --cycles")
			case o.quick && o.receipts == "off":
				return errors.New("--quick does not wait for what never comes: leave --receipts=off out, or --quick")
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			o.out = c.OutOrStdout()
			o.bar = newBar(c.ErrOrStderr())
			return o.run(c.Context())
		},
	}
	c.Flags().IntVar(&o.cycles, "cycles", 500, "hand-overs that are cut")
	c.Flags().StringVar(&o.receipts, "receipts", "on", "on, or off: the provider never gives any")
	c.Flags().BoolVar(&o.quick, "quick", false, "21 cycles, in under a minute; what is held after the end is not waited for")
	c.Flags().BoolVar(&o.control, "control", true, "also try a gateway with a planted fault, which must be found out")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON object for each part")
	c.Flags().BoolVar(&o.keep, "keep", false, "leave the folder")
	c.Flags().Uint64Var(&o.seed, "seed", 1, "of everything random")
	c.Flags().StringVar(&o.dir, "dir", "", "`FOLDER` to work in, for the time of the run (default: one in the system's temporary folder)")
	c.Flags().StringVar(&o.binary, "pecgate", "", "the gateway's `FILE` (default: built from this tree)")
	c.Flags().DurationVar(&o.limit, "limit", 0, "give up after this time (default: 10m and 5s for each cycle)")
	return c
}

// handed is what a part of the run found. Lost, unflagged and wrong must be 0,
// and with receipts duplicates too.
type handed struct {
	Part       string         `json:"part"`
	OK         bool           `json:"ok"`
	Seconds    float64        `json:"seconds"`
	Cycles     int            `json:"cycles"`
	Cut        map[string]int `json:"cut"` // hand-overs, by where
	Receipts   bool           `json:"receipts"`
	Promised   int            `json:"promised"`
	Taken      int            `json:"at_provider"`
	Once       int            `json:"taken_once"`
	Uncertain  int            `json:"uncertain"`   // were so at any time
	Held       int            `json:"held"`        // for a person, who is told; never taken, or without receipts
	Unread     int            `json:"held_unread"` // of what is settled: held before, for its receipt had ended the gateway each time it was read
	Looking    int            `json:"looking"`     // its receipt is looked for still (--quick)
	Resent     int            `json:"resent"`      // by the gateway, flagged
	Lost       int            `json:"lost"`
	Duplicates int            `json:"duplicates"`
	Unflagged  int            `json:"unflagged"`
	Wrong      int            `json:"wrong"`
	P50        float64        `json:"uncertain_p50_ms"` // from uncertain to its receipt, as the gateway's story tells
	P99        float64        `json:"uncertain_p99_ms"`
	Faults     []string       `json:"faults,omitempty"`
	Error      string         `json:"error,omitempty"`

	waits []time.Duration
}

func (h *handed) fault(which *int, format string, args ...any) {
	*which++
	if len(h.Faults) < mostFaults {
		h.Faults = append(h.Faults, fmt.Sprintf(format, args...))
	}
}

func (h *handed) bad() int {
	n := h.Lost + h.Unflagged + h.Wrong
	if h.Receipts {
		n += h.Duplicates
	}
	return n
}

func (h *handed) add(o *handed) {
	for at, n := range o.Cut {
		h.Cut[at] += n
	}
	for _, p := range []struct{ to, from *int }{
		{&h.Cycles, &o.Cycles}, {&h.Promised, &o.Promised}, {&h.Taken, &o.Taken}, {&h.Once, &o.Once}, {&h.Uncertain, &o.Uncertain}, {&h.Held, &o.Held},
		{&h.Looking, &o.Looking}, {&h.Unread, &o.Unread}, {&h.Resent, &o.Resent}, {&h.Lost, &o.Lost}, {&h.Duplicates, &o.Duplicates}, {&h.Unflagged, &o.Unflagged}, {&h.Wrong, &o.Wrong},
	} {
		*p.to += *p.from
	}
	h.Faults = append(h.Faults, o.Faults[:min(len(o.Faults), mostFaults-min(mostFaults, len(h.Faults)))]...)
	h.waits = append(h.waits, o.waits...)
	slices.Sort(h.waits)
	if n := len(h.waits); n > 0 {
		h.P50, h.P99 = ms(h.waits[n/2]), ms(h.waits[min(n-1, n*99/100)])
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (h *handed) line() string {
	text := fmt.Sprintf("%d cycles, %d promised, %d at the provider, %d once; uncertain %d (%.0f of 1,000 cuts), held %d, resent %d",
		h.Cycles, h.Promised, h.Taken, h.Once, h.Uncertain, 1000*float64(h.Uncertain)/float64(max(h.Cycles, 1)), h.Held, h.Resent)
	if h.Unread > 0 {
		text += fmt.Sprintf(", held before their receipt could be read %d", h.Unread)
	}
	if h.Looking > 0 {
		text += fmt.Sprintf(", looked for still %d", h.Looking)
	}
	return text + fmt.Sprintf("; %d lost, %d duplicates, %d of them unflagged, %d otherwise wrong; uncertain for %.0f ms (median), %.0f ms (p99)",
		h.Lost, h.Duplicates, h.Unflagged, h.Wrong, h.P50, h.P99)
}

// atOnce is how many gateways are tried side by side.
const atOnce = 2

// run tries the gateway as it is and then the one with the fault.
func (o *handover) run(ctx context.Context) (err error) {
	if o.quick {
		o.cycles = 3 * int(cuts)
	}
	if o.limit == 0 {
		o.limit = 10*time.Minute + time.Duration(o.cycles)*5*time.Second
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
	bad := false
	defer func() {
		if o.keep || bad || err != nil {
			fmt.Fprintln(os.Stderr, "pecstress: the folder of this run is "+dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	programs := crash{binary: o.binary, bar: o.bar}
	binary, buggy, err := programs.programs(ctx, dir, o.control)
	if err != nil {
		return err
	}
	sum := o.part(ctx, "receipts "+o.receipts, o.cycles, filepath.Join(dir, "run"), worldOptions{Binary: binary, Seed: o.seed, Cut: true}, o.receipts == "on")
	sum.OK = sum.Error == "" && sum.bad() == 0
	bad = !sum.OK
	if err := o.tell(sum); err != nil {
		return err
	}
	if o.control && ctx.Err() == nil {
		w := worldOptions{
			Binary: buggy, Seed: o.seed + 1, Cut: true, Patience: plantPatience,
			Env: []string{planted.Variable + "=" + string(planted.ResendUncertain)},
		}
		found := o.part(ctx, "control: a planted fault", 3*int(cuts), filepath.Join(dir, "control"), w, true)
		if found.OK = found.Error == "" && found.Duplicates > 0; !found.OK {
			bad = true
			found.Faults = append(found.Faults, "the planted fault was not found: nothing was sent twice")
		}
		if err := o.tell(found); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("ended before all was tried: %w", context.Cause(ctx))
	case bad:
		return fmt.Errorf("faults were found, or something could not be tried (seed %d)", o.seed)
	}
	return nil
}

// part cuts so many hand-overs, of several gateways at once.
func (o *handover) part(ctx context.Context, name string, cycles int, dir string, w worldOptions, receipts bool) *handed {
	sum := &handed{Part: name, Receipts: receipts, Cut: map[string]int{}}
	began := time.Now()
	var mu sync.Mutex
	done := 0
	step := func() {
		mu.Lock()
		defer mu.Unlock()
		done++
		o.bar.draw(0, 1, "handover", done, cycles)
	}
	failed := os.MkdirAll(dir, 0o700)
	var all sync.WaitGroup
	for n := range min(atOnce, cycles) {
		mine := w
		mine.Dir, mine.Seed = filepath.Join(dir, fmt.Sprint(n)), w.Seed*1000+uint64(n)
		share := cycles / atOnce
		if n < cycles%atOnce {
			share++
		}
		all.Go(func() {
			found, err := o.world(ctx, mine, share, n, receipts, step)
			mu.Lock()
			defer mu.Unlock()
			if found != nil {
				sum.add(found)
			}
			failed = errors.Join(failed, err)
		})
	}
	all.Wait()
	o.bar.clear()
	sum.Seconds = time.Since(began).Seconds()
	if failed != nil {
		sum.Error = failed.Error()
	}
	return sum
}

// world is one gateway whose hand-overs are cut, and what became of its mail.
func (o *handover) world(ctx context.Context, wo worldOptions, cycles, first int, receipts bool, step func()) (_ *handed, err error) {
	if err := os.Mkdir(wo.Dir, 0o700); err != nil {
		return nil, err
	}
	w, err := newWorld(wo)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	h := &handed{Receipts: receipts, Cut: map[string]int{}}
	if !receipts {
		w.provider.Faults().NoReceipts.On()
	}
	delays := []time.Duration{0, 200 * time.Millisecond, 2 * time.Second, 0, 8 * time.Second}
	for n := range cycles {
		at := place((n + first*3) % int(cuts))
		w.provider.Faults().AcceptanceDelay.Set(delays[n%len(delays)])
		cut, err := w.cutOne(ctx, n, at)
		if err != nil {
			return h, fmt.Errorf("cycle %d, %s: %w", n, at, err)
		}
		if cut {
			h.Cut[at.String()]++
			h.Cycles++
		}
		step()
	}
	w.provider.Faults().AcceptanceDelay.Set(0)
	if !w.running() {
		if err := w.start(ctx); err != nil {
			return h, err
		}
	}
	return h, w.judgeHandOvers(ctx, h, o.quick)
}

// cutWait is how long a hand-over may take to come.
const cutWait = 30 * time.Second

// cutOne starts the gateway where it does not run, hands it a message, and cuts
// the hand-over of it. cut is false where none came: the client's line broke with
// the gateway, and what it gave had left before.
func (w *world) cutOne(ctx context.Context, n int, at place) (cut bool, err error) {
	if !w.running() {
		if err := w.start(ctx); err != nil {
			return false, err
		}
	}
	p := people()[n%len(people())]
	to := people()[(n+1)%len(people())].box
	pid := w.pid()
	for {
		// What was not answered is given again first, as a mail program does.
		again := w.ledger.again(p)
		m := again
		done := (<-chan struct{})(nil)
		if m == nil {
			m = newLetter(fmt.Sprintf("n%d.%x@driver.example", w.next(), w.o.Seed), p, to, 300+w.rnd.IntN(4000))
			done = w.cutter.arm(at, func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // it may have ended by itself
		}
		s := &submitter{w: w, from: p, to: to, rnd: w.rnd}
		err := s.open(ctx)
		if err == nil {
			err = s.send(m)
			_ = s.conn.Close() // its end is in err
		}
		if err != nil && !errors.Is(err, errBroken) {
			return false, err
		}
		if again != nil {
			if err != nil {
				return false, fmt.Errorf("give %s again: %w", m.ID, err)
			}
			continue
		}
		select {
		case <-done:
		case <-time.After(cutWait):
			w.cutter.disarm()
			return false, fmt.Errorf("no hand-over came within %v: %s", cutWait, w.said())
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		if at != cutReply {
			w.kill() // it is dying; this waits for its end
		}
		return true, nil
	}
}

// tell prints one part.
func (o *handover) tell(h *handed) error {
	if o.json {
		return json.NewEncoder(o.out).Encode(h)
	}
	verdict := "good "
	if !h.OK {
		verdict = "FAULT"
	}
	_, err := fmt.Fprintf(o.out, "%s %s, %.0f s: %s\n", verdict, h.Part, h.Seconds, h.line())
	for at := range cuts {
		if n := h.Cut[at.String()]; n > 0 {
			fmt.Fprintf(o.out, "      %4d cut %s\n", n, at)
		}
	}
	for _, text := range h.Faults {
		fmt.Fprintf(o.out, "      %s\n", text)
	}
	if h.Error != "" {
		fmt.Fprintf(o.out, "      could not go on: %s\n", h.Error)
	}
	return err
}

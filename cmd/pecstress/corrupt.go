package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func corruptScenario() scenario {
	return scenario{
		name: "corrupt", what: "bytes flipped, files cut and removed while the gateway is stopped",
		run: corrupt,
	}
}

// corruptBounds says how much damage is tried on each of the two stores.
type corruptBounds struct {
	flips, cuts, whole int // places; lengths of each file; damages judged with the whole program
}

// corrupt fills a store through the gateway, keeps it as a kill and as a stop
// leave it, and damages copies of both in one place each. Most are judged by the
// gateway's own rooms in another process (corrupt_look.go), against hashes that
// the driver and the provider have; some by the whole program over IMAP.
func corrupt(ctx context.Context, e env) (c counts, err error) {
	bounds := corruptBounds{flips: 30, cuts: 2, whole: 3}
	if e.full {
		bounds = corruptBounds{flips: 1000, cuts: 200, whole: 60}
	}
	self, err := os.Executable()
	if err != nil {
		return c, err
	}
	w, err := newWorld(worldOptions{Binary: e.binary, Dir: e.dir, Seed: e.seed})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	f, found, err := fillStore(ctx, w)
	c.add(found)
	if err != nil || c.faults() > 0 {
		return c, err
	}
	lookers := []looker{&outside{command: []string{self, lookCommand}}, &outside{command: []string{self, lookCommand}}}
	defer func() {
		for _, l := range lookers {
			err = errors.Join(err, l.(*outside).stop())
		}
	}()
	rnd := rand.New(rand.NewPCG(e.seed, 5))
	var plans [2][]damage
	work := 0
	for i, im := range []*image{f.killed, f.stopped} {
		plans[i] = slices.Concat(im.flips(bounds.flips, rnd), im.cuts(bounds.cuts, rnd), im.removals())
		work += len(plans[i]) + bounds.whole
	}
	done := 0
	for i, name := range []string{"after a kill", "after a stop"} {
		im := []*image{f.killed, f.stopped}[i]
		r, err := newReference(ctx, im, f.sums, lookers[0])
		if err != nil {
			return c, fmt.Errorf("%s: %w", name, err)
		}
		report, err := r.tryAll(ctx, plans[i], lookers, func(damage, ending, string) {
			done++
			e.step(done, work)
		})
		report.into(&c, name)
		if err != nil {
			return c, err
		}
		sample := newDamageReport()
		rnd.Shuffle(len(plans[i]), func(a, b int) { plans[i][a], plans[i][b] = plans[i][b], plans[i][a] })
		for _, d := range plans[i][:min(bounds.whole, len(plans[i]))] {
			end, why, err := f.judgeWhole(ctx, w, im, d)
			if err != nil {
				return c, fmt.Errorf("%s, %s: %w", name, d, err)
			}
			sample.note(d, end, why)
			done++
			e.step(done, work)
		}
		sample.into(&c, name+", whole program")
	}
	if n := len(w.provider.Ledger()) - f.taken; n != 0 {
		c.fault(&c.Twice, "the provider was given %d messages by gateways that were started on damaged stores", n)
	}
	return c, nil
}

// into adds a report to the counts of the scenario.
func (r *damageReport) into(c *counts, name string) {
	c.Cycles += r.Tried
	for _, table := range r.Counts {
		for e, n := range table {
			switch {
			case e == endHarmless:
				c.Harmless += n
			case e.good():
				c.Detected += n
			case e == endSilent:
				c.Silent += n
			default:
				c.Wrong += n
			}
		}
	}
	for _, line := range r.lines() {
		c.Notes = append(c.Notes, name+": "+line)
	}
	for _, f := range r.Faults {
		c.tell(name + ": " + f)
	}
}

// lines are the counts of a report, one for each kind of damage.
func (r *damageReport) lines() (out []string) {
	for _, kind := range []damageKind{damageFlip, damageCut, damageRemove} {
		var words []string
		sum := 0
		for e, n := range r.Counts[kind] {
			words = append(words, fmt.Sprintf("%s %d", e, n))
			sum += n
		}
		slices.Sort(words)
		if sum > 0 {
			out = append(out, fmt.Sprintf("%s %d: %s", kind, sum, strings.Join(words, ", ")))
		}
	}
	return out
}

// filled is a store with known content.
type filled struct {
	killed, stopped *image
	sums            []string // of what was promised and of what arrived
	shown           view     // what people see in it
	taken           int      // messages that the provider was given
}

// fillStore lets people submit and mail arrive over several lives of the
// gateway, so that there are files of every kind.
func fillStore(ctx context.Context, w *world) (f filled, c counts, err error) {
	for life := range 3 {
		if err := w.start(ctx); err != nil {
			return f, c, err
		}
		if err := w.arrive(2, 3000); err != nil {
			return f, c, err
		}
		if err := w.drive(ctx, load{Sessions: 4, Each: 4, Size: 6000, Large: 13}); err != nil {
			return f, c, err
		}
		found, err := w.settleAndCheck(ctx)
		if err != nil || found.faults() > 0 {
			return f, found, err
		}
		if c = found; life == 2 {
			break
		}
		if err := w.stop(); err != nil {
			return f, c, err
		}
	}
	if f.shown, err = seeAll(ctx, w); err != nil {
		return f, c, err
	}
	f.taken = len(w.provider.Ledger())
	for _, m := range w.ledger.all() {
		if w.ledger.isPromised(m.ID) {
			f.sums = append(f.sums, m.Body)
		}
	}
	for _, e := range w.provider.Emitted() {
		if slices.ContainsFunc(people(), func(p person) bool { return p.box == e.Mailbox }) {
			f.sums = append(f.sums, e.SHA256)
		}
	}
	w.kill()
	if f.killed, err = readImage(w.data()); err != nil {
		return f, c, err
	}
	if err := errors.Join(w.start(ctx), w.stop()); err != nil {
		return f, c, err
	}
	f.stopped, err = readImage(w.data())
	return f, c, err
}

// view is what people see: the hash of each message, and the state of each
// submission.
type view map[string]string

func seeAll(ctx context.Context, w *world) (view, error) {
	v := view{}
	for _, p := range people() {
		all, err := w.read(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			v[fmt.Sprintf("%s, folder %s, UID %d of %d", p.login, s.folder, s.uid, s.validity)] = s.sum
		}
	}
	for _, m := range w.ledger.all() {
		s, err := w.shown(ctx, m.ID)
		if errors.Is(err, errUnknown) && !w.ledger.isPromised(m.ID) {
			continue
		}
		if err != nil {
			return nil, err
		}
		v["submission "+m.ID] = s.State + " " + s.Reason
	}
	return v, nil
}

// judgeWhole is reference.judge with the whole program: its fsck command, its
// start, and what people then see.
func (f *filled) judgeWhole(ctx context.Context, w *world, im *image, d damage) (e ending, why string, err error) {
	renew := func() error { return errors.Join(os.RemoveAll(w.data()), im.write(w.data(), d)) }
	if err := renew(); err != nil {
		return "", "", err
	}
	said, status, err := w.pecgate(ctx, "fsck", "--deep", "--json")
	if err != nil {
		return "", "", err
	}
	if word, line := crashWord([]byte(said)); word != "" || status < 0 || status > 1 {
		return endCrash, fmt.Sprintf("fsck ends with status %d: %s", status, line), nil
	}
	before := status == 0
	if err := renew(); err != nil {
		return "", "", err
	}
	from, err := fileSize(w.log())
	if err != nil {
		return "", "", err
	}
	err = w.start(ctx)
	defer w.kill()
	log, lerr := os.ReadFile(w.log())
	if lerr != nil {
		return "", "", lerr
	}
	if word, line := crashWord(log[from:]); word != "" {
		return endCrash, line, nil
	}
	if errors.Is(err, errNotStarted) {
		why := lastLine(string(log))
		switch {
		case w.exit() != 1:
			return endCrash, fmt.Sprintf("it ends with status %d: %s", w.exit(), why), nil
		case !im.namesFile(why, d.File):
			return endUnnamed, why, nil
		case before:
			return endBlind, why, nil
		}
		return endRefused, why, nil
	}
	if err != nil {
		return "", "", err
	}
	now, rerr := seeAll(ctx, w)
	if err := w.stop(); err != nil {
		return "", "", err
	}
	_, status, err = w.pecgate(ctx, "fsck", "--deep")
	if err != nil {
		return "", "", err
	}
	var differ []string
	for k, v := range f.shown {
		if now[k] != v {
			differ = append(differ, k)
		}
	}
	switch {
	case rerr != nil:
		return endUnread, rerr.Error(), nil
	case len(differ) == 0:
		return endHarmless, "", nil
	case status == 1:
		return endFlagged, "", nil
	}
	slices.Sort(differ)
	return endSilent, fmt.Sprintf("%d differ: %s", len(differ), strings.Join(differ[:min(len(differ), maxNamed)], "; ")), nil
}

// copiesIn is the folder in which copies are made: in memory if the machine has
// such a place, since each of them is written, synced and thrown away.
func copiesIn() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return filepath.Clean(os.TempDir())
}

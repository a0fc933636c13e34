package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ending is what came of one damage.
type ending string

const (
	endRefused  ending = "refused"  // the start names the file and goes no further
	endUnnamed  ending = "unnamed"  // the start is refused, but nobody learns which file it is
	endBlind    ending = "blind"    // the start is refused, and fsck finds nothing
	endUnread   ending = "unread"   // only what is damaged answers an error
	endFlagged  ending = "flagged"  // fsck --deep tells it, before a start and after it
	endHarmless ending = "harmless" // all content is there, byte for byte
	endSilent   ending = "silent"   // content differs, and nothing says so
	endCrash    ending = "crash"    // the process died
)

// good says whether an ending is one of those that are promised.
func (e ending) good() bool {
	switch e {
	case endRefused, endUnread, endFlagged, endHarmless:
		return true
	}
	return false
}

// looker examines copies of a data_dir. It is another process where damage may
// kill it: files of the records are mapped, and a bad page ends the process.
type looker interface {
	fsck(ctx context.Context, dir string) (verdict, error)
	look(ctx context.Context, dir string) (sight, error)
}

// errDied: the process that examined a copy is dead.
var errDied = errors.New("the process died")

// inside is a looker in this process.
type inside struct{}

func (inside) fsck(ctx context.Context, dir string) (verdict, error) { return fsckDeep(ctx, dir), nil }
func (inside) look(ctx context.Context, dir string) (sight, error)   { return look(ctx, dir) }

// reference is a data_dir with known content.
type reference struct {
	image   *image
	first   *content // as an undamaged start finds it
	content *content // the same without what each start changes
}

// newReference takes a stopped data_dir up. Every hash of the ledger, of whole
// messages or of their bodies, must be in it, so that the judge is not the store
// itself.
func newReference(ctx context.Context, im *image, ledger []string, with looker) (*reference, error) {
	r := &reference{image: im}
	var seen [2]*content
	for i := range seen {
		s, err := r.undamaged(ctx, with)
		if err != nil {
			return nil, err
		}
		seen[i] = s.Content
	}
	r.first, r.content = seen[0], seen[0].steady(seen[1])
	have := map[string]bool{}
	for _, sums := range r.content.Messages {
		whole, body, _ := strings.Cut(sums, " ")
		have[whole], have[body] = true, true
	}
	for _, s := range ledger {
		if !have[s] {
			return nil, fmt.Errorf("a message that was promised is not in the store: sha256 %s", s)
		}
	}
	return r, nil
}

func (r *reference) undamaged(ctx context.Context, with looker) (s sight, err error) {
	err = r.inCopy(damage{}, func(dir string) (err error) {
		if s, err = with.look(ctx, dir); err != nil {
			return err
		}
		v, err := with.fsck(ctx, dir)
		if err == nil && !v.good() {
			err = fmt.Errorf("the undamaged store is not in order: %s", v)
		}
		return err
	})
	if err == nil && (s.Refused != "" || len(s.Unread) > 0) {
		err = fmt.Errorf("the undamaged store is not in order: %s, %v", s.Refused, s.Unread)
	}
	return s, err
}

// inCopy calls fn with a damaged copy, which goes afterwards.
func (r *reference) inCopy(d damage, fn func(dir string) error) error {
	dir, err := os.MkdirTemp(copiesIn(), "pecstress-copy-")
	if err != nil {
		return err
	}
	err = r.image.write(dir, d)
	if err == nil {
		err = fn(dir)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// judge examines one damage. The appliance is started on the copy, and what that
// changed must not hide the damage from a fsck that comes afterwards. With first
// somebody lets fsck look before.
func (r *reference) judge(ctx context.Context, d damage, first bool, with looker) (e ending, why string, err error) {
	err = r.inCopy(d, func(dir string) (err error) {
		e, why, err = r.judgeCopy(ctx, d, dir, first, with)
		return err
	})
	if errors.Is(err, errDied) {
		return endCrash, err.Error(), nil
	}
	return e, why, err
}

func (r *reference) judgeCopy(ctx context.Context, d damage, dir string, first bool, with looker) (e ending, why string, err error) {
	var before verdict
	if first {
		if before, err = with.fsck(ctx, dir); err != nil {
			return "", "", err
		}
	}
	s, err := with.look(ctx, dir)
	if err != nil {
		return "", "", err
	}
	var named []string
	n := 0
	if s.Refused == "" {
		got := s.Content.without(r.content, r.first)
		if named, n = r.content.differs(got); n == 0 {
			return endHarmless, "", nil
		}
		if r.content.onlyUnread(got) {
			return endUnread, s.Unread[0], nil
		}
	}
	after, err := with.fsck(ctx, dir)
	if err != nil {
		return "", "", err
	}
	found := !before.good() || !after.good()
	switch {
	case s.Refused != "" && !r.image.namesFile(s.Refused, d.File):
		return endUnnamed, s.Refused, nil
	case s.Refused != "" && !found:
		return endBlind, s.Refused, nil
	case s.Refused != "":
		return endRefused, s.Refused, nil
	case found:
		return endFlagged, after.String(), nil
	}
	return endSilent, fmt.Sprintf("%d differ: %s", n, strings.Join(named, ", ")), nil
}

// namesFile says whether a refusal tells where to look: it names the file, or
// another one of the same folder that does not fit to it (a list of tables that
// was cut names what it does not have). Of a removed log nothing is left that
// could tell its number.
func (im *image) namesFile(text, file string) bool {
	if strings.Contains(text, "*"+filepath.Ext(file)) || filepath.Base(file) == "MANIFEST" && strings.Contains(text, ".sst is missing") {
		return true
	}
	for i := range im.files {
		if filepath.Dir(im.files[i].name) == filepath.Dir(file) && strings.Contains(text, filepath.Base(im.files[i].name)) {
			return true
		}
	}
	return false
}

// damageReport counts what came of all damages.
type damageReport struct {
	Tried  int                        `json:"tried"`
	Counts map[damageKind]endingTable `json:"counts"`
	Faults []string                   `json:"faults,omitempty"`
}

type endingTable map[ending]int

func newDamageReport() *damageReport { return &damageReport{Counts: map[damageKind]endingTable{}} }

// tryAll judges all damages with so many processes at a time.
func (r *reference) tryAll(ctx context.Context, all []damage, lookers []looker, each func(damage, ending, string)) (*damageReport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	report := newDamageReport()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
		errs []error
	)
	for _, with := range lookers {
		wg.Go(func() {
			for {
				mu.Lock()
				if next == len(all) || len(errs) > 0 {
					mu.Unlock()
					return
				}
				d, first := all[next], next%4 == 3
				next++
				mu.Unlock()
				e, why, err := r.judge(ctx, d, first, with)
				if err == nil {
					err = ctx.Err()
				}
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", d, err))
					cancel()
				} else {
					report.note(d, e, why)
					if each != nil {
						each(d, e, why)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return report, errors.Join(errs...)
}

// maxFaults bounds the faults that are listed; all are counted.
const maxFaults = 30

func (r *damageReport) note(d damage, e ending, why string) {
	r.Tried++
	if r.Counts[d.Kind] == nil {
		r.Counts[d.Kind] = endingTable{}
	}
	r.Counts[d.Kind][e]++
	if !e.good() && len(r.Faults) < maxFaults {
		r.Faults = append(r.Faults, fmt.Sprintf("%s: %s: %s", e, d, why))
	}
}

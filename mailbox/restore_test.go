package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/audit"
	"pecgate/mailbox/backup"
	"pecgate/mailbox/events"
	"pecgate/mailbox/kv"
)

// validities gives the UIDVALIDITY of every folder and view, by key.
func validities(t *testing.T, s *Store) map[string]uint32 {
	t.Helper()
	out := map[string]uint32{}
	err := s.View(context.Background(), func(tx *Tx) error {
		err := tx.r.Scan(key("f"), nil, func(k, _ []byte) (bool, error) {
			f, err := tx.folderByID(FolderID(tailUint64(k)))
			if err == nil {
				out[fmt.Sprint("folder ", f.ID)] = f.UIDValidity
			}
			return true, err
		})
		for prefix, at := range map[string]int{"v": 1, "av": 0} {
			err = errors.Join(err, tx.r.Scan(key(prefix), nil, func(k, v []byte) (bool, error) {
				out[fmt.Sprintf("view %q", k)] = binary.BigEndian.Uint32(v[at:])
				return true, nil
			}))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestK10_RestoreElsewhere restores an encrypted backup into another folder: not
// without the key, with it, with another UIDVALIDITY everywhere, and with an
// audit log that says what happened.
func TestK10_RestoreElsewhere(t *testing.T) {
	s, data := world(t)
	to, keys, secret := identity(t)
	_, others, _ := identity(t)
	dir := filepath.Join(t.TempDir(), "b")
	backupTo(t, s, backup.Options{Dir: dir, Recipients: to})
	backupTo(t, s, backup.Options{Dir: dir, Recipients: to})
	before := validities(t, s)
	sight := Sight{Person: person(t, s, "mario"), Role: func(Role) (Scope, bool) { return ScopeAll, true }}
	archive, err := s.Archive(context.Background(), box, Period{}, sight)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	walk(t, dir, func(path string, _ fs.FileInfo, b []byte) {
		for _, word := range []string{"mario", box, "Subject", "body of", "pecgate backup", secret, "queued"} {
			if strings.Contains(string(b), word) {
				t.Errorf("%s shows %q", path, word)
			}
		}
	})
	target := filepath.Join(t.TempDir(), "data")
	if _, err := tryRestore(dir, target, nil); !errors.Is(err, backup.ErrKeys) || !strings.Contains(err.Error(), "give --identity FILE") {
		t.Errorf("without a key: %v", err)
	}
	if _, err := tryRestore(dir, target, others); !errors.Is(err, backup.ErrKeys) || !strings.Contains(err.Error(), "for other keys than the ones given") {
		t.Errorf("with another key: %v", err)
	}
	if left := listing(t, target); len(left) > 0 {
		t.Errorf("a restore that was refused left %v", left)
	}
	if c := checkBackup(t, dir, nil); !c.OK() || c.Content || c.Parts == 0 {
		t.Errorf("files alone: %+v", c)
	}
	if c := checkBackup(t, dir, keys); !c.OK() || !c.Content || c.Messages != 4 {
		t.Errorf("with the key: %+v", c)
	}

	back, r, at := restoreTo(t, dir, keys)
	defer back.Close()
	if r.Messages != 4 || r.Run != 2 {
		t.Errorf("restored: %+v", r)
	}
	for _, name := range []string{"segments", auditKey, auditKey + ".pub", auditHeads} { // the records see to themselves
		walk(t, filepath.Join(at, name), func(string, fs.FileInfo, []byte) {})
	}
	if _, err := os.Stat(filepath.Join(at, restoringName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a restore works in is still there: %v", err)
	}
	oldKey, err1 := os.ReadFile(filepath.Join(data, auditKey))
	newKey, err2 := os.ReadFile(filepath.Join(at, auditKey))
	if err1 != nil || err2 != nil || string(oldKey) == string(newKey) {
		t.Errorf("the audit key came along, or there is none: %v %v", err1, err2)
	}

	top := uint32(0)
	for _, v := range before {
		top = max(top, v)
	}
	seen := map[uint32]string{}
	after := validities(t, back)
	for what, v := range after {
		if v <= top+leapLeast {
			t.Errorf("%s has UIDVALIDITY %d, before it was %d", what, v, before[what])
		}
		if seen[v] != "" {
			t.Errorf("%s and %s have UIDVALIDITY %d", what, seen[v], v)
		}
		seen[v] = what
	}
	if len(after) < 5 {
		t.Errorf("only %v", after)
	}
	again, err := back.Archive(context.Background(), box, Period{}, sight)
	if err != nil || again.UIDValidity <= top || again.UIDValidity == archive.UIDValidity || len(again.Lines) != len(archive.Lines) {
		t.Errorf("archive %+v, before %+v, %v", again, archive, err)
	}
	view := snapshot(t, back, inbox, Viewer{Person: person(t, back, "lucia")})
	if view.UIDValidity <= top {
		t.Errorf("view: UIDVALIDITY %d", view.UIDValidity)
	}

	report, err := back.VerifyAudit(context.Background(), nil)
	if err != nil || !report.OK() {
		t.Fatalf("audit log: %+v, %v", report, err)
	}
	told := slices.ContainsFunc(report.Findings, func(n audit.Note) bool {
		return strings.Contains(n.What, "another key signs") && strings.Contains(n.What, "a backup was restored")
	})
	if !told || report.Heads < 2 || report.Covered != report.Size {
		t.Errorf("the change of keys is not told, or the end not signed: %+v", report)
	}
	var line *AuditLine
	err = back.View(context.Background(), func(tx *Tx) error {
		at, pending, err := tx.Restored()
		if at.IsZero() || !pending || err != nil {
			t.Errorf("restored %v, pending %t, %v", at, pending, err)
		}
		return tx.AuditTail(func(_ uint64, l AuditLine) bool {
			if l.Event == "restored" {
				line = &l
			}
			return line == nil
		})
	})
	if err != nil || line == nil || line.From != "uid 0" || line.More["backup"] == "" {
		t.Errorf("audit line %+v, %v", line, err)
	}
	// The folder of before is not written on; the mark is taken away once.
	if _, err := tryBackup(back, backup.Options{Dir: dir, Recipients: to}); err == nil || !strings.Contains(err.Error(), backup.ErrOther.Error()) {
		t.Errorf("a backup of what was restored, into the folder it came from: %v", err)
	}
	if err := back.Update(context.Background(), (*Tx).RestoredDone); err != nil {
		t.Fatal(err)
	}
	err = back.View(context.Background(), func(tx *Tx) error {
		if at, pending, err := tx.Restored(); at.IsZero() || pending || err != nil {
			t.Errorf("done: %v, pending %t, %v", at, pending, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// UIDVALIDITY is renewed once, whatever interrupts it; and a backup that is
// restored twice does not give the same numbers twice.
func TestRestoreRenewsViewsOnce(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := context.Background()
	for i := range 3 * batch {
		id(t, s, FolderKey{Box: box, Role: RoleCustom, Name: fmt.Sprint("f", i)})
	}
	dir := filepath.Join(t.TempDir(), "b")
	backupTo(t, s, backup.Options{Dir: dir})
	before := validities(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	one, _, _ := restoreTo(t, dir, nil)
	defer one.Close()
	first := validities(t, one)
	two, _, _ := restoreTo(t, dir, nil)
	second := validities(t, two)
	for what := range before {
		if a, b := first[what], second[what]; a == b || a <= before[what] || b <= before[what] {
			t.Errorf("%s: %d, then %d and %d", what, before[what], a, b)
		}
	}
	// Opened again: nothing changes.
	if err := two.finishRestore(ctx); err != nil {
		t.Fatal(err)
	}
	for what, v := range validities(t, two) {
		if v != second[what] {
			t.Errorf("%s has changed again: %d, %d", what, second[what], v)
		}
	}
	// Interrupted after each piece: what was given stays.
	if err := two.Update(ctx, func(tx *Tx) error { return tx.markRestored(tx.now) }); err != nil {
		t.Fatal(err)
	}
	base := uint32(0)
	for pieces := 1; ; pieces++ {
		n := 0
		stopped, cancel := context.WithCancel(ctx)
		cut := &Store{opt: two.opt, records: stopAfter{two.records, func() {
			if n++; n > pieces {
				cancel()
			}
		}}, audit: two.audit, failed: make(chan error, 1)}
		cut.space.s = cut
		err := cut.finishRestore(stopped)
		cancel()
		var m restoredMark
		if verr := two.View(ctx, func(tx *Tx) (err error) { m, err = tx.restored(); return err }); verr != nil {
			t.Fatal(verr)
		}
		if base != 0 && m.Base != base {
			t.Fatalf("it began anew: %d, %d", base, m.Base)
		}
		base = m.Base
		if err == nil {
			break
		}
		if pieces > 50 {
			t.Fatal(err)
		}
	}
	third := validities(t, two)
	seen := map[uint32]bool{}
	for what, v := range third {
		if v < base || seen[v] {
			t.Errorf("%s: UIDVALIDITY %d, base %d, given before: %t", what, v, base, seen[v])
		}
		seen[v] = true
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreRefusesWhatIsNotWhole damages each part of a backup in each way:
// it is named, and nothing stands where the store would.
func TestRestoreRefusesWhatIsNotWhole(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, inbox, text("first"), Filing{})
	put(t, s, inbox, text("large")+strings.Repeat("0123456789abcdef\r\n", 60_000), Filing{})
	to, keys, _ := identity(t)
	plain, sealed := filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "sealed")
	if err := s.SignAudit(context.Background()); err != nil { // no part is empty then
		t.Fatal(err)
	}
	for range 2 {
		backupTo(t, s, backup.Options{Dir: plain})
		backupTo(t, s, backup.Options{Dir: sealed, Recipients: to})
		put(t, s, inbox, text("second"), Filing{})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, from := range []string{plain, sealed} {
		names := []string{"backup.json"}
		for _, p := range manifest(t, from).Parts {
			names = append(names, p.Name)
		}
		for _, name := range names {
			path := filepath.Join(from, name)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for what, damage := range map[string]func(){
				"flipped at the beginning": func() { flipAt(t, path, whole, 0) },
				"flipped in the middle":    func() { flipAt(t, path, whole, len(whole)/2) },
				"flipped at the end":       func() { flipAt(t, path, whole, len(whole)-1) },
				"cut":                      func() { overwrite(t, path, string(whole[:len(whole)-1])) },
				"longer":                   func() { overwrite(t, path, string(whole)+"x") },
				"empty":                    func() { overwrite(t, path, "") },
				"missing":                  func() { unlink(t, path) },
			} {
				if from == sealed && what != "missing" && what != "flipped in the middle" && what != "cut" {
					continue
				}
				damage()
				tried++
				target := filepath.Join(t.TempDir(), "data")
				_, err := tryRestore(from, target, keys)
				if err == nil || !strings.Contains(err.Error(), name) && !(name == "backup.json" && errors.Is(err, backup.ErrNone)) {
					t.Errorf("%s, %s: %v", name, what, err)
				}
				if left := listing(t, target); len(left) > 0 {
					t.Errorf("%s, %s: it left %v", name, what, left)
				}
				if name != "backup.json" {
					if c := checkBackup(t, from, keys); c.OK() || len(c.Bad) == 0 || c.Bad[0].Name != name {
						t.Errorf("%s, %s: the check says %+v", name, what, c)
					}
				}
				overwrite(t, path, string(whole))
			}
		}
	}
	if tried < 75 {
		t.Errorf("only %d ways", tried)
	}
	if _, err := tryRestore(plain, filepath.Join(t.TempDir(), "data"), nil); err != nil {
		t.Errorf("whole again: %v", err)
	}
}

func flipAt(t *testing.T, path string, whole []byte, at int) {
	t.Helper()
	b := slices.Clone(whole)
	b[at] ^= 0x20
	overwrite(t, path, string(b))
}

// TestRestoreOverwritesNothing also goes on where it was interrupted.
func TestRestoreOverwritesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, inbox, text("first"), Filing{})
	from := filepath.Join(t.TempDir(), "b")
	backupTo(t, s, backup.Options{Dir: from})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	overwrite(t, filepath.Join(full, "ballast"), "x")
	if _, err := tryRestore(from, full, nil); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "holds ballast; a restore overwrites nothing") {
		t.Errorf("something is there: %v", err)
	}
	if got := listing(t, full); !slices.Equal(got, []string{"/ballast"}) {
		t.Errorf("it holds %v", got)
	}

	// Interrupted in the middle: the store is not opened, and the next one begins
	// anew.
	target := t.TempDir()
	if err := os.MkdirAll(filepath.Join(target, restoringName, "segments"), 0o700); err != nil {
		t.Fatal(err)
	}
	overwrite(t, filepath.Join(target, restoringName, "audit.heads"), "x")
	if _, err := Open(Options{Dir: target}); !errors.Is(err, ErrRestoring) {
		t.Errorf("opened beside an unfinished restore: %v", err)
	}
	if _, err := tryRestore(from, target, nil); err != nil {
		t.Errorf("again: %v", err)
	}

	// Interrupted in the last step, after each of its moves.
	for moves := 0; ; moves++ {
		target := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(target, 0o700); err != nil {
			t.Fatal(err)
		}
		src, err := backup.Read(from, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &restore{
			ctx: context.Background(), o: Options{Dir: target, Now: time.Now, Events: events.Discard(), Free: func() (DiskFree, error) { return diskFree(target) }},
			how: RestoreOptions{Own: func(string) error { return nil }, Progress: func(int64) {}},
			src: src, dir: filepath.Join(target, restoringName), report: &RestoreReport{},
		}
		if err := r.fill(); err != nil {
			t.Fatal(err)
		}
		names := []string{"segments", "audit.key", "audit.key.pub", "audit.heads", "records"}
		for _, name := range names[:min(moves, len(names))] {
			if err := os.Rename(filepath.Join(r.dir, name), filepath.Join(target, name)); err != nil {
				t.Fatal(err)
			}
		}
		if moves > len(names) {
			unlink(t, filepath.Join(r.dir, completeName))
		}
		if _, err := Open(Options{Dir: target}); !errors.Is(err, ErrRestoring) {
			t.Errorf("%d moves: opened: %v", moves, err)
		}
		again, err := tryRestore(from, target, nil)
		if err != nil || !again.Resumed {
			t.Fatalf("%d moves: %+v, %v", moves, again, err)
		}
		back := open(t, target)
		if got := content(t, back, 1); got != text("first") {
			t.Errorf("%d moves: another message", moves)
		}
		if err := back.Close(); err != nil {
			t.Fatal(err)
		}
		if moves > len(names) {
			break
		}
	}
}

// A disk that cannot hold the backup is refused before anything is written.
func TestRestoreNeedsRoom(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, inbox, text("first"), Filing{})
	from := filepath.Join(t.TempDir(), "b")
	backupTo(t, s, backup.Options{Dir: from})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	src, err := backup.Read(from, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	o := Options{Dir: dir, MinFree: 1000, Free: func() (DiskFree, error) { return DiskFree{Bytes: src.Manifest().Bytes() + 999, Inodes: -1}, nil }}
	_, err = Restore(context.Background(), o, RestoreOptions{Source: src})
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "are free on the disk of "+dir) {
		t.Error(err)
	}
	if left := listing(t, dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

// stopAfter calls done after each commit.
type stopAfter struct {
	kv.Store
	done func()
}

func (s stopAfter) Update(ctx context.Context, fn func(kv.Txn) error) error {
	defer s.done()
	return s.Store.Update(ctx, fn)
}

package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog" // to forge a whole tree

	"pecgate/mailbox/kv"
)

// raw is a line as the records hold it.
type raw struct{ hashes, text []byte }

func (h *house) raws(r kv.Reader) (out []raw) {
	size := must[int64](h.t)(h.Size(r))
	for n := range size {
		text, err := r.Get(h.Log.key(kindEntry, n))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			h.t.Fatal(err)
		}
		out = append(out, raw{must[[]byte](h.t)(r.Get(h.Log.key(kindHash, n))), text})
	}
	return out
}

// write puts lines in the place of all others; the state counts them if it is
// told to.
func (h *house) write(tx kv.Txn, lines []raw, count bool) error {
	s, err := h.state(tx)
	if err != nil {
		return err
	}
	for n := range max(s.size, int64(len(lines))) {
		for kind, value := range map[byte]func() []byte{
			kindHash:  func() []byte { return lines[n].hashes },
			kindEntry: func() []byte { return lines[n].text },
		} {
			k := h.Log.key(kind, n)
			old, err := tx.Get(k)
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			switch {
			case n >= int64(len(lines)) || value() == nil:
				err = tx.Delete(k)
			case errors.Is(err, kv.ErrNotFound) || !bytes.Equal(old, value()):
				err = tx.Put(k, value())
			default:
				err = nil
			}
			if err != nil {
				return err
			}
		}
	}
	if !count {
		return nil
	}
	s.size, s.last = int64(len(lines)), tlog.Hash{}
	if len(lines) > 0 {
		copy(s.last[:], lines[len(lines)-1].hashes)
	}
	return tx.Put(h.prefix[kindState], s.bytes())
}

// forge makes numbers, chain and tree anew over these texts, as one does who
// has everything but the key.
func forge(t testing.TB, lines []raw) (out []raw) {
	var all []tlog.Hash
	prev := ""
	for n, old := range lines {
		w := must[*written](t)(parse(old.text[saltSize:]))
		record := append(bytes.Clone(old.text[:saltSize]), text(int64(n), prev, w.Entry)...)
		at := leaf(record[:saltSize], record[saltSize:])
		hashes := must[[]tlog.Hash](t)(tlog.StoredHashesForRecordHash(int64(n), at, tlog.HashReaderFunc(func(ix []int64) (got []tlog.Hash, _ error) {
			for _, i := range ix {
				got = append(got, all[i])
			}
			return got, nil
		})))
		all = append(all, hashes...)
		var b []byte
		for _, x := range hashes {
			b = append(b, x[:]...)
		}
		out, prev = append(out, raw{b, record}), at.String()
	}
	return out
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at%len(b)] ^= 1
	return b
}

// changed is a line with another result, well formed.
func changed(old raw) raw {
	return raw{old.hashes, bytes.Replace(old.text, []byte(`"result":"queued"`), []byte(`"result":"denied"`), 1)}
}

// TestS7_EveryLine alters, removes, swaps, inserts and cuts at each line once.
// Each is found, and by its number.
func TestS7_EveryLine(t *testing.T) {
	h := newHouse(t)
	for _, n := range []int{7, 13, 12, 6} { // heads over 7, 20, 32 and 38 entries
		h.fill(n)
		h.head()
	}
	h.good()
	var lines []raw
	h.view(func(r kv.Reader) error { lines = h.raws(r); return nil })
	covered := func(n int) int { // the head below which n stands
		switch {
		case n < 7:
			return 0
		case n < 20:
			return 7
		case n < 32:
			return 20
		}
		return 32
	}
	at := func(n int) int { return n }
	last := len(lines) - 1
	for _, c := range []struct {
		name   string
		change func(ls []raw, n int) []raw
		count  bool            // the state is made to fit
		first  func(n int) int // where the first fault must be
	}{
		{"a text", func(ls []raw, n int) []raw { ls[n] = changed(ls[n]); return ls }, false, at},
		{"a byte of a text", func(ls []raw, n int) []raw { ls[n].text = flip(ls[n].text, saltSize+7*n); return ls }, false, at},
		{"a salt", func(ls []raw, n int) []raw { ls[n].text = flip(ls[n].text, n%saltSize); return ls }, false, at},
		{"a leaf", func(ls []raw, n int) []raw { ls[n].hashes = flip(ls[n].hashes, n%32); return ls }, false, at},
		{"the last hash", func(ls []raw, n int) []raw { ls[n].hashes = flip(ls[n].hashes, len(ls[n].hashes)-1); return ls }, false, at},
		{"a hash too many", func(ls []raw, n int) []raw { ls[n].hashes = append(bytes.Clone(ls[n].hashes), 1); return ls }, false, at},
		{"a hash cut", func(ls []raw, n int) []raw { ls[n].hashes = ls[n].hashes[:len(ls[n].hashes)-1]; return ls }, false, at},
		{"a text emptied", func(ls []raw, n int) []raw { ls[n].text = []byte{}; return ls }, false, at},
		{"a text cut", func(ls []raw, n int) []raw { ls[n].text = ls[n].text[:len(ls[n].text)-1]; return ls }, false, at},
		{"a text removed", func(ls []raw, n int) []raw { ls[n].text = nil; return ls }, false, at},
		{"hashes removed", func(ls []raw, n int) []raw { ls[n].hashes = nil; return ls }, false, at},
		{"both removed", func(ls []raw, n int) []raw { ls[n] = raw{}; return ls }, false, at},
		{"removed and closed up", func(ls []raw, n int) []raw { return slices.Delete(ls, n, n+1) }, true, at},
		{"texts swapped", func(ls []raw, n int) []raw {
			o := (n + 1) % len(ls)
			ls[n].text, ls[o].text = ls[o].text, ls[n].text
			return ls
		}, false, func(n int) int { return min(n, (n+1)%(last+1)) }},
		{"lines swapped", func(ls []raw, n int) []raw {
			o := (n + 17) % len(ls)
			ls[n], ls[o] = ls[o], ls[n]
			return ls
		}, false, func(n int) int { return min(n, (n+17)%(last+1)) }},
		{"a copy inserted", func(ls []raw, n int) []raw { return slices.Insert(ls, n, ls[n]) }, true, func(n int) int { return n + 1 }},
		{"cut, not counted", func(ls []raw, n int) []raw { return ls[:n] }, false, at},
		{"cut", func(ls []raw, n int) []raw { return ls[:n] }, true, at},
		{"altered, all forged", func(ls []raw, n int) []raw { ls[n] = changed(ls[n]); return forge(t, ls) }, true, covered},
		{"altered, forged up to the next", func(ls []raw, n int) []raw {
			ls[n] = changed(ls[n])
			return append(forge(t, ls[:n+1]), ls[n+1:]...)
		}, true, func(n int) int {
			if n+1 == 7 || n+1 == 20 || n+1 == 32 || n == last { // the next one is behind a head
				return covered(n)
			}
			return n + 1
		}},
		{"removed, all forged", func(ls []raw, n int) []raw { return forge(t, slices.Delete(ls, n, n+1)) }, true, func(n int) int {
			if n >= 32 { // no head over fewer entries than are left
				return last
			}
			return covered(n)
		}},
		{"inserted, all forged", func(ls []raw, n int) []raw { return forge(t, slices.Insert(ls, n, ls[(n+5)%len(ls)])) }, true, covered},
		{"swapped, all forged", func(ls []raw, n int) []raw {
			o := (n + 17) % len(ls)
			ls[n], ls[o] = ls[o], ls[n]
			return forge(t, ls)
		}, true, func(n int) int { return covered(min(n, (n+17)%(last+1))) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.t = t
			for n := range lines {
				ls := c.change(slices.Clone(lines), n)
				r := h.tampered(nil, func(tx kv.Txn) error { return h.write(tx, ls, c.count) })
				if r.OK() {
					t.Fatalf("line %d: not found", n)
				}
				if first := r.First(); first.Entry != int64(c.first(n)) {
					t.Errorf("line %d: want %d, got %v", n, c.first(n), r.Faults)
				}
				for _, f := range r.Faults {
					if strings.Contains(f.What, "queued") || strings.Contains(f.What, "denied") || strings.Contains(f.What, "mario") {
						t.Errorf("line %d: a report shows a text: %v", n, f)
					}
				}
			}
		})
	}
	h.t = t
	h.good()
}

// TestS7_RolledBack: records, heads and state of an older day are one sound
// log. Only the file of heads, or a head that was kept elsewhere, knows.
func TestS7_RolledBack(t *testing.T) {
	h := newHouse(t)
	h.fill(20)
	h.head()
	older := map[string][]byte{}
	h.view(func(r kv.Reader) error {
		return r.Scan([]byte("a/"), nil, func(k, v []byte) (bool, error) { older[string(k)] = bytes.Clone(v); return true, nil })
	})
	h.fill(20)
	kept := h.head()
	h.update(func(tx kv.Txn) error {
		var all [][]byte
		err := tx.Scan([]byte("a/"), nil, func(k, _ []byte) (bool, error) { all = append(all, bytes.Clone(k)); return true, nil })
		for _, k := range all {
			err = errors.Join(err, tx.Delete(k))
		}
		for k, v := range older {
			err = errors.Join(err, tx.Put([]byte(k), v))
		}
		return err
	})
	if r := h.verify(); r.OK() || r.First().Entry != 20 || r.Heads != 1 || r.InFile != 1 {
		t.Errorf("%+v", r)
	}
	again := h.log("a/", h.key())
	if err := again.Start(context.Background(), h.store); !errors.Is(err, ErrRolledBack) {
		t.Errorf("start: %v", err)
	}
	if _, err := again.Head(context.Background(), h.store); !errors.Is(err, ErrRolledBack) {
		t.Errorf("a head over a log that was rolled back: %v", err)
	}
	// The log grows again to where it was: the root is another.
	h.fill(20)
	if err := again.Start(context.Background(), h.store); !errors.Is(err, ErrRolledBack) {
		t.Errorf("start: %v", err)
	}
	if r := h.verify(); r.OK() || r.First().Entry != 20 {
		t.Errorf("%+v", r)
	}
	// A person decides that it is good (a restored backup).
	if err := again.Renew(context.Background(), h.store); err != nil {
		t.Fatal(err)
	}
	if old := must[[]string](t)(filepath.Glob(h.opt.File + ".2*Z")); len(old) != 1 || len(must[[]string](t)(readHeads(old[0]))) != 2 {
		t.Errorf("the old file: %v", old)
	}
	if head := must[Head](t)(again.Head(context.Background(), h.store)); head.Number != 1 || head.Size != 40 {
		t.Errorf("%+v", head)
	}
	h.good()
	h.view(func(r kv.Reader) error {
		if _, err := h.ProveGrowth(r, kept, must[Head](t)(h.Newest(r))); !errors.Is(err, ErrProof) {
			t.Errorf("the head that was kept elsewhere: %v", err)
		}
		return nil
	})
}

// TestS7_Heads: each head altered, removed, swapped, put for another.
func TestS7_Heads(t *testing.T) {
	h := newHouse(t)
	var heads []Head
	for range 5 {
		h.fill(7)
		heads = append(heads, h.head())
	}
	file := must[[]string](t)(readHeads(h.opt.File))
	if len(file) != 5 {
		t.Fatalf("%d lines", len(file))
	}
	put := func(n int, note string) func(tx kv.Txn) error {
		return func(tx kv.Txn) error { return tx.Put(h.Log.key(kindHead, int64(n)), []byte(note)) }
	}
	nothing := func(tx kv.Txn) error { return nil }
	stranger := must[*Key](t)(OpenKey(t.TempDir()+"/other.key", "pecgate.example"))
	resigned := func(n int, k *Key) string { // over a root of its own
		o := must[*Log](t)(New(Options{Prefix: []byte("b/"), Key: k, Now: func() time.Time { return heads[n].At }}))
		var note string
		undo := errors.New("undo")
		err := h.store.Update(context.Background(), func(tx kv.Txn) error {
			for i := range heads[n].Size {
				if _, err := o.Append(tx, entry(int(i))); err != nil {
					return err
				}
			}
			if err := tx.Put(o.prefix[kindState], state{size: heads[n].Size, heads: int64(n)}.bytes()); err != nil {
				return err
			}
			if n > 0 {
				if err := tx.Put(o.key(kindHead, int64(n-1)), []byte(heads[n-1].Note)); err != nil {
					return err
				}
			}
			head, err := o.sign(tx)
			note = head.Note
			return errors.Join(err, undo)
		})
		if !errors.Is(err, undo) {
			t.Fatal(err)
		}
		return note
	}
	for n := range heads {
		other := (n + 1) % len(heads)
		alteredFile := slices.Clone(file)
		alteredFile[n] = strings.Replace(file[n], "head", "hood", 1)
		for name, c := range map[string]struct {
			file   []string
			change func(tx kv.Txn) error
		}{
			"altered":               {nil, put(n, string(flip([]byte(heads[n].Note), 20)))},
			"signature altered":     {nil, put(n, string(flip([]byte(heads[n].Note), len(heads[n].Note)-20)))},
			"emptied":               {nil, put(n, "")},
			"another one":           {nil, put(n, heads[other].Note)},
			"signed by a stranger":  {nil, put(n, resigned(n, stranger))},
			"signed for other text": {nil, put(n, resigned(n, h.opt.Key))},
			"removed":               {nil, func(tx kv.Txn) error { return tx.Delete(h.Log.key(kindHead, int64(n))) }},
			"removed from there on": {nil, func(tx kv.Txn) error {
				s := must[state](t)(h.state(tx))
				var err error
				for i := int64(n); i < s.heads; i++ {
					err = errors.Join(err, tx.Delete(h.Log.key(kindHead, i)))
				}
				s.heads = int64(n)
				return errors.Join(err, tx.Put(h.prefix[kindState], s.bytes()))
			}},
			"line altered":          {alteredFile, nothing},
			"line removed":          {slices.Delete(slices.Clone(file), n, n+1), nothing},
			"line doubled":          {slices.Insert(slices.Clone(file), n, file[n]), nothing},
			"line is no note":       {slices.Insert(slices.Clone(file), n, ""), nothing},
			"lines swapped":         {func() []string { f := slices.Clone(file); f[n], f[other] = f[other], f[n]; return f }(), nothing},
			"line signed otherwise": {func() []string { f := slices.Clone(file); f[n] = resigned(n, h.opt.Key); return f }(), nothing},
		} {
			r := h.tampered(c.file, c.change)
			if r.OK() && !(name == "line removed" && n == len(heads)-1 && r.Found == 1) { // a crash leaves the same; the records have it
				t.Errorf("%s, head %d: not found", name, n)
			}
		}
	}
	for name, change := range map[string]func(tx kv.Txn) error{
		"one more":         put(5, heads[4].Note),
		"one far off":      put(1<<39, heads[4].Note),
		"a key too long":   func(tx kv.Txn) error { return tx.Put(append(h.Log.key(kindHead, 2), 1), nil) },
		"a key too short":  func(tx kv.Txn) error { return tx.Put(h.prefix[kindHead], nil) },
		"more are counted": func(tx kv.Txn) error { return tx.Put(h.prefix[kindState], state{35, 1 << 39, tlog.Hash{}}.bytes()) },
		"more entries":     func(tx kv.Txn) error { return tx.Put(h.prefix[kindState], state{1 << 39, 5, tlog.Hash{}}.bytes()) },
		"a text far off":   func(tx kv.Txn) error { return tx.Put(h.Log.key(kindEntry, 1<<39), make([]byte, 99)) },
		"hashes far off":   func(tx kv.Txn) error { return tx.Put(h.Log.key(kindHash, 1<<39), make([]byte, 32)) },
		"a text behind":    func(tx kv.Txn) error { return tx.Put(h.Log.key(kindEntry, 35), make([]byte, 99)) },
		"a text beside":    func(tx kv.Txn) error { return tx.Put(append(h.Log.key(kindEntry, 30), 0), make([]byte, 99)) },
		"texts beside":     func(tx kv.Txn) error { return tx.Put(h.prefix[kindEntry], nil) },
		"another last": func(tx kv.Txn) error {
			s := must[state](t)(h.state(tx))
			s.last[3] ^= 1
			return tx.Put(h.prefix[kindState], s.bytes())
		},
	} {
		if r := h.tampered(nil, change); r.OK() {
			t.Errorf("%s: not found", name)
		}
	}
	h.good()
	if err := os.Remove(h.opt.File); err != nil {
		t.Fatal(err)
	}
	if r := h.verify(); r.OK() || len(r.Faults) != 1 {
		t.Errorf("without the file: %+v", r)
	}
}

// TestJ2_ClockWentBack: numbers rise all the same; it is a finding, no fault.
func TestJ2_ClockWentBack(t *testing.T) {
	h := newHouse(t)
	h.fill(3)
	h.update(func(tx kv.Txn) error {
		_, err := h.Append(tx, Entry{At: time.Unix(0, 0), Event: "start"})
		return err
	})
	h.fill(1)
	r := h.verify()
	if !r.OK() || r.Found != 1 || r.Findings[0].Entry != 3 {
		t.Errorf("%+v", r)
	}
	if b := must[[]byte](t)(json.Marshal(r)); !bytes.Contains(b, []byte(`"finding_count":1`)) {
		t.Errorf("%s", b)
	}
}

// TestManyFaults: a report stays small and counts all.
func TestManyFaults(t *testing.T) {
	h := newHouse(t)
	h.fill(300)
	r := h.tampered([]string{}, func(tx kv.Txn) (err error) {
		for n := range int64(300) {
			err = errors.Join(err, tx.Put(h.Log.key(kindEntry, n), []byte(fmt.Sprint("rubbish that is no entry ", n))))
		}
		return err
	})
	if r.Faulty < 600 || len(r.Faults) != maxNotes || r.First().Entry != 0 || !slices.IsSortedFunc(r.Faults, func(a, b Note) int { return int(a.Entry - b.Entry) }) {
		t.Errorf("%d faults, %d shown", r.Faulty, len(r.Faults))
	}
}

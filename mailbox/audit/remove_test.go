package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid" // makes lists of runs

	"pecgate/mailbox/kv"
)

// retire removes the texts that gone names, as the appliance's retention does,
// and returns how many.
func (h *house) retire(gone func(Line) bool) (removed int) {
	h.t.Helper()
	for from := int64(0); ; {
		var numbers []int64
		var next, size int64
		h.view(func(r kv.Reader) (err error) {
			size = must[int64](h.t)(h.Size(r))
			numbers, next, err = h.Outdated(r, from, gone)
			return err
		})
		if len(numbers) > 0 {
			h.update(func(tx kv.Txn) error {
				_, err := h.Remove(tx, numbers, Entry{At: noon.AddDate(1, 0, 0), Actor: "retention", Reason: "21d"})
				return err
			})
			removed += len(numbers)
		}
		if next >= size {
			return removed
		}
		from = next
	}
}

// TestS6_Retention: texts go under their own retention, nothing of them stays,
// and all still verifies.
func TestS6_Retention(t *testing.T) {
	h := newHouse(t)
	h.fill(1200)
	early := h.head()
	var salt, words []byte
	h.view(func(r kv.Reader) error {
		b := must[[]byte](t)(r.Get(h.Log.key(kindEntry, 7)))
		salt, words = b[:saltSize], b[saltSize:]
		return nil
	})
	n := h.retire(func(l Line) bool { return l.Number < 1000 && l.Number%10 != 0 })
	if n != 900 {
		t.Errorf("%d were removed", n)
	}
	n = h.retire(func(l Line) bool { return l.Number < 500 })
	if n != 50 {
		t.Errorf("%d were removed", n)
	}
	late := h.head()
	r := h.good()
	if r.Removed != 950 || r.Covered != r.Size || r.Texts != r.Size-950 {
		t.Errorf("%+v", r)
	}
	h.view(func(r kv.Reader) error {
		if _, err := h.Get(r, 7); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("entry 7: %v", err)
		}
		err := r.Scan([]byte("a/"), nil, func(_, v []byte) (bool, error) {
			if bytes.Contains(v, salt) || bytes.Contains(v, words) || bytes.Contains(v, []byte("S00000007")) {
				t.Error("something of entry 7 is left")
			}
			return true, nil
		})
		// What went is still proven to have stood there, and so is its neighbour.
		p := must[*Proof](t)(h.Prove(r, late, 7, 1001))
		_, lines, err2 := p.Check(h.opt.Key.Public())
		if err2 != nil || lines[0].Event != "" || lines[1].Subject != "S00001001" {
			t.Errorf("%+v %v", lines, err2)
		}
		_, err3 := h.ProveGrowth(r, early, late)
		return errors.Join(err, err3)
	})
	// One more that goes without being named is found.
	bad := h.tampered(nil, func(tx kv.Txn) error { return tx.Delete(h.Log.key(kindEntry, 550)) })
	if bad.OK() || bad.First().Entry != 550 {
		t.Errorf("%+v", bad)
	}
	// One that a store brings back is worth knowing.
	back := h.tampered(nil, func(tx kv.Txn) error { return tx.Put(h.Log.key(kindEntry, 7), append(salt, words...)) })
	if !back.OK() || back.Found != 1 || back.Findings[0].Entry != 7 {
		t.Errorf("%+v", back)
	}
	// One that comes back as something else is found.
	other := h.tampered(nil, func(tx kv.Txn) error {
		return tx.Put(h.Log.key(kindEntry, 7), append(bytes.Clone(salt), bytes.Replace(words, []byte("mario"), []byte("lucia"), 1)...))
	})
	if other.OK() || other.First().Entry != 7 {
		t.Errorf("%+v", other)
	}
}

func TestNotRemovable(t *testing.T) {
	h := newHouse(t)
	h.fill(1100)
	by := Entry{At: noon.AddDate(1, 0, 0), Actor: "retention"}
	var said int64
	h.update(func(tx kv.Txn) (err error) { said, err = h.Remove(tx, []int64{5, 6, 7, 9}, by); return err })
	h.view(func(r kv.Reader) error {
		e := must[Entry](t)(h.Get(r, said))
		if e.Event != removal || e.More["numbers"] != "5-7,9" || e.More["count"] != "4" {
			t.Errorf("%+v", e)
		}
		return nil
	})
	var many, scattered []int64
	for i := range int64(501) {
		many, scattered = append(many, i), append(scattered, 2*i)
	}
	for name, numbers := range map[string][]int64{
		"none": nil, "negative": {-1}, "behind the end": {5000}, "descending": {4, 3}, "twice": {4, 4}, "too many": many,
		"too long a list": scattered[:400], "a removal": {said},
	} {
		h.update(func(tx kv.Txn) error {
			if _, err := h.Remove(tx, numbers, by); !errors.Is(err, ErrRemoval) {
				t.Errorf("%s: %v", name, err)
			}
			return nil
		})
	}
	h.update(func(tx kv.Txn) error { _, err := h.Remove(tx, []int64{6, 10}, by); return err }) // 6 went before
	if r := h.good(); r.Removed != 5 {
		t.Errorf("%+v", r)
	}
	// Scattered numbers make long lists, which are cut in time.
	if n := h.retire(func(l Line) bool { return l.Number > 100 && l.Number < 1100 && l.Number%2 == 0 }); n != 499 {
		t.Errorf("%d were removed", n)
	}
	if r := h.good(); r.Removed != 504 || r.Size != 1100+2+2 {
		t.Errorf("%+v", r)
	}
	// A removal that names what cannot be is a fault of the log.
	for _, list := range []string{"", "x", "3-", "3-2", "5,4", "4,4", "1200", "-1", "1-9999"} {
		if _, err := parseRuns(list, 1000); err == nil {
			t.Errorf("%q was read", list)
		}
	}
}

// TestRuns holds the arithmetic of runs against sets.
func TestRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lists := rapid.SliceOfN(rapid.SliceOfDistinct(rapid.Int64Range(0, 40), rapid.ID), 3, 3).Draw(t, "lists")
		sets := make([]map[int64]bool, 3)
		for i, l := range lists {
			slices.Sort(l)
			sets[i] = map[int64]bool{}
			for _, n := range l {
				sets[i][n] = true
			}
		}
		cover := join(append(runs(lists[1]), runs(lists[2])...))
		var got, want []int64
		for _, r := range without(runs(lists[0]), cover) {
			for n := r.first; n <= r.last; n++ {
				got = append(got, n)
			}
		}
		for _, n := range lists[0] {
			if !sets[1][n] && !sets[2][n] {
				want = append(want, n)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v want %v", got, want)
		}
		if len(lists[0]) > 0 {
			back, err := parseRuns(writeRuns(runs(lists[0])), 41)
			if err != nil || fmt.Sprint(back) != fmt.Sprint(runs(lists[0])) {
				t.Fatalf("%v %v", back, err)
			}
		}
	})
}

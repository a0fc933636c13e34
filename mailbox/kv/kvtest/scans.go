package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox/kv"
)

func scan(t *testing.T, open Open) {
	s := store(t, open)
	view(t, s, func(r kv.Reader) error {
		return errors.Join(expectList(r, "", "", ""), expectBack(r, "", ""), expectList(r, "m", "", ""), expectBack(r, "m", ""))
	})
	fill(t, s, "l", "0", "m", "1", "m1", "2", "m10", "3", "m2", "4", "n", "5")
	check := func(r kv.Reader) error {
		return errors.Join(
			expectList(r, "", "", "l=0 m=1 m1=2 m10=3 m2=4 n=5 "),
			expectList(r, "m", "", "m=1 m1=2 m10=3 m2=4 "),
			expectList(r, "m", "a", "m=1 m1=2 m10=3 m2=4 "),
			expectList(r, "m", "m1", "m1=2 m10=3 m2=4 "),
			expectList(r, "m", "m11", "m2=4 "),
			expectList(r, "m", "m3", ""),
			expectList(r, "m", "z", ""),
			expectList(r, "m1", "m", "m1=2 m10=3 "),
			expectList(r, "x", "", ""),
			expectBack(r, "", "n=5 m2=4 m10=3 m1=2 m=1 l=0 "),
			expectBack(r, "m", "m2=4 m10=3 m1=2 m=1 "),
			expectBack(r, "m1", "m10=3 m1=2 "),
			expectBack(r, "n", "n=5 "),
			expectBack(r, "a", ""),
			expectBack(r, "x", ""),
		)
	}
	view(t, s, check)
	update(t, s, func(tx kv.Txn) error { return check(tx) })
}

// scanMerges: a scan in Update shows the state with fn's own writes in it.
func scanMerges(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "k2", "old", "k4", "old", "k6", "old", "k8", "old")
	check := func(r kv.Reader) error {
		return errors.Join(
			expectList(r, "k", "", "k1=new k3=new k4=NEW k6=old k9=new "),
			expectList(r, "k", "k4", "k4=NEW k6=old k9=new "),
			expectBack(r, "k", "k9=new k6=old k4=NEW k3=new k1=new "),
			expectBack(r, "k3", "k3=new "),
			expectList(r, "k2", "", ""), expectBack(r, "k8", ""))
	}
	update(t, s, func(tx kv.Txn) error {
		err := errors.Join(
			tx.Put([]byte("k9"), []byte("new")), tx.Put([]byte("k1"), []byte("new")), tx.Put([]byte("k3"), []byte("new")),
			tx.Put([]byte("k4"), []byte("NEW")), tx.Delete([]byte("k2")), tx.Delete([]byte("k8")), tx.Delete([]byte("k7")),
			tx.Put([]byte("j"), []byte("outside")), tx.Put([]byte("l"), []byte("outside")))
		return errors.Join(err, check(tx))
	})
	view(t, s, check)
}

func scanStops(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "a", "1", "b", "2", "c", "3")
	sorry := errors.New("sorry")
	for _, where := range []string{"view", "update"} {
		check := func(r kv.Reader) error {
			seen := 0
			stop := func(k, v []byte) (bool, error) { seen++; return seen < 2, nil }
			if err := r.Scan(nil, nil, stop); err != nil || seen != 2 {
				return fmt.Errorf("scan stopped after %d: %v", seen, err)
			}
			seen = 0
			if err := r.ScanBack(nil, stop); err != nil || seen != 2 {
				return fmt.Errorf("scan back stopped after %d: %v", seen, err)
			}
			fails := func(k, v []byte) (bool, error) { return true, sorry }
			if err := r.Scan(nil, nil, fails); err != sorry {
				return fmt.Errorf("scan: %v, want the error as it is", err)
			}
			if err := r.ScanBack(nil, fails); err != sorry {
				return fmt.Errorf("scan back: %v, want the error as it is", err)
			}
			return r.Scan([]byte("a"), nil, func(k, v []byte) (bool, error) { // scans may be nested
				return true, expectBack(r, "", strings.Join([]string{"c=3", "b=2", "a=1", ""}, " "))
			})
		}
		if where == "view" {
			view(t, s, check)
		} else {
			update(t, s, func(tx kv.Txn) error { return check(tx) })
		}
	}
}

// writeWhileScanning: a scan shows the state of its beginning, so a loop that
// puts or deletes what it meets ends.
func writeWhileScanning(t *testing.T, open Open) {
	s := store(t, open)
	fill(t, s, "a", "1", "b", "2", "c", "3")
	update(t, s, func(tx kv.Txn) error {
		if err := tx.Put([]byte("b2"), []byte("own")); err != nil {
			return err
		}
		var seen []string
		err := tx.Scan(nil, nil, func(k, v []byte) (bool, error) {
			seen = append(seen, string(k))
			moved := append(bytes.Clone(k), '!')
			return true, errors.Join(tx.Delete(k), tx.Put(moved, v), tx.Delete([]byte("c")))
		})
		if got := strings.Join(seen, " "); err != nil || got != "a b b2 c" {
			return fmt.Errorf("scan showed %q, %w", got, err)
		}
		return expectList(tx, "", "", "a!=1 b!=2 b2!=own c!=3 ")
	})
	view(t, s, func(r kv.Reader) error { return expectList(r, "", "", "a!=1 b!=2 b2!=own c!=3 ") })
}

// prefixSafety: a prefix finds its own keys whatever bytes end it, and the
// neighbours of a key are not taken for it.
func prefixSafety(t *testing.T, open Open) {
	s := store(t, open)
	keys := []string{
		"f\x00", "f\x00\x00", "f\x00\x01", "f\x00\xff", "f\x01", "f\xfe\xff", "f\xff", "f\xff\x00", "f\xff\xff", "f\xff\xff\xff", "g",
		"\x00", "\x00\x00", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff", "box", "box\x00a", "box2\x00a", "bo\x00x",
	}
	for _, half := range [][]string{keys[:11], keys[11:]} {
		var pairs []string
		for _, k := range half {
			pairs = append(pairs, k, "v")
		}
		fill(t, s, pairs...)
	}
	slices.Sort(keys)
	prefixes := append([]string{"", "f", "b", "box2", "\xfe", "\xff\xff\xff\xff", "f\xff\xff\xff\xff"}, keys...)
	check := func(r kv.Reader) error {
		for _, p := range prefixes {
			var want strings.Builder
			var back []string
			for _, k := range keys {
				if strings.HasPrefix(k, p) {
					want.WriteString(k + "=v ")
					back = append(back, k+"=v ")
				}
			}
			slices.Reverse(back)
			if err := errors.Join(expectList(r, p, "", want.String()), expectBack(r, p, strings.Join(back, ""))); err != nil {
				return err
			}
		}
		return nil
	}
	view(t, s, check)
	update(t, s, func(tx kv.Txn) error {
		for i, k := range keys { // once more with every second key not committed yet
			if i%2 == 0 {
				if err := tx.Put([]byte(k), []byte("v")); err != nil {
					return err
				}
			}
		}
		return check(tx)
	})
}

// scanLikeModel compares random updates and scans with a map.
func scanLikeModel(t *testing.T, open Open) {
	s := store(t, open)
	r := rand.New(rand.NewPCG(1, 2))
	letters := []string{"a", "b", "\x00", "\xff"}
	random := func() string {
		k := letters[r.IntN(len(letters))]
		for range r.IntN(3) {
			k += letters[r.IntN(len(letters))]
		}
		return k
	}
	model := map[string]string{}
	for round := range 60 {
		after := map[string]string{}
		for k, v := range model {
			after[k] = v
		}
		type step struct {
			key, value string
			gone       bool
		}
		var steps []step
		for range r.IntN(12) {
			steps = append(steps, step{random(), fmt.Sprint(round), r.IntN(3) == 0})
		}
		prefix, from := random(), random()
		if r.IntN(3) == 0 {
			prefix = ""
		}
		dropped := r.IntN(4) == 0
		sorry := errors.New("dropped")
		for _, st := range steps {
			if st.gone {
				delete(after, st.key)
			} else {
				after[st.key] = st.value
			}
		}
		err := s.Update(context.Background(), func(tx kv.Txn) error {
			for _, st := range steps {
				var err error
				if st.gone {
					err = tx.Delete([]byte(st.key))
				} else {
					err = tx.Put([]byte(st.key), []byte(st.value))
				}
				if err != nil {
					return err
				}
			}
			if err := likeModel(tx, after, prefix, from); err != nil {
				return err
			}
			if dropped {
				return sorry
			}
			return nil
		})
		switch {
		case !dropped && err == nil:
			model = after
		case !dropped || err != sorry:
			t.Fatalf("round %d: %v", round, err)
		}
		view(t, s, func(r kv.Reader) error { return likeModel(r, model, prefix, from) })
	}
}

func likeModel(r kv.Reader, model map[string]string, prefix, from string) error {
	var keys []string
	for k := range model {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var up, down string
	for _, k := range keys {
		if k >= from {
			up += k + "=" + model[k] + " "
		}
		down = k + "=" + model[k] + " " + down
	}
	return errors.Join(expectList(r, prefix, from, up), expectBack(r, prefix, down))
}

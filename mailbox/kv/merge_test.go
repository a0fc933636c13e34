package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid" // models of states
)

// TestMergeShowsTheState writes and deletes at random, with a part of a backup
// in between, and compares the merge with the state; then it damages a part.
func TestMergeShowsTheState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		state := map[string]string{}
		var parts [][]byte
		for n := range uint64(rapid.IntRange(1, 5).Draw(rt, "parts")) {
			changed := map[string]bool{}
			for range rapid.IntRange(0, 12).Draw(rt, "changes") {
				k := fmt.Sprint("k", rapid.IntRange(0, 9).Draw(rt, "key"))
				if rapid.Bool().Draw(rt, "delete") {
					delete(state, k)
					continue
				}
				state[k], changed[k] = rapid.StringN(0, 5, -1).Draw(rt, "value"), true
			}
			var b bytes.Buffer
			w, err := NewBackupWriter(&b, BackupHeader{Since: n, Next: n + 1})
			for _, k := range slices.Sorted(maps.Keys(state)) {
				if n == 0 || changed[k] {
					err = errors.Join(err, w.Put([]byte(k), []byte(state[k])))
				} else {
					err = errors.Join(err, w.Keep([]byte(k)))
				}
			}
			if err := errors.Join(err, w.Close()); err != nil {
				rt.Fatal(err)
			}
			parts = append(parts, b.Bytes())
		}
		got, err := merged(parts)
		if err != nil || !maps.Equal(got, state) {
			rt.Fatalf("merged %v, want %v, %v", got, state, err)
		}
		at := rapid.IntRange(0, len(parts)-1).Draw(rt, "damaged")
		b := bytes.Clone(parts[at])
		switch rapid.SampledFrom([]string{"flip", "cut", "more", "drop"}).Draw(rt, "how") {
		case "flip":
			b[rapid.IntRange(0, len(b)-1).Draw(rt, "byte")] ^= 1
			parts[at] = b
		case "cut":
			parts[at] = b[:rapid.IntRange(0, len(b)-1).Draw(rt, "size")]
		case "more":
			parts[at] = append(b, 'x')
		case "drop":
			if at == len(parts)-1 {
				return // what is left is an earlier backup
			}
			parts = slices.Delete(parts, at, at+1)
		}
		if _, err := merged(parts); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
			rt.Fatalf("damaged: %v", err)
		}
	})
}

func merged(parts [][]byte) (map[string]string, error) {
	var in []io.Reader
	for _, p := range parts {
		in = append(in, bytes.NewReader(p))
	}
	got := map[string]string{}
	return got, MergeBackup(in, func(k, v []byte) error {
		got[string(k)] = string(v)
		return nil
	})
}

// An error of whoever looks, or of the disk, ends the merge.
func TestMergeEndsWithTheirError(t *testing.T) {
	mine := errors.New("mine")
	if err := MergeBackup([]io.Reader{bytes.NewReader(parts(t))}, func(_, _ []byte) error { return mine }); !errors.Is(err, mine) {
		t.Error(err)
	}
}

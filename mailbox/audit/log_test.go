package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/kv"
)

func TestAppendAndRead(t *testing.T) {
	h := newHouse(t)
	h.good() // nothing was ever logged
	h.fill(10)
	r := h.good()
	if r.Size != 10 || r.Texts != 10 || r.Covered != 0 {
		t.Errorf("report %+v", r)
	}
	want := entry(3)
	want.At = want.At.Truncate(time.Microsecond)
	h.view(func(r kv.Reader) error {
		e, err := h.Get(r, 3)
		if err != nil || !reflect.DeepEqual(e, want) {
			t.Errorf("entry 3: %+v, %v", e, err)
		}
		if _, err := h.Get(r, 10); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("entry 10: %v", err)
		}
		var up, down []int64
		err = h.Scan(r, 7, func(l Line) bool { up = append(up, l.Number); return true })
		err2 := h.Tail(r, func(l Line) bool { down = append(down, l.Number); return len(down) < 2 })
		if errors.Join(err, err2) != nil || fmt.Sprint(up, down) != "[7 8 9] [9 8]" {
			t.Errorf("%v %v, %v %v", up, down, err, err2)
		}
		return nil
	})
}

// TestAppendIsPartOfItsTransaction: what is dropped leaves no gap, and the other
// keys of the records are left alone.
func TestAppendIsPartOfItsTransaction(t *testing.T) {
	h := newHouse(t)
	no := errors.New("no")
	h.update(func(tx kv.Txn) error { return errors.Join(tx.Put([]byte("a"), nil), tx.Put([]byte("a0"), nil)) })
	for range 3 {
		err := h.store.Update(context.Background(), func(tx kv.Txn) error {
			if _, err := h.Append(tx, entry(0)); err != nil {
				return err
			}
			return no
		})
		if err != no {
			t.Fatal(err)
		}
		h.fill(1)
	}
	if r := h.good(); r.Size != 3 {
		t.Errorf("report %+v", r)
	}
}

func TestTogether(t *testing.T) {
	h := newHouse(t)
	const callers, each = 16, 20
	seen := make([]map[int64]bool, callers)
	var wg sync.WaitGroup
	for c := range callers {
		seen[c] = map[int64]bool{}
		wg.Go(func() {
			for i := range each {
				var n int64
				err := h.store.Update(context.Background(), func(tx kv.Txn) (err error) {
					n, err = h.Append(tx, Entry{At: noon, Event: "login", Actor: fmt.Sprint("user", c, i)})
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				seen[c][n] = true
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 10 {
				if _, err := h.Head(context.Background(), h.store); err != nil {
					t.Error(err)
				}
				if r, err := h.Verify(context.Background(), h.store, nil); err != nil || !r.OK() || r.Found > 0 {
					t.Errorf("%+v %v", r, err)
				}
			}
		})
	}
	wg.Wait()
	all := map[int64]bool{}
	for _, s := range seen {
		maps.Copy(all, s)
	}
	if len(all) != callers*each {
		t.Errorf("%d different numbers", len(all))
	}
	h.head()
	if r := h.good(); r.Size != callers*each || r.Covered != r.Size || r.Heads != r.InFile {
		t.Errorf("report %+v", r)
	}
}

// TestS4_HostileValues: whatever a stranger chose, an entry is one line of JSON
// within its bound, and an encoder that others wrote reads it the same.
func TestS4_HostileValues(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("x", 1<<20)
	values := map[string]string{
		"line ends":   "mario\r\n{\"event\":\"login\"}\n",
		"escapes":     "\x1b[2J\x00\x07\b\t\f\x7f\u0085",
		"not UTF-8":   "m\xffrio\xc3(",
		"html":        `<a href="x">&'\`,
		"separators":  "a\u2028b\u2029c",
		"long":        long,
		"long, wide":  strings.Repeat("\U0001F4EE", 1000),
		"long, NUL":   strings.Repeat("\x00", 1000),
		"quotes":      strings.Repeat(`"`, 171) + strings.Repeat(`\`, 1000),
		"at the edge": strings.Repeat("y", maxValue),
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			e := Entry{At: noon, Actor: v, Event: v, Box: v, Subject: v, Result: v, Reason: v, From: v, More: map[string]string{}}
			for i := range maxMore {
				e.More[fmt.Sprint("fact", i)] = v
			}
			tidied, err := tidy(e)
			if err != nil {
				t.Fatal(err)
			}
			b := text(7, "", tidied)
			if len(b) > maxText || strings.ContainsAny(string(b), "\r\n\x00\x1b") {
				t.Errorf("a text of %d bytes", len(b))
			}
			var read struct{ Actor string }
			if err := json.Unmarshal(b, &read); err != nil || read.Actor != tidied.Actor {
				t.Errorf("read %q, %v", read.Actor, err)
			}
			if w, err := parse(b); err != nil || !reflect.DeepEqual(w.Entry, tidied) {
				t.Errorf("parsed %+v, %v", w, err)
			}
			h.update(func(tx kv.Txn) error { _, err := h.Append(tx, e); return err })
		})
	}
	if v := clip(values["at the edge"]); v != values["at the edge"] {
		t.Errorf("cut to %d", len(v))
	}
	h.good()
}

func TestNoEntry(t *testing.T) {
	h := newHouse(t)
	many := map[string]string{}
	for i := range maxMore + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for name, e := range map[string]Entry{
		"no event":       {At: noon},
		"year 10000":     {At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), Event: "x"},
		"too many facts": {At: noon, Event: "x", More: many},
		"name not ASCII": {At: noon, Event: "x", More: map[string]string{"è": ""}},
		"name too long":  {At: noon, Event: "x", More: map[string]string{strings.Repeat("x", 65): ""}},
		"removal":        {At: noon, Event: removal},
	} {
		h.update(func(tx kv.Txn) error {
			if _, err := h.Append(tx, e); !errors.Is(err, ErrEntry) {
				t.Errorf("%s: %v", name, err)
			}
			return nil
		})
	}
	h.update(func(tx kv.Txn) error { _, err := h.Append(tx, Entry{Event: "of no time"}); return err })
	h.good()
}

func TestCanonicalText(t *testing.T) {
	e := must[Entry](t)(tidy(Entry{At: noon, Event: "x", Actor: "a\"\\\n\x01è\u2028", More: map[string]string{"b": "", "a": "1"}}))
	want := `{"actor":"a\"\\\n\u0001è` + "\u2028" + `","at":"2026-11-22T12:00:00.123456Z","event":"x","more":{"a":"1","b":""},"n":5,"prev":"p","v":1}`
	if got := string(text(5, "p", e)); got != want {
		t.Errorf("%s", got)
	}
	for _, bad := range []string{
		"", "null", "[]", want + " ", strings.Replace(want, `"v":1`, `"v":2`, 1), strings.Replace(want, `"n":5`, `"n":5.0`, 1),
		strings.Replace(want, `\u0001`, `\u0001\u0041`, 1), strings.Replace(want, `"event":"x"`, `"event":"y","event":"x"`, 1),
		strings.Replace(want, `"event"`, `"Event"`, 1), strings.Replace(want, `{"a"`, `{ "a"`, 1), strings.Replace(want, "Z", "+00:00", 1),
		strings.Replace(want, `"v":1`, `"v":1,"x":2`, 1), `{"v":1}`, strings.Repeat(" ", maxText) + want,
	} {
		if _, err := parse([]byte(bad)); !errors.Is(err, ErrEntry) {
			t.Errorf("%.150q: %v", bad, err)
		}
	}
}

// TestNothingIsWrittenOver: a log whose state is lost or wrong takes no entry.
func TestNothingIsWrittenOver(t *testing.T) {
	h := newHouse(t)
	h.fill(5)
	h.head()
	for name, change := range map[string]func(tx kv.Txn) error{
		"lost":  func(tx kv.Txn) error { return tx.Delete(h.prefix[kindState]) },
		"short": func(tx kv.Txn) error { return tx.Put(h.prefix[kindState], []byte{1}) },
		"older": func(tx kv.Txn) error { return tx.Put(h.prefix[kindState], state{size: 3}.bytes()) },
		"version 2": func(tx kv.Txn) error {
			return tx.Put(h.prefix[kindState], append([]byte{2}, state{size: 5}.bytes()[1:]...))
		},
		"huge": func(tx kv.Txn) error { return tx.Put(h.prefix[kindState], state{size: -1}.bytes()) },
		"a hash is lost": func(tx kv.Txn) error {
			return errors.Join(tx.Delete(h.Log.key(kindHash, 4)), tx.Put(h.prefix[kindState], state{size: 7}.bytes()))
		},
	} {
		err := h.store.Update(context.Background(), func(tx kv.Txn) error {
			if err := change(tx); err != nil {
				return err
			}
			_, err := h.Append(tx, entry(5))
			return err
		})
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if r := h.tampered(nil, change); r.OK() {
			t.Errorf("%s: not found", name)
		}
	}
	h.good()
}

func TestVerifyTellsAndStops(t *testing.T) {
	h := newHouse(t)
	h.fill(3 * chunk)
	var told []int64
	r, err := h.Verify(context.Background(), h.store, func(done, total int64) {
		if total != 3*chunk {
			t.Errorf("%d of %d", done, total)
		}
		told = append(told, done)
	})
	if err != nil || !r.OK() || len(told) < 3 || told[len(told)-1] != 3*chunk {
		t.Errorf("%v %v %v", r, told, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	_, err = h.Verify(ctx, h.store, func(int64, int64) { calls++; cancel() })
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
	h.head() // the file of heads is free again
}

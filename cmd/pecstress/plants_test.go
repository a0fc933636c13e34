package main

import (
	"bytes"
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox/planted"
)

// TestEveryPlantIsLookedFor: a fault that can be planted and that nobody looks
// for proves nothing.
func TestEveryPlantIsLookedFor(t *testing.T) {
	seen := []planted.Bug{planted.NoSync} // the negative control
	for _, p := range plants() {
		if slices.Contains(seen, p.bug) {
			t.Errorf("%s is looked for twice", p.bug)
		}
		seen = append(seen, p.bug)
		if p.want(&counts{}) != 0 {
			t.Errorf("%s counts as reported when nothing is", p.bug)
		}
	}
	for _, b := range planted.All() {
		if !slices.Contains(seen, b) {
			t.Errorf("%s is looked for by nobody", b)
		}
	}
}

// TestReleaseHasNoPlants: this build is one that people run.
func TestReleaseHasNoPlants(t *testing.T) {
	for _, b := range planted.All() {
		t.Setenv(planted.Variable, string(b))
		if planted.Is(b) {
			t.Errorf("%s can be planted into a build without the tag", b)
		}
	}
}

// TestCounts: every count is added and, if it is a fault, counts as one and
// stands in the line.
func TestCounts(t *testing.T) {
	one := counts{}
	v := reflect.ValueOf(&one).Elem()
	ints := 0
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Int {
			f.SetInt(1)
			ints++
		}
	}
	sum := one
	sum.add(one)
	s := reflect.ValueOf(sum)
	for i := range s.NumField() {
		if f := s.Field(i); f.Kind() == reflect.Int && f.Int() != 2 {
			t.Errorf("%s is not added", s.Type().Field(i).Name)
		}
	}
	first := slices.IndexFunc(reflect.VisibleFields(s.Type()), func(f reflect.StructField) bool { return f.Name == "Lost" })
	if want := ints - first; one.faults() != want {
		t.Errorf("%d faults are counted, %d are there", one.faults(), want)
	}
	if n := strings.Count(one.line(), "1 "); n != ints {
		t.Errorf("%d of %d counts are told: %s", n, ints, one.line())
	}
	var c counts
	for range 2 * mostFaults {
		c.fault(&c.Lost, "gone")
	}
	c.add(c)
	if c.Lost != 4*mostFaults || len(c.Faults) != mostFaults {
		t.Errorf("%d lost, %d told", c.Lost, len(c.Faults))
	}
}

// TestLedger: a promise is on disk before promise returns, and what was not
// answered is given back to its own sender only.
func TestLedger(t *testing.T) {
	l, err := openLedger(filepath.Join(t.TempDir(), "promises.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	p := people()
	m := newLetter("a@driver.example", p[0], p[1].box, 300)
	l.sending(m)
	l.unanswered(m)
	if l.again(p[1]) != nil || l.again(p[0]) != m || l.again(p[0]) != nil {
		t.Error("what was not answered is not given back once, to its sender")
	}
	if l.isPromised(m.ID) {
		t.Error("promised without a promise")
	}
	if err := l.promise(m); err != nil {
		t.Fatal(err)
	}
	if !l.isPromised(m.ID) || l.find(m.ID) != m || len(l.all()) != 1 {
		t.Error("the promise is not kept")
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if err := l.promise(m); err == nil {
		t.Error("a promise that cannot be written down is none")
	}
	if bodySum([]byte(m.Raw)) != m.Body {
		t.Error("the sum of the body is not that of the body")
	}
}

// TestUsage: wrong usage ends with 2, and what a machine lacks with 1.
func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		text   string
	}{
		{nil, 2, "a command is needed"},
		{[]string{"crash", "--quick", "--full"}, 2, "quick"},
		{[]string{"crash", "--only", "flood"}, 2, "no scenario"},
		{[]string{"crash", "more"}, 2, "more"},
	} {
		var out, said bytes.Buffer
		if status := run(context.Background(), c.args, &out, &said); status != c.status || !strings.Contains(said.String(), c.text) {
			t.Errorf("%v: status %d: %s", c.args, status, &said)
		}
	}
	lacking := scenario{need: []string{"no-such-program-anywhere"}}
	if err := usable([]scenario{lacking}); err == nil || !strings.Contains(err.Error(), "no-such-program-anywhere") {
		t.Errorf("a missing program is not told: %v", err)
	}
}

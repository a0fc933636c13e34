package audit

import (
	"encoding/json"
	"os"
	"testing"
)

// FuzzText: a text that is read is the only one that says the same.
func FuzzText(f *testing.F) {
	e, _ := tidy(entry(1))
	f.Add(string(text(1, "", e)))
	f.Add(`{"at":"2026-11-22T12:00:00.000000Z","event":"x","n":0,"prev":"","v":1}`)
	f.Add(`{"v":1}`)
	f.Fuzz(func(t *testing.T, s string) {
		w, err := parse([]byte(s))
		if err != nil {
			return
		}
		if got := string(text(w.N, w.Prev, w.Entry)); got != s {
			t.Errorf("%q is read as %q", s, got)
		}
	})
}

// FuzzValue: any value is written so that every JSON reader gets it back, and
// within its bound.
func FuzzValue(f *testing.F) {
	f.Add("mario")
	f.Add("\x00\x1b\u2028\"\\\xff")
	f.Fuzz(func(t *testing.T, s string) {
		clipped := clip(s)
		b := appendString(nil, clipped)
		var back string
		if err := json.Unmarshal(b, &back); err != nil || back != clipped || len(b) > maxValue+len(`"..."`) {
			t.Errorf("%q became %q, %v", s, b, err)
		}
	})
}

// FuzzProof: a stranger's proof never holds, unless it is the good one, and
// does no harm.
func FuzzProof(f *testing.F) {
	file, err := os.ReadFile(goldenFile)
	if err != nil {
		f.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(file, &g); err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(g.Proof)
	if err != nil {
		f.Fatal(err)
	}
	_, proven, err := g.Proof.Check(g.Public)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"old":"x","new":"y","path":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ReadProof(b); err == nil {
			_, lines, err := p.Check(g.Public)
			for _, l := range lines {
				found := err == nil
				for _, ok := range proven {
					found = found && (ok.Number != l.Number || l.Event == "" || ok.Actor == l.Actor && ok.At.Equal(l.At) && ok.Event == l.Event)
				}
				if !found {
					t.Errorf("a forged proof holds: %+v", l)
				}
			}
		}
		if g, err := ReadGrowth(b); err == nil {
			g.Check()
		}
	})
}

func FuzzHead(f *testing.F) {
	var g golden
	file, err := os.ReadFile(goldenFile)
	if err == nil {
		err = json.Unmarshal(file, &g)
	}
	if err != nil {
		f.Fatal(err)
	}
	good, err := OpenHead(g.Proof.Head, g.Public)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(g.Proof.Head)
	f.Add(headText(good))
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := parseHead(s); err == nil && headText(h) != s {
			t.Errorf("%q is read as %q", s, headText(h))
		}
		if h, err := OpenHead(s, g.Public); err == nil && (h.Root != good.Root || h.Size != good.Size) {
			t.Errorf("a forged head: %q", s)
		}
	})
}

//go:build peers

package main

import "testing"

// TestA7_SystemCallsFail lets one call of each kind fail in lives of the gateway
// under load. It promises nothing that is not durable, ends with a status that
// is not 0 or goes on, and starts again with everything it promised. `pecstress
// crash --full` raises n until no call is left.
func TestA7_SystemCallsFail(t *testing.T) {
	s := sysfaultScenario()
	if err := usable([]scenario{s}); err != nil {
		t.Fatal(err)
	}
	bin, err := build(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.run(t.Context(), env{dir: t.TempDir(), binary: bin, seed: 2026, step: func(int, int) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(c.line())
	for _, f := range c.Faults {
		t.Error(f)
	}
	if c.Cycles < len(faultSets()) || c.Promised < c.Cycles || c.Detected == 0 {
		t.Errorf("%s: this tells too little", c.line())
	}
}

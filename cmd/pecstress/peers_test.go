//go:build peers

package main

import (
	"testing"
)

// TestA2_PowerCutDuringSubmission cuts the power of a gateway that people
// submit through and that relays and fetches, some times. Every 250 is kept,
// nothing is torn or sent twice, nothing that arrived is lost. `pecstress crash`
// does the same more often, and proves that a cut loses what is not synced.
func TestA2_PowerCutDuringSubmission(t *testing.T) {
	if err := usable([]scenario{powerScenario()}); err != nil {
		t.Fatal(err)
	}
	bin, err := build(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	const cuts = 4
	at := func(n int) moment { return moment(n % int(duringStart)) }
	c, err := powerRound(t.Context(), worldOptions{Binary: bin, Dir: t.TempDir(), Seed: 2026}, cuts, at, func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(c.line())
	for _, f := range c.Faults {
		t.Error(f)
	}
	if c.Cycles != cuts || c.Promised < cuts {
		t.Errorf("%d cuts and %d promises tell too little", c.Cycles, c.Promised)
	}
}

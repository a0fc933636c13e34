package relay

import (
	"math"
	"testing"

	"pecgate/relay/fetch"
)

// What the provider told last is what is shown, in bytes and in words; nothing
// once it tells no more.
func TestOccupied(t *testing.T) {
	w := &worker{}
	s := &Service{workers: map[string]*worker{"protocollo@pec.example.org": w}}
	for _, c := range []struct {
		quota fetch.Quota
		words string
	}{
		{fetch.Quota{}, ""},
		{fetch.Quota{Used: 512 << 20, Limit: 1 << 30, Known: true}, "512.0 of 1024.0 MiB (50 %)"},
		{fetch.Quota{Used: math.MaxInt64, Limit: math.MaxInt64, Known: true}, "8796093022208.0 of 8796093022208.0 MiB (100 %)"},
		{fetch.Quota{}, ""},
	} {
		w.occupied(c.quota)
		used, limit, known := s.Occupied("Protocollo@pec.example.org")
		if got := (fetch.Quota{Used: used, Limit: limit, Known: known}); got != c.quota || w.status().Quota != c.words {
			t.Errorf("%+v: %+v, %q", c.quota, got, w.status().Quota)
		}
	}
	if _, _, known := s.Occupied("altra@pec.example.org"); known {
		t.Error("the quota of a mailbox that is not fetched is known")
	}
}

package relay

import (
	"errors"
	"testing"
)

// TestB10_CheckOnline: a look at the logins counts as any login does, and tells
// what the provider said; what is known of TLS before the login is told even where
// none may be sent.
func TestB10_CheckOnline(t *testing.T) {
	for _, pop3 := range []bool{false, true} {
		checkOnlineRefused(t, newGate(t, pop3))
	}
}

func checkOnlineRefused(t *testing.T, g *gate) {
	for round, want := range [][2]string{{LoginRefused, LoginSuspended}, {LoginSuspended, LoginSuspended}} {
		found, err := g.s.TryOnline(t.Context(), testBox)
		if err != nil || len(found) != 2 {
			t.Fatalf("%+v, %v", found, err)
		}
		for i, o := range found {
			if o.Login != want[i] || o.Error == "" || o.Host == "" || o.TLS == "" || o.CertificateExpires == nil {
				t.Errorf("round %d: %+v", round, o)
			}
		}
	}
	if n := g.k.logins(); n != 1 || g.told() != 1 {
		t.Errorf("%d logins, %d alarms", n, g.told())
	}
	if _, err := g.s.TryOnline(t.Context(), "nessuno@pec.example"); !errors.As(err, new(*Refusal)) {
		t.Errorf("of a mailbox that is not there: %v", err)
	}
}

package relay

import (
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // the provider
)

// poisoned sets a message aside as one that ended the gateway three times.
func (f *fetched) poisoned(at spot) {
	f.t.Helper()
	err := f.store.Update(f.t.Context(), func(tx *mailbox.Tx) error {
		return putAside(tx, testBox, at, errPoison.Error(), maxTries, poisonFirst)
	})
	if err == nil {
		err = f.s.raise(f.t.Context(), f.s.poisonAlarm(testBox, at))
	}
	if err != nil {
		f.t.Fatal(err)
	}
	if f.alarms() != poisonKind {
		f.t.Fatalf("alarms %q", f.alarms())
	}
}

// TestL3_PoisonIsTriedAgainSoon: most such ends come from elsewhere; the first new try
// is after five minutes, and each that ends the gateway again doubles the wait.
func TestL3_PoisonIsTriedAgainSoon(t *testing.T) {
	p, in, _ := simulated(t)
	f := newFetched(t, Account{IMAP: in})
	f.round()
	put(t, p, letter(1))
	c, _, err := f.s.readCursor(t.Context(), testBox, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	at := spot{folder: "INBOX", validity: c.UIDValidity, uid: left(t, p)[0]}
	f.poisoned(at)
	f.passBy()
	f.later(3 * time.Minute)
	f.round()
	f.once()
	f.later(3 * time.Minute)
	f.round()
	f.once(letter(1))
	if f.alarms() != "" {
		t.Errorf("alarms %q", f.alarms())
	}
	// A try that ends the gateway is counted before it is made.
	f.poisoned(at)
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440} {
		_, all, err := f.s.asides(t.Context(), asidesPrefix(testBox, "INBOX"))
		if err != nil || len(all) != 1 {
			t.Fatal(len(all), err)
		}
		if err := f.s.postpone(t.Context(), testBox, at, all[at.asideKey(testBox)]); err != nil {
			t.Fatal(err)
		}
		_, all, err = f.s.asides(t.Context(), asidesPrefix(testBox, "INBOX"))
		if a := all[at.asideKey(testBox)]; err != nil || a.Next.Sub(a.Set) != want*time.Minute {
			t.Errorf("it waits %s, not %d minutes; %v", a.Next.Sub(a.Set), want, err)
		}
	}
}

// TestL3_PoisonAlarmEnds: at once where the message is there no more, where nobody
// fetches its folder, and where something else is wrong with it.
func TestL3_PoisonAlarmEnds(t *testing.T) {
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		f := newFetched(t, acc)
		f.round()
		at := spot{id: "gone"}
		if acc.POP3.Host == "" {
			c, _, err := f.s.readCursor(t.Context(), testBox, "INBOX")
			if err != nil {
				t.Fatal(err)
			}
			at = spot{folder: "INBOX", validity: c.UIDValidity, uid: 77}
		}
		f.poisoned(at)
		f.round()
		if f.alarms() != "" {
			t.Errorf("it is gone: alarms %q", f.alarms())
		}
		f.poisoned(at)
		if err := f.s.triedAside(t.Context(), testBox, at, aside{UID: at.uid, ID: at.id, Why: errPoison.Error(), Tries: maxTries}, false, errAnew); err != nil {
			t.Fatal(err)
		}
		if f.alarms() != asideKind {
			t.Errorf("something else is wrong: alarms %q", f.alarms())
		}
		f.round()
		elsewhere := spot{folder: "Elsewhere", validity: 1, uid: 7}
		f.poisoned(elsewhere)
		if err := f.s.sweepAsides(t.Context(), f.w.acc); err != nil {
			t.Fatal(err)
		}
		if f.alarms() != "" {
			t.Errorf("nobody fetches it: alarms %q", f.alarms())
		}
	})
}

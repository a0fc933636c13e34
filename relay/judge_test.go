package relay

import (
	"context"
	"slices"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/providersim" // receipts as a provider makes them
)

// TestJudgedAgain: what came while its CA was not known is judged again once it
// is trusted: the envelope loses its mark and gets its number, receipts move to
// their folders and to whom they belong, and the outcome follows; all of it once.
// With CAs that say nothing new nothing changes.
func TestJudgedAgain(t *testing.T) {
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		f := newFetched(t, acc)
		known := f.s.opt.Reader
		trust, err := pec.NewTrust()
		if err != nil {
			t.Fatal(err)
		}
		f.s.opt.Reader = pec.NewReader(pec.Options{Trust: trust})
		f.round()
		i := intake{t: t, store: f.store, acc: f.w.acc}
		i.sim, _ = authority()
		i.send("one", testMsgID, sentText, "a@pec.example", "b@pec.example")
		envelope := string(i.receipt(providersim.Transport, func(n *providersim.Notice) { n.To = testBox }))
		acceptance := string(i.receipt(providersim.Acceptance, nil))
		delivery := string(i.receipt(providersim.Delivery, nil))
		put(t, p, envelope, acceptance, delivery, letter(1))
		f.round()
		if got := f.alarms(); got != unverifiedKind {
			t.Errorf("alarms %q", got)
		}
		if m := f.message(envelope); m.Register != nil || !slices.Contains(f.flags(f.places(envelope)[0]), unverified) {
			t.Errorf("before: %+v", m)
		}
		before := f.places(envelope)[0]
		if err := f.s.judgeAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(f.audited("judged again")); n > 0 || i.shown("one").State != HandedOver {
			t.Errorf("%d judged by the same CAs", n)
		}
		if !f.s.Trust(known) || f.s.Trust(known) {
			t.Error("other CAs are taken for the same, or the same for others")
		}
		for range 2 { // the second time there is nothing to do
			if err := f.s.judgeAgain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.audited("judged again"); len(got) != 3 {
			t.Errorf("%q", got)
		}
		after := f.places(envelope)
		if m := f.message(envelope); m.Register == nil || m.Verdict != pec.Valid || len(after) != 1 || after[0] != before || slices.Contains(f.flags(before), unverified) {
			t.Errorf("after: %+v, %v", m, after)
		}
		for raw, role := range map[string]mailbox.Role{acceptance: mailbox.RoleAcceptance, delivery: mailbox.RoleDelivery} {
			if m := f.message(raw); m.Submission != "one" || len(f.places(raw)) != 1 {
				t.Errorf("%s: %+v, %d places", role, m, len(f.places(raw)))
			}
			i.owned(role, 1)
		}
		if s := i.shown("one"); s.State != Accepted || s.Recipients[0].State != Delivered || s.Recipients[1].State != Waiting {
			t.Errorf("%s, %+v", s.State, s.Recipients)
		}
		if m := f.message(letter(1)); m.Register != nil || f.alarms() != "" {
			t.Errorf("%+v, alarms %q", m, f.alarms())
		}
	})
}

// TestJudgedAgainWhileItRuns: other CAs count without a restart.
func TestJudgedAgainWhileItRuns(t *testing.T) {
	p, in, _ := simulated(t)
	f := newFetched(t, Account{IMAP: in})
	f.round()
	known := f.s.opt.Reader
	trust, err := pec.NewTrust()
	if err != nil {
		t.Fatal(err)
	}
	f.s.opt.Reader = pec.NewReader(pec.Options{Trust: trust})
	i := intake{t: t, store: f.store, acc: f.w.acc}
	i.sim, _ = authority()
	put(t, p, string(i.receipt(providersim.Transport, func(n *providersim.Notice) { n.To = testBox })))
	f.round()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.s.judge(ctx) }()
	f.s.Trust(known)
	for end := time.Now().Add(20 * time.Second); len(f.audited("judged again")) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not judged again")
		}
	}
	stop()
	<-done
}

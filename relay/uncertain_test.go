package relay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/providersim" // the provider, and receipts as it signs them
	"pecgate/relay/submit"
)

// uncertainAt is a mailbox at a simulated provider with one submission of which
// nobody knows whether it left, a minute after that.
func uncertainAt(t *testing.T, acc func(imap, pop3 Endpoint) Account) (f *fetched, p *providersim.Provider, i *intake) {
	t.Helper()
	p, imapAt, popAt := simulated(t)
	a := acc(imapAt, popAt)
	a.Every = time.Minute
	f = newFetched(t, a)
	f.s.opt.Address = "pecgate@gateway.example"
	sim, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	i = &intake{t: t, store: f.store, s: f.s, sim: sim}
	if _, err := f.store.Person(t.Context(), "mario"); err != nil { // person 1
		t.Fatal(err)
	}
	f.round() // first contact
	enqueue(t, f.store, "u", testMsgID)
	f.cutOff("u")
	f.later(time.Minute)
	return f, p, i
}

// cutOff begins a hand-over that ends without an answer.
func (f *fetched) cutOff(id string) {
	f.t.Helper()
	ctx := context.Background()
	sub, err := f.s.lease(ctx, id)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.s.intend(ctx, sub); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.s.conclude(ctx, f.w, sub, submit.Result{Class: submit.Uncertain, Stage: submit.StageDot}); err != nil {
		f.t.Fatal(err)
	}
}

// due does what the sender does for one that is uncertain.
func (f *fetched) due(id string) *Submission {
	f.t.Helper()
	_, err := f.s.decide(context.Background(), f.w, stored(f.t, f.store, id))
	if err != nil {
		f.t.Fatal(err)
	}
	return stored(f.t, f.store, id)
}

// minutes looks once a minute, and lets the sender have its turn each time.
func (f *fetched) minutes(n int) *Submission {
	f.t.Helper()
	for range n {
		f.round()
		f.due("u")
		f.later(time.Minute)
	}
	return stored(f.t, f.store, "u")
}

// notices are how many a person has.
func (f *fetched) notices(login string) int {
	f.t.Helper()
	who, err := f.store.Person(context.Background(), login)
	if err != nil {
		f.t.Fatal(err)
	}
	st, err := f.store.Status(context.Background(), mailbox.FolderKey{Owner: who, Role: mailbox.RoleInbox}, mailbox.Viewer{Person: who})
	if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		f.t.Fatal(err)
	}
	return st.Messages
}

func byIMAP(imap, _ Endpoint) Account { return Account{IMAP: imap} }
func byPOP3(_, pop3 Endpoint) Account { return Account{POP3: pop3} }

func resending(acc func(imap, pop3 Endpoint) Account) func(imap, pop3 Endpoint) Account {
	return func(imap, pop3 Endpoint) Account {
		a := acc(imap, pop3)
		a.Resend = true
		return a
	}
}

// TestB1_HeldAfterTheSearch: an uncertain submission is held when the mailbox was
// readable for the set time, and not a look earlier; sender and administrator are
// told, each once.
func TestB1_HeldAfterTheSearch(t *testing.T) {
	for name, acc := range map[string]func(imap, pop3 Endpoint) Account{"IMAP": byIMAP, "POP3": byPOP3} {
		f, _, _ := uncertainAt(t, acc)
		if s := f.minutes(14); s.State != Uncertain {
			t.Fatalf("%s: after 14 minutes it is %s", name, s.State)
		}
		s := f.minutes(1)
		if s.State != Held || s.StateReason != ReasonUncertain || s.Looking {
			t.Errorf("%s: after 15 minutes it is %s (%s)", name, s.State, s.StateReason)
		}
		f.minutes(2)
		if a, b := f.notices("mario"), f.notices("capo"); a != 1 || b != 1 {
			t.Errorf("%s: the sender has %d notices, the administrator %d", name, a, b)
		}
		if all, err := f.s.seeking(t.Context(), testBox); err != nil || len(all) != 0 {
			t.Errorf("%s: %d are looked for still, %v", name, len(all), err)
		}
	}
}

// TestB1_NotReadable: time in which the mailbox could not be read does not count,
// nor does a clock that jumps; and then nothing is sent again by itself.
func TestB1_NotReadable(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(f *fetched, p *providersim.Provider)
		least int // so many minutes more
	}{
		"provider down": {func(f *fetched, p *providersim.Provider) {
			good := f.w.acc.IMAP
			f.w.acc.IMAP.Port = 1
			for range 30 {
				_, err := f.poll()
				if err == nil {
					t.Fatal("read all the same")
				}
				f.w.polled(err, f.store.Now())
				f.due("u")
				f.later(time.Minute)
			}
			f.w.acc.IMAP = good
		}, 14},
		"clock put forward": {func(f *fetched, _ *providersim.Provider) { f.later(2 * time.Hour) }, 9},
		"clock put back":    {func(f *fetched, _ *providersim.Provider) { f.later(-240 * time.Hour) }, 14},
		"restarted late":    {func(f *fetched, _ *providersim.Provider) { f.worker(f.w.acc); f.later(time.Hour) }, 9},
	} {
		f, p, _ := uncertainAt(t, resending(byIMAP))
		c.spoil(f, p)
		if s := f.minutes(c.least); s.State != Uncertain {
			t.Errorf("%s: %d minutes later it is %s", name, c.least, s.State)
			continue
		}
		s := f.minutes(8)
		if s.State != Held || !s.Resent.IsZero() {
			t.Errorf("%s: in the end it is %s, sent again %v", name, s.State, s.Resent)
		}
	}
}

// TestB1_SearchFindsWhatTheRoundsPassedBy: a receipt behind the cursor is found
// by its X-Riferimento-Message-ID, in every folder, and ends the search.
func TestB1_SearchFindsWhatTheRoundsPassedBy(t *testing.T) {
	f, p, i := uncertainAt(t, byIMAP)
	f.change(func(a *Account) { a.Folders = []string{"INBOX", p.SentFolder()} })
	f.round()
	put(t, p, letter(1), string(i.receipt(providersim.Acceptance, nil)))
	// As if another program had read it: the rounds have passed it by.
	for _, folder := range f.w.acc.Folders {
		c, _, err := f.s.readCursor(t.Context(), testBox, folder)
		if err != nil {
			t.Fatal(err)
		}
		c.UID += 100
		if err := f.s.writeCursor(t.Context(), testBox, folder, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Move(testBox, left(t, p)[1], p.SentFolder()); err != nil {
		t.Fatal(err)
	}
	f.round()
	if s := stored(t, f.store, "u"); s.State != Accepted || s.Identifier != pecID {
		t.Fatalf("it is %s, %q", s.State, s.Identifier)
	}
	f.minutes(20)
	if n := f.notices("mario"); n != 0 {
		t.Errorf("%d notices", n)
	}
}

// TestB1_WhatQuotesItIsNotSentAgain: something that quotes the Message-ID and
// proves nothing, because its signature cannot be checked or because it cannot be
// fetched, keeps the gateway from sending again.
func TestB1_WhatQuotesItIsNotSentAgain(t *testing.T) {
	stranger := func(i *intake) string {
		ca, err := providersim.NewAuthority("pec.altrove.example", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return string(i.compose(ca.Signer(), providersim.Acceptance, nil, providersim.SignOptions{}))
	}
	for name, c := range map[string]struct {
		acc func(imap, pop3 Endpoint) Account
		put func(f *fetched, p *providersim.Provider, i *intake)
		why string
	}{
		"IMAP, unknown CA": {byIMAP, func(_ *fetched, p *providersim.Provider, i *intake) { put(t, p, stranger(i)) }, "proves nothing"},
		"POP3, unknown CA": {byPOP3, func(_ *fetched, p *providersim.Provider, i *intake) { put(t, p, stranger(i)) }, "proves nothing"},
		"IMAP, too large": {byIMAP, func(f *fetched, p *providersim.Provider, i *intake) {
			f.w.acc.MaxMessage = 2000
			put(t, p, string(i.receipt(providersim.Acceptance, nil)))
			f.stumbleOver()
		}, "cannot be fetched"},
		"POP3, too large": {byPOP3, func(f *fetched, p *providersim.Provider, i *intake) {
			f.w.acc.MaxMessage = 2000
			put(t, p, string(i.receipt(providersim.Acceptance, nil)))
			f.stumbleOver()
		}, "cannot be fetched"},
	} {
		f, p, i := uncertainAt(t, resending(c.acc))
		c.put(f, p, i)
		s := f.minutes(25)
		if s.State != Held || !s.Resent.IsZero() {
			t.Errorf("%s: it is %s, sent again %v", name, s.State, s.Resent)
		}
		if last := i.shown("u").Events; !strings.Contains(last[len(last)-1].Text, c.why) {
			t.Errorf("%s: the story ends with %+v", name, last[len(last)-1])
		}
	}
}

// stumbleOver tries what cannot be fetched until it is set aside.
func (f *fetched) stumbleOver() {
	for range maxTries {
		_, _ = f.poll() // the error is the message's
	}
}

// TestB1_ResentOnce: where the mailbox says so and was readable throughout, the
// gateway hands over a second time: the same bytes under the same Message-ID, in
// sight of everybody, and never a third time.
func TestB1_ResentOnce(t *testing.T) {
	for name, acc := range map[string]func(imap, pop3 Endpoint) Account{"IMAP": byIMAP, "POP3": byPOP3} {
		f, _, i := uncertainAt(t, resending(acc))
		before := stored(t, f.store, "u")
		s := f.minutes(15)
		if s.State != Queued || s.Resent.IsZero() || s.Intent || s.SHA256 != before.SHA256 || s.MsgID != before.MsgID || s.Message != before.Message {
			t.Fatalf("%s: %s, sent again %v, intent %t", name, s.State, s.Resent, s.Intent)
		}
		if a, b := f.notices("mario"), f.notices("capo"); a != 1 || b != 1 {
			t.Errorf("%s: the sender has %d notices, the administrator %d", name, a, b)
		}
		set, _ := s.keywords()
		shown := i.shown("u")
		report := (&outcomeReport{sub: s, zone: time.UTC, words: wordsOf("en"), at: f.store.Now()}).text()
		if !slices.Contains(set, "$PecUncertain") || shown.Resent.IsZero() || !strings.Contains(words(shown), "resend") ||
			!strings.Contains(report, "may have gone out twice") || len(f.audited("resend")) != 1 {
			t.Errorf("%s: flagged by %v, %v, %q, audit %v, report\n%s", name, set, shown.Resent, words(shown), f.audited("resend"), report)
		}
		f.cutOff("u")
		f.later(time.Minute)
		if s := f.minutes(20); s.State != Held || s.StateReason != ReasonUncertain {
			t.Errorf("%s: after the second time it is %s (%s)", name, s.State, s.StateReason)
		}
		if n := len(f.audited("resend")); n != 1 {
			t.Errorf("%s: sent again %d times", name, n)
		}
	}
}

// TestB1_NotResentAfterADoubtBefore: what was in doubt before, and what a person
// has sent again, the gateway does not send again by itself.
func TestB1_NotResentAfterADoubtBefore(t *testing.T) {
	f, _, _ := uncertainAt(t, byIMAP)
	f.minutes(16)
	if _, err := f.s.Retry(t.Context(), "u", Hand{}); err != nil {
		t.Fatal(err)
	}
	f.change(func(a *Account) { a.Resend = true })
	f.cutOff("u")
	f.later(time.Minute)
	if s := f.minutes(20); s.State != Held || !s.Resent.IsZero() {
		t.Errorf("it is %s, sent again %v", s.State, s.Resent)
	}
}

// TestB2_RefusedTheSecondTime: a refusal of the second hand-over says nothing of
// the first: it is held, and nobody is told that no recipient has it.
func TestB2_RefusedTheSecondTime(t *testing.T) {
	f, _, _ := uncertainAt(t, resending(byIMAP))
	f.minutes(15)
	sub, err := f.s.lease(t.Context(), "u")
	if err != nil {
		t.Fatal(err)
	}
	r := submit.Result{Class: submit.Permanent, Stage: submit.StageDot, Code: 554, Text: "duplicate", Err: errors.New("554")}
	if _, err := f.s.conclude(t.Context(), f.w, sub, r); err != nil {
		t.Fatal(err)
	}
	if s := stored(t, f.store, "u"); s.State != Held || s.StateReason != ReasonUncertain {
		t.Errorf("it is %s (%s)", s.State, s.StateReason)
	}
	if a, b := f.notices("mario"), f.notices("capo"); a != 2 || b != 2 {
		t.Errorf("the sender has %d notices, the administrator %d", a, b)
	}
}

// TestB1_SettledAfterItWasHeld: a receipt that comes after the hold ends it, takes the
// keyword off, and tells those who were told of the hold, once.
func TestB1_SettledAfterItWasHeld(t *testing.T) {
	for kind, want := range map[providersim.Kind]State{providersim.Acceptance: Accepted, providersim.NonAcceptance: NotAccepted, providersim.Delivery: HandedOver} {
		f, p, i := uncertainAt(t, byIMAP)
		if s := f.minutes(16); s.State != Held {
			t.Fatalf("it is %s", s.State)
		}
		receipt := i.receipt(kind, nil)
		put(t, p, string(receipt))
		f.round()
		f.round()
		s := stored(t, f.store, "u")
		_, clear := s.keywords()
		events := i.shown("u").Events
		if last := events[len(events)-1]; s.State != want || s.StateReason == ReasonUncertain || !slices.Contains(clear, "$PecUncertain") || !strings.HasSuffix(last.Text, ", although it was held") {
			t.Errorf("%s: it is %s (%s); %s", kind, s.State, s.StateReason, last.Text)
		}
		if a, b := f.notices("mario"), f.notices("capo"); a != 2 || b != 2 {
			t.Errorf("%s: the sender has %d notices, the administrator %d", kind, a, b)
		}
	}
	// Who was not told of the hold yet is told of neither.
	f, _, _ := uncertainAt(t, byIMAP)
	err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		sub, err := load(tx, "u")
		return errors.Join(err, toTell(tx, sub, toldHeld), tellSettled(tx, sub))
	})
	if err != nil {
		t.Fatal(err)
	}
	f.round()
	if a, b := f.notices("mario"), f.notices("capo"); a != 0 || b != 0 {
		t.Errorf("the sender has %d notices, the administrator %d", a, b)
	}
}

// TestB14_TwoAcceptances: a second acceptance with another identifier is told to
// sender and administrator, once, shows in the report, and both are kept.
func TestB14_TwoAcceptances(t *testing.T) {
	f, p, i := uncertainAt(t, byIMAP)
	second := func(id string) string {
		return string(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.Identifier = id }))
	}
	put(t, p, second(pecID), second("2."+pecID))
	f.round()
	s := stored(t, f.store, "u")
	if s.State != Accepted || s.Identifier != pec.NormalizeID(pecID) || s.Twice != pec.NormalizeID("2."+pecID) {
		t.Fatalf("%s, %q, %q", s.State, s.Identifier, s.Twice)
	}
	put(t, p, second("2."+pecID), second("3."+pecID))
	f.round()
	f.round()
	if a, b := f.notices("mario"), f.notices("capo"); a != 1 || b != 1 {
		t.Errorf("the sender has %d notices, the administrator %d", a, b)
	}
	shown := i.shown("u")
	report := (&outcomeReport{sub: s, zone: time.UTC, words: wordsOf("it"), at: f.store.Now()}).text()
	if len(shown.Receipts) < 3 || shown.Twice == "" || !strings.Contains(report, "due volte") || len(f.audited("duplicate")) != 1 {
		t.Errorf("%d receipts, %q, audit %v, report\n%s", len(shown.Receipts), shown.Twice, f.audited("duplicate"), report)
	}
}

// TestB14_ToldAfterACrash: what is to be told is told by the next round, also
// when the gateway ended between the change and its notices.
func TestB14_ToldAfterACrash(t *testing.T) {
	f, _, _ := uncertainAt(t, byIMAP)
	err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		sub, err := load(tx, "u")
		return errors.Join(err, toTell(tx, sub, toldTwice))
	})
	if err != nil {
		t.Fatal(err)
	}
	f.worker(f.w.acc)
	f.round()
	f.round()
	if a, b := f.notices("mario"), f.notices("capo"); a != 1 || b != 1 {
		t.Errorf("the sender has %d notices, the administrator %d", a, b)
	}
}

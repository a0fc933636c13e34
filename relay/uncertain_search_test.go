package relay

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
	"pecgate/relay/providersim" // the provider, and receipts as it signs them
	"pecgate/relay/submit"
)

// rounds looks once a minute, also where that fails, and lets the sender have its
// turn for what is uncertain.
func (f *fetched) rounds(n int, ids ...string) {
	f.t.Helper()
	for range n {
		_, err := f.poll()
		f.w.polled(err, f.store.Now())
		for _, id := range ids {
			if stored(f.t, f.store, id).State == Uncertain {
				f.due(id)
			}
		}
		f.later(time.Minute)
	}
}

// passBy moves the cursor of INBOX on, as if another program had read what comes.
func (f *fetched) passBy() {
	f.t.Helper()
	c, _, err := f.s.readCursor(f.t.Context(), testBox, "INBOX")
	if err != nil {
		f.t.Fatal(err)
	}
	c.UID += 100
	if err := f.s.writeCursor(f.t.Context(), testBox, "INBOX", c); err != nil {
		f.t.Fatal(err)
	}
}

// another makes one more uncertain submission.
func (f *fetched) another(id string) {
	f.t.Helper()
	enqueue(f.t, f.store, id, id+"@alfa.example")
	f.cutOff(id)
}

// tapped reads along between the gateway and its provider.
func (f *fetched) tapped(p *providersim.Provider, on func(*tap, line) (string, bool)) {
	f.t.Helper()
	var tp *tap
	if f.w.acc.POP3.Host != "" {
		tp = newTap(f.t, p.POP3Addr(), f.w.acc.POP3.Roots)
		f.w.acc.POP3 = tp.endpoint(f.t)
	} else {
		tp = newTap(f.t, p.IMAPAddr(), f.w.acc.IMAP.Roots)
		f.w.acc.IMAP = tp.endpoint(f.t)
	}
	tp.set(func(l line) (string, bool) { return on(tp, l) })
}

// unknownCA is the acceptance of a Message-ID, signed by whom nobody knows here.
func (i *intake) unknownCA(msgid string) string {
	i.t.Helper()
	ca, err := providersim.NewAuthority("pec.altrove.example", time.Now())
	if err != nil {
		i.t.Fatal(err)
	}
	return string(i.compose(ca.Signer(), providersim.Acceptance, func(n *providersim.Notice) { n.MsgID = "<" + msgid + ">" }, providersim.SignOptions{}))
}

// TestB1_WhatBreaksTheSessionHoldsUpNobody: a message at which the connection breaks
// each time, a provider that refuses to search, one that breaks off when it is asked
// to, a folder that is gone, a Message-ID that no SEARCH takes: all end as held after
// the time, and are told.
func TestB1_WhatBreaksTheSessionHoldsUpNobody(t *testing.T) {
	cutAt := func(p *providersim.Provider, f *fetched, at string) {
		f.tapped(p, func(tp *tap, l line) (string, bool) {
			if l.fromClient && strings.Contains(l.text, at) {
				go tp.cut()
				return "", true
			}
			return "", false
		})
	}
	for name, c := range map[string]struct {
		acc   func(imap, pop3 Endpoint) Account
		spoil func(f *fetched, p *providersim.Provider, i *intake)
	}{
		"IMAP, a message that breaks it": {byIMAP, func(f *fetched, p *providersim.Provider, i *intake) {
			cutAt(p, f, "BODY.PEEK[])")
			put(t, p, string(i.receipt(providersim.Acceptance, nil)))
		}},
		"IMAP, one that the search finds": {byIMAP, func(f *fetched, p *providersim.Provider, i *intake) {
			cutAt(p, f, "BODY.PEEK[])")
			f.passBy()
			put(t, p, string(i.receipt(providersim.Acceptance, nil)))
		}},
		"POP3, a message that breaks it": {byPOP3, func(f *fetched, p *providersim.Provider, _ *intake) {
			f.tapped(p, func(tp *tap, l line) (string, bool) {
				if l.fromClient && (strings.HasPrefix(l.text, "RETR 1") || strings.HasPrefix(l.text, "TOP 1 ")) {
					go tp.cut()
					return "", true
				}
				return "", false
			})
			put(t, p, letter(3))
		}},
		"SEARCH is refused": {byIMAP, func(f *fetched, p *providersim.Provider, _ *intake) {
			f.tapped(p, func(_ *tap, l line) (string, bool) {
				if l.fromClient && strings.Contains(l.text, "UID SEARCH") {
					return strings.Replace(l.text, "UID SEARCH", "UID XSEARCH", 1), true
				}
				return "", false
			})
		}},
		"SEARCH breaks off": {byIMAP, func(f *fetched, p *providersim.Provider, _ *intake) { cutAt(p, f, "UID SEARCH") }},
		"a folder is gone": {byIMAP, func(f *fetched, _ *providersim.Provider, _ *intake) {
			f.change(func(a *Account) { a.Folders = []string{"INBOX", "Sparita"} })
		}},
		"odd Message-ID": {byIMAP, func(f *fetched, _ *providersim.Provider, _ *intake) {
			enqueue(t, f.store, "w", strings.Repeat("a", 1100)+"@alfa.example")
			f.cutOff("w")
		}},
	} {
		f, p, i := uncertainAt(t, resending(c.acc))
		f.another("v")
		f.later(time.Minute)
		c.spoil(f, p, i)
		f.rounds(40, "u", "v")
		for _, id := range []string{"u", "v"} {
			s := stored(t, f.store, id)
			if id == "v" && name == "odd Message-ID" {
				if s.State != Queued || s.Resent.IsZero() {
					t.Errorf("%s: the other is %s", name, s.State)
				}
			} else if (name != "odd Message-ID") && (s.State != Held || !s.Resent.IsZero()) {
				t.Errorf("%s: %s is %s, sent again %v; %s", name, id, s.State, s.Resent, f.w.facts.fetchError)
			}
		}
		if f.notices("mario") < 2 {
			t.Errorf("%s: %d notices", name, f.notices("mario"))
		}
	}
}

// TestB1_ReceiptBehindWhatBreaksTheSession: a receipt in the second folder is read
// although a message of the first, set aside, breaks the connection at each try.
func TestB1_ReceiptBehindWhatBreaksTheSession(t *testing.T) {
	f, p, i := uncertainAt(t, byIMAP)
	f.change(func(a *Account) { a.Folders = []string{"INBOX", p.SentFolder()} })
	f.round()
	put(t, p, letter(1))
	inbox := false
	f.tapped(p, func(tp *tap, l line) (string, bool) {
		if l.fromClient && strings.Contains(l.text, "EXAMINE") {
			inbox = strings.HasSuffix(strings.TrimRight(l.text, "\r\n\""), "INBOX")
		}
		if l.fromClient && inbox && strings.Contains(l.text, "BODY.PEEK[])") {
			go tp.cut()
			return "", true
		}
		return "", false
	})
	f.rounds(10)
	_, all, err := f.s.asides(t.Context(), asidesPrefix(testBox, "INBOX"))
	if err != nil || len(all) != 1 {
		t.Fatalf("%d are set aside: %v", len(all), err)
	}
	put(t, p, string(i.receipt(providersim.Acceptance, nil)))
	if err := p.Move(testBox, left(t, p)[1], p.SentFolder()); err != nil {
		t.Fatal(err)
	}
	f.rounds(2)
	if s := stored(t, f.store, "u"); s.State != Accepted {
		t.Errorf("it is %s", s.State)
	}
}

// TestB1_PoisonIsNotReadBySearch: what ended the gateway is not read because
// something else looks for it.
func TestB1_PoisonIsNotReadBySearch(t *testing.T) {
	f, p, i := uncertainAt(t, resending(byIMAP))
	c, _, err := f.s.readCursor(t.Context(), testBox, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	put(t, p, string(i.receipt(providersim.Acceptance, nil)))
	at := spot{folder: "INBOX", validity: c.UIDValidity, uid: left(t, p)[0]}
	err = f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		return putAside(tx, testBox, at, errPoison.Error(), maxTries, poisonMost)
	})
	if err != nil {
		t.Fatal(err)
	}
	f.passBy()
	read := 0
	f.s.at = func(m instant, _ string) {
		if m == atRead {
			read++
		}
	}
	f.rounds(30, "u")
	if s := stored(t, f.store, "u"); s.State != Held || read > 0 {
		t.Errorf("it is %s; %d were read", s.State, read)
	}
}

// TestB1_SearchReadsEachOnce: what was found once is not fetched again each round,
// whether it was taken in or cannot be.
func TestB1_SearchReadsEachOnce(t *testing.T) {
	f, p, i := uncertainAt(t, byIMAP)
	f.passBy()
	put(t, p, i.unknownCA(testMsgID), i.unknownCA(testMsgID)+"\r\n")
	bodies := 0
	f.tapped(p, func(_ *tap, l line) (string, bool) {
		if l.fromClient && strings.Contains(l.text, "BODY.PEEK[])") {
			bodies++
		}
		return "", false
	})
	f.rounds(10, "u")
	if bodies != 2 {
		t.Errorf("%d were fetched", bodies)
	}
}

// TestB1_ManyUncertain: of many all are looked for in each round: a receipt that the
// rounds passed by is found, those without are sent again when their time is over, and
// the lines of the queue meanwhile lie far off.
func TestB1_ManyUncertain(t *testing.T) {
	f, p, i := uncertainAt(t, resending(byIMAP))
	ids := []string{"u"}
	for _, id := range queued(t, f.store, testBox, 60) {
		ids = append(ids, id)
		f.cutOff(id)
	}
	f.later(time.Minute)
	f.passBy()
	put(t, p, string(i.receipt(providersim.Acceptance, nil)))
	f.rounds(3)
	if all, later, err := f.s.dueTasks(t.Context(), testBox); err != nil || len(all) > 0 || later.Sub(f.store.Now()) < time.Hour {
		t.Errorf("%d are due, more %v: %v", len(all), later, err)
	}
	f.rounds(15, ids...)
	if s := stored(t, f.store, "u"); s.State != Accepted {
		t.Errorf("it is %s", s.State)
	}
	for _, id := range ids[1:] {
		if s := stored(t, f.store, id); s.Resent.IsZero() {
			t.Fatalf("%s is %s", id, s.State)
		}
	}
	// A record that is gone stops nothing.
	for _, id := range ids[1:3] {
		f.cutOff(id)
	}
	err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error { return tx.Space(room).Delete("s/" + ids[1]) })
	if err != nil {
		t.Fatal(err)
	}
	if all, err := f.s.seeking(t.Context(), testBox); err != nil || len(all) != 1 {
		t.Errorf("%d are sought: %v", len(all), err)
	}
}

// TestB1_QuotedDuringTheAttempt: a receipt that cannot be checked and comes while the
// provider's answer to the dot is awaited keeps the message from being sent again.
func TestB1_QuotedDuringTheAttempt(t *testing.T) {
	for name, acc := range map[string]func(imap, pop3 Endpoint) Account{"IMAP": byIMAP, "POP3": byPOP3} {
		f, p, i := uncertainAt(t, resending(acc))
		enqueue(t, f.store, "w", "w@alfa.example")
		sub, err := f.s.lease(t.Context(), "w")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.s.intend(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		put(t, p, i.unknownCA("w@alfa.example"))
		f.later(time.Minute)
		f.rounds(1)
		f.later(8 * time.Minute)
		if _, err := f.s.conclude(t.Context(), f.w, sub, submit.Result{Class: submit.Uncertain, Stage: submit.StageDot}); err != nil {
			t.Fatal(err)
		}
		f.later(time.Minute)
		f.rounds(20, "w")
		if s := stored(t, f.store, "w"); s.State != Held || !s.Resent.IsZero() {
			t.Errorf("%s: %s, sent again %v", name, s.State, s.Resent)
		}
		// Where the attempt gets its answer nothing is left of it.
		enqueue(t, f.store, "x", "x@alfa.example")
		if sub, err = f.s.lease(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		if err := f.s.intend(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		put(t, p, i.unknownCA("x@alfa.example"))
		f.rounds(1)
		if _, err := f.s.conclude(t.Context(), f.w, sub, submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250}); err != nil {
			t.Fatal(err)
		}
		err = f.store.View(t.Context(), func(tx *mailbox.Tx) error { return tx.Space(room).Get(lookingKey(testBox, "x"), new(looking)) })
		if !errors.Is(err, mailbox.ErrNotFound) {
			t.Errorf("%s: its record is there still: %v", name, err)
		}
	}
}

// TestB1_QuotedVisibleChild: the message of a blind batch to those whom everybody
// sees goes by the Message-ID of the batch.
func TestB1_QuotedVisibleChild(t *testing.T) {
	f, p, i := uncertainAt(t, resending(byPOP3))
	err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		m, err := tx.Message(stored(t, f.store, "u").Message)
		if err != nil {
			return err
		}
		_, err = Enqueue(tx, Ticket{ID: "bbb", Box: testBox, User: "mario", Person: 1, MsgID: "vis@alfa.example", To: []string{"a@pec.example", "c@pec.example"}, Split: SplitBlind, Visible: 1}, m)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := f.s.leaseNext(t.Context(), "bbb", 0)
	if err != nil {
		t.Fatal(err)
	}
	sub.SHA256 = strings.Repeat("0", 64)
	if err := f.s.intend(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if _, err := f.s.conclude(t.Context(), f.w, sub, submit.Result{Class: submit.Uncertain, Stage: submit.StageDot}); err != nil {
		t.Fatal(err)
	}
	f.later(time.Minute)
	put(t, p, i.unknownCA("vis@alfa.example"))
	f.rounds(20, sub.ID)
	if s := stored(t, f.store, sub.ID); s.State != Held || !s.Resent.IsZero() {
		t.Errorf("it is %s, sent again %v", s.State, s.Resent)
	}
}

// TestB1_SetAsideMayBeIt: whatever was set aside since the hand-over may be its
// receipt, whether its header tells so or not; what was before is not.
func TestB1_SetAsideMayBeIt(t *testing.T) {
	for name, acc := range map[string]func(imap, pop3 Endpoint) Account{"IMAP": byIMAP, "POP3": byPOP3} {
		for kind, mangle := range map[string]func(string) string{
			"folded": func(s string) string {
				return strings.Replace(s, "X-Riferimento-Message-ID: <"+testMsgID, "X-Riferimento-Message-ID: <"+testMsgID[:5]+"\r\n "+testMsgID[5:], 1)
			},
			"none": func(s string) string {
				return strings.ReplaceAll(strings.Replace(s, "X-Riferimento-Message-ID: <", "X-Altro-Message-ID: <x", 1), testMsgID, "hidden@alfa.example")
			},
		} {
			f, p, i := uncertainAt(t, resending(acc))
			f.w.acc.MaxMessage = 2000
			put(t, p, mangle(string(i.receipt(providersim.Acceptance, nil))))
			f.stumbleOver()
			f.rounds(5, "u")
			enqueue(t, f.store, "w", "w@alfa.example")
			f.cutOff("w")
			f.later(time.Minute)
			f.rounds(25, "u", "w")
			if s := stored(t, f.store, "u"); s.State != Held || !s.Resent.IsZero() {
				t.Errorf("%s, %s: %s, sent again %v", name, kind, s.State, s.Resent)
			}
			if s := stored(t, f.store, "w"); s.Resent.IsZero() {
				t.Errorf("%s, %s: a later one is %s", name, kind, s.State)
			}
		}
	}
}

// TestB1_ShortOutageAndRestart: a look that failed is remembered for all that are
// uncertain, by the next gateway too, and whatever became of the others.
func TestB1_ShortOutageAndRestart(t *testing.T) {
	f, p, i := uncertainAt(t, resending(byIMAP))
	f.another("v")
	f.another("w")
	f.rounds(2, "u", "v", "w")
	good := f.w.acc.IMAP
	f.w.acc.IMAP.Port = 1
	f.rounds(2, "u", "v", "w")
	f.w.acc.IMAP = good
	f.worker(f.w.acc)
	f.passBy()
	put(t, p, string(i.receipt(providersim.Acceptance, nil))) // the search finds it: the first is none of them any more
	f.rounds(25, "u", "v", "w")
	if s := stored(t, f.store, "u"); s.State != Accepted {
		t.Errorf("the first is %s", s.State)
	}
	for _, id := range []string{"v", "w"} {
		if s := stored(t, f.store, id); s.State != Held || !s.Resent.IsZero() {
			t.Errorf("%s is %s, sent again %v", id, s.State, s.Resent)
		}
	}
}

// TestB1_UncertainDuringARound: a round that began before counts neither for nor
// against it.
func TestB1_UncertainDuringARound(t *testing.T) {
	f, p, _ := uncertainAt(t, resending(byIMAP))
	done := false
	f.tapped(p, func(_ *tap, l line) (string, bool) {
		if l.fromClient && strings.Contains(l.text, "EXAMINE") && !done {
			done = true
			f.later(2 * time.Second)
			f.another("w")
			f.later(2 * time.Second)
		}
		return "", false
	})
	f.rounds(20, "w")
	if s := stored(t, f.store, "w"); s.State != Queued || s.Resent.IsZero() {
		t.Errorf("it is %s, sent again %v", s.State, s.Resent)
	}
}

// TestB1_BatchIsToldOnce: of the messages of a batch that are sent again, went out
// twice or are held, their sender gets the first of each kind.
func TestB1_BatchIsToldOnce(t *testing.T) {
	f, _, _ := uncertainAt(t, byIMAP)
	err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		m, err := tx.Message(stored(t, f.store, "u").Message)
		if err != nil {
			return err
		}
		_, err = Enqueue(tx, Ticket{ID: "bbb", Box: testBox, User: "mario", Person: 1, MsgID: "many@alfa.example", To: []string{"a@pec.example", "b@pec.example", "c@pec.example"}, Split: SplitAlways}, m)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
			c, err := load(tx, childID("bbb", n+1))
			if err != nil {
				return err
			}
			return errors.Join(toTell(tx, c, toldResent), toTell(tx, c, toldTwice), toTell(tx, c, toldHeld), save(tx, c, &due{At: tx.Now()}))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.rounds(1)
	if a, b := f.notices("mario"), f.notices("capo"); a != 3 || b != 3 {
		t.Errorf("the sender has %d notices, the administrator %d", a, b)
	}
}

// TestB1_NotHeldBeforeWhatWasSetAsideIsReadAgain: a receipt that is only behind the
// others, because the gateway was ended twice while it was read, or that is tried again
// in five minutes, is read before anybody is told that none came; what cannot be read
// holds up nobody for longer than asideGrace.
func TestB1_NotHeldBeforeWhatWasSetAsideIsReadAgain(t *testing.T) {
	for name, acc := range map[string]func(imap, pop3 Endpoint) Account{"IMAP": byIMAP, "POP3": byPOP3} {
		f, p, i := uncertainAt(t, resending(acc))
		setAside := func(text string, why error, tries int, wait time.Duration) {
			t.Helper()
			put(t, p, text)
			at := spot{}
			if f.w.acc.POP3.Host == "" {
				c, _, err := f.s.readCursor(t.Context(), testBox, "INBOX")
				if err != nil {
					t.Fatal(err)
				}
				all := left(t, p)
				at = spot{folder: "INBOX", validity: c.UIDValidity, uid: all[len(all)-1]}
				c.UID = at.uid
				if err := f.s.writeCursor(t.Context(), testBox, "INBOX", c); err != nil {
					t.Fatal(err)
				}
			} else {
				drop, err := loggedIn(t.Context(), f.s, f.w, f.w.server(), fetch.DialMaildrop)
				if err != nil {
					t.Fatal(err)
				}
				list, err := drop.List(t.Context())
				if err := errors.Join(err, drop.Quit(t.Context())); err != nil {
					t.Fatal(err)
				}
				at.id = list[len(list)-1].ID
			}
			err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
				return putAside(tx, testBox, at, why.Error(), tries, wait)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		// It may look away until the last moment: 11 minutes, and then it is poison.
		f.rounds(11, "u")
		setAside(string(i.receipt(providersim.Acceptance, nil)), errPoison, maxTries, poisonFirst)
		f.rounds(4, "u")
		if s := stored(t, f.store, "u"); s.State != Uncertain {
			t.Fatalf("%s: it is %s before its receipt was read again", name, s.State)
		}
		f.rounds(3, "u")
		if s := stored(t, f.store, "u"); s.State != Accepted || !s.Resent.IsZero() || f.notices("mario") != 0 {
			t.Errorf("%s: it is %s, %d notices", name, s.State, f.notices("mario"))
		}
		// A suspect is tried at once, however many there are.
		f.another("v")
		f.later(time.Minute)
		for n := range asidesPerRound + 5 {
			setAside(letter(n), errSuspect, 0, 0)
		}
		f.rounds(1, "v")
		if _, all, err := f.s.asides(t.Context(), "a/"); err != nil || len(all) != 0 {
			t.Errorf("%s: %d wait behind the others still, %v", name, len(all), err)
		}
		// What cannot be read for ever.
		f.w.acc.MaxMessage = 2000
		setAside(strings.ReplaceAll(string(i.receipt(providersim.Acceptance, nil)), testMsgID, "hidden@alfa.example"), errPoison, maxTries, poisonMost)
		f.rounds(23, "v")
		if s := stored(t, f.store, "v"); s.State != Uncertain {
			t.Errorf("%s: what waits is %s", name, s.State)
		}
		f.rounds(3, "v")
		if s := stored(t, f.store, "v"); s.State != Held || s.StateReason != ReasonUncertain || !s.Resent.IsZero() {
			t.Errorf("%s: what waited for long enough is %s", name, s.State)
		}
	}
}

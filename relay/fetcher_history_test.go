package relay

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // the provider, and envelopes as one makes them
)

// order keeps in which order a tap saw messages asked for.
func order(uids *[]string) func(line) (string, bool) {
	return func(l line) (string, bool) {
		if _, rest, ok := strings.Cut(l.text, "UID FETCH "); ok && l.fromClient && strings.Contains(rest, "BODY.PEEK[]") {
			*uids = append(*uids, strings.Fields(rest)[0])
		}
		return "", false
	}
}

// TestC17_FirstContactByIMAP: a full folder is taken in newest first, in rounds,
// and goes on where a stop cut it off, whatever was cut: nothing twice, nothing
// left out. What comes meanwhile goes before it, and is no history.
func TestC17_FirstContactByIMAP(t *testing.T) {
	const n = 25
	p, in, _ := simulated(t)
	between := newTap(t, p.IMAPAddr(), in.Roots)
	all := raws(letters(n))
	put(t, p, all...)
	f := newFetched(t, Account{IMAP: between.endpoint(t)})
	f.s.perRound, f.s.roundFor = 10, 0
	var asked []string
	note := order(&asked)
	bye := false
	between.set(func(l line) (string, bool) {
		note(l)
		if !l.fromClient && strings.Contains(l.last, "UID FETCH 20 ") {
			if bye { // it is said, and the provider hangs up
				between.cut()
			}
			bye = true
			return "* BYE\r\n", true
		}
		return "", false
	})
	if _, err := f.poll(); err == nil {
		t.Error("no error")
	}
	f.once(all[20:]...)
	between.set(note)
	f.close() // a stop
	f.open()
	f.s.opt.Store = f.store
	f.worker(f.w.acc)
	put(t, p, "Subject: new\r\n\r\nx\r\n")
	asked = nil
	if more, err := f.poll(); err != nil || !more {
		t.Fatal(more, err)
	}
	if want := []string{"26", "20", "19", "18", "17", "16", "15", "14", "13", "12"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v", asked)
	}
	f.round()
	f.once(append(all, "Subject: new\r\n\r\nx\r\n")...)
	if want := 25 - 5 + 1; len(asked) != want {
		t.Errorf("asked for %d instead of %d: %v", len(asked), want, asked)
	}
	for i, raw := range all {
		if !f.message(raw).History {
			t.Errorf("message %d is no history", i)
		}
	}
	if f.message("Subject: new\r\n\r\nx\r\n").History {
		t.Error("what came meanwhile is history")
	}
	asked = nil
	f.round()
	put(t, p, "Subject: later\r\n\r\nx\r\n")
	f.round()
	if len(asked) != 1 || f.message("Subject: later\r\n\r\nx\r\n").History {
		t.Errorf("%v", asked)
	}
}

// TestC17_SetAsideInHistory: a message of the history that cannot be taken in
// holds up none that are older.
func TestC17_SetAsideInHistory(t *testing.T) {
	p, in, _ := simulated(t)
	large := "Subject: large\r\n\r\n" + strings.Repeat("x", 2000) + "\r\n"
	put(t, p, letter(0)+"old\r\n", large, letter(2))
	f := newFetched(t, Account{IMAP: in, MaxMessage: 1500})
	for range maxTries - 1 {
		if _, err := f.poll(); err == nil {
			t.Error("no error")
		}
	}
	f.round()
	f.once(letter(0)+"old\r\n", letter(2))
	if got := f.alarms(); got != asideKind {
		t.Errorf("alarms: %q", got)
	}
	f.change(func(a *Account) { a.MaxMessage = 1 << 20 })
	f.later(asideFirst + time.Second)
	f.round()
	f.once(letter(0)+"old\r\n", large, letter(2))
	if !f.message(large).History || f.alarms() != "" {
		t.Errorf("history %t, alarms: %q", f.message(large).History, f.alarms())
	}
}

// seen tells whether a person who never read anything sees a message as read.
func (f *fetched) seen(raw string) bool {
	f.t.Helper()
	at := f.places(raw)
	if len(at) != 1 {
		f.t.Fatalf("%d places", len(at))
	}
	return slices.Contains(f.flags(at[0]), `\Seen`)
}

// places are where a message stands.
func (f *fetched) places(raw string) (at []mailbox.Place) {
	f.t.Helper()
	id := f.message(raw).ID
	err := f.store.View(context.Background(), func(tx *mailbox.Tx) (err error) {
		at, err = tx.Places(id)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return at
}

// flags are those of an entry, for a person who never read anything.
func (f *fetched) flags(at mailbox.Place) (flags []string) {
	f.t.Helper()
	stranger := mailbox.Viewer{Person: 7, Scope: mailbox.ScopeAll}
	err := f.store.Entries(context.Background(), at.Folder, stranger, []mailbox.UID{at.UID}, mailbox.Want{Flags: true}, func(e *mailbox.Entry) error {
		flags = slices.Clone(e.Flags)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return flags
}

// TestHistory: what stood at the provider at first contact, after a restore, and
// by IMAP after its UIDVALIDITY changed, is filed and verified, without a register
// number; it is seen for all, unless the mailbox says otherwise. What comes later
// is none of this.
func TestHistory(t *testing.T) {
	for _, unseen := range []bool{false, true} {
		t.Run(fmt.Sprintf("unseen %t", unseen), func(t *testing.T) {
			both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
				acc.HistoryUnseen = unseen
				f := newFetched(t, acc)
				i := intake{t: t}
				i.sim, _ = authority()
				envelope := func(subject string) string {
					return string(i.receipt(providersim.Transport, func(n *providersim.Notice) { n.Subject, n.To = subject, testBox }))
				}
				old, later, away := envelope("old"), envelope("later"), envelope("away")
				put(t, p, old)
				f.round()
				put(t, p, later)
				f.round()
				check := func(when, raw string, history bool) {
					t.Helper()
					m := f.message(raw)
					if m.Verdict == "" || m.History != history || (m.Register != nil) == history || f.seen(raw) != (history && !unseen) {
						t.Errorf("%s: verdict %q, history %t, register %v, seen %t", when, m.Verdict, m.History, m.Register, f.seen(raw))
					}
				}
				check("first contact", old, true)
				check("after it", later, false)
				// As a restore leaves it: how far was fetched is forgotten.
				put(t, p, away)
				for _, prefix := range []string{"c/", "a/", "d/", "u/"} {
					if err := f.s.forget(t.Context(), prefix); err != nil {
						t.Fatal(err)
					}
				}
				f.round()
				check("after a restore", away, true)
				check("known before the restore", later, false)
				if acc.POP3.Host != "" {
					return
				}
				anew := envelope("anew")
				put(t, p, anew)
				if err := p.Renumber(testBox, "INBOX"); err != nil {
					t.Fatal(err)
				}
				f.round()
				check("UIDVALIDITY changed", anew, true)
				check("known before that", later, false)
				f.once(old, later, away, anew)
				if !slices.Contains(f.audited("alarm"), "told") || f.alarms() != "" {
					t.Errorf("%q, %q", f.audited("alarm"), f.alarms())
				}
			})
		})
	}
}

// TestC6_RemovedMessagesStayHistory: what was removed here long ago and has new
// ids at the provider makes no notice and takes no register number.
func TestC6_RemovedMessagesStayHistory(t *testing.T) {
	d := newDrop(t)
	f := newFetched(t, Account{POP3: d.endpoint(t)})
	f.round()
	all := letters(30)
	f.later(2 * time.Hour)                                      // later than those were received
	d.set(func(d *drop) { d.messages = slices.Clone(all[5:]) }) // those of before were removed here
	f.round()
	f.later(30 * day)
	d.set(func(d *drop) {
		d.messages = slices.Clone(all)
		for i := range d.messages {
			d.messages[i].id = fmt.Sprintf("new.%d", i)
		}
		d.messages = append(d.messages, popMessage{id: "today", raw: "Received: from a by b; Mon, 21 Dec 2026 09:00:00 +0000\r\nSubject: today\r\n\r\nx\r\n"})
	})
	f.s.perRound, f.s.roundFor = 7, 0
	f.round()
	f.once(append(raws(all), "Received: from a by b; Mon, 21 Dec 2026 09:00:00 +0000\r\nSubject: today\r\n\r\nx\r\n")...)
	for i, m := range all {
		if got := f.message(m.raw).History; got != (i < 5) {
			t.Errorf("message %d: history %t", i, got)
		}
	}
	if f.message("Received: from a by b; Mon, 21 Dec 2026 09:00:00 +0000\r\nSubject: today\r\n\r\nx\r\n").History {
		t.Error("what came meanwhile is history")
	}
}

// TestC11_NumberedAnewWithinARound: a UIDVALIDITY that changes between the two looks
// of one round ends it; what stands there and what comes is fetched by the next.
func TestC11_NumberedAnewWithinARound(t *testing.T) {
	for _, empty := range []bool{false, true} {
		t.Run(fmt.Sprintf("empty %t", empty), func(t *testing.T) {
			p, in, _ := simulated(t)
			if err := p.CreateFolder(testBox, "INBOX.Old"); err != nil {
				t.Fatal(err)
			}
			between := newTap(t, p.IMAPAddr(), in.Roots)
			f := newFetched(t, Account{IMAP: between.endpoint(t)})
			put(t, p, raws(letters(5))...)
			f.round()
			all, err := p.Folder(testBox, "INBOX")
			if err != nil {
				t.Fatal(err)
			}
			if !empty {
				all = all[:4]
			}
			for _, m := range all { // another client files them away
				if err := p.Move(testBox, m.UID, "INBOX.Old"); err != nil {
					t.Fatal(err)
				}
			}
			opened := 0
			between.set(func(l line) (string, bool) {
				if l.fromClient && strings.Contains(l.text, "EXAMINE") {
					if opened++; opened == 2 {
						if err := p.Renumber(testBox, "INBOX"); err != nil {
							t.Error(err)
						}
					}
				}
				return "", false
			})
			before, _, err := f.s.readCursor(t.Context(), testBox, "INBOX")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.poll(); err == nil {
				t.Error("the round was good")
			}
			if c, _, err := f.s.readCursor(t.Context(), testBox, "INBOX"); err != nil || c != before {
				t.Errorf("%+v instead of %+v, %v", c, before, err)
			}
			f.round()
			later := "Subject: later\r\n\r\nx\r\n"
			put(t, p, later)
			f.round()
			f.once(append(raws(letters(5)), later)...)
			if f.message(later).History {
				t.Error("what came later is history")
			}
		})
	}
}

// TestC17_UIDNEXTTooHigh: what comes after first contact is no history, though the
// provider named a UIDNEXT far above it.
func TestC17_UIDNEXTTooHigh(t *testing.T) {
	p, in, _ := simulated(t)
	between := newTap(t, p.IMAPAddr(), in.Roots)
	next := regexp.MustCompile(`\[UIDNEXT \d+\]`)
	between.set(func(l line) (string, bool) {
		return next.ReplaceAllString(l.text, "[UIDNEXT 5000]"), !l.fromClient && next.MatchString(l.text)
	})
	f := newFetched(t, Account{IMAP: between.endpoint(t)})
	old := raws(letters(1))[0]
	put(t, p, old)
	f.round()
	later := "Subject: later\r\n\r\nx\r\n"
	put(t, p, later)
	f.round()
	if f.message(later).History || !f.message(old).History {
		t.Error("what came after first contact is history, or what stood there is none")
	}
}

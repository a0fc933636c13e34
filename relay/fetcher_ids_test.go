package relay

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // the provider, and receipts as one makes them
)

// TestC8_NumbersShift: numbers of one session mean nothing in the next: what stands
// under another number is not fetched again, what stands under an old one is.
func TestC8_NumbersShift(t *testing.T) {
	all := letters(6)
	d := newDrop(t, all[:4]...)
	f := newFetched(t, Account{POP3: d.endpoint(t)})
	f.round()
	d.saw("")
	for _, now := range [][]popMessage{
		{all[2], all[3], all[4]},                 // the first two went
		{all[4], all[3], all[2]},                 // the other way round
		{all[5], all[0], all[4], all[3], all[2]}, // a new one, and an old one again, before all
	} {
		d.set(func(d *drop) { d.messages = slices.Clone(now) })
		f.round()
	}
	f.once(raws(all)...)
	if n := d.saw("RETR"); n != 3 { // two new ones, and the one that came again
		t.Errorf("%d fetched", n)
	}
}

// TestC14_ReceiptsInOtherFolders: receipts that somebody moved into a folder that
// is not fetched are told of, in status, log and an alarm; once the folder is
// fetched they are ours, and nothing is told any more.
func TestC14_ReceiptsInOtherFolders(t *testing.T) {
	p, in, _ := simulated(t)
	f := newFetched(t, Account{IMAP: in})
	f.round()
	i := intake{t: t}
	i.sim, _ = authority()
	good := string(i.receipt(providersim.Acceptance, nil))
	put(t, p, good, letter(1))
	for _, folder := range []string{"INBOX.Ricevute", "INBOX.Altro"} {
		if err := p.CreateFolder(testBox, folder); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Move(testBox, 1, "INBOX.Ricevute"); err != nil {
		t.Fatal(err)
	}
	if err := p.Move(testBox, 2, "INBOX.Altro"); err != nil { // no receipt
		t.Fatal(err)
	}
	f.round()
	if got := f.w.status().LastError; got != "" {
		t.Errorf("it was looked twice a day: %q", got)
	}
	f.w.lookedAt = time.Now().Add(-25 * time.Hour)
	f.round()
	if got := f.w.status().LastError; !strings.Contains(got, "INBOX.Ricevute") || strings.Contains(got, "Altro") || f.alarms() != "elsewhere" {
		t.Errorf("%q, alarms %q", got, f.alarms())
	}
	f.change(func(a *Account) { a.Folders = []string{"INBOX", "INBOX.Ricevute", "INBOX.Gone"} })
	f.round()
	if got := f.w.status(); !strings.Contains(got.LastError, "INBOX.Gone") || !strings.Contains(f.alarms(), kindFolderMissing) {
		t.Errorf("a folder that is not there: %q, alarms %q", got.LastError, f.alarms())
	}
	if err := p.CreateFolder(testBox, "INBOX.Gone"); err != nil {
		t.Fatal(err)
	}
	f.round()
	if got := f.w.status().LastError; got != "" || f.alarms() != "" {
		t.Errorf("with the folder: %q, alarms %q", got, f.alarms())
	}
	f.change(func(a *Account) { a.Folders = append(a.Folders, "INBOX.Another") })
	f.round()
	if f.alarms() != kindFolderMissing {
		t.Errorf("alarms %q", f.alarms())
	}
	if m := f.message(good); m.Verdict != "valid" { // the others were fetched all the same
		t.Errorf("%+v", m)
	}
	f.change(func(a *Account) { a.Folders = []string{"INBOX", "INBOX.Ricevute"} })
	f.round()
	if got := f.w.status().LastError; got != "" || f.alarms() != "" {
		t.Errorf("%q, alarms %q", got, f.alarms())
	}
}

// TestC15_SameMessageID: two different messages with one Message-ID, the second an
// exact forgery of the header of the first or sent ahead of it by somebody who
// guessed it, are both stored and both shown.
func TestC15_SameMessageID(t *testing.T) {
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		f := newFetched(t, acc)
		f.round()
		i := intake{t: t}
		i.sim, _ = authority()
		genuine := string(i.receipt(providersim.Transport, func(n *providersim.Notice) { n.To = testBox }))
		header, _, _ := strings.Cut(genuine, "\r\n\r\n")
		forged := header + "\r\n\r\nnothing of it is true\r\n"
		put(t, p, forged) // in advance
		f.round()
		put(t, p, genuine, letter(1), letter(2))
		f.round()
		f.once(forged, genuine, letter(1), letter(2))
		a, b := f.message(forged), f.message(genuine)
		if a.MessageID == "" || a.MessageID != b.MessageID || a.Verdict == "valid" || b.Verdict != "valid" || b.Register == nil {
			t.Errorf("%+v\n%+v", a, b)
		}
	})
}

// TestC16_PoisonWithAlarm: a message that cannot be fetched is skipped after its
// tries with an alarm, never deleted, and tried again later; the others flow. When
// it can be fetched the alarm ends.
func TestC16_PoisonWithAlarm(t *testing.T) {
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		acc.MaxMessage, acc.Copy = 5000, CopyRule{Delete: true}
		f := newFetched(t, acc)
		f.round()
		large := "Subject: large\r\n\r\n" + strings.Repeat("x", 5000) + "\r\n"
		put(t, p, letter(1), large, letter(2))
		for range maxTries - 1 {
			if _, err := f.poll(); err == nil {
				t.Error("no error")
			}
			if f.alarms() != "" {
				t.Error("an alarm before the last try")
			}
		}
		f.round()
		f.once(letter(1), letter(2))
		f.days(5)
		if got := left(t, p); f.alarms() != asideKind || !slices.Equal(got, []uint32{2}) {
			t.Errorf("alarms %q, left are %v", f.alarms(), got)
		}
		if n := len(f.audited("alarm")); n != 1 {
			t.Errorf("it was told %d times", n)
		}
		f.change(func(a *Account) { a.MaxMessage = 1 << 20 })
		f.days(1)
		f.once(letter(1), letter(2), large)
		if f.alarms() != "" {
			t.Errorf("alarms %q", f.alarms())
		}
	})
}

// TestC20_FilingFails: a message whose bytes are ours but that cannot be filed,
// here because the record of its submission is damaged, is shown to the
// administrator, stays at the provider, and is filed once that is possible.
func TestC20_FilingFails(t *testing.T) {
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		acc.Copy, acc.CopyReceipts = CopyRule{Delete: true}, CopyRule{Delete: true}
		f := newFetched(t, acc)
		f.round()
		i := intake{t: t, store: f.store, acc: f.w.acc}
		i.sim, _ = authority()
		i.send("one", testMsgID, sentText, "a@pec.example", "b@pec.example")
		var whole Submission
		i.update(func(tx *mailbox.Tx) error {
			if err := tx.Space(room).Get("s/one", &whole); err != nil {
				return err
			}
			return tx.Space(room).Put("s/one", "damaged")
		})
		receipt := string(i.receipt(providersim.Acceptance, nil))
		put(t, p, receipt, letter(1))
		for range maxTries {
			_, _ = f.poll()
		}
		f.round()
		kept := func() (recovered, arrived int) {
			err := f.store.View(context.Background(), func(tx *mailbox.Tx) error {
				recovered, arrived = 0, 0
				ids, err := tx.ByContent(sha256.Sum256([]byte(receipt)))
				for _, id := range ids {
					m, err := tx.Message(id)
					if err != nil {
						return err
					}
					if m.Direction == mailbox.Recovered {
						recovered++
						places, err := tx.PlacesIn(id, mailbox.RoleAnomalies, 2)
						if err != nil || len(places) != 1 {
							t.Errorf("%d places, %v", len(places), err)
						}
					} else {
						arrived++
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return recovered, arrived
		}
		if r, a := kept(); r != 1 || a != 0 || f.alarms() != asideKind || !slices.Equal(left(t, p), []uint32{1}) {
			t.Fatalf("%d recovered, %d arrived, alarms %q, left are %v\n%s", r, a, f.alarms(), left(t, p), f.log)
		}
		f.message(letter(1)) // the others go on
		f.days(2)
		if r, a := kept(); r != 1 || a != 0 {
			t.Errorf("later %d recovered, %d arrived", r, a)
		}
		i.update(func(tx *mailbox.Tx) error { return tx.Space(room).Put("s/one", whole) })
		f.days(2)
		if r, a := kept(); r != 1 || a != 1 || f.alarms() != "" || len(left(t, p)) != 0 {
			t.Errorf("at the end %d recovered, %d arrived, alarms %q, left are %v\n%s", r, a, f.alarms(), left(t, p), f.log)
		}
		if s := i.shown("one"); s.State != Accepted {
			t.Errorf("the submission is %s", s.State)
		}
	})
}

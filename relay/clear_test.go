package relay

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // receipts as a provider makes them
)

const day = 24 * time.Hour

// both runs a test by IMAP and by POP3.
func both(t *testing.T, fn func(t *testing.T, p *providersim.Provider, acc Account)) {
	for _, protocol := range []string{"IMAP", "POP3"} {
		t.Run(protocol, func(t *testing.T) {
			p, imap, pop3 := simulated(t)
			if protocol == "IMAP" {
				fn(t, p, Account{IMAP: imap})
			} else {
				fn(t, p, Account{POP3: pop3})
			}
		})
	}
}

// TestProviderCopyDelete: what comes under the rule goes in the round in which
// it was stored, with an audit line for each; the bytes we have are those that
// the provider had.
func TestProviderCopyDelete(t *testing.T) {
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		acc.Copy, acc.CopyReceipts = CopyRule{Delete: true}, CopyRule{Delete: true}
		f := newFetched(t, acc)
		f.round()
		put(t, p, letter(0), "Subject: no line end\r\n\r\nx", "\r\n", letter(3))
		f.round()
		f.round()
		f.once(letter(0), "Subject: no line end\r\n\r\nx", "\r\n", letter(3))
		if got := left(t, p); len(got) > 0 {
			t.Errorf("left are %v\n%s", got, f.log)
		}
		if got := f.audited("provider-copy"); len(got) != 5 || got[0] != "rule" || !strings.HasPrefix(got[4], "deleted ") {
			t.Errorf("%q", got)
		}
		f.days(5)
		f.once(letter(0), "Subject: no line end\r\n\r\nx", "\r\n", letter(3))
	})
}

// TestProviderCopyAge: each kind goes when its time is over, and not before.
func TestProviderCopyAge(t *testing.T) {
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		acc.Copy, acc.CopyReceipts = CopyRule{Delete: true, After: 10 * day}, CopyRule{Delete: true, After: 5 * day}
		f := newFetched(t, acc)
		f.round()
		i := intake{t: t}
		i.sim, _ = authority()
		good := string(i.receipt(providersim.Acceptance, nil))
		forged := strings.Replace(good, "Content-Transfer-Encoding", "content-transfer-encoding", 1)
		if forged == good {
			t.Fatal("the receipt is as it was")
		}
		put(t, p, letter(0), good, forged)
		f.round()
		f.days(4)
		if got := left(t, p); len(got) != 3 {
			t.Errorf("after 4 days left are %v\n%s", got, f.log)
		}
		f.days(2)
		if got := left(t, p); !slices.Equal(got, []uint32{1, 3}) { // a receipt that nobody signed goes with the messages
			t.Errorf("after 6 days left are %v\n%s", got, f.log)
		}
		f.days(5)
		if got := left(t, p); len(got) != 0 {
			t.Errorf("after 11 days left are %v", got)
		}
		// Reconcile says which rule, and when; the log and the audit log write it as policy.yaml does.
		f.round() // by POP3 it shows only now that it is gone
		r, err := f.s.Reconcile(t.Context(), testBox, ReconcileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Rules) != 1 || r.Rules[0].Rule != "messages 10d, receipts 5d" || r.Rules[0].Messages != 2 || r.Rules[0].Receipts != 1 ||
			r.LetGo != 3 || r.Rules[0].Last.Sub(r.Rules[0].First) < 4*day {
			t.Errorf("%+v", r)
		}
		if log := f.log.String(); !strings.Contains(log, "messages 10d, receipts 5d") || strings.Contains(log, "0m0s") {
			t.Error(log)
		}
	})
}

// TestJ1_ClockJumpDeletesNothingAtTheProvider: after a jump nothing is old
// before days went by one after the other.
func TestJ1_ClockJumpDeletesNothingAtTheProvider(t *testing.T) {
	both(t, func(t *testing.T, p *providersim.Provider, acc Account) {
		acc.Copy = CopyRule{Delete: true, After: 30 * day}
		f := newFetched(t, acc)
		f.round()
		put(t, p, letter(0))
		f.days(5)
		for _, jump := range []time.Duration{365 * day, -2 * 365 * day, 3 * 365 * day} {
			f.later(jump)
			f.round()
			f.later(time.Hour)
			f.round()
			if got := left(t, p); len(got) != 1 {
				t.Fatalf("after %s left are %v", jump, got)
			}
		}
		f.days(1)
		if got := left(t, p); len(got) != 1 {
			t.Fatalf("a day later left are %v", got)
		}
		f.days(2)
		if got := left(t, p); len(got) != 0 {
			t.Errorf("at last left are %v", got)
		}
	})
}

// TestC18_RuleSetByMistake: what stood there when a rule came stays for days,
// its number is told, and a rule that is taken back in time has done nothing to
// it. A round deletes no more than its bound.
func TestC18_RuleSetByMistake(t *testing.T) {
	const n = copiesPerRound + 3
	d := newDrop(t, letters(n)...)
	f := newFetched(t, Account{POP3: d.endpoint(t)})
	f.round()
	f.days(9)
	mistake := func(a *Account) { a.Copy, a.CopyReceipts = CopyRule{Delete: true}, CopyRule{Delete: true, After: day} }
	f.change(mistake)
	f.round()
	f.days(1)
	f.change(func(a *Account) { a.Copy, a.CopyReceipts = CopyRule{}, CopyRule{} })
	f.days(9)
	f.change(mistake)
	f.round()
	f.days(1)
	if n := d.saw("DELE"); n > 0 {
		t.Fatalf("%d were deleted", n)
	}
	if got := f.audited("provider-copy"); fmt.Sprint(got) != "[rule rule rule]" || !strings.Contains(f.log.String(), fmt.Sprint("standing=", n)) {
		t.Errorf("%q\n%s", got, f.log)
	}
	f.later(day)
	f.round()
	if n := d.saw("DELE"); n != copiesPerRound {
		t.Errorf("%d were deleted in one round", n)
	}
	f.round()
	f.round()
	if n, ids := d.saw("DELE"), d.ids(); n != 3 || ids != "" {
		t.Errorf("%d were deleted, left are %q", n, ids)
	}
	if got := f.audited("provider-copy"); len(got) != 3+n {
		t.Errorf("%d lines", len(got))
	}
}

// TestC4_QuitRefused: where the provider says that it did not delete, or only
// some, that is what the next round finds; nothing is called deleted before.
func TestC4_QuitRefused(t *testing.T) {
	d := newDrop(t)
	f := newFetched(t, Account{POP3: d.endpoint(t), Copy: CopyRule{Delete: true}})
	f.round()
	d.set(func(d *drop) { d.messages, d.quit = letters(3), "-ERR [SYS/TEMP] some are not deleted\r\n" })
	f.round()
	if d.saw("DELE") != 3 || !strings.Contains(f.w.status().LastError, "provider_copy: QUIT") {
		t.Errorf("%q", f.w.status().LastError)
	}
	d.set(func(d *drop) { d.messages = d.messages[1:] })
	f.round()
	if got := f.audited("provider-copy"); fmt.Sprint(got) != "[rule deleted id0000]" || d.saw("DELE") != 2 || d.saw("RETR") != 0 {
		t.Errorf("%q", got)
	}
	d.set(func(d *drop) { d.quit = "" })
	f.round()
	f.round()
	f.once(raws(letters(3))...)
	if got := f.audited("provider-copy"); fmt.Sprint(got) != "[rule deleted id0000 deleted id0001 deleted id0002]" || d.ids() != "" || f.w.status().LastError != "" {
		t.Errorf("%q, left %q, %q", got, d.ids(), f.w.status().LastError)
	}
}

// TestC11_NothingDeletedWhileReadAnew: after UIDVALIDITY has changed everything
// is read again before anything goes, and nothing is doubled.
func TestC11_NothingDeletedWhileReadAnew(t *testing.T) {
	p, in, _ := simulated(t)
	var all []string
	const perRound = 20
	for i := range perRound + 5 {
		all = append(all, letter(i))
	}
	f := newFetched(t, Account{IMAP: in})
	f.s.perRound, f.s.roundFor = perRound, 0
	put(t, p, all...)
	f.round()
	f.change(func(a *Account) { a.Copy = CopyRule{Delete: true, After: time.Hour} })
	f.round()
	if err := p.Renumber(testBox, "INBOX"); err != nil {
		t.Fatal(err)
	}
	f.later(day)
	f.later(day)
	more, err := f.poll()
	if got := left(t, p); err != nil || !more || len(got) != len(all) {
		t.Fatalf("%t, %v, left are %d", more, err, len(got))
	}
	f.days(4)
	f.round()
	f.round()
	f.once(all...)
	if got := left(t, p); len(got) != 0 {
		t.Errorf("left are %d\n", len(got))
	}
}

// TestDoubtfulCopiesStay: where ours is damaged or gone, or what stands at the
// provider is not what was fetched, it stays there, whatever the rule; what is
// new about it is fetched.
func TestDoubtfulCopiesStay(t *testing.T) {
	for _, kind := range []string{"damaged", "removed", "another"} {
		t.Run(kind, func(t *testing.T) {
			d := newDrop(t, letters(3)...)
			f := newFetched(t, Account{POP3: d.endpoint(t), Copy: CopyRule{Delete: true, After: day}})
			f.round()
			want := raws(letters(3))
			switch kind {
			case "damaged":
				f.damage("\r\n.\r\n1\r\n") // beyond what TOP shows
			case "removed":
				id := f.message(letter(1)).ID
				want = slices.Delete(want, 1, 2)
				f.remove(id)
			case "another":
				// As large, under the same id, and between two looks.
				changed := strings.Replace(letter(1), "Subject: 1", "Subject: 9", 1)
				d.set(func(d *drop) { d.messages[1].raw = changed })
				want = append(want, changed)
			}
			f.days(6)
			if got := d.ids(); got != "id0001" {
				t.Errorf("left are %q\n%s", got, f.log)
			}
			if n := strings.Count(f.log.String(), "copy is kept"); n != 1 {
				t.Errorf("told %d times:\n%s", n, f.log)
			}
			f.once(want...)
		})
	}
}

// damage changes a byte of a stored message on disk.
func (f *fetched) damage(text string) {
	f.t.Helper()
	files, err := filepath.Glob(filepath.Join(f.dir, "segments", "*.tar"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.t.Fatal(err)
		}
		i := bytes.Index(b, []byte(text))
		if i < 0 {
			continue
		}
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			f.t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteAt([]byte{text[0] ^ 1}, int64(i)); err != nil {
			f.t.Fatal(err)
		}
		return
	}
	f.t.Fatal("not found")
}

// remove takes a message out of our store, as its keep does.
func (f *fetched) remove(id mailbox.MessageID) {
	f.t.Helper()
	ctx := context.Background()
	var others []mailbox.MessageID
	for i := range mailbox.MessageID(10) {
		if i != id {
			others = append(others, i)
		}
	}
	if _, err := f.store.PlaceHold(ctx, mailbox.Hold{ID: "h", Who: "test"}, others); err != nil {
		f.t.Fatal(err)
	}
	f.later(day / 2)
	for range 3 {
		f.later(day / 4)
		out, err := f.store.Retain(ctx, mailbox.Retention{Keep: func(string) (time.Duration, bool) { return time.Minute, true }})
		if err != nil {
			f.t.Fatal(err)
		}
		if out.Removed == 1 {
			return
		}
		f.later(day * 3 / 4)
	}
	f.t.Fatal("not removed")
}

// TestNoUIDPlus: where the provider cannot delete what it is told and nothing
// else, it is told nothing, and the mailbox is fetched all the same.
func TestNoUIDPlus(t *testing.T) {
	p, in, _ := simulated(t)
	tap := newTap(t, p.IMAPAddr(), in.Roots)
	tap.set(func(l line) (string, bool) {
		if !l.fromClient {
			return strings.ReplaceAll(l.text, " UIDPLUS", ""), true
		}
		return "", false
	})
	f := newFetched(t, Account{IMAP: tap.endpoint(t), Copy: CopyRule{Delete: true}})
	f.round()
	put(t, p, letter(0))
	f.round()
	f.once(letter(0))
	if got := left(t, p); len(got) != 1 || !strings.Contains(f.w.status().LastError, "UIDPLUS") || f.w.facts.fetchError != "" {
		t.Errorf("left are %v, %q", got, f.w.status().LastError)
	}
}

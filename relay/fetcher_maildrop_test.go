package relay

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

func raws(messages []popMessage) (out []string) {
	for _, m := range messages {
		out = append(out, m.raw)
	}
	return out
}

// message is the record of a message that the store has once.
func (f *fetched) message(raw string) (m *mailbox.Message) {
	f.t.Helper()
	err := f.store.View(context.Background(), func(tx *mailbox.Tx) error {
		ids, err := tx.ByContent(sha256.Sum256([]byte(raw)))
		if err != nil || len(ids) != 1 {
			return fmt.Errorf("%d of %.60q, %w", len(ids), raw, err)
		}
		m, err = tx.Message(ids[0])
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// TestPOP3Rounds: what is new comes once, under whatever number it stands (C8),
// also when many bear one Message-ID (C15); what is listed still is not fetched
// again, nor is anything deleted.
func TestPOP3Rounds(t *testing.T) {
	all := letters(8)
	d := newDrop(t, all[:3]...)
	f := newFetched(t, Account{POP3: d.endpoint(t)})
	f.round()
	f.once(raws(all[:3])...)
	if n := d.saw("RETR"); n != 3 {
		t.Errorf("%d fetched", n)
	}
	f.round()
	if n := d.saw("RETR"); n != 0 {
		t.Errorf("%d fetched again", n)
	}
	// Another client deletes the first two: numbers move up.
	d.set(func(d *drop) { d.messages = slices.Clone(all[2:6]) })
	f.round()
	f.once(raws(all[:6])...)
	f.worker(f.w.acc) // as after a restart
	d.set(func(d *drop) { d.messages = []popMessage{all[7], all[3], all[6], all[2]} })
	f.round()
	f.once(raws(all)...)
	if n := d.saw("RETR"); n != 5 {
		t.Errorf("%d fetched", n)
	}
	if n := d.saw("DELE"); n != 0 {
		t.Errorf("%d deleted", n)
	}
	for i, m := range all {
		got := f.message(m.raw)
		if want := time.Date(2026, 11, 21, 9, i, 0, 0, time.UTC); !got.Date.Equal(want) || got.History != (i < 3) {
			t.Errorf("message %d: %v, history %t", i, got.Date, got.History)
		}
	}
}

// TestC5_UIDLReused: an id that now stands for another message hides nothing.
func TestC5_UIDLReused(t *testing.T) {
	d := newDrop(t, letters(3)...)
	f := newFetched(t, Account{POP3: d.endpoint(t)})
	f.round()
	reused := popMessage{id: "id0001", raw: "Subject: another\r\n\r\nx\r\n"}
	d.set(func(d *drop) { d.messages[1] = reused })
	f.round()
	f.once(append(raws(letters(3)), reused.raw)...)
	// The id goes for a while and comes back with the same size.
	same := popMessage{id: "id0002", raw: strings.Replace(letter(2), "Subject: 2", "Subject: X", 1)}
	d.set(func(d *drop) { d.messages = d.messages[:2] })
	f.round()
	d.set(func(d *drop) { d.messages = append(d.messages, same) })
	f.round()
	f.once(append(raws(letters(3)), reused.raw, same.raw)...)
}

// TestC6_AllUIDLsChanged: after the provider has moved house all are known by
// their content; what came meanwhile is new, not history; somebody is told.
func TestC6_AllUIDLsChanged(t *testing.T) {
	d := newDrop(t, letters(30)...)
	f := newFetched(t, Account{POP3: d.endpoint(t)})
	f.round()
	d.set(func(d *drop) {
		d.messages = letters(31)
		for i := range d.messages {
			d.messages[i].id = fmt.Sprintf("new.%d", i)
		}
	})
	f.round()
	f.once(raws(letters(31))...)
	if f.message(letter(30)).History {
		t.Error("what came meanwhile is history")
	}
	if !strings.Contains(f.log.String(), "new ids") || !slices.Contains(f.audited("alarm"), "told") || f.alarms() != "" {
		t.Errorf("nobody was told, or %s stands still:\n%s", f.alarms(), f.log)
	}
	d.saw("")
	f.round()
	if n := d.saw("RETR"); n != 0 {
		t.Errorf("%d fetched again", n)
	}
}

// TestC7_NoUsableIDs: messages whose ids tell nothing are fetched once all the
// same, and never deleted.
func TestC7_NoUsableIDs(t *testing.T) {
	all := letters(5)
	all[1].id, all[2].id, all[3].id = "same", "same", strings.Repeat("x", 71)
	d := newDrop(t, all...)
	f := newFetched(t, Account{POP3: d.endpoint(t), Copy: CopyRule{Delete: true}})
	f.round()
	f.round()
	f.once(raws(all)...)
	if n := d.saw("RETR"); n != 5 {
		t.Errorf("%d fetched", n)
	}
	f.days(5)
	if got := d.ids(); got != "same same "+all[3].id {
		t.Errorf("left are %q", got)
	}
}

// TestC10_SizeDiffers: a message that has not the size that was listed is not
// stored and not deleted. The others go on after its tries; when it is whole it
// is taken in.
func TestC10_SizeDiffers(t *testing.T) {
	d := newDrop(t)
	f := newFetched(t, Account{POP3: d.endpoint(t), Copy: CopyRule{Delete: true}})
	f.round()
	all := letters(4)
	all[1].size = len(all[1].raw) + 1
	d.set(func(d *drop) { d.messages = all })
	for try := range maxTries {
		if _, err := f.poll(); err == nil {
			t.Errorf("try %d: no error", try)
		}
	}
	f.round()
	f.once(all[0].raw, all[2].raw, all[3].raw)
	if got := d.ids(); got != "id0001" || !strings.Contains(f.w.status().LastError, "could not be fetched") {
		t.Errorf("left are %q, %q", got, f.w.status().LastError)
	}
	if got := f.audited("arrival"); !slices.Contains(got, "set aside id0001") {
		t.Errorf("%q", got)
	}
	d.set(func(d *drop) { d.messages[0].size = 0 })
	f.later(asideFirst + time.Second)
	f.round()
	f.once(raws(all)...)
	f.round()
	if got := d.ids(); got != "" || f.w.status().LastError != "" {
		t.Errorf("left are %q, %q", got, f.w.status().LastError)
	}
}

// TestC16_TooLargeByPOP3: a message above the limit is set aside after its
// tries, and never deleted; the others are not held up by it.
func TestC16_TooLargeByPOP3(t *testing.T) {
	d := newDrop(t)
	f := newFetched(t, Account{POP3: d.endpoint(t), MaxMessage: 1000, Copy: CopyRule{Delete: true}})
	f.round()
	d.set(func(d *drop) {
		d.messages = []popMessage{{id: "a", raw: strings.Repeat("x", 998) + "\r\n"}, {id: "b", raw: strings.Repeat("x", 999) + "\r\n"}, {id: "c", raw: "c\r\n"}}
	})
	for range maxTries - 1 {
		_, _ = f.poll()
	}
	f.round()
	f.days(5)
	f.once(strings.Repeat("x", 998)+"\r\n", "c\r\n")
	if got := d.ids(); got != "b" || d.saw("RETR 2") > 0 {
		t.Errorf("left are %q", got)
	}
}

// TestC13_GoneBeforeItWasFetched: what another client took away is told.
func TestC13_GoneBeforeItWasFetched(t *testing.T) {
	d := newDrop(t, letters(3)...)
	f := newFetched(t, Account{POP3: d.endpoint(t)})
	d.set(func(d *drop) {
		d.on = func(cmd string) (string, bool) {
			if cmd == "RETR 2" {
				return "-ERR it is gone\r\n", true
			}
			return "", false
		}
	})
	for range maxTries {
		_, _ = f.poll()
	}
	d.set(func(d *drop) { d.messages, d.on = slices.Delete(d.messages, 1, 2), nil })
	f.later(asideFirst + time.Second)
	f.round()
	f.once(letter(0), letter(2))
	if got := f.audited("arrival"); !slices.Contains(got, "seen but gone id0001") {
		t.Errorf("%q", got)
	}

	// By IMAP: listed, then gone before it was asked for.
	p, in, _ := simulated(t)
	between := newTap(t, p.IMAPAddr(), in.Roots)
	g := newFetched(t, Account{IMAP: between.endpoint(t)})
	g.round()
	put(t, p, letter(0), letter(1), letter(2))
	if err := p.CreateFolder(testBox, "INBOX.Altre"); err != nil {
		t.Fatal(err)
	}
	moved := false
	between.set(func(l line) (string, bool) {
		if l.fromClient && strings.Contains(l.text, "UID FETCH 1 ") && !moved {
			moved = true
			if err := p.Move(testBox, 2, "INBOX.Altre"); err != nil {
				t.Error(err)
			}
		}
		return "", false
	})
	g.round()
	g.once(letter(0), letter(2))
	if got := g.audited("arrival"); !slices.Contains(got, "seen but gone 2") || !moved {
		t.Errorf("%q", got)
	}
}

// TestC17_FirstContact: a full maildrop is taken in over several rounds, the
// newest first, and goes on where it was cut off. What comes meanwhile goes
// before it, and is no history.
func TestC17_FirstContact(t *testing.T) {
	const perRound, n = 20, 35
	d := newDrop(t, letters(n)...)
	f := newFetched(t, Account{POP3: d.endpoint(t)})
	f.s.perRound, f.s.roundFor = perRound, 0
	why := "-ERR [SYS/TEMP] no\r\n"
	d.set(func(d *drop) {
		d.on = func(cmd string) (string, bool) { return why, cmd == fmt.Sprintf("RETR %d", n-5) }
	})
	if _, err := f.poll(); err == nil {
		t.Error("no error")
	}
	f.once(raws(letters(n)[n-5:])...)
	f.worker(f.w.acc) // as after a restart
	more := popMessage{id: "new", raw: "Subject: new\r\n\r\nx\r\n"}
	d.set(func(d *drop) { d.messages, d.on = append(d.messages, more), nil })
	d.saw("")
	again, err := f.poll()
	if err != nil || !again {
		t.Fatal(again, err)
	}
	d.set(func(d *drop) {
		var order []string
		for _, c := range d.commands {
			if strings.HasPrefix(c, "RETR") {
				order = append(order, c)
			}
		}
		if len(order) != perRound || order[0] != fmt.Sprintf("RETR %d", n+1) || order[1] != fmt.Sprintf("RETR %d", n-5) || order[2] != fmt.Sprintf("RETR %d", n-6) {
			t.Errorf("%d fetched: %q ...", len(order), order[:3])
		}
	})
	f.round()
	f.once(append(raws(letters(n)), more.raw)...)
	if f.message(more.raw).History || !f.message(letter(0)).History || !f.message(letter(n-6)).History {
		t.Error("history")
	}
}

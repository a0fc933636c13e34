package relay

import (
	"testing"
)

// TestC18_DryRun: what would go is listed before it goes, and asking deletes
// nothing; what the rounds delete then is what was listed.
func TestC18_DryRun(t *testing.T) {
	d := newDrop(t, letters(3)...)
	f := newFetched(t, Account{POP3: d.endpoint(t)})
	f.s.opt.Accounts = func() []Account { a := f.w.acc; return []Account{a} }
	dry := func() Copies {
		t.Helper()
		c, err := f.s.Copies(t.Context(), testBox)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	f.round()
	if c := dry(); c.Standing != 3 || c.Due != 0 || c.Messages != "keep" {
		t.Errorf("%+v", c)
	}
	f.change(func(a *Account) { a.Copy = CopyRule{Delete: true, After: day} })
	if c := dry(); c.Due != 0 || c.Since != nil || c.Even {
		t.Errorf("before any round: %+v", c)
	}
	f.days(2)
	if c := dry(); c.Due != 0 {
		t.Errorf("before the clock is believed: %+v", c)
	}
	f.later(day)
	if c := dry(); c.Due != 3 || len(c.List) != 3 || c.List[0].UIDL == "" || c.List[0].SHA256 == "" || c.DueBytes == 0 {
		t.Errorf("%+v", c)
	}
	if n := d.saw("DELE"); n != 0 {
		t.Errorf("asking deleted %d", n)
	}
	f.round()
	if n := d.saw("DELE"); n != 3 {
		t.Errorf("%d went", n)
	}
	f.round()
	if c := dry(); c.Standing != 0 || c.Due != 0 {
		t.Errorf("%+v", c)
	}
	if _, err := f.s.Copies(t.Context(), "nessuno@pec.example"); err == nil {
		t.Error("of a mailbox that is not there")
	}
}

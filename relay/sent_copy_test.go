package relay

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
	"pecgate/relay/providersim" // the provider
	"pecgate/relay/submit"
)

// sentThere is what stands in the provider's folder of what was sent.
func sentThere(t *testing.T, p *providersim.Provider) (out []string) {
	t.Helper()
	list, err := p.Folder(testBox, p.SentFolder())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		out = append(out, string(m.Raw))
	}
	return out
}

// handed hands a submission over.
func (f *fetched) handed(id string) {
	f.t.Helper()
	sub, err := f.s.lease(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.s.intend(f.t.Context(), sub); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.s.conclude(f.t.Context(), f.w, sub, submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250}); err != nil {
		f.t.Fatal(err)
	}
}

// TestSentCopy puts what was handed over into the provider's own folder, byte for
// byte, and never twice, also when a crash forgot that it had.
func TestSentCopy(t *testing.T) {
	p, imapAt, _ := simulated(t)
	f := newFetched(t, Account{IMAP: imapAt, SentCopy: true, SentFolder: p.SentFolder()})
	f.s.opt.Address = "pecgate@gateway.example"
	f.round()
	enqueue(t, f.store, "s", testMsgID)
	f.round()
	if all := sentThere(t, p); len(all) != 0 {
		t.Fatalf("before the hand-over: %q", all)
	}
	f.handed("s")
	f.round()
	all := sentThere(t, p)
	if len(all) != 1 || all[0] != "Message-ID: <"+testMsgID+">\r\n\r\nx\r\n" {
		t.Fatalf("%q", all)
	}
	err := f.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		sub, err := load(tx, "s")
		return errors.Join(err, wantSentCopy(tx, f.w.acc, sub))
	})
	if err != nil {
		t.Fatal(err)
	}
	f.round()
	f.round()
	if all := sentThere(t, p); len(all) != 1 {
		t.Errorf("%d copies", len(all))
	}
	if due, err := f.s.sentCopiesDue(t.Context(), testBox); err != nil || len(due) != 0 {
		t.Errorf("%d are due, %v", len(due), err)
	}
}

// TestSentCopyFails: no folder for it changes nothing of the outcome, is tried
// some times, and told to the administrator once.
func TestSentCopyFails(t *testing.T) {
	p, imapAt, _ := simulated(t)
	f := newFetched(t, Account{IMAP: imapAt, SentCopy: true, SentFolder: "Nowhere"})
	f.s.opt.Address = "pecgate@gateway.example"
	f.s.opt.Accounts = func() []Account { return []Account{f.w.acc} }
	f.round()
	for _, id := range []string{"a", "b"} {
		enqueue(t, f.store, id, id+"@alfa.example")
		f.handed(id)
	}
	for range 12 {
		f.round()
		f.later(3 * time.Hour)
	}
	if s := stored(t, f.store, "a"); s.State != HandedOver {
		t.Errorf("it is %s", s.State)
	}
	if n := len(sentThere(t, p)); n != 0 {
		t.Errorf("%d copies", n)
	}
	if n := f.notices("capo"); n != 1 {
		t.Errorf("the administrator has %d notices", n)
	}
	if due, err := f.s.sentCopiesDue(t.Context(), testBox); err != nil || len(due) != 0 {
		t.Errorf("%d are due, %v", len(due), err)
	}
	if n := strings.Count(f.log.String(), "sent copy"); n < 5 {
		t.Errorf("the log tells of it %d times", n)
	}
}

// TestSentCopyBrokenLine: a line that breaks costs at most one copy a try.
func TestSentCopyBrokenLine(t *testing.T) {
	for _, at := range []string{"LIST", "SEARCH", "APPEND"} {
		t.Run(at, func(t *testing.T) {
			p, in, _ := simulated(t)
			between := newTap(t, p.IMAPAddr(), in.Roots)
			var cuts sync.WaitGroup
			defer cuts.Wait()
			folder := p.SentFolder()
			if at == "LIST" {
				folder = ""
			}
			f := newFetched(t, Account{IMAP: between.endpoint(t), SentCopy: true, SentFolder: folder})
			for n := range 20 {
				id := fmt.Sprintf("s%d", n)
				enqueue(t, f.store, id, id+"@alfa.example")
				f.handed(id)
			}
			session, err := loggedIn(t.Context(), f.s, f.w, f.w.server(), fetch.Dial)
			if err != nil {
				t.Fatal(err)
			}
			between.set(func(l line) (string, bool) {
				if l.fromClient && strings.Contains(l.text, at) {
					cuts.Go(between.cut) // which waits for the lock that is held here
					return "", true
				}
				return "", false
			})
			f.s.copySent(t.Context(), f.w, session)
			_ = session.Close() // it is broken
			due, err := f.s.sentCopiesDue(t.Context(), testBox)
			if err != nil || len(due) < 19 {
				t.Errorf("%d of 20 lost no try, %v", len(due), err)
			}
		})
	}
}

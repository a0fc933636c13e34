package relay

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

// unreadable has a mailbox that is fetched: minutes passes some, with a round at the
// provider in each that ends as given; by errOtherFetcher another gateway has it.
func unreadable(w *watched) (minutes func(n int, err error)) {
	a := &worker{acc: w.acc, facts: BoxStatus{Address: testBox}}
	w.s.workers[testBox] = a
	w.acc.Watch.Fetch = 0
	return func(n int, err error) {
		for range n {
			w.now = w.now.Add(time.Minute)
			a.polled(err, w.now)
			w.round()
		}
	}
}

// While the mailbox cannot be read nobody is told that the acceptance did not come;
// after an hour of that they are told that nobody can know, and when it can be read
// again, what is so.
func TestB13_UnreadableMailboxIsNoMissingAcceptance(t *testing.T) {
	const unseen = "accettazione non vista entro 30 min"
	down := errors.New("connection refused")
	for name, back := range map[string]int{"back within the hour": 80, "back later": 100} {
		t.Run(name, func(t *testing.T) {
			w := newWatched(t)
			minutes := unreadable(w)
			minutes(1, nil)
			w.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example")
			minutes(80, down)
			w.told("mario")
			minutes(back-80, down)
			want := []string{noAcceptance}
			if back > 80 {
				w.told("mario", unseen)
				w.told("capo", unseen)
				w.says("non si è potuta leggere")
				minutes(100, down)
				w.told("mario", unseen) // once
				want = []string{unseen, noAcceptance}
			}
			minutes(16, nil)
			w.told("mario", want...)
			w.told("capo", want...)
			w.says("non è arrivata")
			minutes(100, nil)
			w.told("mario", want...)
		})
	}
}

// Where another gateway on the store fetches the mailbox it is as if it were read here.
func TestB13_AnotherFetcherReadsTheMailbox(t *testing.T) {
	w := newWatched(t)
	minutes := unreadable(w)
	minutes(1, nil)
	w.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example")
	minutes(35, errOtherFetcher)
	w.told("mario", noAcceptance)
}

// says looks for words in mario's newest notice.
func (w *watched) says(words string) {
	w.t.Helper()
	got := decoded(w.t, w.newest(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox}))
	if !strings.Contains(strings.ReplaceAll(got, "\n", " "), words) {
		w.t.Errorf("lacks %q:\n%s", words, got)
	}
}

// TestB13_ReadBeforeAReload: a mailbox that begins anew, since its policy changed, was
// read when it was.
func TestB13_ReadBeforeAReload(t *testing.T) {
	g := newGate(t, false)
	g.run(func() {
		g.until("it works", func() bool { return g.k.logins() > 0 })
		g.s.mu.Lock()
		first := g.s.workers[testBox]
		g.s.mu.Unlock()
		read := g.store.Now().UTC()
		first.polled(nil, read)
		g.mu.Lock()
		g.acc.Every = time.Hour
		g.mu.Unlock()
		g.s.Reload()
		g.until("it begins anew", func() bool {
			g.s.mu.Lock()
			defer g.s.mu.Unlock()
			w := g.s.workers[testBox]
			return w != nil && w != first
		})
		if at := g.status().LastFetch; !at.Equal(read) {
			t.Errorf("it was read %s, instead of %s", at, read)
		}
	})
}

// TestB13_ReadByAClockThatStoodAhead: what was read before the clock was put back was
// not read since.
func TestB13_ReadByAClockThatStoodAhead(t *testing.T) {
	w := newWatched(t)
	minutes := unreadable(w)
	minutes(1, nil)
	w.now = w.now.AddDate(-1, 0, 0)
	minutes(1, errors.New("connection refused"))
	w.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example")
	minutes(80, errors.New("connection refused"))
	w.told("mario")
	minutes(16, nil)
	w.told("mario", noAcceptance)
}

// TestB13_NotFetchedIsTheOthersWatch: a service that leaves a mailbox to another one on
// the store tells nobody that it is not read.
func TestB13_NotFetchedIsTheOthersWatch(t *testing.T) {
	w := newWatched(t)
	a := &worker{acc: w.acc, facts: BoxStatus{Address: testBox}}
	w.s.workers[testBox] = a
	for range 200 {
		w.now = w.now.Add(time.Minute)
		a.polled(errOtherFetcher, w.now)
		w.round()
	}
	w.told("capo")
	a.polled(errors.New("connection refused"), w.now) // the other has left
	w.pass(59 * time.Minute)
	w.told("capo")
	w.pass(3 * time.Minute)
	w.told("capo", "non letta presso il gestore da 1 h")
}

// TestB13_InactiveMailbox: of a mailbox that the policy has made inactive nobody is told
// that a receipt did not come, since nobody looks: they are told that, once; and once it
// is active again what is so.
func TestB13_InactiveMailbox(t *testing.T) {
	const inactive = "ricevute non viste entro 30 min, casella non attiva"
	w := newWatched(t)
	minutes := unreadable(w)
	minutes(1, nil)
	w.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example")
	a := w.s.workers[testBox]
	delete(w.s.workers, testBox) // as an inactive mailbox has none
	w.acc.Active = false
	w.pass(80 * time.Minute)
	w.told("mario")
	w.pass(200 * time.Minute)
	w.told("mario", inactive)
	w.told("capo", inactive)
	w.says("active: false")
	w.acc.Active, w.s.workers[testBox] = true, a
	minutes(20, nil)
	w.told("mario", inactive, noAcceptance)
}

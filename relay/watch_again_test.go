package relay

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

// What is down again soon after it was well is told when the quiet time is over,
// and once.
func TestAlarmThatComesBackInItsQuietTimeIsToldWhenItLasts(t *testing.T) {
	w := newWatched(t)
	w.withMail()
	step := func(err error) {
		t.Helper()
		if err := w.s.smarthostDown(t.Context(), err); err != nil {
			t.Fatal(err)
		}
	}
	down := errors.New("connection refused")
	step(down)
	w.now = w.now.Add(30 * time.Minute)
	step(nil)
	w.now = w.now.Add(10 * time.Minute)
	step(down)
	w.now = w.now.Add(10 * time.Minute)
	step(down)
	w.told("capo", "Smarthost") // the first time
	for range 48 {
		w.now = w.now.Add(time.Hour)
		step(down)
	}
	w.told("capo", "Smarthost", "Smarthost")
	if got := w.standingAlarms(); !slices.Equal(got, []string{"smarthost "}) {
		t.Errorf("standing: %q", got)
	}
	// One that comes and goes all day is told once for each quiet time at most.
	for range 60 {
		step(nil)
		w.now = w.now.Add(time.Minute)
		step(down)
		w.now = w.now.Add(time.Minute)
	}
	if got := w.inbox("capo"); len(got) != 3 {
		t.Errorf("told %d times", len(got))
	}
}

// A certificate that was renewed in time is told to nobody; that of the server for
// fetching goes under its own name.
func TestE4_RenewedCertificateIsToldToNobody(t *testing.T) {
	w := newWatched(t)
	w.acc.Watch.Fetch = 0
	w.acc.SMTP, w.acc.IMAP = Endpoint{Host: "smtps.alfa.example", Port: 465}, Endpoint{Host: "imaps.alfa.example", Port: 993}
	a := &worker{acc: w.acc, facts: BoxStatus{Address: testBox}}
	w.s.workers[testBox] = a
	a.seenCertificate(a.acc.SMTP, w.now.AddDate(0, 0, 40))
	a.seenCertificate(a.acc.IMAP, w.now.AddDate(0, 0, 60))
	renewed := w.now.AddDate(1, 0, 0)
	for day := range 45 {
		if day == 5 {
			a.seenCertificate(a.acc.SMTP, renewed)
		}
		w.now = w.now.Add(24 * time.Hour)
		w.round()
	}
	w.told("capo", "certificato del gestore")
	if got := w.inbox("capo"); !strings.HasSuffix(got[0], "imaps.alfa.example") {
		t.Errorf("told %q", got)
	}
	a.seenCertificate(a.acc.IMAP, renewed)
	w.round()
	if got := w.standingAlarms(); len(got) != 0 || !a.status().CertificateExpires.Equal(renewed) {
		t.Errorf("standing %q, ends %s", got, a.status().CertificateExpires)
	}
}

// The first digest begins now: what stood there before did not arrive.
func TestFirstDigestCountsNoHistory(t *testing.T) {
	w := newWatched(t)
	w.withMail()
	w.s.opt.Digests = func() map[string]time.Duration { return map[string]time.Duration{"mario": 0} }
	w.now = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	for range 5 {
		w.takeAt(w.envelope(), time.Now(), cursor{UIDValidity: 1, HistoryTo: 99})
	}
	digest := func(want string) {
		t.Helper()
		w.round()
		text := decoded(t, w.newest(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox}))
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	digest("arrivate: 0\n")
	w.take(w.envelope())
	w.now = w.now.Add(24 * time.Hour)
	digest("arrivate: 1\n")
}

// A mailbox that was inactive begins its wait for a fetch anew.
func TestMailboxThatIsActiveAgainBeginsAnew(t *testing.T) {
	w := newWatched(t)
	first := &worker{acc: w.acc, facts: BoxStatus{Address: testBox}}
	w.s.workers[testBox] = first
	first.polled(nil, w.now)
	w.pass(4 * time.Minute)
	first.polled(errors.New("connection refused"), w.now)
	w.pass(20 * time.Minute)
	w.acc.Active = false
	delete(w.s.workers, testBox)
	w.pass(5 * time.Hour)
	w.acc.Active = true
	w.s.workers[testBox] = &worker{acc: w.acc, facts: BoxStatus{Address: testBox}}
	w.pass(5 * time.Minute)
	w.told("capo")
}

// The local part of a mailbox may have a slash: the notice goes to the person.
func TestLateNoticeOfAMailboxWithASlash(t *testing.T) {
	w := newWatched(t)
	w.update(func(tx *mailbox.Tx) error {
		l := watchLine{For: awaitReading, Term: "72 h", Message: 1}
		return tx.Space(room).Put(watchLines("uff/protocollo@pec.alfa.example", "reading", "mario")+"x", l)
	})
	w.take(w.envelope()) // message 1
	w.round()
	w.told("mario", "uff/protocollo@pec.alfa.example")
}

// Alarms about a server that no mailbox uses any more, and about the smarthost
// where there is none now, end by themselves.
func TestAlarmsOfThingsThatAreGoneEnd(t *testing.T) {
	w := newWatched(t)
	w.withMail()
	w.s.opt.Smarthost = &Smarthost{}
	w.acc.Watch.Fetch = 0
	w.acc.SMTP = Endpoint{Host: "old.alfa.example", Port: 465}
	w.s.workers[testBox] = &worker{acc: w.acc, facts: BoxStatus{Address: testBox}}
	w.s.workers[testBox].seenCertificate(w.acc.SMTP, w.now.AddDate(0, 0, 5))
	if err := w.s.smarthostDown(t.Context(), errors.New("connection refused")); err != nil {
		t.Fatal(err)
	}
	w.round()
	if got := w.standingAlarms(); len(got) != 2 {
		t.Fatalf("standing: %q", got)
	}
	w.acc.SMTP.Host, w.s.opt.Smarthost = "new.alfa.example", nil
	w.s.workers[testBox] = &worker{acc: w.acc, facts: BoxStatus{Address: testBox}}
	w.round()
	if got := w.standingAlarms(); len(got) != 0 {
		t.Errorf("standing: %q", got)
	}
}

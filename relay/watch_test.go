package relay

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// watched is an intake whose clock the test moves.
type watched struct {
	*intake
	now time.Time
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{intake: newIntake(t), now: time.Now()}
	store, err := mailbox.Open(mailbox.Options{Dir: t.TempDir(), Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.store, w.s.opt.Store = store, store
	w.withAdmin()
	w.acc.Watch = Watch{Acceptance: 30 * time.Minute, Delivery: []time.Duration{12 * time.Hour, 24 * time.Hour}, Unread: 3 * 24 * time.Hour, Fetch: time.Hour}
	w.s.opt.Readers = func(string) []Reader {
		return []Reader{{Login: "mario", Sees: func(mailbox.Role) (mailbox.Scope, bool) { return mailbox.ScopeAll, true }}}
	}
	if _, err := store.Person(t.Context(), "mario"); err != nil {
		t.Fatal(err)
	}
	w.round()
	return w
}

func (w *watched) round() {
	w.t.Helper()
	if err := w.s.watchRound(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// pass lets time pass while the gateway runs, minute by minute at its ends: what
// is between is counted at once.
func (w *watched) pass(d time.Duration) {
	w.t.Helper()
	if d > 4*time.Minute {
		w.now = w.now.Add(d - 4*time.Minute)
		w.update(func(tx *mailbox.Tx) error {
			c, err := readRunClock(tx)
			c.Ran, c.Seen = c.Ran+d-4*time.Minute, w.now
			return errors.Join(err, tx.Space(room).Put(runKey, c))
		})
		d = 4 * time.Minute
		w.round()
	}
	for ; d > 0; d -= time.Minute {
		w.now = w.now.Add(min(d, time.Minute))
		w.round()
	}
}

func (w *watched) told(login string, want ...string) {
	w.t.Helper()
	got := w.inbox(login)
	if len(got) != len(want) {
		w.t.Fatalf("INBOX of %s: %q, want %d notices", login, got, len(want))
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			w.t.Errorf("INBOX of %s: %q, want %q", login, got[i], want[i])
		}
	}
}

const (
	noAcceptance = "nessuna accettazione entro 30 min (1)"
	noDelivery12 = "nessuna ricevuta di consegna entro 12 h (1)"
	noDelivery24 = "nessuna ricevuta di consegna entro 24 h (1)"
)

// TestB13_NobodyWaitsInTheDark: sender and administrator are told, once each, when
// the acceptance does not come, and when deliveries do not.
func TestB13_NobodyWaitsInTheDark(t *testing.T) {
	w := newWatched(t)
	w.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
	w.pass(29 * time.Minute)
	w.told("mario")
	w.pass(2 * time.Minute)
	w.s = New(w.s.opt) // a restart tells nothing again
	w.pass(13 * time.Hour)
	w.told("mario", noAcceptance)
	w.told("capo", noAcceptance)
	if s := stored(t, w.store, "one"); s.State != HandedOver || s.Recipients[0].State != Late {
		t.Errorf("%s, %s", s.State, s.Recipients[0].State)
	}

	w.take(w.receipt(providersim.Acceptance, nil))
	if s := stored(t, w.store, "one"); s.Overdue != "" || s.Recipients[0].State != Waiting {
		t.Errorf("after the acceptance: %q, %s", s.Overdue, s.Recipients[0].State)
	}
	w.pass(11*time.Hour + 50*time.Minute)
	w.told("mario", noAcceptance)
	w.take(w.receipt(providersim.Delivery, nil))
	w.pass(20 * time.Minute)
	w.told("mario", noAcceptance, noDelivery12)
	if text := w.newest(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox}); !strings.Contains(decoded(t, text), "b@pec.example\n") || strings.Contains(decoded(t, text), "  a@pec.example\n") {
		t.Errorf("names the wrong recipients:\n%s", decoded(t, text))
	}
	if s := stored(t, w.store, "one"); s.Recipients[0].State != Delivered || s.Recipients[1].State != Late {
		t.Errorf("%+v", s.Recipients)
	}
	if got, err := w.s.Status(t.Context()); err != nil || got.Overdue != 1 {
		t.Errorf("overdue %d, %v", got.Overdue, err)
	}
	w.pass(12 * time.Hour)
	w.pass(48 * time.Hour)
	w.told("mario", noAcceptance, noDelivery12, noDelivery24)
	w.told("capo", noAcceptance, noDelivery12, noDelivery24)

	w.take(w.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Recipient = "b@pec.example" }))
	if got, err := w.s.Status(t.Context()); err != nil || got.Overdue != 0 {
		t.Errorf("overdue %d after the last delivery, %v", got.Overdue, err)
	}
	if left := w.watchKeys(); len(left) != 0 {
		t.Errorf("left on the lists: %q", left)
	}
}

func (w *watched) watchKeys() (all []string) {
	w.t.Helper()
	for _, p := range []string{"wd/", "ws/", "wt/", "wf/"} {
		err := w.store.View(w.t.Context(), func(tx *mailbox.Tx) error {
			return tx.Space(room).Scan(p, func(k string, _ []byte) (bool, error) { all = append(all, k); return true, nil })
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

func decoded(t *testing.T, raw string) string {
	t.Helper()
	_, body, _ := strings.Cut(raw, "\r\n\r\n")
	b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// What comes in time is told to nobody, and leaves nothing behind.
func TestB13_ReceiptsInTimeAreToldToNobody(t *testing.T) {
	w := newWatched(t)
	w.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example")
	w.pass(10 * time.Minute)
	w.take(w.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.Recipients = n.Recipients[:1] }))
	w.pass(time.Hour)
	w.take(w.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Recipients = n.Recipients[:1] }))
	w.pass(72 * time.Hour)
	w.told("mario")
	w.told("capo")
	if left := w.watchKeys(); len(left) != 0 {
		t.Errorf("left on the lists: %q", left)
	}
}

// Many that are late at once are one notice.
func TestB13_ManyAreOneNotice(t *testing.T) {
	w := newWatched(t)
	for n := range 70 {
		id := fmt.Sprintf("sub%02d", n)
		w.send(id, id+"@alfa.example", fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", n), "a@pec.example")
	}
	w.pass(40 * time.Minute)
	w.told("mario", "(70)")
	w.told("capo", "(70)")
}

// TestJ1_AJumpMakesNothingLate: a clock that jumps by a year, and one that was put back
// (J2), tell nobody anything.
func TestJ1_AJumpMakesNothingLate(t *testing.T) {
	tellsNobody(t, 365*24*time.Hour, -365*24*time.Hour)
}

// TestJ3_SleepMakesNothingLate: nor does a machine that slept for two hours.
func TestJ3_SleepMakesNothingLate(t *testing.T) { tellsNobody(t, 2*time.Hour) }

func tellsNobody(t *testing.T, jumps ...time.Duration) {
	t.Helper()
	for _, jump := range jumps {
		w := newWatched(t)
		w.send("one", testMsgID, "Subject: x\r\n\r\nx\r\n", "a@pec.example", "b@pec.example")
		w.take(w.envelope())
		w.s.opt.Certificate = func() time.Time { return time.Now().AddDate(0, 6, 0) }
		w.pass(5 * time.Minute)
		w.now = w.now.Add(jump)
		w.round()
		w.pass(10 * time.Minute)
		w.told("mario")
		w.told("capo")
		w.pass(20 * time.Minute) // and the wait goes on
		w.told("mario", noAcceptance)
	}
}

// envelope is a transport envelope for the mailbox.
func (i *intake) envelope() []byte {
	i.t.Helper()
	return i.compose(i.sim.Signer(), providersim.Transport, func(n *providersim.Notice) {
		n.Sender, n.ReplyTo, n.To = "altri@pec.beta.example", "altri@pec.beta.example", testBox
		n.Recipients = []providersim.Recipient{{Address: testBox}}
		n.Attached = []byte("From: altri@pec.beta.example\r\nTo: " + testBox + "\r\nSubject: ricorso\r\n\r\nciao\r\n")
		n.Header = []byte("From: altri@pec.beta.example\r\nTo: " + testBox + "\r\nSubject: ricorso\r\n\r\n")
	}, providersim.SignOptions{})
}

func TestUnreadPECIsToldOnce(t *testing.T) {
	w := newWatched(t)
	w.take(w.envelope())
	w.takeAt(w.envelope(), time.Now(), cursor{UIDValidity: 1, HistoryTo: 99}) // history has no watch
	w.pass(70 * time.Hour)
	w.told("capo")
	w.pass(3 * time.Hour)
	w.pass(30 * 24 * time.Hour)
	w.told("capo", "non letta da 72 h (1)")
	w.told("mario")

	// One that somebody has read is told to nobody.
	w.take(w.envelope())
	inbox, v := mailbox.FolderKey{Box: testBox, Role: mailbox.RoleInbox}, mailbox.Viewer{Person: 1, Scope: mailbox.ScopeAll}
	snap, err := w.store.Snapshot(t.Context(), inbox, v)
	if err != nil {
		t.Fatal(err)
	}
	if len(snap.UIDs) != 3 {
		t.Fatalf("%d messages", len(snap.UIDs))
	}
	if _, err := w.store.SetFlags(t.Context(), snap.Folder, v, snap.UIDs, mailbox.FlagsAdd, []string{"\\Seen"}); err != nil {
		t.Fatal(err)
	}
	w.pass(80 * time.Hour)
	w.told("capo", "non letta")
}

func TestMailboxThatIsNotFetchedIsTold(t *testing.T) {
	w := newWatched(t)
	worker := &worker{acc: w.acc, facts: BoxStatus{Address: testBox}}
	w.s.workers[testBox] = worker
	fetched := func() { worker.polled(nil, w.now) }
	fetched()
	w.pass(4 * time.Minute)
	worker.polled(errors.New("connection refused"), w.now)
	w.pass(50 * time.Minute)
	w.told("capo")
	w.s.fetched = map[string]*fetchWatch{} // a restart does not begin anew
	w.pass(15 * time.Minute)
	w.pass(5 * time.Hour)
	w.told("capo", "non letta presso il gestore da 1 h")
	if got := w.standingAlarms(); !slices.Equal(got, []string{"not-fetched "}) {
		t.Errorf("standing: %q", got)
	}
	fetched()
	w.pass(time.Minute)
	if got := w.standingAlarms(); len(got) != 0 {
		t.Errorf("standing after it was fetched: %q", got)
	}
}

// TestE4_CertificateThatEndsIsToldThreeTimes at 30, 7 and 1 days, the gateway's own
// and the provider's; a new one ends the alarm.
func TestE4_CertificateThatEndsIsToldThreeTimes(t *testing.T) {
	w := newWatched(t)
	ends := w.now.AddDate(0, 0, 40)
	w.s.opt.Certificate = func() time.Time { return ends }
	w.s.workers[testBox] = &worker{acc: w.acc, facts: BoxStatus{Address: testBox}}
	w.s.workers[testBox].seenCertificate(w.acc.SMTP, ends)
	w.acc.Watch.Fetch = 0
	for range 42 {
		w.now = w.now.Add(24 * time.Hour)
		w.round()
	}
	own, provider := "certificato del gateway", "certificato del gestore"
	w.told("capo", provider, own, provider, own, provider, own)
	ends = w.now.AddDate(1, 0, 0)
	w.s.workers[testBox].seenCertificate(w.acc.SMTP, ends)
	w.round()
	if got := w.standingAlarms(); len(got) != 0 {
		t.Errorf("standing: %q", got)
	}
}

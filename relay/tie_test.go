package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/mailbox/pec"
	"pecgate/relay/fetch"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

const pecID = "opec1.20260703091542.01234.5.1.9@pec.gestore.example"

var authority = sync.OnceValues(func() (*providersim.Authority, error) {
	return providersim.NewAuthority("pec.gestore.example", time.Now())
})

// intake is a relay without a provider: receipts are taken in as the fetcher
// would.
type intake struct {
	t     *testing.T
	store *mailbox.Store
	s     *Service
	acc   Account
	uid   uint32
	log   *bytes.Buffer
	sim   *providersim.Authority
}

func newIntake(t *testing.T) *intake {
	t.Helper()
	sim, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pec.NewTrust(sim.CAPEM())
	if err != nil {
		t.Fatal(err)
	}
	i := &intake{t: t, store: openStore(t), acc: Account{Box: testBox, Admin: "capo"}, log: new(bytes.Buffer), sim: sim}
	i.s = New(Options{
		Store: i.store, Reader: pec.NewReader(pec.Options{Trust: trust}), Accounts: func() []Account { return nil },
		Events: events.New(slog.New(slog.NewTextHandler(i.log, nil))),
	})
	mustList(t, i.store)
	return i
}

// again starts another service where the one of before was ended by a crash.
func (i *intake) again() {
	i.t.Helper()
	held := i.s.holder
	i.s = New(i.s.opt)
	i.s.holder = held // of a process that is there no more
	if err := i.s.recover(i.t.Context()); err != nil {
		i.t.Fatal(err)
	}
}

// send puts a submission of these bytes into the store, handed over.
func (i *intake) send(id, msgid, raw string, to ...string) {
	i.t.Helper()
	ctx := context.Background()
	in, err := i.store.Begin(ctx)
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := in.Write([]byte(raw)); err != nil {
		i.t.Fatal(err)
	}
	st, err := in.Store(ctx, mailbox.Origin{Box: testBox, Direction: mailbox.Out, Submission: id})
	if err != nil {
		i.t.Fatal(err)
	}
	defer st.Close()
	_, err = i.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		s, err := Enqueue(tx, Ticket{ID: id, Box: testBox, User: "mario", Person: 1, MsgID: msgid, To: to}, m)
		if err != nil {
			return err
		}
		s.State = HandedOver
		return save(tx, s, nil)
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

// receipt composes a receipt about the submission that testMsgID is of.
func (i *intake) receipt(kind providersim.Kind, change func(*providersim.Notice)) []byte {
	i.t.Helper()
	return i.compose(i.sim.Signer(), kind, change, providersim.SignOptions{})
}

// foreign is receipt signed by another provider that is trusted, too.
func (i *intake) foreign(kind providersim.Kind, change func(*providersim.Notice)) []byte {
	i.t.Helper()
	other, err := i.sim.Outside()
	if err != nil {
		i.t.Fatal(err)
	}
	return i.compose(other, kind, change, providersim.SignOptions{})
}

func (i *intake) compose(by *providersim.Signer, kind providersim.Kind, change func(*providersim.Notice), o providersim.SignOptions) []byte {
	i.t.Helper()
	n := providersim.Notice{
		Kind: kind, At: time.Now(), Provider: "Gestore di prova S.p.A.", Sender: testBox, ReplyTo: testBox, Subject: "prova",
		Recipients: []providersim.Recipient{{Address: "a@pec.example"}, {Address: "b@pec.example"}},
		Identifier: pecID, MsgID: "<" + testMsgID + ">",
	}
	switch kind {
	case providersim.Delivery:
		n.Receipt, n.Recipient = "sintetica", "a@pec.example"
	case providersim.DeliveryError:
		n.Recipient, n.Errore, n.ErroreEsteso = "a@pec.example", "no-dest", "5.1.1 - Gestore - indirizzo non valido"
	case providersim.DeliveryWarning:
		n.Recipient, n.Errore, n.ErroreEsteso = "a@pec.example", "altro", "4.4.7 - Gestore - nessuna consegna entro 12 ore"
	case providersim.NonAcceptance:
		n.Errore, n.ErroreEsteso = "altro", "5.6.0 - Gestore - il messaggio non rispetta le regole"
	case providersim.VirusDetected:
		n.Recipient, n.Errore, n.ErroreEsteso, n.To = "a@pec.example", "virus", "5.5.1 - Gestore - virus", testBox
	case providersim.TakenInCharge:
		n.TakenInCharge, n.To = []string{"a@pec.example"}, testBox
	case providersim.Anomaly:
		n.Attached, n.Header = []byte("From: x@esempio.example\r\nSubject: ciao\r\n\r\nciao\r\n"), []byte("From: x@esempio.example\r\nTo: "+testBox+"\r\n\r\n")
	}
	if change != nil {
		change(&n)
	}
	o.Style = providersim.StyleNew
	raw, err := providersim.Compose(n, by, o)
	if err != nil {
		i.t.Fatal(err)
	}
	return raw
}

// take takes one message in.
func (i *intake) take(raw []byte) {
	i.t.Helper()
	i.takeAt(raw, time.Now(), cursor{UIDValidity: 1})
}

// takeAt takes one message in that the provider received at a time.
func (i *intake) takeAt(raw []byte, at time.Time, c cursor) {
	i.t.Helper()
	i.uid++
	err := i.s.takeIn(context.Background(), i.acc, c, fetch.Item{
		Folder: "INBOX", UIDValidity: 1, UID: i.uid, InternalDate: at, Size: int64(len(raw)), Body: bytes.NewReader(raw),
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

// update changes the relay's records.
func (i *intake) update(fn func(tx *mailbox.Tx) error) {
	i.t.Helper()
	if err := i.store.Update(context.Background(), fn); err != nil {
		i.t.Fatal(err)
	}
}

// from puts a submission of yesterday into a state as if nothing were known of
// its hand-over.
func (i *intake) from(id string, state State) {
	i.t.Helper()
	i.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, id)
		if err != nil {
			return err
		}
		s.State, s.StateReason = state, ""
		s.SubmittedAt = s.SubmittedAt.Add(-24 * time.Hour)
		if state == Held {
			s.StateReason = ReasonUncertain
		}
		return save(tx, s, &due{At: tx.Now()})
	})
}

func (i *intake) shown(id string) Shown {
	i.t.Helper()
	shown, _, err := Show(context.Background(), i.store, id)
	if err != nil {
		i.t.Fatal(err)
	}
	return shown
}

// words are the events of a submission in short.
func words(s Shown) string {
	var w []string
	for _, e := range s.Events {
		w = append(w, e.What)
	}
	return strings.Join(w, " ")
}

// inFolder counts what a person sees in a folder.
func (i *intake) inFolder(role mailbox.Role, person mailbox.Person, scope mailbox.Scope) int {
	i.t.Helper()
	st, err := i.store.Status(context.Background(), mailbox.FolderKey{Box: testBox, Role: role}, mailbox.Viewer{Person: person, Scope: scope})
	if err != nil {
		i.t.Fatal(err)
	}
	return int(st.Messages)
}

// The sender, and another member of the mailbox, see of a folder.
const sender, member = 1, 2

// owned asserts that n receipts of a folder are the sender's, and others' none.
func (i *intake) owned(role mailbox.Role, n int) {
	i.t.Helper()
	if got, other := i.inFolder(role, sender, mailbox.ScopeOwn), i.inFolder(role, member, mailbox.ScopeOwnOrCommon); got != n || other != 0 {
		i.t.Errorf("%s: the sender sees %d of their own instead of %d, another member %d", role, got, n, other)
	}
}

// common asserts that n messages of a folder are nobody's in particular.
func (i *intake) common(role mailbox.Role, n int) {
	i.t.Helper()
	if got, other := i.inFolder(role, sender, mailbox.ScopeOwn), i.inFolder(role, member, mailbox.ScopeOwnOrCommon); got != 0 || other != n {
		i.t.Errorf("%s: the sender sees %d of their own, another member %d instead of %d", role, got, other, n)
	}
}

const sentText = "From: " + testBox + "\r\nTo: a@pec.example, b@pec.example\r\nMessage-ID: <" + testMsgID + ">\r\nSubject: prova\r\n\r\ntesto\r\n"

func noMsgID(n *providersim.Notice) { n.Quirks.NoMsgID = true }

// TestTieByIdentifier: receipts whose signed data name no Message-ID are tied by
// the provider's identifier once another receipt told it, whatever comes first.
func TestTieByIdentifier(t *testing.T) {
	about := func(k providersim.Kind, a string) func(*intake) []byte {
		return func(i *intake) []byte {
			return i.receipt(k, func(n *providersim.Notice) { noMsgID(n); n.Recipient = a })
		}
	}
	acceptance := func(i *intake) []byte { return i.receipt(providersim.Acceptance, nil) }
	failed, delivered := about(providersim.DeliveryError, "A@pec.example"), about(providersim.Delivery, "b@PEC.example")
	upper := func(i *intake) []byte {
		return i.receipt(providersim.Delivery, func(n *providersim.Notice) {
			noMsgID(n)
			n.Recipient, n.Identifier = "b@pec.example", strings.ToUpper(pecID)
		})
	}
	for name, order := range map[string][]func(*intake) []byte{
		"after the acceptance":  {acceptance, failed, delivered},
		"before the acceptance": {failed, delivered, acceptance},
		"round the acceptance":  {delivered, acceptance, failed},
		"in another case":       {upper, acceptance, failed},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIntake(t)
			i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
			for _, make := range order {
				i.take(make(i))
			}
			s := i.shown("s1")
			if s.State != Accepted || s.Recipients[0].State != Failed || s.Recipients[1].State != Delivered {
				t.Fatalf("%s, %+v\n%s", s.State, s.Recipients, i.log)
			}
			if len(s.Recipients[0].Receipts) != 1 || len(s.Recipients[1].Receipts) != 1 || len(s.Receipts) != 1 {
				t.Errorf("receipts %+v", s)
			}
			i.owned(mailbox.RoleErrors, 1)
			i.owned(mailbox.RoleDelivery, 1)
		})
	}
}

// TestEarlierNoticesStay: a delivery after a warning and a failure wins, and
// `show` tells all three.
func TestEarlierNoticesStay(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	i.take(i.receipt(providersim.Acceptance, nil))
	i.take(i.receipt(providersim.DeliveryWarning, nil))
	i.take(i.receipt(providersim.DeliveryError, nil))
	last := i.receipt(providersim.Delivery, nil)
	i.take(last)
	before, err := json.Marshal(i.shown("s1"))
	if err != nil {
		t.Fatal(err)
	}
	i.take(last) // again: no change
	s := i.shown("s1")
	if after, _ := json.Marshal(s); !bytes.Equal(before, after) {
		t.Errorf("the same receipt again:\n%s\n%s", before, after)
	}
	var kinds []string
	for _, r := range s.Recipients[0].Receipts {
		kinds = append(kinds, string(r.Kind))
	}
	if s.Recipients[0].State != Delivered || len(kinds) != 3 || words(s) != "submitted acceptance delivery-warning delivery-error delivery" {
		t.Errorf("%s %v: %s", s.Recipients[0].State, kinds, words(s))
	}
}

// TestReceiptOfBefore: a genuine receipt that is much older than the submission
// is about another message of the same Message-ID; a slow clock is forgiven.
func TestReceiptOfBefore(t *testing.T) {
	for age, want := range map[time.Duration]State{23 * time.Hour: Accepted, 25 * time.Hour: HandedOver} {
		i := newIntake(t)
		i.send("s1", testMsgID, sentText, "a@pec.example")
		i.take(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.At = time.Now().Add(-age) }))
		if s := i.shown("s1"); s.State != want {
			t.Errorf("%s old: %s", age, s.State)
		}
		if want == Accepted {
			i.owned(mailbox.RoleAcceptance, 1)
		} else {
			i.common(mailbox.RoleAcceptance, 1)
		}
	}
}

// TestH3_ReceiptOfAnotherMailbox quotes our Message-ID and identifier, but its
// signed data name another sender.
func TestH3_ReceiptOfAnotherMailbox(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example")
	i.take(i.receipt(providersim.Acceptance, nil))
	for _, change := range []func(*providersim.Notice){
		func(n *providersim.Notice) { n.Sender, n.To = "altro@pec.example", testBox },
		func(n *providersim.Notice) { noMsgID(n); n.Sender, n.To = "altro@pec.example", testBox },
	} {
		i.take(i.receipt(providersim.DeliveryError, change))
	}
	if s := i.shown("s1"); s.Recipients[0].State != Waiting || words(s) != "submitted acceptance" {
		t.Errorf("%+v", s)
	}
	i.common(mailbox.RoleAnomalies, 2)
}

// TestJ1_SubmittedByAClockAhead: what was submitted while the clock stood far ahead gets
// its receipts once it is right, whether it was handed over before or after that.
func TestJ1_SubmittedByAClockAhead(t *testing.T) {
	for name, c := range map[string]struct{ submitted, handed time.Duration }{
		"handed over by the right clock": {72 * time.Hour, -time.Minute},
		"handed over by the wrong one":   {365 * 24 * time.Hour, 365 * 24 * time.Hour},
	} {
		i := newIntake(t)
		i.send("s1", testMsgID, sentText, "a@pec.example")
		i.update(func(tx *mailbox.Tx) error {
			s, err := load(tx, "s1")
			if err != nil {
				return err
			}
			s.SubmittedAt, s.HandedOver = tx.Now().Add(c.submitted), tx.Now().Add(c.handed)
			return save(tx, s, nil)
		})
		i.take(i.receipt(providersim.Acceptance, nil))
		if s := i.shown("s1"); s.State != Accepted {
			t.Errorf("%s: it is %s", name, s.State)
		}
	}
	// By the time of its hand-over, later as well.
	s := submission("a@pec.example")
	now := time.Now()
	s.SubmittedAt, s.HandedOver = now.Add(72*time.Hour), now
	if at := s.sent(now.Add(100*time.Hour), "").At; !at.Equal(now) {
		t.Errorf("receipts are compared with %s", at)
	}
}

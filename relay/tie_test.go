package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	return i
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
	raw, err := providersim.Compose(n, i.sim.Signer(), providersim.SignOptions{Style: providersim.StyleNew})
	if err != nil {
		i.t.Fatal(err)
	}
	return raw
}

// take takes one message in.
func (i *intake) take(raw []byte) {
	i.t.Helper()
	i.uid++
	err := i.s.takeIn(context.Background(), i.acc, cursor{UIDValidity: 1}, fetch.Item{
		Folder: "INBOX", UIDValidity: 1, UID: i.uid, InternalDate: time.Now(), Size: int64(len(raw)), Body: bytes.NewReader(raw),
	})
	if err != nil {
		i.t.Fatal(err)
	}
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
			if got := i.inFolder(mailbox.RoleErrors, 1, mailbox.ScopeAll) + i.inFolder(mailbox.RoleDelivery, 1, mailbox.ScopeAll); got != 2 {
				t.Errorf("%d entries", got)
			}
		})
	}
}

// TestH5_ReceiptsWaitOverAStop: a stop between the acceptance and the receipts
// that waited for it is made good at the next start.
func TestH5_ReceiptsWaitOverAStop(t *testing.T) {
	i := newIntake(t)
	i.take(i.receipt(providersim.DeliveryError, noMsgID))
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	err := i.store.Update(context.Background(), func(tx *mailbox.Tx) error {
		s, err := load(tx, "s1")
		if err != nil {
			return err
		}
		return learn(tx, s, pecID)
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := i.s.claimAll(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	s := i.shown("s1")
	if s.Recipients[0].State != Failed || len(s.Recipients[0].Receipts) != 1 || words(s) != "submitted delivery-error" {
		t.Errorf("%+v", s)
	}
}

// TestH5_WaitingIsBounded: receipts that wait for a submission of 120 recipients
// are all applied, in more than one go.
func TestH5_WaitingIsBounded(t *testing.T) {
	i := newIntake(t)
	var to []string
	var list []providersim.Recipient
	for k := range 2*perClaim + 20 {
		to = append(to, fmt.Sprintf("r%d@pec.example", k))
		list = append(list, providersim.Recipient{Address: to[k]})
	}
	i.send("s1", testMsgID, sentText, to...)
	for _, a := range to {
		i.take(i.receipt(providersim.Delivery, func(n *providersim.Notice) {
			noMsgID(n)
			n.Recipient, n.Recipients = a, list[:1]
		}))
	}
	i.take(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.Recipients = list }))
	for _, r := range i.shown("s1").Recipients {
		if r.State != Delivered {
			t.Fatalf("%+v", r)
		}
	}
}

// TestH5_ShuffledReceipts takes real receipts in through the store in random
// orders, some twice, some without Message-ID: what `show` says is the same.
func TestH5_ShuffledReceipts(t *testing.T) {
	i := newIntake(t)
	var end string
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		id, msgid := fmt.Sprintf("s%d", seed), fmt.Sprintf("m%d@alfa.example", seed)
		about := func(k providersim.Kind, a string, change func(*providersim.Notice)) []byte {
			return i.receipt(k, func(n *providersim.Notice) {
				n.Identifier, n.MsgID = fmt.Sprintf("%d.%s", seed, pecID), "<"+msgid+">"
				if n.Recipient != "" {
					n.Recipient = a
				}
				if change != nil {
					change(n)
				}
			})
		}
		receipts := [][]byte{
			about(providersim.Acceptance, "", nil),
			about(providersim.DeliveryWarning, "a@pec.example", nil),
			about(providersim.DeliveryError, "a@pec.example", noMsgID),
			about(providersim.Delivery, "a@pec.example", noMsgID),
			about(providersim.DeliveryWarning, "b@pec.example", noMsgID),
			about(providersim.DeliveryError, "b@pec.example", nil),
		}
		i.send(id, msgid, strings.ReplaceAll(sentText, testMsgID, msgid), "a@pec.example", "b@pec.example")
		for _, k := range append(rnd.Perm(len(receipts)), rnd.Perm(len(receipts))[:2]...) {
			i.take(receipts[k])
		}
		s := i.shown(id)
		short := fmt.Sprintf("%s %s %d %s %d %d", s.State, s.Recipients[0].State, len(s.Recipients[0].Receipts),
			s.Recipients[1].State, len(s.Recipients[1].Receipts), len(s.Receipts))
		if end == "" {
			end = short
		}
		if short != end || short != "accepted delivered 3 failed 2 1" {
			t.Fatalf("seed %d: %s\n%s", seed, short, i.log)
		}
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
		if n := i.inFolder(mailbox.RoleAcceptance, 1, mailbox.ScopeAll); n != 1 {
			t.Errorf("%s old: %d in the folder", age, n)
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
	if n := i.inFolder(mailbox.RoleAnomalies, 1, mailbox.ScopeAll); n != 2 {
		t.Errorf("%d anomalies", n)
	}
}

package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
	"pecgate/relay/submit"
)

const (
	batchID    = "0123456789abcdefghijklmnop"
	batchMsgID = "circolare.1@alfa.example"
	batchText  = "From: " + testBox + "\r\nTo: \"Gli altri\" <a@pec.example>,\r\n b@pec.example\r\nCc: c@pec.example\r\nBCC: d@pec.example\r\n" +
		"Message-ID: <" + batchMsgID + ">\r\nSubject: prova\r\nX-TipoRicevuta: completa\r\n\r\ntesto\r\n.\r\n"
)

// putBatch puts a batch into the store as the gateway does.
func (i *intake) putBatch(split string, visible int, to ...string) {
	i.t.Helper()
	ctx := i.t.Context()
	in, err := i.store.Begin(ctx)
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := io.WriteString(in, batchText); err != nil {
		i.t.Fatal(err)
	}
	st, err := in.Store(ctx, mailbox.Origin{
		Box: testBox, Direction: mailbox.Out, User: "mario", Submission: batchID, From: testBox, To: to, Split: split, Visible: visible,
	})
	if err != nil {
		i.t.Fatal(err)
	}
	defer st.Close()
	_, err = i.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		p, err := tx.EnsurePerson("mario")
		if err != nil {
			return err
		}
		t := Ticket{ID: batchID, Box: testBox, User: "mario", Person: p, MsgID: batchMsgID, To: to, Split: split, Visible: visible}
		m.Author, m.Submission = p, batchID
		_, err = Enqueue(tx, t, m)
		return errors.Join(err, FileSent(tx, t, m))
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

func numbered(n int) (to []string) {
	for k := range n {
		to = append(to, fmt.Sprintf("r%04d@pec.example", k))
	}
	return to
}

func (i *intake) batchWorker() *worker { return &worker{acc: Account{Box: testBox, Active: true}} }

// next takes the next message of the batch, or returns nil where none is left.
func (i *intake) next() *Submission {
	i.t.Helper()
	sub, err := i.s.leaseNext(i.t.Context(), batchID, 0)
	if errors.Is(err, errLease) {
		return nil
	}
	if err != nil {
		i.t.Fatal(err)
	}
	return sub
}

// handOver hands the next message of the batch over.
func (i *intake) handOver() *Submission {
	i.t.Helper()
	sub := i.next()
	if sub == nil {
		i.t.Fatal("no message is left")
	}
	i.end(sub, submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250})
	return sub
}

func (i *intake) end(sub *Submission, r submit.Result) {
	i.t.Helper()
	if _, err := i.s.conclude(i.t.Context(), i.batchWorker(), sub, r); err != nil {
		i.t.Fatal(err)
	}
}

func (i *intake) contentOf(name string) string {
	i.t.Helper()
	c, err := Bytes(i.t.Context(), i.store, name)
	if err != nil {
		i.t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		i.t.Fatal(err)
	}
	return string(b)
}

// TestChildHeader: To, Cc, Bcc and Message-ID are as they have to be, in whatever
// form they were, and every other byte is where it was.
func TestChildHeader(t *testing.T) {
	const to, id = "x@pec.example", "pg.1@pec.example"
	for name, c := range map[string]struct{ in, to, id, want string }{
		"nothing to change":    {"Subject: a\r\n\r\n", "", "", "Subject: a\r\n\r\n"},
		"Bcc goes always":      {"bCC: q@pec.example,\r\n r@pec.example\r\nTo: a\r\nBcc:\r\n\r\n", "", "", "To: a\r\n\r\n"},
		"in their places":      {"A: 1\r\nCc: c\r\nTO: a,\r\n\tb\r\nMessage-Id: <o>\r\nB: 2\r\n\r\n", to, id, "A: 1\r\nTo: x@pec.example\r\nMessage-ID: <pg.1@pec.example>\r\nB: 2\r\n\r\n"},
		"only Cc":              {"A: 1\r\nCc: c\r\nB: 2\r\n\r\n", to, "", "A: 1\r\nTo: x@pec.example\r\nB: 2\r\n\r\n"},
		"neither":              {"A: 1\r\nBcc: c\r\n\r\n", to, id, "A: 1\r\nTo: x@pec.example\r\nMessage-ID: <pg.1@pec.example>\r\n\r\n"},
		"nothing but the line": {"\r\n", to, "", "To: x@pec.example\r\n\r\n"},
		"several":              {"To: a\r\nTo: b\r\n\r\n", to, "", "To: x@pec.example\r\n\r\n"},
		"others stay":          {"X-To: a\r\nResent-To: b\r\nCcc: d\r\nTo : e\r\n\r\n", "", "", "X-To: a\r\nResent-To: b\r\nCcc: d\r\nTo : e\r\n\r\n"},
	} {
		if got := string(childHeader([]byte(c.in), c.to, c.id)); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestBatchBytes: what leaves as a message of a batch, whoever asks for it.
func TestBatchBytes(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitBlind, 3, "a@pec.example", "b@pec.example", "c@pec.example", "d@pec.example", "e@pec.example")
	open := strings.Replace(batchText, "BCC: d@pec.example\r\n", "", 1)
	for name, want := range map[string]string{
		batchID: batchText, batchMsgID: batchText, childID(batchID, 1): open,
		childID(batchID, 2): "From: " + testBox + "\r\nTo: d@pec.example\r\nMessage-ID: <pg." + batchID + "-0002@" + domainOf(testBox) +
			">\r\nSubject: prova\r\nX-TipoRicevuta: completa\r\n\r\ntesto\r\n.\r\n",
	} {
		if got := i.contentOf(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	// The hash that is on record is that of these bytes, and another is told.
	sub := i.next()
	c, err := content(t.Context(), i.store, sub)
	if err != nil {
		t.Fatal(err)
	}
	if sub.SHA256, err = c.sum(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), i.s.intend(t.Context(), sub)); err != nil {
		t.Fatal(err)
	}
	if got := i.shown(sub.ID); got.SHA256 != sub.SHA256 || i.contentOf(sub.ID) != open {
		t.Errorf("%+v", got)
	}
	i.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, sub.ID)
		if err != nil {
			return err
		}
		s.SHA256 = strings.Repeat("0", 64)
		return save(tx, s, nil)
	})
	if _, err := Bytes(t.Context(), i.store, sub.ID); !errors.Is(err, ErrOtherBytes) {
		t.Errorf("%v", err)
	}
}

// TestBatchChildrenOnce stops the sender between any two of its steps, by chance,
// and begins anew each time: in the end every message was handed over once, or
// nobody knows because it stopped behind the intent, and none a second time.
func TestBatchChildrenOnce(t *testing.T) {
	const n = 30
	for seed := range uint64(8) {
		i := newIntake(t)
		i.putBatch(SplitAlways, 0, numbered(n)...)
		chance := rand.New(rand.NewPCG(seed, 0))
		left := map[string]int{} // dots that were sent
		hit := map[string]int{}
		i.s.opt.Schedule.First, i.s.opt.Schedule.Most = 1, 1
		crash := func(sub *Submission) bool {
			if chance.IntN(4) > 0 || hit[sub.ID] == maxCrashes-1 { // one more sets it aside
				return false
			}
			hit[sub.ID]++
			i.again()
			return true
		}
		turn := func(sub *Submission) {
			if crash(sub) {
				return
			}
			if err := i.s.intend(t.Context(), sub); err != nil {
				t.Fatal(err)
			}
			if chance.IntN(2) > 0 && crash(sub) {
				return // before the dot
			}
			if left[sub.Recipients[0].Address]++; left[sub.Recipients[0].Address] > 1 {
				t.Fatalf("seed %d: %s leaves a second time", seed, sub.ID)
			}
			if crash(sub) {
				return
			}
			i.end(sub, submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250})
			crash(sub)
		}
		for range 20 * n {
			all, _, err := i.s.dueTasks(t.Context(), testBox)
			if err != nil {
				t.Fatal(err)
			}
			if len(all) == 0 {
				break
			}
			task := all[chance.IntN(len(all))]
			var sub *Submission
			if task.Batch {
				sub, err = i.s.leaseNext(t.Context(), task.id, 0)
			} else {
				sub, err = i.s.lease(t.Context(), task.id)
			}
			if err != nil {
				t.Fatal(err)
			}
			turn(sub)
		}
		s := i.shown(batchID)
		states := map[State]int{}
		for k, c := range s.Children {
			states[c.State]++
			if to := c.Recipients[0]; len(c.Recipients) != 1 || to != numbered(n)[k] || left[to] > 1 || left[to] == 0 && c.State != Uncertain {
				t.Errorf("seed %d: %s to %v left %d times: %s", seed, c.ID, c.Recipients, left[to], c.State)
			}
		}
		if states[HandedOver]+states[Uncertain] != n || states[Uncertain] == 0 || s.Batch.HandedOver != states[HandedOver] || s.Batch.Uncertain != states[Uncertain] {
			t.Errorf("seed %d: %v, %+v", seed, states, s.Batch)
		}
	}
}

// TestBatchAndOthers: a message of its own goes between those of a batch, however
// many of these wait for their next attempt.
func TestBatchAndOthers(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(5)...)
	for range 3 {
		i.end(i.next(), submit.Result{Class: submit.Temporary, Stage: submit.StageDot, Code: 451})
	}
	enqueue(t, i.store, "zz", "zz@alfa.example") // younger than all
	i.update(func(tx *mailbox.Tx) error {
		for n := 1; n <= 3; n++ {
			if err := tx.Space(room).Put(queueKey(testBox, childID(batchID, n)), due{At: tx.Now()}); err != nil {
				return err
			}
		}
		return nil
	})
	all, _, err := i.s.dueTasks(t.Context(), testBox)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, x := range all {
		order = append(order, x.id)
	}
	if !slices.Equal(order, []string{batchID, "zz", childID(batchID, 1), childID(batchID, 2), childID(batchID, 3)}) {
		t.Errorf("%q", order)
	}
	w := i.batchWorker()
	many := slices.DeleteFunc(slices.Clone(all), func(x task) bool { return !x.many() })
	for k := range 6 {
		first := w.inTurn(many)[0]
		if first.id != many[k%len(many)].id {
			t.Errorf("turn %d is that of %s", k, first.id)
		}
		w.turn = first.line()
	}
}

// TestPace: no more hand-overs in any minute than the provider takes, those of a
// batch at even distances, and the count outlives a new start.
func TestPace(t *testing.T) {
	r := newReports(t)
	r.putBatch(SplitAlways, 0, numbered(20)...)
	for n := range 12 {
		enqueue(t, r.store, fmt.Sprintf("s%02d", n), fmt.Sprintf("s%02d@alfa.example", n))
	}
	var at []time.Time
	single := 0
	for range 200 {
		r.mu.Lock()
		now := r.now
		r.mu.Unlock()
		wait := time.Minute
		took := func(err error) bool {
			full := new(errPace)
			switch {
			case err == nil:
				at, wait = append(at, now), 0
			case errors.As(err, &full) && full.wait > 0:
				wait = min(wait, full.wait)
			case !errors.Is(err, errLease):
				t.Fatal(err)
			}
			return err == nil
		}
		_, err := r.s.leaseNext(t.Context(), batchID, 6)
		took(err)
		if single < 12 && (len(at)%3 == 2 || len(at) >= 30) {
			if _, _, err := r.s.leaseDue(t.Context(), fmt.Sprintf("s%02d", single), 6); took(err) {
				single++
				r.s = New(r.s.opt)
			}
		}
		if len(at) == 32 {
			break
		}
		r.later(wait)
	}
	if len(at) != 32 || single != 12 {
		t.Fatalf("%d hand-overs, %d of them single", len(at), single)
	}
	for k := range at {
		if k >= 6 && at[k].Sub(at[k-6]) < time.Minute {
			t.Errorf("seven within %s", at[k].Sub(at[k-6]))
		}
	}
	if last := at[31].Sub(at[0]); last > 7*time.Minute {
		t.Errorf("32 hand-overs took %s", last)
	}
}

// TestBatchOutcome: the receipts of each message are tied to it, the sent copy and
// one report show what all came to.
func TestBatchOutcome(t *testing.T) {
	r := newReports(t)
	to := numbered(3)
	r.putBatch(SplitAlways, 0, to...)
	for range to {
		r.handOver()
	}
	about := func(k providersim.Kind, n int) {
		r.take(r.receipt(k, func(x *providersim.Notice) {
			x.MsgID, x.Identifier = "<"+childMsgID(testBox, childID(batchID, n+1))+">", fmt.Sprintf("%d.%s", n, pecID)
			x.Recipients = []providersim.Recipient{{Address: to[n]}}
			if k != providersim.Acceptance && k != providersim.NonAcceptance {
				x.Recipient = to[n]
			}
		}))
	}
	keywords := func(want string) {
		t.Helper()
		var got []string
		r.update(func(tx *mailbox.Tx) error {
			s, err := load(tx, batchID)
			if err == nil {
				got, _ = s.keywords()
			}
			return err
		})
		if strings.Join(got, " ") != want {
			t.Errorf("keywords %q, not %q", got, want)
		}
	}
	esito := func(want, headline string) string {
		t.Helper()
		r.later(2 * time.Minute)
		r.work()
		header, text, _ := parts(t, r.one().raw)
		if header["X-PEC-Esito"] != want || !strings.Contains(text, headline) {
			t.Errorf("%s\n%s", header["X-PEC-Esito"], text)
		}
		return text
	}
	esito("D=3 A=0 C=0 E=0", "inviata, in attesa di accettazione")
	about(providersim.Acceptance, 0)
	about(providersim.Acceptance, 1)
	keywords("")
	about(providersim.Delivery, 0)
	about(providersim.DeliveryError, 1)
	keywords("$PecFailed")
	esito("D=3 A=2 C=1 E=1", "errori di consegna, si attende il resto")
	about(providersim.NonAcceptance, 2)
	text := esito("D=3 A=2 C=1 E=2", "consegnata solo in parte")
	for _, line := range []string{to[0] + ": consegnata", to[1] + ": non consegnata", to[2] + ": non consegnata", "il messaggio non rispetta le regole", "Messaggi: 3"} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
	s := r.shown(batchID)
	if s.State != Accepted || len(s.Children) != 3 || s.Children[2].State != NotAccepted || len(s.Recipients[0].Receipts) != 1 || s.Batch.Delivered != 1 || s.Batch.Failed != 2 {
		t.Errorf("%+v", s)
	}
	if c := r.shown(childMsgID(testBox, childID(batchID, 1))); c.ID != childID(batchID, 1) || c.State != Accepted || len(c.Receipts) != 1 || c.Batch == nil {
		t.Errorf("%+v", c)
	}
}

// TestBlindBatchTiesReceipts: the message for those whom everybody sees has the
// client's Message-ID, and its receipts are about it.
func TestBlindBatchTiesReceipts(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitBlind, 2, "a@pec.example", "b@pec.example", "x@pec.example")
	i.handOver()
	i.take(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.MsgID = "<" + batchMsgID + ">" }))
	i.take(i.receipt(providersim.Delivery, func(n *providersim.Notice) { n.MsgID, n.Recipient = "<"+batchMsgID+">", "b@pec.example" }))
	s := i.shown(batchID)
	if s.State != Queued || s.Children[0].State != Accepted || s.Recipients[1].State != Delivered || s.Recipients[2].State != Waiting || s.Batch.Queued != 1 || s.Batch.Messages != 2 {
		t.Errorf("%+v", s)
	}
}

// TestBatchByHand: hold and cancel stop what has not left, and nothing else.
func TestBatchByHand(t *testing.T) {
	i := newIntake(t)
	by := Hand{Actor: "test"}
	ctx := t.Context()
	i.putBatch(SplitAlways, 0, numbered(6)...)
	i.handOver()
	i.end(i.next(), submit.Result{Class: submit.Temporary, Stage: submit.StageDot, Code: 451}) // waits for its next attempt
	if id, err := i.s.Hold(ctx, batchMsgID, by); id != batchID || err != nil {
		t.Fatal(id, err)
	}
	s := i.shown(batchID)
	if s.State != Held || s.StateReason != ReasonOperator || s.Batch.Held != 5 || s.Batch.HandedOver != 1 || i.next() != nil || s.Children[1].State != Held {
		t.Errorf("%+v %+v", s.Batch, s)
	}
	if _, err := i.s.Hold(ctx, batchID, by); !errors.As(err, new(*Refusal)) {
		t.Error(err)
	}
	// One of them for itself.
	if _, err := i.s.Cancel(ctx, childID(batchID, 6), false, by); err != nil {
		t.Fatal(err)
	}
	if _, err := i.s.Retry(ctx, batchID, by); err != nil {
		t.Fatal(err)
	}
	i.handOver()
	s = i.shown(batchID)
	if s.State != Queued || s.Batch.Queued != 3 || s.Batch.HandedOver != 2 || s.Batch.Cancelled != 1 || s.Children[1].State != Queued {
		t.Errorf("%+v", s.Batch)
	}
	if _, err := i.s.Cancel(ctx, batchID, false, by); err != nil {
		t.Fatal(err)
	}
	s = i.shown(batchID)
	if s.State != HandedOver || s.Batch.Cancelled != 4 || s.Batch.HandedOver != 2 || i.next() != nil {
		t.Errorf("%s %+v", s.State, s.Batch)
	}
	if _, err := i.s.Retry(ctx, batchID, by); !errors.As(err, new(*Refusal)) {
		t.Error(err)
	}
	all, err := Queue(ctx, i.store, QueueFilter{States: States()})
	if err != nil || len(all.Items) != 1 || all.Items[0].Batch == nil || len(all.Items[0].Recipients) != 6 {
		t.Errorf("%+v, %v", all, err)
	}
	if all, _, err := i.s.dueTasks(ctx, testBox); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestBatchRestored: after a restore the messages of a batch that the backup calls
// unsent are held, receipts settle those that had left, and a person's word sends
// the others only.
func TestBatchRestored(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(5)...)
	i.handOver()
	var receipts [][]byte
	i.restore(func() {
		for n := range 2 {
			i.handOver()
			receipts = append(receipts, i.receipt(providersim.Acceptance, func(x *providersim.Notice) {
				x.MsgID, x.Identifier = "<"+childMsgID(testBox, childID(batchID, n+2))+">", fmt.Sprintf("%d.%s", n, pecID)
				x.Recipients = []providersim.Recipient{{Address: numbered(5)[n+1]}}
			}))
		}
	})
	if err := i.s.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, raw := range receipts {
		i.take(raw)
	}
	i.heldBut(3)
}

// heldBut wants three messages of five to be known and the rest to be held, and
// what is left to go out when a person says so.
func (i *intake) heldBut(known int) {
	i.t.Helper()
	s := i.shown(batchID)
	if s.State != Held || s.StateReason != ReasonRestored || s.Batch.HandedOver != known || s.Batch.Held != 5-known || i.next() != nil {
		i.t.Fatalf("%s (%s) %+v", s.State, s.StateReason, s.Batch)
	}
	if _, err := i.s.Cancel(i.t.Context(), batchID, false, Hand{}); !errors.As(err, new(*Refusal)) {
		i.t.Error(err)
	}
	if _, err := i.s.Retry(i.t.Context(), batchID, Hand{}); err != nil {
		i.t.Fatal(err)
	}
	for n := known + 1; n <= 5; n++ {
		if sub := i.handOver(); sub.ID != childID(batchID, n) {
			i.t.Errorf("%s goes out", sub.ID)
		}
	}
	if i.next() != nil {
		i.t.Error("more than all go out")
	}
}

// TestBatchAnew makes a batch anew from its bytes and their origin.
func TestBatchAnew(t *testing.T) {
	i := newIntake(t)
	dir := t.TempDir()
	i.in(dir)
	i.putBatch(SplitAlways, 0, numbered(5)...)
	for n := range 2 {
		i.handOver()
		i.take(i.receipt(providersim.Acceptance, func(x *providersim.Notice) {
			x.MsgID, x.Identifier = "<"+childMsgID(testBox, childID(batchID, n+1))+">", fmt.Sprintf("%d.%s", n, pecID)
			x.Recipients = []providersim.Recipient{{Address: numbered(5)[n]}}
		}))
	}
	if r := i.rebuilt(dir); r.Filed[mailbox.Out] != 1 || r.Filed[mailbox.In] != 2 {
		t.Errorf("%+v", r)
	}
	if err := i.s.Restored(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	i.heldBut(2)
}

// TestBatchNeedsItsMessage: the message of a batch stays until its last message
// is over, and no other submission gets one of its Message-IDs.
func TestBatchNeedsItsMessage(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(2)...)
	err := i.store.View(t.Context(), func(tx *mailbox.Tx) error {
		b, err := load(tx, batchID)
		if err != nil {
			return err
		}
		m, err := tx.Message(b.Message)
		if err != nil {
			return err
		}
		if needed, err := Needed(tx, m); err != nil || !needed {
			t.Errorf("needed %t, %v", needed, err)
		}
		for id, want := range map[string]bool{
			childMsgID(testBox, childID(batchID, 2)): true, strings.ToUpper(childMsgID(testBox, childID(batchID, 1))): true,
			childMsgID(testBox, childID(batchID, 3)): false, "pg." + childID(batchID, 1) + "@other.example": false, batchMsgID: true,
		} {
			if used, err := MsgIDUsed(tx, testBox, id); err != nil || used != want {
				t.Errorf("%s: %t, %v", id, used, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

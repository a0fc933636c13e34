package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid" // draws and shrinks histories of the queue

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

// TestQueueModel drives the queue of two mailboxes, by two services on one store,
// through random histories, beside a small model of it: submissions, leases, intents,
// answers of each kind and late ones, crashes of one service and of all, leases that
// end, receipts, people who hold, retry, cancel, approve and reject, a mailbox without
// room, searches that end, and a clock that jumps both ways. After each step:
//
//   - each submission is in the one state that the model has it in, and in the queue
//     just where the sender has something to do for it;
//   - nothing reaches the provider's dot again while an earlier one may have been
//     taken, but where the gateway (once) or a person said so;
//   - what the provider took is never called unsent;
//   - what never failed leaves each mailbox in the order in which it came;
//   - the end of each is told once.
//
// Some seconds of it run with the other tests; for ten minutes:
//
//	PECGATE_MODEL=10m go test ./relay -run TestQueueModel -rapid.nofailfile -rapid.checks=1000000 -rapid.steps=60 -timeout 15m -v
func TestQueueModel(t *testing.T) {
	most := 4 * time.Second
	if d, err := time.ParseDuration(os.Getenv("PECGATE_MODEL")); err == nil {
		most = d
	}
	i := newIntake(t)
	end, n, steps, failed := time.Now().Add(most), 0, 0, false
	rapid.Check(t, func(r *rapid.T) {
		if !failed && time.Now().After(end) {
			return
		}
		defer func() { failed = failed || r.Failed() }() // then it is shrunk, however long that takes
		m := newQueueModel(r, i)
		defer m.close()
		n++
		r.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { steps++; m.check() }, "submit": m.submit, "lease": m.lease, "lease again": m.lease, "intent": m.intent, "intent again": m.intent,
			"answer": m.answer, "crash": m.crash, "restart": m.restart, "receipt": m.receipt, "hand": m.hand,
			"search ends": m.searchEnds, "room": m.room, "clock": m.jump,
		})
		m.checkTold()
	})
	t.Logf("%d histories, %d steps", n, steps)
}

// modelItem is what the model knows of a submission.
type modelItem struct {
	id, box   string
	state     State
	why       Reason
	fence     uint64
	intent    bool
	doubt     bool
	once      bool
	crashes   int
	unknown   int      // dots without an answer that the gateway knows
	took      bool     // the provider has taken it
	verdict   pec.Kind // of the provider, once a receipt told it
	flagged   bool     // somebody said that it may be handed over again
	disturbed bool     // something put it off
	ends      int      // ends that its sender is told of
}

// modelAttempt is an attempt under way.
type modelAttempt struct {
	sub    *Submission
	by     int // service
	dotted bool
	took   bool
	// flagged: when its dot was sent somebody had said that it may be the second.
	flagged bool
}

type queueModel struct {
	r        *rapid.T
	dir      string
	clock    *testClock
	began    time.Time
	store    *mailbox.Store
	opt      Options
	in       *intake
	s        [2]*Service
	accs     []Account
	items    []*modelItem
	attempts []*modelAttempt
	full     map[string]bool
	uid      uint32
}

func newQueueModel(r *rapid.T, i *intake) *queueModel {
	dir, err := os.MkdirTemp("", "queue")
	if err != nil {
		r.Fatal(err)
	}
	m := &queueModel{r: r, dir: dir, clock: newTestClock(), in: i, full: map[string]bool{}}
	m.began = time.Now().Add(-29 * 24 * time.Hour).Truncate(time.Second)
	m.clock.set(m.began.Add(4 * 24 * time.Hour))
	for _, box := range []string{testBox, "seconda@pec.alfa.example"} {
		m.accs = append(m.accs, Account{Box: box, Admin: "capo", Active: true, UncertainAfter: 15 * time.Minute, Resend: box != testBox})
	}
	m.open()
	return m
}

// must ends the history with an error that should not be.
func (m *queueModel) must(err error) {
	m.r.Helper()
	if err != nil {
		m.r.Fatal(err)
	}
}

func (m *queueModel) open() {
	var err error
	m.store, err = mailbox.Open(mailbox.Options{Dir: m.dir, Now: m.clock.now})
	m.must(err)
	m.opt = m.in.s.opt
	m.opt.Store, m.opt.Address, m.opt.Accounts = m.store, "pecgate@gateway.example", func() []Account { return m.accs }
	for k := range m.s {
		m.s[k] = New(m.opt)
		m.must(m.s[k].recover(m.ctx()))
	}
}

func (m *queueModel) ctx() context.Context { return context.Background() }

func (m *queueModel) close() {
	if err := m.store.Close(); err != nil {
		m.r.Error(err)
	}
	if err := os.RemoveAll(m.dir); err != nil {
		m.r.Error(err)
	}
}

func (m *queueModel) account(r *rapid.T) Account {
	return m.accs[rapid.IntRange(0, len(m.accs)-1).Draw(r, "mailbox")]
}

func (m *queueModel) worker(box string) *worker {
	for _, a := range m.accs {
		if a.Box == box {
			return aWorker(a)
		}
	}
	m.r.Fatal("no such mailbox")
	return nil
}

// item draws one that is in one of the states; with none the step is skipped.
func (m *queueModel) item(r *rapid.T, states ...State) *modelItem {
	var all []*modelItem
	for _, x := range m.items {
		if slices.Contains(states, x.state) {
			all = append(all, x)
		}
	}
	if len(all) == 0 {
		r.Skip()
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(r, "submission")]
}

func (m *queueModel) of(id string) *modelItem {
	k := slices.IndexFunc(m.items, func(x *modelItem) bool { return x.id == id })
	if k < 0 {
		m.r.Fatalf("nobody submitted %s", id)
	}
	return m.items[k]
}

// goes moves it in the model.
func (x *modelItem) goes(to State, why Reason) {
	if to == Uncertain && x.state != Uncertain {
		x.once = x.once || x.doubt
		x.doubt = true
	}
	x.state, x.why = to, why
}

func (m *queueModel) submit(r *rapid.T) {
	if len(m.items) >= 12 {
		r.Skip()
	}
	acc := m.account(r)
	id, err := NextID(m.ctx(), m.store)
	m.must(err)
	t := Ticket{ID: id, Box: acc.Box, User: "mario", MsgID: id + "@alfa.example", To: []string{"a@pec.example"}}
	x := &modelItem{id: id, box: acc.Box, state: Queued}
	if rapid.IntRange(0, 4).Draw(r, "approval") == 0 {
		t.Held, x.state, x.disturbed = ForApproval, ToApprove, true
		x.why = ReasonApproval
	}
	in, err := m.store.Begin(m.ctx())
	m.must(err)
	_, err = fmt.Fprintf(in, "From: %s\r\nTo: a@pec.example\r\nMessage-ID: <%s>\r\nSubject: x\r\n\r\nx\r\n", acc.Box, t.MsgID)
	m.must(err)
	st, err := in.Store(m.ctx(), mailbox.Origin{Box: acc.Box, Direction: mailbox.Out, User: "mario", Submission: id})
	m.must(err)
	defer st.Close()
	_, err = m.store.Record(m.ctx(), st, func(tx *mailbox.Tx, msg *mailbox.Message) (err error) {
		if t.Person, err = tx.EnsurePerson("mario"); err != nil {
			return err
		}
		msg.Author, msg.Submission = t.Person, id
		_, err = Enqueue(tx, t, msg)
		return err
	})
	m.must(err)
	m.items = append(m.items, x)
}

// lease has a service take the first thing that is due in a mailbox.
func (m *queueModel) lease(r *rapid.T) {
	acc, by := m.account(r), rapid.IntRange(0, 1).Draw(r, "service")
	tasks, _, err := m.s[by].dueTasks(m.ctx(), acc.Box)
	m.must(err)
	first := true
	for _, x := range m.items {
		if x.box != acc.Box || x.state != Queued || x.disturbed {
			continue
		}
		if len(tasks) == 0 {
			r.Fatalf("%s waits, and nothing is due", x.id)
		}
		// All that stand before it in the queue were put off once.
		for _, t := range tasks {
			if t.id == x.id {
				break
			}
			if y := m.of(t.id); first && y.state == Queued && !y.disturbed {
				r.Fatalf("%s goes before %s", y.id, x.id)
			}
		}
		if first && !slices.ContainsFunc(tasks, func(t task) bool { return t.id == x.id }) {
			r.Fatalf("%s waits, and is not due", x.id)
		}
		first = false
	}
	if len(tasks) == 0 {
		r.Skip()
	}
	x := m.of(tasks[0].id)
	sub, _, err := m.s[by].leaseDue(m.ctx(), x.id, 0)
	if err != nil && !errors.Is(err, errLease) {
		r.Fatal(err)
	}
	switch {
	case x.state == Attempting: // its lease is over
		if err == nil {
			r.Fatalf("%s was taken from under an attempt", x.id)
		}
		if x.intent {
			x.goes(Uncertain, "")
		} else if x.crashes >= maxCrashes {
			x.goes(Held, ReasonPoison)
		} else {
			x.goes(Queued, "")
		}
		x.disturbed = true
	case x.state == Queued && err == nil:
		x.goes(Attempting, "")
		x.fence++
		x.intent = false
		if sub.Fence != x.fence {
			r.Fatalf("%s: fence %d, not %d", x.id, sub.Fence, x.fence)
		}
		m.attempts = append(m.attempts, &modelAttempt{sub: sub, by: by})
	case x.state == Queued && m.full[x.box]:
		x.why, x.disturbed = ReasonRoom, true
	case x.state == Queued:
		r.Fatalf("%s was due and not taken", x.id)
	}
}

// attempt draws one that is under way.
func (m *queueModel) attempt(r *rapid.T) *modelAttempt {
	if len(m.attempts) == 0 {
		r.Skip()
	}
	return m.attempts[rapid.IntRange(0, len(m.attempts)-1).Draw(r, "attempt")]
}

// intent sends the dot, where it may be sent.
func (m *queueModel) intent(r *rapid.T) {
	a := m.attempt(r)
	if a.dotted {
		r.Skip()
	}
	x := m.of(a.sub.ID)
	err := m.s[a.by].intend(m.ctx(), a.sub)
	may := x.state == Attempting && x.fence == a.sub.Fence
	if may != (err == nil) || err != nil && !errors.Is(err, errLease) {
		r.Fatalf("the dot of %s (%s): %v", x.id, x.state, err)
	}
	if err != nil {
		return
	}
	if (x.took || x.unknown > 0) && !x.flagged {
		r.Fatalf("%s is sent a second time, and nobody said so", x.id)
	}
	x.intent = true
	x.unknown++
	// Unless this one comes to nothing, somebody has to say so again of the next one.
	a.flagged, x.flagged = x.flagged, false
	a.dotted, a.took = true, rapid.Bool().Draw(r, "taken")
	x.took = x.took || a.took
}

// answer has an attempt end with what the provider says, or with its silence.
func (m *queueModel) answer(r *rapid.T) {
	a := m.attempt(r)
	x := m.of(a.sub.ID)
	at := func(class submit.Class, stage submit.Stage, code int) submit.Result {
		return submit.Result{Class: class, Stage: stage, Code: code, Err: map[bool]error{true: io.ErrUnexpectedEOF}[code == 0]}
	}
	silence := at(submit.Uncertain, submit.StageDot, 0)
	all := []submit.Result{
		at(submit.Temporary, submit.StageConnect, 0), at(submit.Temporary, submit.StageMail, 451),
		at(submit.Permanent, submit.StageRcpt, 550), at(submit.AuthRefused, submit.StageAuth, 535),
	}
	switch {
	case a.took:
		all = []submit.Result{at(submit.HandedOver, submit.StageDot, 250), silence}
	case a.dotted:
		all = []submit.Result{at(submit.Temporary, submit.StageDot, 451), at(submit.Permanent, submit.StageDot, 554), silence}
	}
	res := all[rapid.IntRange(0, len(all)-1).Draw(r, "answer")]
	_, err := m.s[a.by].conclude(m.ctx(), m.worker(x.box), a.sub, res)
	m.must(err)
	m.drop(a)
	if a.dotted && res.Class != submit.Uncertain {
		x.unknown-- // the gateway knows
		x.flagged = x.flagged || a.flagged && !a.took
	}
	if x.fence != a.sub.Fence {
		return // another attempt is newer
	}
	to, why := Queued, Reason("")
	switch {
	case res.Class == submit.HandedOver:
		to = HandedOver
	case res.Class == submit.Uncertain:
		to = Uncertain
	case res.Class == submit.Permanent && a.sub.Doubt:
		to, why = Held, ReasonUncertain
	case res.Class == submit.Permanent:
		to, why = NotAccepted, ReasonRefused
	}
	counts := x.state == Attempting
	switch x.state {
	case Uncertain:
		counts = to != Uncertain
	case Queued, Cancelled:
		counts = to == HandedOver
	case Held:
		counts = to == HandedOver || to == NotAccepted && x.why == ReasonUncertain
	}
	if !counts {
		return
	}
	x.goes(to, why)
	x.crashes, x.disturbed = 0, true
	switch to {
	case NotAccepted:
		x.ends++
	case Queued:
		x.intent = false
	}
}

func (m *queueModel) drop(a *modelAttempt) {
	m.attempts = slices.DeleteFunc(m.attempts, func(b *modelAttempt) bool { return a == b })
}

// dies ends a service in the middle of what it does.
func (m *queueModel) dies(by int) {
	for _, a := range slices.Clone(m.attempts) {
		if a.by != by {
			continue
		}
		m.drop(a)
		x := m.of(a.sub.ID)
		if x.state != Attempting || x.fence != a.sub.Fence {
			continue
		}
		x.crashes++
		x.disturbed = true
		switch {
		case x.intent:
			x.goes(Uncertain, "")
		case x.crashes >= maxCrashes:
			x.goes(Held, ReasonPoison)
		default:
			x.goes(Queued, "")
		}
	}
}

func (m *queueModel) crash(r *rapid.T) {
	by := rapid.IntRange(0, 1).Draw(r, "service")
	held := m.s[by].holder
	m.s[by] = New(m.opt)
	m.s[by].holder = held // of a process that is there no more
	m.must(m.s[by].recover(m.ctx()))
	m.dies(by)
}

func (m *queueModel) restart(r *rapid.T) {
	if rapid.IntRange(0, 3).Draw(r, "restart") > 0 {
		r.Skip() // it takes its time
	}
	m.must(m.store.Close())
	m.open()
	m.dies(0)
	m.dies(1)
}

// receipt has the provider tell of something that it took.
func (m *queueModel) receipt(r *rapid.T) {
	var all []*modelItem
	for _, x := range m.items {
		if x.took {
			all = append(all, x)
		}
	}
	if len(all) == 0 {
		r.Skip()
	}
	x := all[rapid.IntRange(0, len(all)-1).Draw(r, "submission")]
	kind := providersim.Delivery
	if x.verdict == "" {
		kind = rapid.SampledFrom([]providersim.Kind{providersim.Acceptance, providersim.NonAcceptance}).Draw(r, "receipt")
		x.verdict = map[bool]pec.Kind{true: pec.Acceptance, false: pec.NonAcceptance}[kind == providersim.Acceptance]
	} else if x.verdict != pec.Acceptance {
		r.Skip()
	}
	raw := m.in.receipt(kind, func(n *providersim.Notice) {
		n.MsgID, n.Identifier = "<"+x.id+"@alfa.example>", "opec."+x.id+"@pec.example"
		// Not long before the submission, by the clock of then: such ones are of another.
		n.At = m.clock.now()
		if at := m.stored(x.id).SubmittedAt; at.After(n.At) {
			n.At = at
		}
		n.Recipients, n.Sender, n.ReplyTo = []providersim.Recipient{{Address: "a@pec.example"}}, x.box, x.box
	})
	m.uid++
	acc := m.worker(x.box).acc
	m.must(m.s[0].takeIn(m.ctx(), acc, cursor{UIDValidity: 1}, itemOf(m.uid, string(raw))))
	to, why := Accepted, Reason("")
	switch kind {
	case providersim.NonAcceptance:
		to, why = NotAccepted, ReasonFormal
	case providersim.Delivery:
		to = HandedOver
	}
	if to == x.state {
		x.why = why
	} else if leads(x.state, to) {
		x.goes(to, why)
	}
}

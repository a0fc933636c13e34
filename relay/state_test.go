package relay

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
	"pecgate/relay/submit"
)

// TestEveryEdge tries each state after each other one: what the table does not
// name is refused and changes nothing.
func TestEveryEdge(t *testing.T) {
	follow := map[State][]State{}
	for _, e := range Edges() {
		follow[e.From] = append(follow[e.From], e.To)
		if e.Cause == "" || e.From == e.To {
			t.Errorf("no edge: %+v", e)
		}
	}
	for _, from := range States() {
		for _, to := range States() {
			s := submission("a@pec.example")
			s.State, s.StateReason = from, "before"
			err := s.move(to, "why")
			want := from == to
			for _, f := range follow[from] {
				want = want || f == to
			}
			if (err == nil) != want {
				t.Errorf("from %s to %s: %v", from, to, err)
			}
			end := step{to, "why"}
			if err != nil {
				end = step{from, "before"}
			}
			if g := (step{s.State, s.StateReason}); g != end {
				t.Errorf("from %s to %s: it is %v", from, to, g)
			}
		}
	}
	if len(follow[Accepted]) != 0 {
		t.Error("accepted is not the end")
	}
	// What left or ended must never be queued again; only receipts lead on.
	for _, from := range []State{HandedOver, Accepted, NotAccepted, Cancelled} {
		for _, to := range []State{Queued, Attempting, Uncertain, Held, ToApprove} {
			if leads(from, to) {
				t.Errorf("%s can be %s again", from, to)
			}
		}
	}
}

// TestTableInTheDocs: the package documentation shows the state machine as it is.
func TestTableInTheDocs(t *testing.T) {
	b, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var shown, held []string
	for _, m := range regexp.MustCompile(`(?m)^//\t(\S+) +→ (\S+) +(.*)$`).FindAllStringSubmatch(string(b), -1) {
		shown = append(shown, strings.Join(m[1:], "|"))
	}
	for _, e := range Edges() {
		held = append(held, fmt.Sprintf("%s|%s|%s", e.From, e.To, e.Cause))
	}
	if a, b := strings.Join(shown, "\n"), strings.Join(held, "\n"); a != b {
		t.Errorf("doc.go shows\n%s\n\nand state.go has\n%s", a, b)
	}
}

// about composes a receipt of a kind about a submission that put made.
func (i *intake) about(id string, kind providersim.Kind) {
	i.t.Helper()
	i.take(i.receipt(kind, func(n *providersim.Notice) {
		n.MsgID, n.Identifier = "<"+id+"@alfa.example>", "opec."+id+"@pec.example"
		n.Recipients = []providersim.Recipient{{Address: "a@pec.example"}}
	}))
}

// ends concludes the attempt of a submission under way.
func (i *intake) ends(sub *Submission, class submit.Class) {
	i.t.Helper()
	code := map[submit.Class]int{submit.HandedOver: 250, submit.Temporary: 451, submit.Permanent: 550}[class]
	w := &worker{acc: Account{Box: testBox, Active: true, UncertainAfter: time.Hour}}
	if _, err := i.s.conclude(i.t.Context(), w, sub, submit.Result{Class: class, Stage: submit.StageDot, Code: code}); err != nil {
		i.t.Fatal(err)
	}
}

// under takes a queued submission for an attempt, up to the dot or only to the
// connection.
func (i *intake) under(id string, dot bool) *Submission {
	i.t.Helper()
	i.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, id)
		if err != nil {
			return err
		}
		return save(tx, s, &due{At: tx.Now()})
	})
	sub, err := i.s.lease(i.t.Context(), id)
	if err != nil {
		i.t.Fatal(err)
	}
	if dot {
		if err := i.s.intend(i.t.Context(), sub); err != nil {
			i.t.Fatal(err)
		}
	}
	return sub
}

// TestEdgesByTheirCauses walks every edge of the table by what really causes it.
func TestEdgesByTheirCauses(t *testing.T) {
	i := newIntake(t)
	i.s.opt.Address = "pecgate@gateway.example"
	ctx, by, boss := t.Context(), Hand{Actor: "test"}, i.anApprover("capo", false)
	ok := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	receipt := func(k providersim.Kind) func(string) { return func(id string) { i.about(id, k) } }
	accepted, notice, refused := receipt(providersim.Acceptance), receipt(providersim.Delivery), receipt(providersim.NonAcceptance)
	restored := func(id string) {
		i.update(func(tx *mailbox.Tx) error {
			s, err := load(tx, id)
			if err != nil {
				return err
			}
			return i.s.holdOne(tx, s)
		})
	}
	// How a submission gets to a state before the edge.
	kept := func(lack Lack) func(string) { return func(id string) { i.keep(id, lack) } }
	put := func(state State) func(string) { return func(id string) { i.put(id, state, "", nil) } }
	var sub *Submission // under way
	attempt := func(dot bool) func(string) {
		return func(id string) { put(Queued)(id); sub = i.under(id, dot) }
	}
	cut := func(id string) { // its service is gone, as another one sees it
		attempt(true)(id)
		ok(nil, i.s.cutOff(ctx, id, sub.Fence, false, "test"))
	}
	heldUncertain := func(id string) { cut(id); ok(nil, i.s.giveUpWaiting(ctx, stored(t, i.store, id), "")) }
	ends := func(class submit.Class) func(string) { return func(string) { i.ends(sub, class) } }
	type way struct {
		from  State
		to    State
		get   func(string)
		cause func(string)
	}
	ways := []way{
		{Held, Queued, kept(PINMissing), func(id string) { i.update(func(tx *mailbox.Tx) error { return ConfirmHeld(tx, id, by) }) }},
		{Held, Queued, func(id string) { i.put(id, Held, ReasonOperator, nil) }, func(id string) { ok(i.s.Retry(ctx, id, by)) }},
		{Held, Cancelled, func(id string) { i.put(id, Held, ReasonOperator, nil) }, func(id string) { ok(i.s.Cancel(ctx, id, false, by)) }},
		{Held, Cancelled, kept(PINMissing), i.overdue},
		{Held, HandedOver, put(Held), notice},
		{Held, HandedOver, heldUncertain, ends(submit.HandedOver)},
		{Held, Accepted, put(Held), accepted},
		{Held, NotAccepted, put(Held), refused},
		{Held, NotAccepted, heldUncertain, ends(submit.Permanent)},

		{ToApprove, Queued, kept(ForApproval), func(id string) {
			ok(Approve(ctx, i.store, boss, []mailbox.MessageID{stored(t, i.store, id).Message}, by))
		}},
		{ToApprove, Held, func(id string) { kept(ForApproval)(id); restored(id) }, func(id string) { ok(i.s.ApproveByHand(ctx, id, by)) }},
		{ToApprove, Cancelled, kept(ForApproval), func(id string) { ok(i.s.RejectByHand(ctx, id, by)) }},
		{ToApprove, Cancelled, kept(ForApproval), i.overdue},
		{ToApprove, HandedOver, kept(ForApproval), notice},
		{ToApprove, Accepted, kept(ForApproval), accepted},
		{ToApprove, NotAccepted, kept(ForApproval), refused},

		{Queued, Attempting, put(Queued), func(id string) { i.under(id, false) }},
		{Queued, Held, put(Queued), func(id string) { ok(i.s.Hold(ctx, id, by)) }},
		{Queued, Held, put(Queued), restored},
		{Queued, Held, put(Queued), func(id string) {
			i.update(func(tx *mailbox.Tx) error {
				return tx.Space(room).Put(quotaKey(testBox), quotaNote{Limit: 1, At: tx.Now()})
			})
			if err := i.takes(id); !errors.Is(err, errLease) {
				t.Error(err)
			}
			i.update(func(tx *mailbox.Tx) error { return tx.Space(room).Delete(quotaKey(testBox)) })
		}},
		{Queued, Cancelled, put(Queued), func(id string) { ok(i.s.Cancel(ctx, id, false, by)) }},
		{Queued, HandedOver, put(Queued), notice},
		{Queued, Accepted, put(Queued), accepted},
		{Queued, NotAccepted, put(Queued), refused},

		{Attempting, Queued, attempt(true), ends(submit.Temporary)},
		{Attempting, Queued, attempt(false), func(string) { i.again() }},
		{Attempting, Uncertain, attempt(true), ends(submit.Uncertain)},
		{Attempting, Uncertain, attempt(true), func(string) { i.again() }},
		{Attempting, Held, func(id string) {
			i.put(id, Queued, "", func(s *Submission) { s.Crashes = maxCrashes - 1 })
			i.under(id, false)
		}, func(string) { i.again() }},
		{Attempting, Held, attempt(true), restored},
		{Attempting, HandedOver, attempt(true), ends(submit.HandedOver)},
		{Attempting, HandedOver, attempt(true), notice},
		{Attempting, Accepted, attempt(true), accepted},
		{Attempting, NotAccepted, attempt(true), ends(submit.Permanent)},
		{Attempting, NotAccepted, attempt(true), refused},

		{Uncertain, Queued, cut, ends(submit.Temporary)},
		{Uncertain, Held, cut, func(id string) { ok(nil, i.s.giveUpWaiting(ctx, stored(t, i.store, id), "")) }},
		{Uncertain, Held, cut, restored},
		{Uncertain, HandedOver, cut, notice},
		{Uncertain, HandedOver, cut, ends(submit.HandedOver)},
		{Uncertain, Accepted, cut, accepted},
		{Uncertain, NotAccepted, cut, refused},
		{Uncertain, NotAccepted, cut, ends(submit.Permanent)},

		{HandedOver, Accepted, put(HandedOver), accepted},
		{HandedOver, NotAccepted, put(HandedOver), refused},
		{NotAccepted, HandedOver, put(NotAccepted), notice},
		{NotAccepted, Accepted, put(NotAccepted), accepted},
		{Cancelled, HandedOver, put(Cancelled), notice},
		{Cancelled, Accepted, put(Cancelled), accepted},
	}
	walked := map[Edge]bool{}
	for n, w := range ways {
		id := fmt.Sprintf("edge%02d", n)
		w.get(id)
		if s := stored(t, i.store, id); s.State != w.from {
			t.Fatalf("%s: it is %s (%s) before the edge from %s to %s", id, s.State, s.StateReason, w.from, w.to)
		}
		w.cause(id)
		if s := stored(t, i.store, id); s.State != w.to {
			t.Errorf("%s: from %s it went to %s (%s) in place of %s\n%s", id, w.from, s.State, s.StateReason, w.to, words(i.shown(id)))
		}
		walked[Edge{From: w.from, To: w.to}] = true
	}
	for _, e := range Edges() {
		if !walked[Edge{From: e.From, To: e.To}] {
			t.Errorf("nothing went from %s to %s", e.From, e.To)
		}
	}
}

type step struct {
	state State
	why   Reason
}

// TestDoubtStays: what may have left once may have left for ever, whatever is
// tried afterwards.
func TestDoubtStays(t *testing.T) {
	for name, way := range map[string][]step{
		"uncertain":         {{Attempting, ""}, {Uncertain, ""}},
		"held as uncertain": {{Attempting, ""}, {Uncertain, ""}, {Held, ReasonUncertain}},
		"released":          {{Attempting, ""}, {Uncertain, ""}, {Held, ReasonUncertain}, {Queued, ""}, {Attempting, ""}, {Queued, ""}, {Held, ReasonOperator}},
		"restored":          {{Held, ReasonRestored}, {Queued, ""}},
	} {
		s := submission("a@pec.example")
		s.State = Queued
		for _, w := range way {
			if err := s.move(w.state, w.why); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if !s.mayHaveLeft() || mayCancel(s, false) == nil {
			t.Errorf("%s: it can be called unsent as %s", name, s.State)
		}
	}
	s := submission("a@pec.example")
	s.State = Queued
	for _, w := range []step{{Attempting, ""}, {Queued, ""}, {Held, ReasonOperator}, {Queued, ""}} {
		if err := s.move(w.state, w.why); err != nil {
			t.Fatal(err)
		}
	}
	if s.mayHaveLeft() || mayCancel(s, false) != nil {
		t.Error("what certainly did not leave cannot be cancelled")
	}
}

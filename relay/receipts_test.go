package relay

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pecgate/mailbox/pec"
)

const (
	testBox   = "protocollo@pec.alfa.example"
	testMsgID = "m1@alfa.example"
)

func submission(to ...string) *Submission {
	s := &Submission{ID: "s1", MsgID: testMsgID, Box: testBox, State: HandedOver}
	for _, a := range to {
		s.Recipients = append(s.Recipients, Recipient{Address: a, State: Waiting})
	}
	return s
}

func report(k pec.Kind, recipient string) *pec.Report {
	return &pec.Report{Kind: k, Verdict: pec.Valid, MsgID: "<" + testMsgID + ">", Identifier: "opec1@gestore.example", Sender: testBox, Recipient: recipient}
}

func TestReceiptsChangeTheOutcome(t *testing.T) {
	type got struct {
		state State
		to    RecipientState
	}
	late := report(pec.DeliveryWarning, "a@pec.example")
	final := report(pec.DeliveryWarning, "a@pec.example")
	final.Final = true
	virus := report(pec.NonAcceptance, "")
	virus.Error = "virus"
	external := report(pec.Acceptance, "")
	external.Recipients = []pec.Recipient{{Address: "A@pec.example", Type: pec.External}}
	for name, c := range map[string]struct {
		from     State
		receipts []*pec.Report
		want     got
	}{
		"acceptance":                        {HandedOver, []*pec.Report{report(pec.Acceptance, "")}, got{Accepted, Waiting}},
		"acceptance of ordinary mail":       {HandedOver, []*pec.Report{external}, got{Accepted, Uncertified}},
		"acceptance ends uncertain":         {Uncertain, []*pec.Report{report(pec.Acceptance, "")}, got{Accepted, Waiting}},
		"acceptance of what is tried again": {Queued, []*pec.Report{report(pec.Acceptance, "")}, got{Accepted, Waiting}},
		"delivery of what is tried again":   {Queued, []*pec.Report{report(pec.Delivery, "a@pec.example")}, got{HandedOver, Delivered}},
		"acceptance while attempting":       {Attempting, []*pec.Report{report(pec.Acceptance, "")}, got{Accepted, Waiting}},
		"non-acceptance":                    {HandedOver, []*pec.Report{report(pec.NonAcceptance, "")}, got{NotAccepted, Failed}},
		"virus":                             {HandedOver, []*pec.Report{virus}, got{NotAccepted, Failed}},
		"delivery":                          {Accepted, []*pec.Report{report(pec.Delivery, "a@pec.example")}, got{Accepted, Delivered}},
		"delivery before acceptance":        {HandedOver, []*pec.Report{report(pec.Delivery, "a@pec.example"), report(pec.Acceptance, "")}, got{Accepted, Delivered}},
		"delivery ends uncertain":           {Uncertain, []*pec.Report{report(pec.Delivery, "a@pec.example")}, got{HandedOver, Delivered}},
		"error":                             {Accepted, []*pec.Report{report(pec.DeliveryError, "a@pec.example")}, got{Accepted, Failed}},
		"12 h warning":                      {Accepted, []*pec.Report{late}, got{Accepted, Late}},
		"24 h notice":                       {Accepted, []*pec.Report{late, final}, got{Accepted, Failed}},
		"delivery after the 24 h notice":    {Accepted, []*pec.Report{final, report(pec.Delivery, "a@pec.example")}, got{Accepted, Delivered}},
		"error after delivery":              {Accepted, []*pec.Report{report(pec.Delivery, "a@pec.example"), report(pec.DeliveryError, "a@pec.example")}, got{Accepted, Delivered}},
		"receipt about another recipient":   {Accepted, []*pec.Report{report(pec.Delivery, "z@pec.example")}, got{Accepted, Waiting}},
		"an envelope is no receipt":         {HandedOver, []*pec.Report{report(pec.Transport, "")}, got{HandedOver, Waiting}},
	} {
		t.Run(name, func(t *testing.T) {
			s := submission("a@pec.example")
			s.State = c.from
			for _, r := range c.receipts {
				s.apply(r, r.Recipient)
			}
			if g := (got{s.State, s.Recipients[0].State}); g != c.want {
				t.Errorf("got %v, want %v", g, c.want)
			}
		})
	}
}

// TestH5_OrderOfReceiptsDoesNotMatter applies the receipts of one submission in
// 1,000 random orders, some of them twice: the end is always the same.
func TestH5_OrderOfReceiptsDoesNotMatter(t *testing.T) {
	to := []string{"a@pec.example", "b@pec.example", "c@pec.example", "d@pec.example"}
	final := report(pec.DeliveryWarning, to[2])
	final.Final = true
	receipts := []*pec.Report{
		report(pec.Acceptance, ""), report(pec.Delivery, to[0]), report(pec.DeliveryError, to[1]),
		report(pec.DeliveryWarning, to[2]), final, report(pec.DeliveryWarning, to[3]), report(pec.Delivery, to[3]),
	}
	want := []RecipientState{Delivered, Failed, Failed, Delivered}
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		s := submission(to...)
		order := append(rnd.Perm(len(receipts)), rnd.Perm(len(receipts))[:3]...)
		for _, i := range order {
			s.apply(receipts[i], receipts[i].Recipient)
		}
		if s.State != Accepted {
			t.Fatalf("seed %d: %s", seed, s.State)
		}
		for i, r := range s.Recipients {
			if r.State != want[i] {
				t.Fatalf("seed %d, order %v: %s is %s instead of %s", seed, order, r.Address, r.State, want[i])
			}
		}
	}
}

func TestB14_SecondAcceptanceIsTold(t *testing.T) {
	s := submission("a@pec.example")
	s.apply(report(pec.Acceptance, ""), "")
	second := report(pec.Acceptance, "")
	second.Identifier = "opec2@gestore.example"
	if out := s.apply(second, ""); out.what != "duplicate" || s.Identifier != "opec1@gestore.example" {
		t.Errorf("the story says %q, identifier %s", out.what, s.Identifier)
	}
}

func TestKeywordsShowTheOutcome(t *testing.T) {
	s := submission("a@pec.example", "b@pec.example")
	s.State = Accepted
	s.Recipients[0].State, s.Recipients[1].State = Delivered, Uncertified
	set, _ := s.keywords()
	if fmt.Sprint(set) != "[$PecAccepted $PecDelivered]" {
		t.Errorf("keywords %v", set)
	}
	s.Recipients[1].State = Failed
	if set, _ = s.keywords(); fmt.Sprint(set) != "[$PecAccepted $PecFailed]" {
		t.Errorf("keywords %v", set)
	}
}

// TestEdges goes through every pair of states: what the table does not name is
// refused and leaves the submission as it was.
func TestEdges(t *testing.T) {
	all := []State{Held, ToApprove, Queued, Attempting, Uncertain, HandedOver, Accepted, NotAccepted, Cancelled}
	for _, from := range all {
		for _, to := range all {
			s := &Submission{State: from}
			err := s.move(to, "")
			allowed := from == to
			for _, e := range edges(from) {
				allowed = allowed || e == to
			}
			if (err == nil) != allowed {
				t.Errorf("%s to %s: %v", from, to, err)
			}
			if want := map[bool]State{true: to, false: from}[allowed]; s.State != want {
				t.Errorf("%s to %s leaves %s", from, to, s.State)
			}
		}
	}
	for _, end := range []State{Accepted, NotAccepted, Cancelled} {
		if len(edges(end)) != 0 {
			t.Errorf("%s is not an end", end)
		}
	}
	// What left must never be queued again.
	for _, from := range []State{HandedOver, Accepted, NotAccepted} {
		if (&Submission{State: from}).move(Queued, "") == nil {
			t.Errorf("%s can be queued again", from)
		}
	}
}

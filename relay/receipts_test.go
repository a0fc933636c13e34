package relay

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

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

// of is a report of a kind about a recipient, changed as the test says.
func of(k pec.Kind, recipient string, change func(*pec.Report)) *pec.Report {
	r := report(k, recipient)
	if change != nil {
		change(r)
	}
	return r
}

// heard is a report as apply takes it, in a mailbox whose provider nobody knows.
func heard(r *pec.Report) receipt { return receipt{Report: r, recipient: r.Recipient, at: r.When()} }

// TestReceiptsChangeTheOutcome goes through the state table of one sent message
// (pec-format section 1.4), each line from each state in which its event can
// come, and what the table leaves open.
func TestReceiptsChangeTheOutcome(t *testing.T) {
	const a = "a@pec.example"
	type got struct {
		state State
		why   Reason
		to    RecipientState
	}
	handed := time.Date(2026, 7, 3, 9, 0, 0, 0, time.UTC)
	var (
		accepted  = report(pec.Acceptance, "")
		refused   = report(pec.NonAcceptance, "")
		virus     = of(pec.NonAcceptance, "", func(r *pec.Report) { r.Error = "virus" })
		delivered = report(pec.Delivery, a)
		failed    = report(pec.DeliveryError, a)
		infected  = of(pec.DeliveryError, a, func(r *pec.Report) { r.Error, r.ErrorCode = "virus", "5.5.1" })
		late      = report(pec.DeliveryWarning, a)
		final     = of(pec.DeliveryWarning, a, func(r *pec.Report) { r.Final = true })
		hours     = func(n int) *pec.Report {
			return of(pec.DeliveryWarning, a, func(r *pec.Report) { r.SignedAt = handed.Add(time.Duration(n) * time.Hour) })
		}
		external = of(pec.Acceptance, "", func(r *pec.Report) {
			r.Recipients = []pec.Recipient{{Address: " <A@PEC.example>", Type: pec.External}}
		})
	)
	for name, c := range map[string]struct {
		from     State
		receipts []*pec.Report
		want     got
	}{
		"accepted":                        {HandedOver, []*pec.Report{accepted}, got{Accepted, "", Waiting}},
		"accepted, outside PEC":           {HandedOver, []*pec.Report{external}, got{Accepted, "", Uncertified}},
		"rejected":                        {HandedOver, []*pec.Report{refused}, got{NotAccepted, ReasonFormal, Failed}},
		"rejected for a virus":            {HandedOver, []*pec.Report{virus}, got{NotAccepted, ReasonVirus, Failed}},
		"rejected, again for a virus":     {HandedOver, []*pec.Report{virus, refused}, got{NotAccepted, ReasonVirus, Failed}},
		"delivered":                       {Accepted, []*pec.Report{delivered}, got{Accepted, "", Delivered}},
		"failed":                          {Accepted, []*pec.Report{failed}, got{Accepted, "", Failed}},
		"failed for a virus":              {Accepted, []*pec.Report{infected}, got{Accepted, "", Failed}},
		"12 h":                            {Accepted, []*pec.Report{late}, got{Accepted, "", Late}},
		"24 h":                            {Accepted, []*pec.Report{late, final}, got{Accepted, "", Failed}},
		"24 h alone":                      {Accepted, []*pec.Report{final}, got{Accepted, "", Failed}},
		"24 h before 12 h":                {Accepted, []*pec.Report{final, late}, got{Accepted, "", Failed}},
		"12 h by the clock":               {Accepted, []*pec.Report{hours(12)}, got{Accepted, "", Late}},
		"24 h by the clock":               {Accepted, []*pec.Report{hours(12), hours(22)}, got{Accepted, "", Failed}},
		"delivered after 12 h":            {Accepted, []*pec.Report{late, delivered}, got{Accepted, "", Delivered}},
		"delivered after 24 h":            {Accepted, []*pec.Report{late, final, delivered}, got{Accepted, "", Delivered}},
		"delivered after an error":        {Accepted, []*pec.Report{failed, delivered}, got{Accepted, "", Delivered}},
		"error after delivery":            {Accepted, []*pec.Report{delivered, failed}, got{Accepted, "", Delivered}},
		"12 h after delivery":             {Accepted, []*pec.Report{delivered, late}, got{Accepted, "", Delivered}},
		"12 h after an error":             {Accepted, []*pec.Report{failed, late}, got{Accepted, "", Failed}},
		"error after 12 h":                {Accepted, []*pec.Report{late, failed}, got{Accepted, "", Failed}},
		"delivered twice":                 {Accepted, []*pec.Report{delivered, delivered}, got{Accepted, "", Delivered}},
		"accepted twice":                  {HandedOver, []*pec.Report{external, external}, got{Accepted, "", Uncertified}},
		"delivered before accepted":       {HandedOver, []*pec.Report{delivered, accepted}, got{Accepted, "", Delivered}},
		"failed before accepted":          {HandedOver, []*pec.Report{failed, accepted}, got{Accepted, "", Failed}},
		"12 h before accepted":            {HandedOver, []*pec.Report{late, accepted}, got{Accepted, "", Late}},
		"12 h, then outside PEC":          {HandedOver, []*pec.Report{late, external}, got{Accepted, "", Uncertified}},
		"outside PEC, then 12 h":          {HandedOver, []*pec.Report{external, late}, got{Accepted, "", Uncertified}},
		"outside PEC, failed":             {HandedOver, []*pec.Report{external, failed}, got{Accepted, "", Failed}},
		"failed, then outside PEC":        {HandedOver, []*pec.Report{failed, external}, got{Accepted, "", Failed}},
		"outside PEC, delivered":          {HandedOver, []*pec.Report{external, delivered}, got{Accepted, "", Delivered}},
		"rejected after accepted":         {HandedOver, []*pec.Report{accepted, refused}, got{Accepted, "", Waiting}},
		"accepted after rejected":         {HandedOver, []*pec.Report{refused, accepted}, got{Accepted, "", Waiting}},
		"rejected after delivered":        {HandedOver, []*pec.Report{delivered, refused}, got{HandedOver, "", Delivered}},
		"delivered after rejected":        {HandedOver, []*pec.Report{refused, delivered}, got{HandedOver, "", Delivered}},
		"12 h after rejected":             {HandedOver, []*pec.Report{refused, late}, got{HandedOver, "", Late}},
		"rejected after 12 h":             {HandedOver, []*pec.Report{late, refused}, got{HandedOver, "", Late}},
		"error, rejected, accepted":       {HandedOver, []*pec.Report{failed, refused, accepted}, got{Accepted, "", Failed}},
		"accepted, uncertain":             {Uncertain, []*pec.Report{accepted}, got{Accepted, "", Waiting}},
		"rejected, uncertain":             {Uncertain, []*pec.Report{refused}, got{NotAccepted, ReasonFormal, Failed}},
		"delivered, uncertain":            {Uncertain, []*pec.Report{delivered}, got{HandedOver, "", Delivered}},
		"12 h, uncertain":                 {Uncertain, []*pec.Report{late}, got{HandedOver, "", Late}},
		"accepted, to be tried again":     {Queued, []*pec.Report{accepted}, got{Accepted, "", Waiting}},
		"rejected, to be tried again":     {Queued, []*pec.Report{refused}, got{NotAccepted, ReasonFormal, Failed}},
		"delivered, to be tried again":    {Queued, []*pec.Report{delivered}, got{HandedOver, "", Delivered}},
		"accepted before the 250":         {Attempting, []*pec.Report{accepted}, got{Accepted, "", Waiting}},
		"delivered before the 250":        {Attempting, []*pec.Report{delivered}, got{HandedOver, "", Delivered}},
		"accepted, held":                  {Held, []*pec.Report{accepted}, got{Accepted, "", Waiting}},
		"delivered, held":                 {Held, []*pec.Report{delivered}, got{HandedOver, "", Delivered}},
		"accepted, given up":              {NotAccepted, []*pec.Report{accepted}, got{Accepted, "", Waiting}},
		"delivered, given up":             {NotAccepted, []*pec.Report{delivered}, got{HandedOver, "", Delivered}},
		"accepted, taken back":            {Cancelled, []*pec.Report{accepted}, got{Accepted, "", Waiting}},
		"delivered, taken back":           {Cancelled, []*pec.Report{delivered}, got{HandedOver, "", Delivered}},
		"rejected, taken back":            {Cancelled, []*pec.Report{refused}, got{Cancelled, "", Waiting}},
		"accepted before it was approved": {ToApprove, []*pec.Report{accepted}, got{Accepted, "", Waiting}}, // a restored store
		"about another recipient":         {Accepted, []*pec.Report{report(pec.Delivery, "z@pec.example")}, got{Accepted, "", Waiting}},
		"in another case":                 {Accepted, []*pec.Report{report(pec.Delivery, " <A@PEC.Example>")}, got{Accepted, "", Delivered}},
		"an envelope is no receipt":       {HandedOver, []*pec.Report{report(pec.Transport, "")}, got{HandedOver, "", Waiting}},
		"taken in charge is no receipt":   {HandedOver, []*pec.Report{report(pec.TakenInCharge, "")}, got{HandedOver, "", Waiting}},
	} {
		t.Run(name, func(t *testing.T) {
			s := submission(a)
			s.State, s.HandedOver = c.from, handed
			for _, r := range c.receipts {
				s.apply(heard(r))
			}
			if g := (got{s.State, s.StateReason, s.Recipients[0].State}); g != c.want {
				t.Errorf("got %v, want %v", g, c.want)
			}
		})
	}
}

// many are the receipts of a submission to n recipients: every third one each
// way, complete, brief and synthetic deliveries, errors and viruses, warnings of
// 12 and 24 hours, deliveries after them, and some outside PEC.
func many(n int) (to []string, receipts []*pec.Report, want []RecipientState) {
	all := report(pec.Acceptance, "")
	add := func(k pec.Kind, a string, change func(*pec.Report)) {
		receipts = append(receipts, of(k, strings.ToUpper(a), change))
	}
	final := func(r *pec.Report) { r.Final = true }
	for i := range n {
		a := fmt.Sprintf("r%02d@pec.example", i)
		to = append(to, a)
		x := pec.Recipient{Address: a, Type: pec.Certified}
		var end RecipientState
		switch i % 7 {
		case 0:
			end = Delivered
			add(pec.Delivery, a, func(r *pec.Report) { r.Receipt = []string{pec.Complete, pec.Brief, pec.Synthetic}[i%3] })
		case 1:
			end = Failed
			add(pec.DeliveryWarning, a, nil)
			add(pec.DeliveryError, a, func(r *pec.Report) { r.ErrorCode = "5.1.1" })
		case 2:
			end = Failed
			add(pec.DeliveryError, a, func(r *pec.Report) { r.Error, r.ErrorCode = "virus", "5.5.1" })
		case 3:
			end = Late
			add(pec.DeliveryWarning, a, nil)
		case 4:
			end = Failed
			add(pec.DeliveryWarning, a, nil)
			add(pec.DeliveryWarning, a, final)
		case 5:
			end = Delivered
			add(pec.DeliveryWarning, a, nil)
			add(pec.DeliveryWarning, a, final)
			add(pec.Delivery, a, nil)
		case 6:
			end = Uncertified
			x.Type = pec.External
		}
		all.Recipients = append(all.Recipients, x)
		want = append(want, end)
	}
	return to, append(receipts, all), want
}

// TestH5_OrderOfReceiptsDoesNotMatter applies the receipts of one submission in
// 1,000 random orders, some of them twice, half of the time with a non-acceptance
// among them that another hand-over got, and a third of the time with a
// non-acceptance and warnings of another provider, from each state in which
// receipts may come: the end is always the same.
func TestH5_OrderOfReceiptsDoesNotMatter(t *testing.T) {
	start := time.Date(2026, 7, 3, 9, 0, 0, 0, time.UTC)
	to, own, want := many(50)
	own = append(own, report(pec.NonAcceptance, ""))
	for n, r := range own {
		r.Signer, r.SignedAt = ownProvider, start.Add(time.Duration(n)*time.Minute)
		if r.Kind == pec.Acceptance {
			r.SignedAt = start
		}
	}
	others := []*pec.Report{report(pec.NonAcceptance, "")}
	for _, a := range to {
		others = append(others, of(pec.DeliveryWarning, a, func(r *pec.Report) { r.Final = true }))
	}
	for _, r := range others {
		r.Signer, r.SignedAt = otherProvider, start.Add(-time.Hour)
	}
	var end string
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		use := own[:len(own)-int(seed%2)]
		if seed%3 == 0 {
			use = slices.Concat(use, others)
		}
		order := append(rnd.Perm(len(use)), rnd.Perm(len(use))[:len(use)/3]...)
		rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		s := submission(to...)
		s.State = []State{HandedOver, Uncertain, Held, Attempting, Queued, NotAccepted}[seed%6]
		for _, i := range order {
			r := heard(use[i])
			if seed%5 < 3 {
				r.provider = ownProvider
			}
			s.apply(r)
		}
		for i, r := range s.Recipients {
			if r.State != want[i] {
				t.Fatalf("seed %d: %s is %s instead of %s", seed, r.Address, r.State, want[i])
			}
		}
		got, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		all, err := json.Marshal(s.Recipients) // records of their own
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, all...); end == "" {
			end = string(got)
		}
		if s.State != Accepted || string(got) != end {
			t.Fatalf("seed %d: %s\nwant %s", seed, got, end)
		}
	}
}

// TestH6_FiftyRecipients sends to 50 and looks at each of them and at the worst,
// which the sent copy shows.
func TestH6_FiftyRecipients(t *testing.T) {
	to, receipts, want := many(50)
	s := submission(to...)
	count := map[RecipientState]int{}
	for _, r := range receipts {
		s.apply(heard(r))
	}
	for i, r := range s.Recipients {
		if r.State != want[i] {
			t.Errorf("%s is %s instead of %s", r.Address, r.State, want[i])
		}
		count[r.State]++
	}
	if fmt.Sprint(count) != "map[delivered:15 failed:21 late:7 uncertified:7]" {
		t.Errorf("%v", count)
	}
	if set, _ := s.keywords(); fmt.Sprint(set) != "[$PecAccepted $PecFailed $PecOverdue]" {
		t.Errorf("shown %v", set)
	}
	// As deliveries come after all, what was worst goes.
	for i, a := range to {
		if want[i] != Uncertified {
			s.apply(heard(report(pec.Delivery, a)))
		}
	}
	if set, clear := s.keywords(); fmt.Sprint(set) != "[$PecAccepted $PecDelivered]" || len(clear) != 3 {
		t.Errorf("shown %v", set)
	}
}

func TestB14_SecondAcceptanceIsTold(t *testing.T) {
	s := submission("a@pec.example")
	s.apply(heard(report(pec.Acceptance, "")))
	second := report(pec.Acceptance, "")
	second.Identifier = "opec2@gestore.example"
	if out := s.apply(heard(second)); out.what != "duplicate" || s.Identifier != "opec1@gestore.example" {
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

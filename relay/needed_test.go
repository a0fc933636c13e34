package relay

import (
	"context"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

func TestNeeded(t *testing.T) {
	store := openStore(t)
	const id = "one"
	enqueue(t, store, id, "one@pec.example")
	const day = 24 * time.Hour
	ended := []Recipient{{State: Delivered}, {State: Failed}, {State: Uncertified}}
	open := []Recipient{{State: Delivered}, {State: Waiting}}
	for name, c := range map[string]struct {
		s    Submission
		age  time.Duration // of the state
		want bool
	}{
		"held":                         {Submission{State: Held, StateReason: ReasonPIN}, 400 * day, true},
		"to approve":                   {Submission{State: ToApprove}, 400 * day, true},
		"queued":                       {Submission{State: Queued}, 400 * day, true},
		"attempting":                   {Submission{State: Attempting}, 400 * day, true},
		"uncertain":                    {Submission{State: Uncertain}, 400 * day, true},
		"held after a restore":         {Submission{State: Held, StateReason: ReasonRestored}, 400 * day, true},
		"handed over":                  {Submission{State: HandedOver}, 29 * day, true},
		"handed over, nothing came":    {Submission{State: HandedOver}, 31 * day, false},
		"accepted, one open":           {Submission{State: Accepted, Recipients: open}, 29 * day, true},
		"accepted, late":               {Submission{State: Accepted, Recipients: []Recipient{{State: Late}}}, 29 * day, true},
		"accepted, one open for long":  {Submission{State: Accepted, Recipients: open}, 31 * day, false},
		"accepted, all told":           {Submission{State: Accepted, Recipients: ended}, 0, false},
		"not accepted":                 {Submission{State: NotAccepted, StateReason: ReasonFormal}, 0, false},
		"not accepted, may have left":  {Submission{State: NotAccepted, Doubt: true}, 29 * day, true},
		"cancelled, may have left":     {Submission{State: Cancelled, Intent: true}, 29 * day, true},
		"cancelled, may have long ago": {Submission{State: Cancelled, Intent: true}, 31 * day, false},
		"cancelled":                    {Submission{State: Cancelled}, 0, false},
		"a state of a later version":   {Submission{State: "new"}, 400 * day, true},
	} {
		t.Run(name, func(t *testing.T) {
			err := store.Update(context.Background(), func(tx *mailbox.Tx) error {
				old, err := load(tx, id)
				if err != nil {
					return err
				}
				s := c.s
				s.ID, s.Box, s.Message, s.Since, s.chunks = id, old.Box, old.Message, tx.Now().Add(-c.age), old.chunks
				if s.Recipients == nil {
					s.Recipients = []Recipient{{State: Waiting}}
				}
				if err := save(tx, &s, nil); err != nil {
					return err
				}
				// The message itself, and a receipt about it.
				for _, d := range []mailbox.Direction{mailbox.Out, mailbox.In} {
					got, err := Needed(tx, &mailbox.Message{Box: old.Box, Direction: d, Submission: id, Arrived: tx.Now().Add(-500 * day)})
					if err != nil || got != c.want {
						t.Errorf("%s: %v, %v", d, got, err)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	for name, c := range map[string]struct {
		m    mailbox.Message
		age  time.Duration
		want bool
	}{
		"envelope":                     {mailbox.Message{Direction: mailbox.In, Kind: pec.Transport}, day, false},
		"receipt that waits":           {mailbox.Message{Direction: mailbox.In, Kind: pec.Delivery}, 29 * day, true},
		"receipt that waited":          {mailbox.Message{Direction: mailbox.In, Kind: pec.Delivery}, 31 * day, false},
		"appended":                     {mailbox.Message{Direction: mailbox.Own}, day, false},
		"of a submission that is none": {mailbox.Message{Direction: mailbox.Recovered, Submission: "none"}, day, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := store.View(context.Background(), func(tx *mailbox.Tx) error {
				c.m.Arrived = tx.Now().Add(-c.age)
				got, err := Needed(tx, &c.m)
				if err != nil || got != c.want {
					t.Errorf("%v, %v", got, err)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

package relay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// TestH5_ShuffledReceipts takes real receipts in through the store in 60 random
// orders, some twice, some without Message-ID or with a mangled one, half of the
// time with a non-acceptance and warnings of another provider among them, from
// each state in which nobody knows what became of the hand-over: what `show` says
// is the same, and everything is the sender's.
func TestH5_ShuffledReceipts(t *testing.T) {
	i := newIntake(t)
	start := time.Now().Add(-23 * time.Hour)
	to := []string{"a@pec.example", "b@pec.example", "c@pec.example", "d@pec.example"}
	const want = "accepted [delivered failed failed late]"
	acceptances, deliveries, others := 0, 0, 0
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		id, msgid := fmt.Sprintf("s%d", seed), fmt.Sprintf("m%d@alfa.example", seed)
		about := func(make func(providersim.Kind, func(*providersim.Notice)) []byte, k providersim.Kind, a int, after time.Duration, change func(*providersim.Notice)) []byte {
			return make(k, func(n *providersim.Notice) {
				n.Identifier, n.MsgID, n.At = fmt.Sprintf("%d.%s", seed, pecID), "<"+msgid+">", start.Add(after)
				n.Recipients = nil
				for _, x := range to {
					n.Recipients = append(n.Recipients, providersim.Recipient{Address: x})
				}
				if n.Recipient != "" {
					n.Recipient = to[a]
				}
				if change != nil {
					change(n)
				}
			})
		}
		mangled := func(n *providersim.Notice) { n.MsgID = n.MsgID[:len(n.MsgID)-3] + ">" }
		const h = time.Hour
		receipts := [][]byte{
			about(i.receipt, providersim.Acceptance, 0, 0, nil),
			about(i.receipt, providersim.DeliveryWarning, 0, 12*h, nil),
			about(i.foreign, providersim.DeliveryError, 0, 13*h, noMsgID),
			about(i.foreign, providersim.Delivery, 0, 14*h, noMsgID),
			about(i.receipt, providersim.DeliveryWarning, 1, 12*h, noMsgID),
			about(i.foreign, providersim.DeliveryError, 1, 13*h, mangled),
			about(i.receipt, providersim.DeliveryWarning, 2, 12*h, nil),
			about(i.receipt, providersim.DeliveryWarning, 2, 23*h, mangled), // the last one, by the clock alone
			about(i.receipt, providersim.DeliveryWarning, 3, 12*h, mangled),
		}
		own := len(receipts)
		if seed%2 == 0 {
			receipts = append(receipts,
				about(i.foreign, providersim.NonAcceptance, 0, h, []func(*providersim.Notice){nil, noMsgID, mangled}[rnd.IntN(3)]),
				about(i.foreign, providersim.DeliveryWarning, 3, 2*h, last24h),
				about(i.foreign, providersim.DeliveryWarning, 3, 12*h, noMsgID))
		}
		i.send(id, msgid, strings.ReplaceAll(sentText, testMsgID, msgid), to...)
		i.from(id, []State{HandedOver, Uncertain, Held}[seed/2%3])
		if seed%5 == 0 {
			// As in a mailbox that never had an acceptance.
			i.update(func(tx *mailbox.Tx) error { return tx.Space(room).Delete(providerKey(testBox)) })
		}
		for _, k := range append(rnd.Perm(len(receipts)), rnd.Perm(len(receipts))[:2]...) {
			i.take(receipts[k])
		}
		s := i.shown(id)
		var ends []RecipientState
		tied := len(s.Receipts)
		for _, r := range s.Recipients {
			ends = append(ends, r.State)
			tied += len(r.Receipts)
		}
		if short := fmt.Sprintf("%s %v", s.State, ends); short != want || tied != len(receipts) {
			t.Fatalf("seed %d: %s, %d of %d receipts tied: %s\n%s", seed, short, tied, len(receipts), words(s), i.log)
		}
		if sub := stored(t, i.store, id); !sub.HandedOver.Equal(start.Truncate(time.Second)) {
			t.Fatalf("seed %d: handed over %v instead of %v", seed, sub.HandedOver, start)
		}
		acceptances, deliveries, others = acceptances+1, deliveries+1, others+own-2+len(receipts)-own
	}
	i.owned(mailbox.RoleAcceptance, acceptances)
	i.owned(mailbox.RoleDelivery, deliveries)
	i.owned(mailbox.RoleErrors, others)
	i.update(func(tx *mailbox.Tx) error {
		return scanWaiting(tx, "w/", func(l waitingLine) bool {
			t.Error(errors.Join(l.err, fmt.Errorf("%s waits still", l.key)))
			return true
		})
	})
}

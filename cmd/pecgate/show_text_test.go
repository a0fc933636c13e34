package main

import (
	"testing"
	"time"

	"pecgate/relay"
)

// TestRecipientText: who gets nothing any more does not wait, and who got it has
// the time at which the message was handed over.
func TestRecipientText(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for want, c := range map[string]struct {
		state relay.State
		why   relay.Reason
		r     relay.ShownRecipient
	}{
		"waiting":                     {relay.Queued, "", relay.ShownRecipient{State: relay.Waiting}},
		"cancelled, nothing was sent": {relay.Cancelled, relay.ReasonOperator, relay.ShownRecipient{State: relay.Waiting}},
		"nothing is sent any more; it may have left before": {relay.Cancelled, relay.ReasonUncertain, relay.ShownRecipient{State: relay.Waiting}},
		"delivered, handed over 2026-11-22 10:00:00":        {relay.Accepted, "", relay.ShownRecipient{State: relay.Delivered, HandedOver: at}},
	} {
		if got := recipientText(relay.Shown{State: c.state, StateReason: c.why}, c.r, time.UTC); got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}

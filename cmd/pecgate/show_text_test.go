package main

import (
	"bytes"
	"strings"
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

// TestShowSaysWhatItWaitsFor: of something uncertain show says until when its receipt is
// looked for, and what is in the way.
func TestShowSaysWhatItWaitsFor(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	err := printShown(&out, relay.Shown{State: relay.Uncertain, Looking: &relay.ShownLooking{
		Until: at, Seen: at.Add(-time.Hour), Read: "5m", Blind: "connection refused", Quote: "something quotes it",
	}}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Waits for ", "a receipt that quotes its Message-ID, until 2026-11-22 10:00:00, if the mailbox can be read until then\n",
		"last at 2026-11-22 09:00:00; the mailbox could be read for 5m so far\n", "connection refused\n", "something quotes it\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "throughout") {
		t.Error(out.String())
	}
}

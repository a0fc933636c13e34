package main

import (
	"fmt"
	"strings"
)

// counts is what a scenario found. All but the first group must be 0.
type counts struct {
	Cycles    int `json:"cycles"`              // kills, cuts, faults, flips
	Promised  int `json:"promised"`            // 250 said to the driver
	Taken     int `json:"at_provider"`         // submissions that the provider took
	Arrived   int `json:"arrived"`             // messages that the provider put into mailboxes
	Cleared   int `json:"cleared,omitempty"`   // of these, deleted there by the gateway, so that only its store has them
	Uncertain int `json:"uncertain,omitempty"` // held or waiting because nobody knows; no fault
	Recovered int `json:"recovered,omitempty"` // stored before a stop and promised to nobody, kept for the administrator; no fault
	Refused   int `json:"refused,omitempty"`   // messages refused with 4xx or 5xx; no fault
	Detected  int `json:"detected,omitempty"`  // damage that was reported
	Harmless  int `json:"harmless,omitempty"`  // damage that changed nothing

	Lost        int `json:"lost"`         // promised, and neither sent nor in a state that says why not
	False250    int `json:"false_250"`    // promised, and not in the gateway's store
	Torn        int `json:"torn"`         // other bytes than were submitted, at the provider or in the store
	Twice       int `json:"twice"`        // sent or stored more than once
	InboundLost int `json:"inbound_lost"` // the provider held it, the store does not
	InboundTorn int `json:"inbound_torn"` // shown with other bytes than the provider's
	WrongOwner  int `json:"wrong_owner"`  // shown to somebody whom it is not for
	NotStarted  int `json:"not_started"`  // the gateway refused to start, or was not done in time
	Silent      int `json:"silent"`       // damage that nobody reported
	Wrong       int `json:"wrong"`        // anything else that must not be

	Faults []string `json:"faults,omitempty"` // the first of them, in words
	Notes  []string `json:"notes,omitempty"`  // figures that have no count, in words
}

// mostFaults bounds how many are told in words.
const mostFaults = 20

// faults is how much was wrong.
func (c *counts) faults() int {
	return c.Lost + c.False250 + c.Torn + c.Twice + c.InboundLost + c.InboundTorn + c.WrongOwner + c.NotStarted + c.Silent + c.Wrong
}

// fault counts one fault and tells it in words: c.fault(&c.Lost, "...").
func (c *counts) fault(which *int, format string, args ...any) {
	*which++
	c.tell(fmt.Sprintf(format, args...))
}

// tell keeps the words for a fault that is counted elsewhere.
func (c *counts) tell(fault string) {
	if len(c.Faults) < mostFaults {
		c.Faults = append(c.Faults, fault)
	}
}

// add adds the counts of another part of the scenario.
func (c *counts) add(o counts) {
	c.Cycles += o.Cycles
	c.Promised += o.Promised
	c.Taken += o.Taken
	c.Arrived += o.Arrived
	c.Cleared += o.Cleared
	c.Uncertain += o.Uncertain
	c.Recovered += o.Recovered
	c.Refused += o.Refused
	c.Detected += o.Detected
	c.Harmless += o.Harmless
	c.Lost += o.Lost
	c.False250 += o.False250
	c.Torn += o.Torn
	c.Twice += o.Twice
	c.InboundLost += o.InboundLost
	c.InboundTorn += o.InboundTorn
	c.WrongOwner += o.WrongOwner
	c.NotStarted += o.NotStarted
	c.Silent += o.Silent
	c.Wrong += o.Wrong
	c.Notes = append(c.Notes, o.Notes...)
	c.Faults = append(c.Faults, o.Faults[:min(len(o.Faults), mostFaults-min(mostFaults, len(c.Faults)))]...)
}

// line is the counts in one line.
func (c *counts) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cycles, %d promised, %d at the provider, %d arrived", c.Cycles, c.Promised, c.Taken, c.Arrived)
	for _, x := range []struct {
		n    int
		what string
	}{{c.Cleared, "cleared"}, {c.Refused, "refused"}, {c.Uncertain, "uncertain"}, {c.Recovered, "recovered"}, {c.Detected, "detected"}, {c.Harmless, "harmless"}} {
		if x.n > 0 {
			fmt.Fprintf(&b, ", %d %s", x.n, x.what)
		}
	}
	fmt.Fprintf(&b, ": %d lost, %d torn, %d false 250, %d twice, %d inbound lost, %d inbound torn, %d wrong owner",
		c.Lost, c.Torn, c.False250, c.Twice, c.InboundLost, c.InboundTorn, c.WrongOwner)
	for _, x := range []struct {
		n    int
		what string
	}{{c.NotStarted, "not started"}, {c.Silent, "silent"}, {c.Wrong, "otherwise wrong"}} {
		if x.n > 0 {
			fmt.Fprintf(&b, ", %d %s", x.n, x.what)
		}
	}
	return b.String()
}

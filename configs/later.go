package configs

import (
	"fmt"
	"slices"
	"strings"
)

// Keys that are known and checked, but change nothing yet. Each warning goes when its key begins to work: this file is the
// whole list, and it gets shorter with every version.

const noEffect = "has no effect in this version"

func (f *findings) laterAppliance(d *decoder, a *Appliance) {
	if a.API.Listen != "" {
		f.warn(d.where("api.listen"), "api %s: no HTTP service is started", noEffect)
	}
	if a.Outgoing.Smarthost.Host != "" {
		f.warn(d.where("outgoing.smarthost"), "outgoing %s: notices and forwarded messages are not sent", noEffect)
	}
}

func (c *policyCheck) laterPolicy() {
	for i, u := range c.policy.Users {
		if slices.Contains(u.Deliver, "forward") {
			c.later(fmt.Sprintf("users[%d].deliver", i), "deliver: forward", "the messages are read by IMAP")
		}
	}
	for i := range c.policy.Mailboxes {
		m, path := &c.policy.Mailboxes[i], fmt.Sprintf("mailboxes[%d].", i)
		if m.Uncertain == "resend" {
			c.later(path+"uncertain", "uncertain: resend", "a person decides")
		}
		if m.Split != "never" {
			c.later(path+"split", "split", "blind copies are refused and nothing is split")
		}
		if m.ProviderSentCopy {
			c.later(path+"provider_sent_copy", "provider_sent_copy", "the sent copy is kept by the gateway alone")
		}
		if m.History == "unseen" {
			c.later(path+"history", "history", "what stood at the provider at first contact is not treated apart")
		}
		if m.ReplyTo != "" {
			c.later(path+"reply_to", "reply_to", "no Reply-To is added")
		}
		c.laterPIN(m, path)
		for j, l := range m.Members {
			at := fmt.Sprintf("%smembers[%d].", path, j)
			if l.Compose {
				c.later(at+"compose", "compose", "the member cannot send, and nobody can approve")
			}
			if l.Approve {
				c.later(at+"approve", "approve", "nothing waits for approval")
			}
		}
	}
	if len(c.policy.Relays) > 0 {
		c.later("relays", "relays", "no relay listener is started")
	}
}

func (c *policyCheck) laterPIN(m *Mailbox, path string) {
	var others []string
	for _, method := range m.PINMethods {
		if method != "subject" {
			others = append(others, method)
		}
	}
	if len(others) == 0 {
		return
	}
	what := "a PIN is read from the subject only"
	if slices.Contains(others, "reply") {
		what += ", and a message without it is refused, not held"
	}
	if m.PINRequired && !slices.Contains(m.PINMethods, "subject") {
		what += "; as subject is not in the list, nothing can be sent"
	}
	c.later(path+"pin_methods", "pin_methods: "+strings.Join(others, ", "), what)
}

func (c *policyCheck) later(path, key, instead string) {
	c.warn(c.where(path), "%s %s: %s", key, noEffect, instead)
}

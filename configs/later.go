package configs

import (
	"fmt"
)

// Keys that are known and checked, but change nothing yet. Each warning goes when its key begins to work: this file is the
// whole list, and it gets shorter with every version.

const noEffect = "has no effect in this version"

func (c *policyCheck) laterPolicy() {
	for i := range c.policy.Mailboxes {
		m, path := &c.policy.Mailboxes[i], fmt.Sprintf("mailboxes[%d].", i)
		if m.ProviderSentCopy && m.Incoming.Protocol == "pop3" {
			c.later(path+"provider_sent_copy", "provider_sent_copy", "POP3 cannot put anything into a folder; write incoming: {protocol: imap}")
		}
	}
}

func (c *policyCheck) later(path, key, instead string) {
	c.warn(c.where(path), "%s %s: %s", key, noEffect, instead)
}

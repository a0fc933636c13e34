package configs

import (
	"fmt"
	"slices"
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
		if m.ProviderSentCopy {
			c.later(path+"provider_sent_copy", "provider_sent_copy", "the sent copy is kept by the gateway alone")
		}
		for j, l := range m.Members {
			at := fmt.Sprintf("%smembers[%d].", path, j)
			if l.Preset == presetSendOnly {
				c.warn(c.where(at+"preset"), "preset: send only: IMAP is refused, but in this version the receipts do not go by mail")
			}
		}
	}
	if len(c.policy.Relays) > 0 {
		c.later("relays", "relays", "no relay listener is started")
	}
}

func (c *policyCheck) later(path, key, instead string) {
	c.warn(c.where(path), "%s %s: %s", key, noEffect, instead)
}

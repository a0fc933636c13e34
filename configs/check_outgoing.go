package configs

import (
	"fmt"
	"slices"
	"strings"
)

// byMail warns of what is to go by ordinary mail where there is no way for it.
func (c *policyCheck) byMail() {
	if c.apart {
		return
	}
	none := c.appliance.Outgoing.Smarthost.Host == ""
	const without = "but pecgate.yaml has no outgoing.smarthost"
	for i, u := range c.policy.Users {
		path := fmt.Sprintf("users[%d].", i)
		if none && slices.Contains(u.Deliver, "forward") {
			c.warn(c.where(path+"deliver"), "deliver: forward, %s: the messages are read by IMAP", without)
		}
		if none && u.NotifyNew {
			c.warn(c.where(path+"notify_new"), "notify_new, %s: the notices stand in INBOX only", without)
		}
	}
	for i := range c.policy.Mailboxes {
		m, path := &c.policy.Mailboxes[i], fmt.Sprintf("mailboxes[%d].", i)
		if none && m.Ordinary.ForwardTo != "" {
			c.warn(c.where(path+"ordinary.forward_to"), "ordinary: forward_to, %s: the mail stands in Anomalie only", without)
		}
		for j, l := range m.Members {
			if l.Preset != presetSendOnly {
				continue
			}
			at := c.where(fmt.Sprintf("%smembers[%d].preset", path, j))
			if none {
				c.warn(at, "preset: send only, %s: IMAP is refused and the receipts do not go by mail", without)
			} else if n, ok := c.logins[strings.ToLower(l.User)]; ok && l.Group == "" && c.policy.Users[n].Email == "" {
				c.warn(at, "preset: send only: user %s has no email, so the receipts reach nobody", quote(l.User))
			}
		}
	}
}

package configs

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// byMail warns of what is to go by ordinary mail where there is no way for it.
func (c *policyCheck) byMail() {
	if c.apart {
		return
	}
	for i, u := range c.policy.Users {
		if box, ok := c.boxes[strings.ToLower(u.Email)]; ok && u.Email != "" {
			c.refuse(fmt.Sprintf("users[%d].email", i), "email: %s is the PEC mailbox at line %d: needs an ordinary address", quote(u.Email), c.line(fmt.Sprintf("mailboxes[%d].address", box)))
		}
	}
	if host := c.appliance.Outgoing.Smarthost.Host; host != "" {
		for i := range c.policy.Mailboxes {
			if strings.EqualFold(c.policy.Mailboxes[i].SMTP.Host, host) && net.ParseIP(host) == nil {
				c.refuse(fmt.Sprintf("mailboxes[%d]", i), "smtp: %s is outgoing.smarthost.host of pecgate.yaml too: ordinary mail never goes by a PEC provider", quote(host))
			}
		}
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

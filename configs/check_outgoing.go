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
	domains := map[string]int{} // of PEC: no address there is ordinary
	for i := range c.policy.Mailboxes {
		if d := domainOf(c.policy.Mailboxes[i].Address); d != "" {
			domains[d] = i
		}
	}
	for i, u := range c.policy.Users {
		if box, ok := c.boxes[strings.ToLower(u.Email)]; ok && u.Email != "" {
			c.refuse(fmt.Sprintf("users[%d].email", i), "email: %s is the PEC mailbox at line %d: needs an ordinary address", quote(u.Email), c.line(fmt.Sprintf("mailboxes[%d].address", box)))
		} else if box, ok := domains[domainOf(u.Email)]; ok && u.Email != "" {
			c.refuse(fmt.Sprintf("users[%d].email", i), "email: %s is in the PEC domain of the mailbox at line %d: needs an ordinary address", quote(u.Email), c.line(fmt.Sprintf("mailboxes[%d].address", box)))
		}
	}
	out := c.appliance.Outgoing
	for _, s := range []struct {
		key, host string
		port      int
	}{{"outgoing.smarthost.host", out.Smarthost.Host, out.Smarthost.Port}, {"outgoing.imap.host", out.IMAP.Host, out.IMAP.Port}} {
		if s.host == "" {
			continue
		}
		for i := range c.policy.Mailboxes {
			m := &c.policy.Mailboxes[i]
			for _, at := range []struct {
				what, host string
				port       int
			}{{"smtp", m.SMTP.Host, m.SMTP.Port}, {"incoming", m.Incoming.Host, m.Incoming.Port}} {
				// Behind an address, or a name of this machine, several servers may stand.
				several := net.ParseIP(s.host) != nil || strings.EqualFold(s.host, "localhost")
				if strings.EqualFold(at.host, s.host) && (!several || at.port == s.port) {
					c.refuse(fmt.Sprintf("mailboxes[%d]", i), "%s: %s is %s of pecgate.yaml too: ordinary mail never goes by a PEC provider", at.what, quote(s.host), s.key)
					break
				}
			}
		}
	}
	none := c.appliance.Outgoing.Smarthost.Host == "" && c.appliance.Outgoing.IMAP.Host == ""
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

func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

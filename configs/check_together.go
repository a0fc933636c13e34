package configs

import (
	"fmt"
	"slices"
	"strings"

	"pecgate/policy"
)

// together judges what the lines of each mailbox say together, after groups and defaults: that somebody receives, how many
// people there are, who lacks a PIN, and where lines of one person disagree.
func (c *policyCheck) together() {
	rules := &policy.Policy{}
	for _, g := range c.policy.Groups {
		rules.Groups = append(rules.Groups, policy.Group{Name: g.Name, Users: g.Users, Groups: g.Groups})
	}
	for i := range c.policy.Mailboxes {
		m := &c.policy.Mailboxes[i]
		box := policy.Mailbox{Address: m.Address}
		for j := range m.Members {
			if c.hollow[fmt.Sprintf("mailboxes[%d].members[%d]", i, j)] {
				continue
			}
			l := m.Members[j].Rule(c.appliance.Location())
			if l.User == "" && l.Group == "" {
				l.User = fmt.Sprintf("?%d", j) // somebody: a missing name is another fault
			}
			box.Members = append(box.Members, l)
		}
		rules.Mailboxes = append(rules.Mailboxes, box)
	}
	rules.Spread()
	for i := range c.policy.Mailboxes {
		if !c.hollow[fmt.Sprintf("mailboxes[%d]", i)] {
			c.mailboxTogether(i, &rules.Mailboxes[i])
		}
	}
}

func (c *policyCheck) mailboxTogether(i int, box *policy.Mailbox) {
	m, path := &c.policy.Mailboxes[i], fmt.Sprintf("mailboxes[%d].", i)
	receives, sends, over := 0, 0, Position{}
	var people, writers, approvers, fixed []string
	for _, l := range box.Members {
		login := strings.ToLower(l.User)
		if slices.Contains(people, login) {
			continue
		}
		people = append(people, login)
		if len(people) == m.MaxMembers+1 {
			over = c.lineOf(m, path, l.Line)
		}
		given := box.Explain(l.User)
		words := given.Given()
		if words&policy.Receive != 0 {
			receives++
		}
		if words&policy.Send != 0 {
			sends++
		}
		if words&policy.Compose != 0 {
			writers = append(writers, l.User)
		}
		if words&policy.Approve != 0 {
			approvers = append(approvers, l.User)
		}
		at := c.lineOf(m, path, given.Lines[0].Line)
		if words&(policy.Send|policy.Receive|policy.Anomalies|policy.Compose|policy.Approve) == 0 {
			c.warn(at, "member %s has no right at all", quote(l.User))
		}
		if u, ok := c.logins[login]; ok && words&policy.Send != 0 {
			user := &c.policy.Users[u]
			if user.PIN != "" {
				fixed = append(fixed, user.Login)
			}
			if m.PINRequired && !c.hasPIN(u) {
				c.warn(at, "user %s has no pin and cannot send from %s, which requires one", quote(user.Login), m.Address)
			}
		}
		if u, ok := c.logins[login]; ok && words&policy.Approve != 0 && anyWrites(box) {
			user := &c.policy.Users[u]
			if m.PINRequired && m.ApprovalPIN && !c.hasPIN(u) {
				c.warn(at, "user %s has no pin and cannot approve for %s: give them one, or write approval_pin: false", quote(user.Login), m.Address)
			}
		}
		c.conflict(m, path, l.User, given)
	}
	for _, w := range writers {
		if len(approvers) == 0 || len(approvers) == 1 && strings.EqualFold(approvers[0], w) && !m.ApproveOwn {
			c.warn(c.where(path+"members"), "nobody may approve what %s writes from %s: give another member approve", quote(w), m.Address)
			break
		}
	}
	c.adviseCodes(m, path, fixed)
	switch {
	case len(people) > m.MaxMembers && !c.bad[path+"max_members"]:
		c.fault(over, "a mailbox has at most %d members, %s has %d: take some out or raise max_members", m.MaxMembers, m.Address, len(people))
		c.mark(path + "members")
	case receives == 0 && !c.written(path+"members"):
		c.refuse(path+"members", "members is missing: at least one member must receive")
	case receives == 0 && !c.bad[path+"members"] && !c.bad["groups"]:
		c.refuse(path+"members", "no member receives: at least one must")
	}
	if sends == 0 && len(writers) == 0 && receives > 0 {
		c.warn(c.where(path+"members"), "no member of %s may send", m.Address)
	}
}

// anyWrites tells whether some member writes what another approves.
func anyWrites(box *policy.Mailbox) bool {
	return slices.ContainsFunc(box.Members, func(l policy.Member) bool { return l.Compose })
}

// lineOf is the position of a line of members by its file:line.
func (c *policyCheck) lineOf(m *Mailbox, path, line string) Position {
	for j := range m.Members {
		if m.Members[j].At.FileLine() == line {
			return m.Members[j].At
		}
	}
	return c.where(path + "members")
}

// conflict warns of a person of whom several lines say different things, and tells which of them won.
func (c *policyCheck) conflict(m *Mailbox, path, login string, e policy.Explanation) {
	if len(e.Lines) < 2 {
		return
	}
	var what []string
	number := func(line string) string { return "line " + line[strings.LastIndexByte(line, ':')+1:] }
	for _, d := range e.Decisions {
		if len(d.Against) == 0 {
			continue
		}
		var against []string
		for _, l := range d.Against {
			against = append(against, number(l))
		}
		text := "%s denies %s and wins over %s"
		if d.Right == policy.SendOnly {
			text = "%s allows %s and wins over %s"
		}
		what = append(what, fmt.Sprintf(text, number(d.Line), d.Right, strings.Join(against, ", ")))
	}
	for _, l := range e.Lines {
		if !l.Expires.Equal(e.Expires) {
			what = append(what, number(e.ExpiresLine)+" ends first and ends all")
			break
		}
	}
	for _, l := range e.Lines {
		if !l.Begins.Equal(e.Begins) {
			what = append(what, number(e.BeginsLine)+" begins last and holds all back")
			break
		}
	}
	if len(what) > 0 {
		c.warn(c.lineOf(m, path, e.Lines[len(e.Lines)-1].Line), "%s: the lines of user %s disagree: %s", m.Address, quote(login), strings.Join(what, "; "))
	}
}

package policy

// Group is a name for several users. A line that names it speaks of each of them.
type Group struct {
	Name   string   // compared without regard to ASCII case
	Users  []string // logins
	Groups []string // names of groups whose users are users of this one too; one that lies in itself adds nothing
	Line   string   // file:line, for explain
}

// InGroup lists the logins of a group and of the groups inside it, each once, in the order in which they are written. A
// name that means no group, or more than one, means nobody.
func (p *Policy) InGroup(name string) []string {
	var out []string
	seen, done := map[string]bool{}, map[string]bool{}
	var walk func(name string)
	walk = func(name string) {
		key := lower(name)
		if done[key] {
			return
		}
		done[key] = true
		g, ok := p.group(name)
		if !ok {
			return
		}
		for _, u := range g.Users {
			if !seen[lower(u)] {
				seen[lower(u)] = true
				out = append(out, u)
			}
		}
		for _, inner := range g.Groups {
			walk(inner)
		}
	}
	walk(name)
	return out
}

func (p *Policy) group(name string) (*Group, bool) {
	var found *Group
	for i := range p.Groups {
		if name != "" && same(p.Groups[i].Name, name) {
			if found != nil {
				return nil, false
			}
			found = &p.Groups[i]
		}
	}
	return found, found != nil
}

// Spread makes every line of a mailbox that names a group a line for each of its users, which keeps the group's name, and
// gives the users of groups to the lists. It is called once, before anybody else reads the policy. It changes the slices
// of members, of mailboxes and of the users of lists, and shares nothing else.
func (p *Policy) Spread() {
	inside := make(map[string][]string, len(p.Groups))
	for i := range p.Mailboxes {
		m := &p.Mailboxes[i]
		out := make([]Member, 0, len(m.Members))
		for _, l := range m.Members {
			if l.User != "" || l.Group == "" {
				out = append(out, l)
				continue
			}
			users, known := inside[l.Group]
			if !known {
				users = p.InGroup(l.Group)
				inside[l.Group] = users
			}
			for _, u := range users {
				one := l
				one.User = u
				out = append(out, one)
			}
		}
		m.Members = out
	}
	for i := range p.Lists {
		l := &p.Lists[i]
		for _, g := range l.Groups {
			for _, u := range p.InGroup(g) {
				if !l.MayUse(u) {
					l.Users = append(l.Users, u)
				}
			}
		}
	}
}

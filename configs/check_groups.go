package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pecgate/policy"
)

func (c *policyCheck) allGroups() {
	c.groups = map[string]int{}
	c.lostGroup = c.bad["groups"] && len(c.policy.Groups) == 0
	for i := range c.policy.Groups {
		g, path := &c.policy.Groups[i], fmt.Sprintf("groups[%d].", i)
		if c.hollow[fmt.Sprintf("groups[%d]", i)] || c.missing(path+"name", g.Name) {
			c.lostGroup = true
			continue
		}
		name := strings.ToLower(g.Name)
		if first, ok := c.groups[name]; !isLogin(g.Name) {
			c.lostGroup = true
			c.refuse(path+"name", "name: %s may hold only letters, digits and . _ - + @, at most 64", quote(g.Name))
		} else if ok {
			c.refuse(path+"name", "name %s is already the name of the group at line %d", quote(g.Name), c.line(fmt.Sprintf("groups[%d].name", first)))
		} else {
			c.groups[name] = i
		}
	}
	for i := range c.policy.Groups {
		g, path := &c.policy.Groups[i], fmt.Sprintf("groups[%d].", i)
		c.people(g.Users, path+"users")
		c.knownGroups(g.Groups, path+"groups")
		if len(g.Users)+len(g.Groups) == 0 && !c.bad[fmt.Sprintf("groups[%d]", i)] {
			c.warn(g.At, "group %s has no users: lines that name it speak of nobody", quote(g.Name))
		}
	}
	for i := range c.policy.Groups {
		c.circle(i)
	}
}

// people wants logins that are known, each once, and writes them as their users do.
func (c *policyCheck) people(list []string, path string) {
	for j, login := range list {
		at := fmt.Sprintf("%s[%d]", path, j)
		if login == "" {
			continue // already told
		}
		i, ok := c.logins[strings.ToLower(login)]
		switch {
		case !ok:
			c.noUser(at, login)
		case slices.Contains(list[:j], c.policy.Users[i].Login):
			c.refuse(at, "%s: %s stands here twice", label(path), quote(login))
		default:
			list[j] = c.policy.Users[i].Login
		}
	}
}

// knownGroups is people for groups.
func (c *policyCheck) knownGroups(list []string, path string) {
	for j, name := range list {
		at := fmt.Sprintf("%s[%d]", path, j)
		if name == "" {
			continue
		}
		if known, ok := c.knownGroup(at, name); ok && slices.Contains(list[:j], known) {
			c.refuse(at, "%s: %s stands here twice", label(path), quote(name))
		} else if ok {
			list[j] = known
		}
	}
}

// knownGroup gives the name of a group as the group writes it.
func (c *policyCheck) knownGroup(path, name string) (string, bool) {
	if i, ok := c.groups[strings.ToLower(name)]; ok {
		return c.policy.Groups[i].Name, true
	}
	what := "add one under groups"
	if known := slices.Sorted(maps.Keys(c.groups)); len(known) > 0 {
		what = suggest(name, known)
	}
	if !c.lostGroup {
		c.refuse(path, "%s: there is no group %s: %s", label(path), quote(name), what)
	}
	return "", false
}

// circle refuses a group that lies in itself, at the name that closes the circle. Each circle is told once, at the first of
// its groups in the file.
func (c *policyCheck) circle(start int) {
	done := map[int]bool{}
	var walk func(i int) bool
	walk = func(i int) bool {
		done[i] = true
		for j, name := range c.policy.Groups[i].Groups {
			next, ok := c.groups[strings.ToLower(name)]
			switch {
			case !ok || next < start:
			case next == start:
				c.refuse(fmt.Sprintf("groups[%d].groups[%d]", i, j), "groups: group %s would lie in itself", quote(c.policy.Groups[start].Name))
				return true
			case !done[next] && walk(next):
				return true
			}
		}
		return false
	}
	walk(start)
}

// maxListed is the most recipients of one list: the most that one sending reaches.
const maxListed = 1000

func (c *policyCheck) lists() {
	addresses := map[string]int{}
	splits := slices.ContainsFunc(c.policy.Mailboxes, func(m Mailbox) bool { return m.Split != "never" })
	for i := range c.policy.Lists {
		l, path := &c.policy.Lists[i], fmt.Sprintf("lists[%d].", i)
		if c.hollow[fmt.Sprintf("lists[%d]", i)] {
			continue
		}
		if !c.missing(path+"address", l.Address) {
			c.listAddress(i, l, path+"address", addresses)
		}
		if !c.missing(path+"members", strings.Join(l.Members, "")) {
			c.listed(l, path+"members")
		}
		c.people(l.Users, path+"users")
		c.knownGroups(l.Groups, path+"groups")
		if len(l.Users)+len(l.Groups) == 0 && !c.bad[path+"users"] && !c.bad[path+"groups"] {
			c.refuse(strings.TrimSuffix(path, "."), "list %s: nobody may write to it: name users or groups", quote(l.Address))
		}
		if !splits && len(c.policy.Mailboxes) > 0 {
			c.warn(l.At, "list %s: no mailbox can write to it, because none has split: blind or always", quote(l.Address))
		}
	}
	for i := range c.policy.Lists {
		for j, a := range c.policy.Lists[i].Members {
			if inner, ok := addresses[strings.ToLower(a)]; ok && a != "" {
				c.refuse(fmt.Sprintf("lists[%d].members[%d]", i, j), "members: %s is the list at line %d: write its members", quote(a),
					c.line(fmt.Sprintf("lists[%d].address", inner)))
			}
		}
	}
}

func (c *policyCheck) listAddress(i int, l *List, path string, addresses map[string]int) {
	address, err := policy.ParseAddress(l.Address)
	address = strings.ToLower(address)
	if err != nil {
		c.refuse(path, "address: %s is %v", quote(l.Address), err)
		return
	}
	if first, ok := addresses[address]; ok {
		c.refuse(path, "address %s is already the address of the list at line %d", quote(l.Address), c.line(fmt.Sprintf("lists[%d].address", first)))
		return
	}
	if box, ok := c.boxes[address]; ok {
		c.refuse(path, "address %s is the address of the mailbox at line %d", quote(l.Address), c.line(fmt.Sprintf("mailboxes[%d].address", box)))
		return
	}
	for j, u := range c.policy.Users {
		if strings.EqualFold(u.Email, address) || strings.EqualFold(u.Login, address) {
			c.refuse(path, "address %s is the address of the user at line %d", quote(l.Address), c.line(fmt.Sprintf("users[%d]", j)))
			return
		}
	}
	l.Address, addresses[address] = address, i
}

// listed checks the recipients of a list.
func (c *policyCheck) listed(l *List, path string) {
	if len(l.Members) > maxListed {
		c.refuse(fmt.Sprintf("%s[%d]", path, maxListed), "a list has at most %d members, this one has %d", maxListed, len(l.Members))
	}
	first := map[string]int{}
	for j, a := range l.Members {
		at := fmt.Sprintf("%s[%d]", path, j)
		address, err := policy.ParseAddress(a)
		key := strings.ToLower(address)
		before, twice := first[key]
		switch {
		case a == "": // already told
		case err != nil:
			c.refuse(at, "members: %s is %v", quote(a), err)
		case twice:
			c.refuse(at, "members: %s stands here twice, first at line %d", quote(a), c.line(fmt.Sprintf("%s[%d]", path, before)))
		default:
			first[key] = j
			l.Members[j] = address
		}
	}
}

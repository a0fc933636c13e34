package configs

import (
	"fmt"
	"strings"

	"pecgate/policy"
)

const presetSendOnly = "send only"

// presetRights are the rights of the presets.
func presetRights(name string) policy.Words {
	switch name {
	case "full":
		return policy.Send | policy.Receive | policy.Anomalies | policy.Approve | policy.Delete
	case "read only":
		return policy.Receive | policy.Anomalies
	case presetSendOnly:
		return policy.Send
	}
	return 0
}

// rightKeys are the keys of the rights of a line.
func (m *Member) rightKeys() []rightKey {
	return []rightKey{{"send", policy.Send, &m.Send}, {"receive", policy.Receive, &m.Receive}, {"anomalies", policy.Anomalies, &m.Anomalies},
		{"compose", policy.Compose, &m.Compose}, {"approve", policy.Approve, &m.Approve}, {"delete", policy.Delete, &m.Delete}}
}

type rightKey struct {
	key   string
	word  policy.Words
	value *bool
}

// members checks the lines of a mailbox, each alone. What they say together is judged in together.
func (c *policyCheck) members(m *Mailbox, path string) {
	first := map[string]string{}
	own, inherits := c.own[path]
	if m.MaxMembers < 1 || m.MaxMembers > 1000 {
		c.wrong(path+"max_members", "needs 1 to 1000")
	}
	for j := range m.Members {
		l, at := &m.Members[j], fmt.Sprintf("%smembers[%d].", path, j)
		if c.hollow[fmt.Sprintf("%smembers[%d]", path, j)] {
			continue
		}
		if inherits && j == own {
			first = map[string]string{} // those of defaults add to the mailbox's own
		}
		c.rights(l, at)
		c.term(l, m.Address, at)
		if c.written(at+"user") && c.written(at+"group") {
			c.refuse(at+"group", "group: a line speaks of one user or of one group: write two lines")
			l.Group = ""
		}
		if !c.written(at + "group") {
			if l.User == "" {
				if !c.written(at + "user") {
					c.refuse(at+"user", "user is missing: a line names a user or a group")
				}
				continue
			}
			if i, ok := c.logins[strings.ToLower(l.User)]; !ok {
				c.noUser(at+"user", l.User)
			} else {
				l.User = c.policy.Users[i].Login
			}
			c.once(first, "user", l.User, at+"user")
		} else if l.Group != "" {
			if name, ok := c.knownGroup(at+"group", l.Group); ok {
				l.Group = name
				if l.Send && readOnlyName(name) && !c.written(at+"send") && !c.written(at+"preset") {
					c.refuse(at+"group", "group: by its name %s only reads, but a line that does not say otherwise lets all of them send: write `preset: read only`, or `send: true` if they may", quote(name))
				}
			}
			c.once(first, "group", l.Group, at+"group")
		}
	}
}

// readOnlyName tells whether the name of a group promises that it only reads.
func readOnlyName(name string) bool {
	words := strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(name))
	return strings.Contains(words, "readonly") || strings.Contains(words, "solalettura")
}

// once refuses a second line of the same user or group in the members of a mailbox, or in those of defaults.
func (c *policyCheck) once(first map[string]string, what, name, at string) {
	key := what + " " + strings.ToLower(name)
	if before := first[key]; before != "" {
		c.refuse(at, "%s %s is already a member at line %d", what, quote(name), c.line(before))
	} else {
		first[key] = at
	}
}

// rights makes of a line what it says as a whole.
func (c *policyCheck) rights(l *Member, at string) {
	if l.Compose && c.written(at+"send") {
		c.refuse(at+"send", "send: compose makes send false: write one of the two")
	}
	preset, has := presetRights(l.Preset), l.Preset != ""
	for _, k := range l.rightKeys() {
		written := c.written(at + k.key)
		if written {
			l.Said |= k.word
		}
		switch {
		case has && written && *k.value && preset&k.word == 0:
			c.refuse(at+k.key, "%s: preset %s does not have it, and beside a preset rights can only be taken away", k.key, quote(l.Preset))
		case has && !written:
			*k.value = preset&k.word != 0
		}
		if l.OwnOnly && written && *k.value && (k.word == policy.Receive || k.word == policy.Anomalies) {
			c.refuse(at+k.key, "%s: own_only makes %s false: write one of the two", k.key, k.key)
		}
	}
	if has {
		l.Said = ^policy.Words(0)
	}
	if l.Compose {
		l.Send = false
		l.Said |= policy.Send
	}
	if l.OwnOnly {
		l.Receive, l.Anomalies = false, false
		l.Said |= policy.Receive | policy.Anomalies
	}
}

// term reckons the last day of a term from a start.
func (c *policyCheck) term(l *Member, box, at string) {
	at += "expires"
	from, long := c.written(at+".from"), c.written(at+".for")
	switch {
	case from && !long:
		c.wrong(at, "a term needs for: as well, like {from: 2027-01-01, for: 90d}")
	case long && !from:
		c.wrong(at, "a term needs from: as well, like {from: 2027-01-01, for: 90d}")
	case from && !c.bad[at]:
		l.Expires.Last = l.Expires.For.Last(l.Expires.From)
	case !from && c.written(at) && l.Expires.IsZero():
		c.wrong(at, "needs a last day, like 2027-06-30, or a term, like {from: 2027-01-01, for: 90d}")
	}
	if !l.Expires.IsZero() && !c.bad[at] && !c.now.Before(l.Expires.End(c.appliance.Location())) {
		who := quote(l.User)
		if l.User == "" {
			who = "group " + quote(l.Group)
		}
		c.warn(c.where(at), "the access of %s to %s expired at the end of %s", who, box, l.Expires)
	}
}

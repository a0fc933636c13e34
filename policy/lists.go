package policy

// maxExpanded is the most recipients of one sending that is split.
const maxExpanded = 1000

// List is a distribution list: an address that stands for several. It is no mailbox and receives nothing.
type List struct {
	Address string // lower case
	Name    string // for people
	Members []string
	Users   []string // logins of those who may write to it; Spread adds those of Groups
	Groups  []string
	Line    string // file:line, for explain
}

// List finds a list by address. It reports false if there is none or more than one.
func (p *Policy) List(address string) (*List, bool) {
	var found *List
	for i := range p.Lists {
		if address != "" && same(p.Lists[i].Address, address) {
			if found != nil {
				return nil, false
			}
			found = &p.Lists[i]
		}
	}
	return found, found != nil
}

// Expansion is what the recipients of an envelope are without lists.
type Expansion struct {
	Recipients []string // each once, in the order of the envelope; of a list in the order of its line
	Lists      []string // the lists that were expanded, lower case
	// Each says that every recipient must get a message of their own whose To is that recipient and whose Cc is gone.
	Each bool
}

// Expand replaces the lists among the recipients of one submission by their members. Addresses that are no list stay as
// they are written; without any list the recipients come back untouched, doubled ones among them.
//
// With PEC every recipient of the envelope must stand in To or Cc (RFC 6109 section 3.1.1), and every address there should
// be a recipient. A message that goes out as it is can therefore not be addressed to a list, and To is not rewritten for
// one. So a list works only where the mailbox has split blind or always, and as soon as one list is among the recipients
// the whole submission is split, also with blind: the visible recipients get a message of their own too, because the
// original still shows the list. The list's address must stand in To or Cc like any other; the caller judges that before,
// on the recipients as the client gave them. The gateway's sent copy keeps the client's To with the list.
//
// The verdict is not allowed where the user may not use a list, the mailbox does not split, or the recipients become more
// than 1,000. Decide refuses a list that was not expanded.
func (p *Policy) Expand(id Identity, box string, recipients []string) (Expansion, Verdict) {
	good := Verdict{Allow: true, Code: 250, Enhanced: "2.1.5", Reason: Allowed,
		Italian: "Destinatari accettati.", English: "Recipients accepted."}
	out := Expansion{Recipients: recipients}
	for _, r := range recipients {
		if _, ok := p.List(r); ok {
			out.Each = true
		}
	}
	if !out.Each {
		return out, good
	}
	m, known := p.Mailbox(box)
	out.Recipients = nil
	seen := map[string]bool{}
	add := func(address string) {
		if key := lower(address); !seen[key] {
			seen[key] = true
			out.Recipients = append(out.Recipients, address)
		}
	}
	for _, r := range recipients {
		l, ok := p.List(r)
		if !ok {
			add(r)
			continue
		}
		switch {
		case !l.MayUse(id.User):
			return Expansion{}, refuseNotOfList(l.Address, l.Line)
		case !known || m.Split != "blind" && m.Split != "always":
			return Expansion{}, refuseListWhole(l.Address, l.Line)
		}
		if !seen[lower(r)] {
			seen[lower(r)] = true
			out.Lists = append(out.Lists, lower(r))
		}
		for _, a := range l.Members {
			add(a)
		}
		good.Line = l.Line
	}
	if n := len(out.Recipients); n > maxExpanded {
		return Expansion{}, refuseTooManyOfList(n, maxExpanded, good.Line)
	}
	return out, good
}

// MayUse reports whether a user may write to the list.
func (l *List) MayUse(login string) bool {
	for _, u := range l.Users {
		if login != "" && same(u, login) {
			return true
		}
	}
	return false
}

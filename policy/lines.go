package policy

import (
	"strings"
	"time"
)

// Words is a set of rights.
type Words uint8

// The rights of a line, by the words of policy.yaml.
const (
	Send Words = 1 << iota
	Receive
	Anomalies
	Compose
	Approve
	Delete
	SendOnly // a restriction, not a grant: one line that has it is enough
)

// allWords are all rights, in the order in which people read them.
var allWords = [...]struct {
	word Words
	name string
}{{Send, "send"}, {Receive, "receive"}, {Anomalies, "anomalies"}, {Compose, "compose"}, {Approve, "approve"}, {Delete, "delete"},
	{SendOnly, "send only"}}

// String lists the rights, separated by commas.
func (w Words) String() string {
	var out []string
	for _, x := range allWords {
		if w&x.word != 0 {
			out = append(out, x.name)
		}
	}
	return strings.Join(out, ", ")
}

// Given are the rights that are true in a line, said or not.
func (m Member) Given() Words {
	var w Words
	for _, x := range []struct {
		has  bool
		word Words
	}{{m.Send, Send}, {m.Receive, Receive}, {m.Anomalies, Anomalies}, {m.Compose, Compose}, {m.Approve, Approve}, {m.Delete, Delete},
		{m.SendOnly, SendOnly}} {
		if x.has {
			w |= x.word
		}
	}
	return w
}

func (m *Member) give(w Words) {
	m.Send, m.Receive, m.Anomalies = w&Send != 0, w&Receive != 0, w&Anomalies != 0
	m.Compose, m.Approve, m.Delete = w&Compose != 0, w&Approve != 0, w&Delete != 0
	m.SendOnly = w&SendOnly != 0
}

// decides is the index of the line that decides of one right, among the lines of one person: the first that says no, else
// the first that says yes, else the first at all. Of a restriction yes and no change places.
func decides(lines []*Member, word Words) (index int, given bool) {
	yes := -1
	for i, l := range lines {
		switch {
		case l.Unsaid&word != 0:
		case (l.Given()&word != 0) == (word == SendOnly):
			return i, word == SendOnly
		case yes < 0:
			yes = i
		}
	}
	if yes >= 0 {
		return yes, word != SendOnly
	}
	// Nobody speaks of it, so it has its default, which is the same everywhere; where it is not, deny wins.
	index, given = 0, lines[0].Given()&word != 0
	for i, l := range lines {
		if has := l.Given()&word != 0; has != given && has == (word == SendOnly) {
			return i, has
		}
	}
	return index, given
}

// of are the lines that speak of one person, in the order of the policy.
func (m *Mailbox) of(login string) []*Member {
	var out []*Member
	for i := range m.Members {
		if same(m.Members[i].User, login) {
			out = append(out, &m.Members[i])
		}
	}
	return out
}

// member is what the lines of one user say together; it reports false if there is none.
func (m *Mailbox) member(login string) (Member, bool) {
	lines := m.of(login)
	if len(lines) == 0 {
		return Member{}, false
	}
	return merge(lines), true
}

// merge says what the lines of one person say together: for each right what one of them says and none denies, from the
// last of their beginnings until the first of their ends. Line is that of the first. Who writes for approval does not send.
func merge(lines []*Member) Member {
	out := *lines[0]
	var given Words
	out.Unsaid = ^Words(0)
	for _, x := range allWords {
		i, has := decides(lines, x.word)
		if has {
			given |= x.word
		}
		if lines[i].Unsaid&x.word == 0 {
			out.Unsaid &^= x.word
		}
	}
	out.give(given)
	if b := begins(lines); b >= 0 {
		out.Begins = lines[b].Begins
	}
	if e := expires(lines); e >= 0 {
		out.Expires = lines[e].Expires
	}
	out.Send = out.Send && !out.Compose
	return out
}

// begins is the index of the line that begins last, -1 where all have always begun.
func begins(lines []*Member) int {
	last := -1
	for i, l := range lines {
		if !l.Begins.IsZero() && (last < 0 || l.Begins.After(lines[last].Begins)) {
			last = i
		}
	}
	return last
}

// expires is the index of the line that ends first, -1 where none ends.
func expires(lines []*Member) int {
	first := -1
	for i, l := range lines {
		if !l.Expires.IsZero() && (first < 0 || l.Expires.Before(lines[first].Expires)) {
			first = i
		}
	}
	return first
}

func (m Member) expired(now time.Time) bool {
	return !m.Expires.IsZero() && !now.Before(m.Expires)
}

func (m Member) early(now time.Time) bool {
	return !m.Begins.IsZero() && now.Before(m.Begins)
}

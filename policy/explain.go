package policy

import (
	"slices"
	"time"
)

// Decision is what became of one right of one person on one mailbox.
type Decision struct {
	Right   Words
	Given   bool     // of SendOnly: the restriction holds
	Line    string   // the line that decided
	Default bool     // no line speaks of it
	Against []string // lines that say the opposite and lost
}

// Explanation is what the lines of one person say of one mailbox, and which of them won. Its times are those of the
// merged line; whether they have come or are over is not counted in Decisions.
type Explanation struct {
	Lines       []Member   // every line that speaks of the person, in the order of the policy
	Decisions   []Decision // a decision for every right
	Begins      time.Time
	BeginsLine  string
	Expires     time.Time
	ExpiresLine string
}

// Given are the rights that were given, and the restrictions that hold.
func (e Explanation) Given() Words {
	var w Words
	for _, d := range e.Decisions {
		if d.Given {
			w |= d.Right
		}
	}
	return w
}

// Explain says which lines speak of a person on a mailbox. Without any, and for unknown names, it is empty.
func (p *Policy) Explain(login, box string) Explanation {
	u, ok := p.User(login)
	if !ok {
		return Explanation{}
	}
	m, ok := p.Mailbox(box)
	if !ok {
		return Explanation{}
	}
	return m.Explain(u.Login)
}

// Explain is the same of a login that is not looked up.
func (m *Mailbox) Explain(login string) Explanation {
	lines := m.of(login)
	if len(lines) == 0 {
		return Explanation{}
	}
	var out Explanation
	for _, l := range lines {
		out.Lines = append(out.Lines, *l)
	}
	for _, x := range allWords {
		i, given := decides(lines, x.word)
		d := Decision{Right: x.word, Given: given, Line: lines[i].Line, Default: lines[i].Unsaid&x.word != 0}
		if x.word == Send && merge(lines).Compose {
			d.Given = false
		}
		for _, l := range lines {
			if l.Unsaid&x.word == 0 && (l.Given()&x.word != 0) != given && !slices.Contains(d.Against, l.Line) {
				d.Against = append(d.Against, l.Line)
			}
		}
		out.Decisions = append(out.Decisions, d)
	}
	if b := begins(lines); b >= 0 {
		out.Begins, out.BeginsLine = lines[b].Begins, lines[b].Line
	}
	if e := expires(lines); e >= 0 {
		out.Expires, out.ExpiresLine = lines[e].Expires, lines[e].Line
	}
	return out
}

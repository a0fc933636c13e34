package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid" // random policies against a model
)

// The model knows the rules in another shape: it collects what anybody says of the person, as words, and asks then.

// modelPeople are the logins that a line means: groups inside groups by going around until nothing is new.
func modelPeople(p *Policy, l Member) map[string]bool {
	if l.User != "" {
		return map[string]bool{strings.ToLower(l.User): true}
	}
	groups, users := map[string]bool{strings.ToLower(l.Group): true}, map[string]bool{}
	for range len(p.Groups) + 1 {
		for _, g := range p.Groups {
			name := strings.ToLower(g.Name)
			alone := modelCount(p.Groups, func(o Group) bool { return strings.ToLower(o.Name) == name }) == 1
			if !alone || !groups[name] {
				continue
			}
			for _, u := range g.Users {
				users[strings.ToLower(u)] = true
			}
			for _, inner := range g.Groups {
				groups[strings.ToLower(inner)] = true
			}
		}
	}
	return users
}

func modelRights(p *Policy, login, box string, now time.Time) (r Rights, lines int) {
	if modelCount(p.Users, func(u User) bool { return strings.EqualFold(u.Login, login) }) != 1 ||
		modelCount(p.Mailboxes, func(m Mailbox) bool { return strings.EqualFold(m.Address, box) }) != 1 {
		return Rights{}, 0
	}
	said, usual := map[string]int{}, map[string]int{} // per right 1: a yes was heard, 2: a no, 3: both
	closed := false
	for _, m := range p.Mailboxes {
		for _, l := range m.Members {
			if !strings.EqualFold(m.Address, box) || !modelPeople(p, l)[strings.ToLower(login)] {
				continue
			}
			lines++
			closed = closed || !l.Expires.IsZero() && !l.Expires.After(now) || l.Begins.After(now)
			for word, given := range map[Words]bool{Send: l.Send, Receive: l.Receive, Anomalies: l.Anomalies, Compose: l.Compose,
				Approve: l.Approve, Delete: l.Delete, SendOnly: l.SendOnly} {
				heard := said
				if l.Unsaid&word != 0 {
					heard = usual
				}
				heard[word.String()] |= map[bool]int{true: 1, false: 2}[given]
			}
		}
	}
	if lines == 0 || closed {
		return Rights{}, lines
	}
	heard := func(word string) int {
		if said[word] != 0 {
			return said[word]
		}
		return usual[word]
	}
	yes := func(word string) bool { return heard(word) == 1 }
	r = Rights{yes("send") && !yes("compose"), yes("receive"), yes("anomalies"), yes("compose"), yes("approve"), yes("delete"),
		heard("send only")&1 != 0}
	if !r.Send && !r.Receive && !r.Anomalies && !r.Compose && !r.Approve {
		return Rights{}, lines
	}
	return r, lines
}

func modelAllows(p *Policy, s Submission) bool {
	if s.Identity.Box != "" && !strings.EqualFold(s.Identity.Box, s.ReversePath) || !strings.EqualFold(s.From, s.ReversePath) {
		return false
	}
	r, _ := modelRights(p, s.Identity.User, s.From, s.Now)
	if !r.Send && !(r.Compose && s.Approvals) || len(s.Recipients) == 0 {
		return false
	}
	for _, m := range p.Mailboxes {
		if !strings.EqualFold(m.Address, s.From) {
			continue
		}
		sum := int64(0)
		for i := range s.Recipients {
			if i == 0 || !s.Each {
				sum += s.Size
			}
		}
		if !m.Active || m.Recipients > 0 && len(s.Recipients) > m.Recipients && !s.Each || m.Product > 0 && sum > m.Product ||
			m.PINRequired && !r.Compose && (!s.PINGiven || !s.PINRight ||
				modelCount(p.Users, func(u User) bool { return strings.EqualFold(u.Login, s.Identity.User) && u.PIN != "" }) == 0) {
			return false
		}
	}
	return true
}

func modelCount[T any](list []T, is func(T) bool) (n int) {
	for _, x := range list {
		if is(x) {
			n++
		}
	}
	return n
}

func drawInstant(t *rapid.T, name string) time.Time {
	return time.Unix(rapid.SampledFrom([]int64{0, 1, 2, 3}).Draw(t, name), 0)
}

func drawPolicy(t *rapid.T) *Policy {
	logins, boxes := rapid.SampledFrom([]string{"b", "a", "B", "c"}), rapid.SampledFrom([]string{"x@p.it", "y@p.it", "Y@p.it", "z@p.it"})
	names := rapid.SampledFrom([]string{"g", "h", "i", "H", "none"})
	yes := rapid.Bool()
	pin := rapid.SampledFrom([]string{"x", "x", ""})
	p := &Policy{Users: []User{{Login: "a", PIN: pin.Draw(t, "fixed PIN")}}} // somebody who means one person in most policies
	for range rapid.IntRange(0, 3).Draw(t, "users") {
		if login := logins.Draw(t, "login"); login != "a" || rapid.IntRange(0, 3).Draw(t, "twice") == 0 {
			p.Users = append(p.Users, User{Login: login, PIN: pin.Draw(t, "its PIN")})
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "groups") {
		p.Groups = append(p.Groups, Group{Name: names.Draw(t, "group"), Users: rapid.SliceOfN(logins, 0, 3).Draw(t, "its users"),
			Groups: rapid.SliceOfN(names, 0, 2).Draw(t, "its groups")})
	}
	for range rapid.SampledFrom([]int{2, 3, 1, 4, 0}).Draw(t, "mailboxes") {
		m := Mailbox{Address: boxes.Draw(t, "address"), Active: rapid.IntRange(0, 3).Draw(t, "active") > 0, PINRequired: yes.Draw(t, "pin"),
			Recipients: rapid.IntRange(0, 3).Draw(t, "recipients"), Product: int64(rapid.IntRange(0, 6).Draw(t, "product"))}
		for range rapid.SampledFrom([]int{3, 4, 2, 1, 0}).Draw(t, "members") {
			m.Members = append(m.Members, drawLine(t, logins, names))
		}
		p.Mailboxes = append(p.Mailboxes, m)
	}
	return p
}

// drawWords takes each right or not; a number drawn from all would mostly be a small one.
func drawWords(t *rapid.T, name string) (w Words) {
	for _, x := range allWords {
		if rapid.Bool().Draw(t, name+" "+x.name) {
			w |= x.word
		}
	}
	return w
}

// drawLine is a line as policy.yaml can say it: a preset, defaults with some rights written, or anything.
func drawLine(t *rapid.T, logins, names *rapid.Generator[string]) Member {
	l := Member{Send: true, Receive: true, Anomalies: true, Unsaid: ^Words(0)} // the defaults
	said, given := drawWords(t, "said"), drawWords(t, "given")
	switch rapid.SampledFrom([]string{"full", "read only", "send only", "own only", "compose", "some", "all"}).Draw(t, "preset") {
	case "full":
		said, given = ^Words(0), Send|Receive|Anomalies|Approve|Delete
	case "read only":
		said, given = ^Words(0), Receive|Anomalies
	case "send only":
		said, given = ^Words(0), Send|SendOnly
	case "own only":
		said, given = said|Receive|Anomalies, given&^(Receive|Anomalies)
	case "compose":
		said, given = Send|Compose, Compose
	case "all":
		said = ^Words(0)
	}
	l.give(l.Given()&^said | given&said)
	l.Unsaid = ^said
	if rapid.SampledFrom([]bool{false, false, true}).Draw(t, "expires") {
		l.Expires = drawInstant(t, "expiry")
	}
	if rapid.Bool().Draw(t, "begins") {
		l.Begins = drawInstant(t, "beginning")
	}
	if rapid.Bool().Draw(t, "of a group") {
		l.Group = names.Draw(t, "named")
	} else {
		l.User = logins.Draw(t, "user")
	}
	return l
}

// G13: deny wins, and no line means no access, on random policies with groups in groups, presets, terms, writers for
// approval, and doubled lines, users, groups and mailboxes. The model reads the policy before its groups are spread.
func TestG13_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := drawPolicy(t)
		p := &Policy{Users: raw.Users, Groups: raw.Groups, Mailboxes: slices.Clone(raw.Mailboxes)}
		p.Spread()
		boxes := []string{"x@p.it", "y@p.it", "Y@P.IT", "z@p.it", "w@p.it"}
		s := Submission{Now: drawInstant(t, "now"), Size: int64(rapid.IntRange(0, 4).Draw(t, "size")),
			PINGiven: rapid.Bool().Draw(t, "given"), PINRight: rapid.Bool().Draw(t, "right"),
			Approvals: rapid.Bool().Draw(t, "approvals"), Each: rapid.IntRange(0, 3).Draw(t, "each") == 0}
		if rapid.IntRange(0, 3).Draw(t, "other from") == 0 {
			s.From = rapid.SampledFrom(boxes).Draw(t, "from")
		}
		if rapid.IntRange(0, 3).Draw(t, "bound") == 0 {
			s.Identity.Box = lower(rapid.SampledFrom(boxes).Draw(t, "own box"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "to") {
			s.Recipients = append(s.Recipients, "r@d.it")
		}
		for _, login := range []string{"a", "b", "c", "d", "A"} {
			for _, box := range boxes {
				one := s
				one.Identity.User, one.ReversePath = login, box
				if one.From == "" {
					one.From = box
				}
				judged(t, raw, p, one)
			}
		}
	})
}

// judged compares everything that is said of one submission with the model of the policy as it was drawn.
func judged(t *rapid.T, raw, p *Policy, s Submission) {
	login, box, now := s.Identity.User, s.ReversePath, s.Now
	want, lines := modelRights(raw, login, box, now)
	got := p.Rights(login, box, now)
	if got != want {
		t.Fatalf("rights of %s on %s: %+v, model %+v", login, box, got, want)
	}
	if lines == 0 && got != (Rights{}) {
		t.Fatal("access without a line")
	}
	listed := false
	for _, m := range p.Boxes(login, now) {
		listed = listed || same(m.Address, box)
	}
	if listed != want.Any() {
		t.Fatalf("listed %v, model %v", listed, want.Any())
	}
	explained(t, p, login, box, now, want, lines)

	v := p.Decide(s)
	if v.Allow != modelAllows(raw, s) {
		t.Fatalf("%+v: verdict %+v, model %v", s, v, !v.Allow)
	}
	if v.Allow && (v.Then == ToApprove) != want.Compose {
		t.Fatalf("then %d, rights %+v", v.Then, want)
	}
	if v.Allow != (v.Code == 250) || v.Allow != (v.Reason == Allowed) {
		t.Fatalf("verdict contradicts itself: %+v", v)
	}
	if early := p.DecideSender(s.Identity, s.ReversePath, now); v.Allow && !early.Allow {
		t.Fatal("refused at MAIL, allowed in the end")
	}
}

// explained wants Explain to say the same as Rights.
func explained(t *rapid.T, p *Policy, login, box string, now time.Time, want Rights, lines int) {
	e := p.Explain(login, box)
	if len(e.Lines) != lines {
		t.Fatalf("%d lines, model %d", len(e.Lines), lines)
	}
	if lines == 0 {
		return
	}
	given := e.Given()
	if !e.Expires.IsZero() && !now.Before(e.Expires) || !e.Begins.IsZero() && now.Before(e.Begins) {
		given = 0
	}
	m := Member{Send: want.Send, Receive: want.Receive, Anomalies: want.Anomalies, Compose: want.Compose, Approve: want.Approve,
		Delete: want.Delete, SendOnly: want.SendOnly}
	if want.Any() && given != m.Given() || !want.Any() && given&(Send|Receive|Anomalies|Compose|Approve) != 0 {
		t.Fatalf("explained %s, model %s", given, m.Given())
	}
}

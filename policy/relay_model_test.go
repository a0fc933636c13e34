package policy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid" // random policies and messages against a model
)

// The model says the rules of DecideRelay again, from the result backwards: it collects who may be meant and which mailboxes
// may be meant as sets, and whatever is not exactly one is nothing.

// modelOutcome is what a relay's message becomes; the zero value is a refusal.
type modelOutcome struct {
	unmarked  bool
	user, box string
	to        string // sorted, lower case
}

func modelBare(r Relay, address string) string {
	address = strings.ToLower(address)
	for r.Suffix != "" && strings.HasSuffix(address, "."+r.Suffix) && !strings.HasSuffix(address, "@."+r.Suffix) {
		address = strings.TrimSuffix(address, "."+r.Suffix)
	}
	return address
}

func modelRelay(raw *Policy, r Relay, f RelayFacts) modelOutcome {
	counts := func(mark string) bool { return slices.Contains(r.Marks, mark) }
	ours := func(a string) bool {
		return modelCount(raw.Mailboxes, func(m Mailbox) bool { return strings.EqualFold(m.Address, a) }) > 0
	}
	// Marked?
	everybody := append([]string{f.ReversePath}, f.From...)
	pec := modelCount(f.Recipients, func(a string) bool {
		bare := modelBare(r, a)
		return counts(MarkSuffix) && bare != strings.ToLower(a) || counts(MarkDomains) && len(r.Domains) > 0 && strings.HasSuffix(bare, "@l.it")
	})
	marked := counts(MarkFrom) && slices.ContainsFunc(f.From, ours) || counts(MarkSubject) && len(f.Tags) > 0 ||
		counts(MarkSenders) && len(r.Senders) > 0 && slices.ContainsFunc(everybody, func(a string) bool { return strings.EqualFold(a, "a@e.it") }) ||
		pec > 0 && pec == len(f.Recipients)
	if !marked {
		return modelOutcome{unmarked: r.Smarthost && pec == 0 && !slices.ContainsFunc(append(everybody, f.Recipients...), ours)}
	}
	if f.ReversePath == "" {
		return modelOutcome{}
	}
	if len(f.From) != 1 || !strings.Contains(f.From[0], "@") {
		return modelOutcome{}
	}
	// Whose?
	called := func(name string) (all []User) {
		for _, u := range raw.Users {
			if name != "" && (strings.EqualFold(u.Login, name) || strings.EqualFold(u.Email, name)) {
				all = append(all, u)
			}
		}
		return all
	}
	var who []User
	switch r.Users {
	case "header:X-User":
		if len(f.Identity) == 1 {
			who = called(strings.TrimSpace(f.Identity[0]))
		}
	case "user:a":
		for _, u := range raw.Users {
			if strings.EqualFold(u.Login, "a") {
				who = append(who, u)
			}
		}
	case "by_email":
		for _, u := range called(f.ReversePath) {
			if !ours(f.ReversePath) && strings.EqualFold(u.Email, f.ReversePath) && len(called(f.ReversePath)) == 1 &&
				(ours(f.From[0]) || strings.EqualFold(u.Email, f.From[0])) {
				who = append(who, u)
			}
		}
	}
	if len(who) != 1 {
		return modelOutcome{}
	}
	login := who[0].Login
	// From where?
	writes := map[string]bool{}
	for _, m := range raw.Mailboxes {
		if rights, _ := modelRights(raw, login, m.Address, f.Now); rights.Send || rights.Compose {
			writes[strings.ToLower(m.Address)] = true
		}
	}
	named := map[string]bool{}
	if ours(f.From[0]) {
		named[strings.ToLower(f.From[0])] = true
	}
	for _, word := range f.Tags {
		if word == "" || !counts(MarkSubject) {
			continue
		}
		var all, lined []string
		for _, m := range raw.Mailboxes {
			if local, _, _ := strings.Cut(m.Address, "@"); strings.EqualFold(m.Address, word) || strings.EqualFold(local, word) {
				all = append(all, strings.ToLower(m.Address))
				if slices.ContainsFunc(m.Members, func(l Member) bool { return modelPeople(raw, l)[strings.ToLower(login)] }) {
					lined = append(lined, strings.ToLower(m.Address))
				}
			}
		}
		switch {
		case len(all) == 1:
			named[all[0]] = true
		case len(all) > 1 && len(lined) == 1 && !strings.Contains(word, "@"):
			named[lined[0]] = true
		default:
			return modelOutcome{}
		}
	}
	if len(named) == 0 {
		if named = writes; len(writes) > 1 && writes[strings.ToLower(r.Mailbox)] {
			named = map[string]bool{strings.ToLower(r.Mailbox): true}
		}
	}
	if len(named) != 1 {
		return modelOutcome{}
	}
	box := slices.Collect(maps.Keys(named))[0]
	rights, _ := modelRights(raw, login, box, f.Now)
	for _, m := range raw.Mailboxes {
		if strings.EqualFold(m.Address, box) && (!writes[box] || !m.Active || m.PINRequired && !rights.Compose && !modelPINWay(r, m)) {
			return modelOutcome{}
		}
	}
	// To whom?
	to := map[string]bool{}
	for _, a := range f.Recipients {
		bare := modelBare(r, a)
		if _, err := ParseAddress(bare); err != nil {
			return modelOutcome{}
		}
		to[bare] = true
	}
	if len(to) == 0 || !r.InternalWarn && slices.ContainsFunc(f.Visible, func(a string) bool { return !to[modelBare(r, a)] }) {
		return modelOutcome{}
	}
	return modelOutcome{user: login, box: box, to: strings.Join(slices.Sorted(maps.Keys(to)), " ")}
}

func modelPINWay(r Relay, m Mailbox) bool {
	ways := m.PINMethods
	if len(ways) == 0 {
		ways = []string{PINBySubject}
	}
	return slices.ContainsFunc(ways, func(w string) bool { return slices.Contains(r.PINs, w) })
}

func drawRelay(t *rapid.T) Relay {
	r := Relay{Name: "r", Trigger: "[PEC]", Smarthost: rapid.Bool().Draw(t, "smarthost"), InternalWarn: rapid.Bool().Draw(t, "warn"),
		Users:   rapid.SampledFrom([]string{"by_email", "header:X-User", "user:a", "by_email", "header:X-User", "user:a", "by_email", "nobody"}).Draw(t, "users"),
		Suffix:  rapid.SampledFrom([]string{"pec", ""}).Draw(t, "suffix"),
		Mailbox: rapid.SampledFrom([]string{"", "X@p.it", "z@p.it"}).Draw(t, "mailbox"), PINs: []string{PINByReply}}
	for _, mark := range []string{MarkFrom, MarkSubject, MarkSuffix, MarkDomains, MarkSenders} {
		if rapid.IntRange(0, 3).Draw(t, mark) > 0 {
			r.Marks = append(r.Marks, mark)
		}
	}
	if rapid.Bool().Draw(t, "domains") {
		r.Domains = []string{"L.it"}
	}
	if rapid.Bool().Draw(t, "senders") {
		r.Senders = []string{"A@e.it"}
	}
	if rapid.Bool().Draw(t, "PIN by subject") {
		r.PINs = append(r.PINs, PINBySubject)
	}
	return r
}

func drawSome(t *rapid.T, from *rapid.Generator[string], n int) (out []string) {
	for range n {
		out = append(out, from.Draw(t, "one"))
	}
	return out
}

func drawFacts(t *rapid.T) RelayFacts {
	// Mostly one of each and nothing strange, so that many messages get to the end.
	few := rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 1, 2, 2, 0})
	recipients := rapid.SampledFrom(append(slices.Repeat([]string{"r@d.it", "r@d.it.pec", "R@d.it", "s@l.it", "s@l.it.PEC.pec", "s@L.it"}, 5),
		"t@pec", "t@it.pec", "bad"))
	f := RelayFacts{Relay: "R", Now: drawInstant(t, "now"),
		ReversePath: rapid.SampledFrom(append(slices.Repeat([]string{"a@e.it", "b@e.it", "A@E.it"}, 5), "c@e.it", "x@p.it", "", "bad")).Draw(t, "reverse path"),
		Identity:    drawSome(t, rapid.SampledFrom([]string{"a", "b", "a", "A@e.it", " b\t", "zz", "a/x@p.it", ""}), few.Draw(t, "fields")),
		Tags:        drawSome(t, rapid.SampledFrom([]string{"", "x", "Y", "X@p.it", "x@q.it", "w", "z", "k", "K@p.it", "l"}), few.Draw(t, "tags"))}
	for range few.Draw(t, "from") {
		from := rapid.SampledFrom([]string{f.ReversePath, f.ReversePath, f.ReversePath, f.ReversePath, "x@p.it", "K@p.it", "X@q.it", "z@p.it", "a@e.it", "c@e.it", "bad"}).Draw(t, "From")
		f.From = append(f.From, from)
	}
	for range rapid.SampledFrom([]int{1, 1, 2, 3, 0}).Draw(t, "recipients") {
		f.Recipients = append(f.Recipients, recipients.Draw(t, "recipient"))
	}
	f.Visible = slices.Clone(f.Recipients)
	if rapid.IntRange(0, 4).Draw(t, "inside") == 0 {
		f.Visible = append(f.Visible, recipients.Draw(t, "visible"))
	}
	return f
}

// What a relay submits is decided as the model says, whatever the policy and the facts; and what is allowed has a line of
// its user, leaves from a mailbox of theirs, and goes to nobody but the recipients of the envelope, without the suffix.
func TestG14_RelayModel(t *testing.T) {
	outcomes := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		raw := drawPolicy(t)
		// Somebody who may send, in most policies.
		for _, login := range []string{"a", "b", "a"}[:rapid.IntRange(0, 3).Draw(t, "good lines")] {
			raw.Mailboxes = append(raw.Mailboxes, Mailbox{Address: rapid.SampledFrom([]string{"k@p.it", "k@q.it", "l@p.it"}).Draw(t, "good mailbox"),
				Active: true, Members: []Member{{User: login, Send: true}}})
		}
		for i := range raw.Users {
			raw.Users[i].Email = rapid.SampledFrom(append(slices.Repeat([]string{strings.ToLower(raw.Users[i].Login) + "@e.it"}, 5), "a@e.it", "B@e.it", "")).Draw(t, "email")
		}
		for i := range raw.Mailboxes {
			if rapid.IntRange(0, 5).Draw(t, "other domain") == 5 {
				raw.Mailboxes[i].Address = "x@q.it"
			}
			for j := range raw.Mailboxes[i].Members {
				raw.Mailboxes[i].Members[j].Line = "policy.yaml:1"
			}
			raw.Mailboxes[i].PINMethods = rapid.SampledFrom([][]string{nil, {PINByReply}, {PINByReply, PINByHeader}, {PINByHeader}}).Draw(t, "methods")
		}
		r := drawRelay(t)
		p := &Policy{Users: raw.Users, Groups: raw.Groups, Mailboxes: slices.Clone(raw.Mailboxes), Relays: []Relay{r}}
		p.Spread()
		for range 40 {
			f := drawFacts(t)
			want := modelRelay(raw, r, f)
			v := p.DecideRelay(f)
			var got modelOutcome
			if v.Allow {
				got = modelOutcome{unmarked: v.Unmarked, user: v.Identity.User, box: v.Box}
				to := slices.Clone(v.Recipients)
				for i := range to {
					to[i] = strings.ToLower(to[i])
				}
				slices.Sort(to)
				got.to = strings.Join(to, " ")
			}
			if got != want {
				t.Fatalf("%+v\nrelay %+v\nverdict %+v\nmodel %+v", f, r, v, want)
			}
			if v.Allow != (v.Code == 250) || v.Allow != (v.Reason == Allowed) || !v.Allow && (v.Box != "" || v.Identity != Identity{} || v.Recipients != nil) {
				t.Fatalf("verdict contradicts itself: %+v", v)
			}
			if v.Unmarked {
				v.Reason = "unmarked"
			}
			outcomes[v.Reason]++
			if v.Allow && !v.Unmarked {
				submitted(t, p, r, f, v)
			}
		}
	})
	t.Log(outcomes)
	// Draws that never get anywhere would prove nothing.
	for _, reason := range []string{Allowed, "unmarked", NotMarked, MixedRecipients, UnknownUser, MarksDiffer, NotMember} {
		if outcomes[reason] == 0 {
			t.Errorf("never %s: %v", reason, outcomes)
		}
	}
}

// submitted wants of a PEC what must hold of every one.
func submitted(t *rapid.T, p *Policy, r Relay, f RelayFacts, v RelayVerdict) {
	if rights := p.Rights(v.Identity.User, v.Box, f.Now); !rights.Writes() {
		t.Fatalf("%s sends from %s: %+v", v.Identity.User, v.Box, rights)
	}
	if v.Line == "" || len(v.Marks) == 0 || len(v.Recipients) > len(f.Recipients) {
		t.Fatalf("%+v of %+v", v, f)
	}
	for _, a := range v.Recipients {
		if r.Suffix != "" && strings.HasSuffix(strings.ToLower(a), "."+r.Suffix) {
			t.Fatalf("the suffix stayed: %s", a)
		}
		if !slices.ContainsFunc(f.Recipients, func(b string) bool { return modelBare(r, b) == strings.ToLower(a) }) {
			t.Fatalf("%s is a new recipient", a)
		}
	}
	s := Submission{Identity: v.Identity, ReversePath: v.Box, From: v.Box, Recipients: v.Recipients, Approvals: true, Now: f.Now}
	switch d := p.Decide(s); d.Reason {
	case Allowed, TooManyRecipients, TooBig, PINMissing:
	default:
		t.Fatalf("%+v is then refused: %+v", v, d)
	}
}

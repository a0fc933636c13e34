package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestExpand(t *testing.T) {
	p := house()
	p.Mailboxes[0].Split, p.Mailboxes[1].Split = "blind", "never"
	p.Groups = append(p.Groups, Group{Name: "scrittori", Users: []string{"anna@example.org"}})
	many := List{Address: "tutti@liste.example.org", Users: []string{"mario"}, Groups: []string{"SCRITTORI"}, Line: "policy.yaml:51"}
	for i := range 1000 {
		many.Members = append(many.Members, fmt.Sprintf("u%d@pec.example.it", i))
	}
	p.Lists = append(p.Lists, many)
	p.Spread()
	const list = "Sindaci@liste.example.org"
	for _, c := range []struct {
		name, user, box string
		to              []string
		want            string // what comes out, or the reason of a refusal
		lists           string
	}{
		{"no list", "mario", box, []string{"x@y.it", "x@y.it"}, "x@y.it x@y.it", ""},
		{"no list, unknown mailbox", "nobody", "altra@pec.example.org", []string{"x@y.it"}, "x@y.it", ""},
		{"a list alone", "MARIO", box, []string{list}, "a@pec.example.it b@pec.example.it", lower(list)},
		{"a list twice", "mario", box, []string{list, lower(list)}, "a@pec.example.it b@pec.example.it", lower(list)},
		{"beside others, in order, each once", "mario", box, []string{"B@pec.example.it", list, "x@y.it", "X@y.it"},
			"B@pec.example.it a@pec.example.it x@y.it", lower(list)},
		{"not a user of the list", "Lucia", box, []string{"x@y.it", list}, NotOfList, ""},
		{"nobody", "", box, []string{list}, NotOfList, ""},
		{"the mailbox does not split", "mario", "firma@pec.example.org", []string{list}, ListWhole, ""},
		{"unknown mailbox", "mario", "altra@pec.example.org", []string{list}, ListWhole, ""},
		{"a thousand", "anna@example.org", box, []string{many.Address}, strings.Join(many.Members, " "), many.Address},
		{"more than a thousand", "mario", box, []string{many.Address, list}, TooManyRecipients, ""},
	} {
		e, v := p.Expand(Identity{User: c.user}, c.box, c.to)
		got := strings.Join(e.Recipients, " ")
		if !v.Allow {
			got = v.Reason
			if e.Recipients != nil || v.Line == "" {
				t.Errorf("%s: a refusal with %d recipients and line %q", c.name, len(e.Recipients), v.Line)
			}
		}
		if got != c.want || strings.Join(e.Lists, " ") != c.lists || e.Each != (c.lists != "") {
			t.Errorf("%s: %.80s, lists %v, each %v, want %.80s", c.name, got, e.Lists, e.Each, c.want)
		}
	}
	// What came out of it is judged as any other submission.
	e, _ := p.Expand(Identity{User: "mario"}, box, []string{list, "x@y.it", "z@y.it"})
	s := submission()
	s.Recipients, s.Each = e.Recipients, e.Each
	if v := p.Decide(s); !v.Allow {
		t.Errorf("%+v", v)
	}
	if slices.Contains(p.InGroup("scrittori"), "mario") || len(p.InGroup("none")) != 0 {
		t.Error("groups")
	}
}

// What is sent by SMTP alone is not shown by IMAP.
func TestMayRead(t *testing.T) {
	p := house()
	p.Users = append(p.Users, User{Login: "registro"}, User{Login: "nuovo"})
	p.Mailboxes[0].Members = append(p.Mailboxes[0].Members, Member{User: "registro", Send: true, SendOnly: true},
		Member{User: "paolo", Send: true, SendOnly: true})
	for name, want := range map[string]bool{"mario": true, "registro": false, "registro/" + box: false, "paolo": true, "paolo/" + box: false,
		"paolo/bozze@pec.example.org": true, "nuovo": true, "mario/" + box: true, "gone/" + box: false} {
		id, ok := p.Resolve(name)
		if !ok {
			t.Fatal(name)
		}
		if got := p.MayRead(id, day); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if p.MayRead(Identity{User: "nobody"}, day) {
		t.Error("nobody may read")
	}
	var trees []string
	for _, m := range p.Trees("paolo", day) {
		trees = append(trees, m.Address)
	}
	if len(trees) != 1 || trees[0] != "bozze@pec.example.org" {
		t.Errorf("trees %v", trees)
	}
}

func TestExplain(t *testing.T) {
	p := house()
	e := p.Explain("PAOLO", "bozze@pec.example.org")
	if len(e.Lines) != 2 || e.Lines[0].Group != "segreteria" || e.Lines[0].User != "paolo" {
		t.Fatalf("%+v", e.Lines)
	}
	got := map[Words]Decision{}
	for _, d := range e.Decisions {
		got[d.Right] = d
	}
	if d := got[Send]; d.Given || d.Line != "policy.yaml:62" || d.Default || d.Against != nil {
		t.Errorf("send %+v", d)
	}
	if d := got[Compose]; !d.Given || d.Line != "policy.yaml:62" {
		t.Errorf("compose %+v", d)
	}
	if d := got[Receive]; !d.Given || d.Line != "policy.yaml:61" {
		t.Errorf("receive %+v", d)
	}
	e = p.Explain("mario", "bozze@pec.example.org")
	if d := e.Decisions[0]; d.Given || d.Line != "policy.yaml:65" || !slices.Equal(d.Against, []string{"policy.yaml:64"}) {
		t.Errorf("send %+v", d)
	}
	if e := p.Explain("nobody", box); len(e.Lines)+len(e.Decisions) > 0 {
		t.Errorf("%+v", e)
	}
	if e := p.Explain("gone", "bozze@pec.example.org"); !e.Begins.Equal(day) || e.BeginsLine != "policy.yaml:63" || e.ExpiresLine != "" {
		t.Errorf("%+v", e)
	}
}

// Of several lines the last beginning and the first end hold, in whatever order they stand.
func TestMergedTimes(t *testing.T) {
	at := func(hours int) time.Time { return day.Add(time.Duration(hours) * time.Hour) }
	lines := []Member{{User: "mario", Send: true, Line: "policy.yaml:1"},
		{User: "mario", Send: true, Begins: at(1), Expires: at(9), Line: "policy.yaml:2"},
		{User: "mario", Send: true, Begins: at(3), Expires: at(5), Line: "policy.yaml:3"},
		{User: "mario", Send: true, Begins: at(2), Expires: at(7), Line: "policy.yaml:4"}}
	for range len(lines) {
		lines = append(lines[1:], lines[0])
		p := &Policy{Users: []User{{Login: "mario"}}, Mailboxes: []Mailbox{{Address: box, Active: true, Members: lines}}}
		for hour, want := range map[int]string{2: NotYet, 3: Allowed, 4: Allowed, 5: Expired, 8: Expired} {
			v := p.DecideSender(Identity{User: "mario"}, box, at(hour))
			if v.Reason != want || v.Allow != p.Rights("mario", box, at(hour)).Send || !v.Allow && v.Line != "policy.yaml:3" {
				t.Errorf("after %d hours: %+v", hour, v)
			}
		}
	}
}

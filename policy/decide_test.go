package policy

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference before it is kept")

const box = "protocollo@pec.example.org"

var day = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func house() *Policy {
	p := &Policy{
		Users: []User{
			{Login: "mario", PIN: "x", Email: "mario.rossi@example.org", Line: "policy.yaml:2"},
			{Login: "Lucia", PIN: "x", Email: "Lucia.Bianchi@example.org", Line: "policy.yaml:6"},
			{Login: "anna@example.org", Line: "policy.yaml:9"},
			{Login: "gone", PIN: "x", Line: "policy.yaml:11"},
			{Login: "paolo", PIN: "x", Line: "policy.yaml:12"},
		},
		Groups: []Group{{Name: "Segreteria", Users: []string{"paolo"}, Groups: []string{"capi"}, Line: "policy.yaml:40"},
			{Name: "capi", Users: []string{"Lucia"}, Line: "policy.yaml:41"}},
		Lists: []List{{Address: "sindaci@liste.example.org", Members: []string{"a@pec.example.it", "b@pec.example.it"}, Users: []string{"mario"},
			Line: "policy.yaml:50"}},
		Mailboxes: []Mailbox{
			{Address: box, Active: true, Recipients: 3, Product: 30e6, Line: "policy.yaml:14", Members: []Member{
				{User: "mario", Send: true, Receive: true, Line: "policy.yaml:20"},
				{User: "Lucia", Receive: true, Anomalies: true, Delete: true, Line: "policy.yaml:21"},
				{User: "gone", Send: true, Receive: true, Expires: day, Line: "policy.yaml:22"},
				{User: "anna@example.org", Delete: true, Line: "policy.yaml:23"},
			}},
			{Address: "firma@pec.example.org", Active: true, PINRequired: true, Line: "policy.yaml:25", Members: []Member{
				{User: "mario", Send: true, Line: "policy.yaml:28"},
			}},
			{Address: "bozze@pec.example.org", Active: true, PINRequired: true, Line: "policy.yaml:60", Members: []Member{
				{Group: "segreteria", Send: true, Receive: true, Unsaid: Send | Compose, Line: "policy.yaml:61"},
				{User: "paolo", Compose: true, Receive: true, Unsaid: Receive, Line: "policy.yaml:62"},
				{User: "gone", Send: true, Begins: day, Line: "policy.yaml:63"},
				{User: "mario", Send: true, Receive: true, Unsaid: Receive, Line: "policy.yaml:64"},
				{User: "mario", Receive: true, Line: "policy.yaml:65"},
			}},
			{Address: "chiusa@pec.example.org", Line: "policy.yaml:30", Members: []Member{
				{User: "mario", Send: true, Receive: true, Line: "policy.yaml:32"},
			}},
		},
	}
	p.Spread()
	return p
}

func submission() Submission {
	return Submission{Identity: Identity{User: "mario"}, ReversePath: box, From: box,
		Recipients: []string{"a@pec.example.it"}, Size: 1000, Now: day}
}

func decisions() []struct {
	name   string
	change func(*Submission)
	reason string
} {
	type change = func(*Submission)
	both := func(address string) change { return func(s *Submission) { s.ReversePath, s.From = address, address } }
	as := func(login string) change { return func(s *Submission) { s.Identity.User = login } }
	return []struct {
		name   string
		change change
		reason string
	}{
		{"good", func(*Submission) {}, Allowed},
		{"other case", both("PROTOCOLLO@PEC.Example.ORG"), Allowed},
		{"own login of the box", func(s *Submission) { s.Identity.Box = box }, Allowed},
		{"three recipients", func(s *Submission) { s.Recipients = []string{"a@b.it", "c@d.it", "e@f.it"}; s.Size = 10e6 }, Allowed},
		{"largest", func(s *Submission) { s.Size = 30e6 }, Allowed},
		{"with a PIN where none is needed", func(s *Submission) { s.PINGiven = true }, Allowed},
		{"to approve, without a PIN", func(s *Submission) { as("paolo")(s); both("bozze@pec.example.org")(s); s.Approvals = true }, Allowed},
		{"begins just now", func(s *Submission) {
			as("gone")(s)
			both("bozze@pec.example.org")(s)
			s.PINGiven, s.PINRight = true, true
		}, Allowed},
		{"one message each", func(s *Submission) { s.Recipients, s.Each, s.Size = slices.Repeat(s.Recipients, 1000), true, 30e6 }, Allowed},
		{"right PIN", func(s *Submission) { both("firma@pec.example.org")(s); s.PINGiven, s.PINRight = true, true }, Allowed},

		{"unknown mailbox", both("altra@pec.example.org"), UnknownMailbox},
		{"look-alike mailbox", both("protoco11o@pec.example.org"), UnknownMailbox},
		{"tagged mailbox", both("protocollo+x@pec.example.org"), UnknownMailbox},
		{"ordinary address", both("mario.rossi@example.org"), UnknownMailbox},
		{"unknown user", as("nobody"), NotMember},
		{"no user", as(""), NotMember},
		{"not a member", func(s *Submission) { as("Lucia")(s); both("firma@pec.example.org")(s) }, NotMember},
		{"not a member of an inactive one", func(s *Submission) { as("Lucia")(s); both("chiusa@pec.example.org")(s) }, NotMember},
		{"may not send", as("Lucia"), NoSend},
		{"one line says no", func(s *Submission) { both("bozze@pec.example.org")(s) }, NoSend},
		{"begins in a moment", func(s *Submission) { as("gone")(s); both("bozze@pec.example.org")(s); s.Now = day.Add(-1) }, NotYet},
		{"to approve where nobody collects it", func(s *Submission) { as("paolo")(s); both("bozze@pec.example.org")(s) }, NoApproval},
		{"of a group inside the group, PIN missing", func(s *Submission) { as("Lucia")(s); both("bozze@pec.example.org")(s) }, PINMissing},
		{"a list that was not expanded", func(s *Submission) { s.Recipients = append(s.Recipients, "Sindaci@Liste.example.org") }, ListWhole},
		{"too many for one message each", func(s *Submission) { s.Recipients, s.Each = slices.Repeat(s.Recipients, 1001), true }, TooManyRecipients},
		{"too big for one message each", func(s *Submission) { s.Recipients, s.Each, s.Size = slices.Repeat(s.Recipients, 2), true, 30e6+1 }, TooBig},
		{"may only delete", as("anna@example.org"), NoSend},
		{"expired just now", as("gone"), Expired},
		{"expires in a moment", func(s *Submission) { as("gone")(s); s.Now = day.Add(-1) }, Allowed},
		{"inactive", both("chiusa@pec.example.org"), Inactive},
		{"login of another box", func(s *Submission) { s.Identity.Box = "firma@pec.example.org" }, BoxMismatch},
		{"box mismatch hides the unknown", func(s *Submission) { s.Identity.Box = box; both("altra@pec.example.org")(s) }, BoxMismatch},
		{"login of the archive", func(s *Submission) { s.Identity.Box, s.Identity.Archive = box, true }, BoxMismatch},
		{"null reverse path", func(s *Submission) { s.ReversePath = "" }, BadAddress},
		{"bad reverse path", func(s *Submission) { s.ReversePath = `"a b"@pec.example.org` }, BadAddress},
		{"no From", func(s *Submission) { s.From = "" }, BadAddress},
		{"bad From", func(s *Submission) { s.From = "Protocollo <" + box + ">" }, BadAddress},
		{"From differs", func(s *Submission) { s.From = "firma@pec.example.org" }, FromDiffers},
		{"From is the person", func(s *Submission) { s.From = "mario.rossi@example.org" }, FromDiffers},
		{"no recipient", func(s *Submission) { s.Recipients = nil }, NoRecipient},
		{"bad recipient", func(s *Submission) { s.Recipients = append(s.Recipients, "x> NOTIFY=NEVER@d.it") }, BadAddress},
		{"too many recipients", func(s *Submission) { s.Recipients = []string{"a@b.it", "c@d.it", "e@f.it", "g@h.it"} }, TooManyRecipients},
		{"too big", func(s *Submission) { s.Size = 30e6 + 1 }, TooBig},
		{"too big for two", func(s *Submission) { s.Recipients = []string{"a@b.it", "c@d.it"}; s.Size = 15e6 + 1 }, TooBig},
		{"overflow", func(s *Submission) { s.Recipients = []string{"a@b.it", "c@d.it"}; s.Size = math.MaxInt64 }, TooBig},
		{"negative size", func(s *Submission) { s.Size = -1 }, TooBig},
		{"PIN missing", both("firma@pec.example.org"), PINMissing},
		{"PIN wrong", func(s *Submission) { both("firma@pec.example.org")(s); s.PINGiven = true }, PINWrong},
		{"PIN right but not given", func(s *Submission) { both("firma@pec.example.org")(s); s.PINRight = true }, PINMissing},
		{"PIN wrong and no recipient", func(s *Submission) { both("firma@pec.example.org")(s); s.PINGiven, s.Recipients = true, nil }, NoRecipient},
	}
}

// Every decision, its code, its sentences and its line stand in testdata/policy/verdicts.golden.
func TestDecide(t *testing.T) {
	const golden = "../testdata/policy/verdicts.golden"
	var out bytes.Buffer
	seen := map[string]bool{}
	for _, c := range decisions() {
		s := submission()
		c.change(&s)
		v := house().Decide(s)
		if v.Reason != c.reason || v.Allow != (c.reason == Allowed) {
			t.Errorf("%s: %s, want %s", c.name, v.Reason, c.reason)
		}
		if early := house().DecideSender(s.Identity, s.ReversePath, s.Now); !early.Allow && !reflect.DeepEqual(early, v) {
			t.Errorf("%s: at MAIL %+v, in the end %+v", c.name, early, v)
		}
		for _, text := range []string{v.Italian, v.English} {
			if text == "" || len(text) > 450 || strings.Trim(text, printable) != "" || !strings.HasSuffix(text, ".") {
				t.Errorf("%s: not a sentence for a reply: %q", c.name, text)
			}
		}
		seen[v.Reason] = true
		fmt.Fprintf(&out, "%s\n  %s %d %s %s\n  %s\n  %s\n", c.name, v.Reason, v.Code, v.Enhanced, v.Line, v.Italian, v.English)
	}
	for _, reason := range []string{Allowed, UnknownMailbox, NotMember, NoSend, NotYet, Expired, NoApproval, ListWhole, Inactive, BoxMismatch, FromDiffers,
		NoRecipient, TooManyRecipients, TooBig, PINMissing, PINWrong, BadAddress} {
		if !seen[reason] {
			t.Errorf("no case for %s", reason)
		}
	}
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("verdicts differ from %s:\n%s", golden, out.Bytes())
	}
}

const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

// G4: the answer does not tell a missing PIN from a wrong one, and a message refused for another reason does not tell at all.
func TestG4_NoHint(t *testing.T) {
	p := house()
	s := submission()
	s.ReversePath, s.From = "firma@pec.example.org", "firma@pec.example.org"
	missing := p.Decide(s)
	s.PINGiven = true
	wrong := p.Decide(s)
	if missing.Reason == wrong.Reason {
		t.Error("the log cannot tell them apart")
	}
	missing.Reason = wrong.Reason
	if missing != wrong {
		t.Errorf("%+v\n%+v", missing, wrong)
	}
	for _, change := range []func(*Submission){
		func(s *Submission) { s.From = box }, func(s *Submission) { s.Recipients = nil }, func(s *Submission) { s.Size = -1 },
	} {
		s := s
		change(&s)
		before := p.Decide(s)
		s.PINRight = true
		if after := p.Decide(s); after != before {
			t.Errorf("the PIN changes %+v to %+v", before, after)
		}
	}
}

func TestLongestSentences(t *testing.T) {
	long := strings.Repeat("a", 64) + "@" + strings.Repeat(strings.Repeat("b", 45)+".", 4) + "it"
	if _, err := ParseAddress(long); err != nil {
		t.Fatal(err)
	}
	for _, v := range []Verdict{refuseNotMember(long), refuseBoxMismatch(long), refuseUnknownMailbox(long), refuseExpired(long, ""),
		refuseNoSend(long, ""), refuseInactive(long, ""), refuseFromDiffers(long, long), (&Mailbox{PINMethods: []string{PINBySubject, PINByHeader, PINByPassword}}).refusePIN(&User{PIN: "x"}, true, long),
		refuseNotYet(long, ""), refuseNoApproval(long, ""), refuseNotOfList(long, ""), refuseListWhole(long, ""),
		refuseTooManyOfList(math.MaxInt32, math.MaxInt32, ""), refuseTooBig(math.MaxInt64, 1<<30, math.MaxInt64, ""), refuseTooMany(math.MaxInt32, math.MaxInt32, "")} {
		if len(v.Italian) > 450 || len(v.English) > 450 {
			t.Errorf("%s: %d and %d octets", v.Reason, len(v.Italian), len(v.English))
		}
	}
}

func TestMegabytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1: "0.1", 30e6: "30", 30e6 + 1: "30.1", 1500000: "1.5", 15e6: "15"} {
		if got := megabytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	p := house()
	for name, want := range map[string]Identity{
		"mario": {User: "mario"}, "MARIO": {User: "mario"}, "mario.rossi@example.org": {User: "mario"},
		"lucia.bianchi@EXAMPLE.org": {User: "Lucia"}, "anna@example.org": {User: "anna@example.org"},
		"mario/" + box: {User: "mario", Box: box}, "Mario/Protocollo@PEC.example.org": {User: "mario", Box: box},
		"gone/" + box:                  {User: "gone", Box: box}, // expired: rights say so, not the name
		"mario/chiusa@pec.example.org": {User: "mario", Box: "chiusa@pec.example.org"},
		"mario/" + box + "#archivio":   {User: "mario", Box: box, Archive: true},
		"mario/" + box + "#ARCHIVIO":   {User: "mario", Box: box, Archive: true},
	} {
		if got, ok := p.Resolve(name); !ok || got != want {
			t.Errorf("%q: %+v %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "/", "mario/", "/" + box, "nobody", "nobody/" + box, "mario/altra@pec.example.org",
		"lucia/firma@pec.example.org", "mario/" + box + "/x", "mario/" + box + "#archive", "mario/" + box + "#archivio#archivio",
		"mario/#archivio", "mario#archivio", " mario", "mario ", "mario\x00",
		"mario.rossi@example.org/" + box, "mari\u00f3", "gone@example.org"} {
		if got, ok := p.Resolve(name); ok {
			t.Errorf("%q: %+v", name, got)
		}
	}
	// A name that means two people means nobody, and no email is no name.
	p.Users = append(p.Users, User{Login: "x", PIN: "x", Email: "mario"}, User{Login: "lucia"})
	for _, name := range []string{"mario", "lucia", "lucia/" + box, ""} {
		if got, ok := p.Resolve(name); ok {
			t.Errorf("%q: %+v", name, got)
		}
	}
}

func TestRightsAndBoxes(t *testing.T) {
	p := house()
	p.Mailboxes[1].Members = append(p.Mailboxes[1].Members, Member{User: "Lucia", Compose: true, Approve: true},
		Member{User: "paolo", Send: true, SendOnly: true})
	for _, c := range []struct {
		login, box string
		now        time.Time
		want       Rights
	}{
		{"mario", box, day, Rights{Send: true, Receive: true}},
		{"lucia", strings.ToUpper(box), day, Rights{Receive: true, Anomalies: true, Delete: true}},
		{"gone", box, day.Add(-1), Rights{Send: true, Receive: true}},
		{"gone", box, day, Rights{}},
		{"anna@example.org", box, day, Rights{}}, // deleting what one does not see
		{"mario", "chiusa@pec.example.org", day, Rights{Send: true, Receive: true}},
		{"Lucia", "firma@pec.example.org", day, Rights{Compose: true, Approve: true}},
		{"paolo", "firma@pec.example.org", day, Rights{Send: true, SendOnly: true}},
		{"paolo", "bozze@pec.example.org", day, Rights{Receive: true, Compose: true}},
		{"lucia", "bozze@pec.example.org", day, Rights{Send: true, Receive: true}},
		{"mario", "bozze@pec.example.org", day, Rights{Receive: true}},
		{"gone", "bozze@pec.example.org", day.Add(-1), Rights{}},
		{"mario", "altra@pec.example.org", day, Rights{}},
		{"nobody", box, day, Rights{}},
		{"", box, day, Rights{}},
		{"mario", "", day, Rights{}},
	} {
		if got := p.Rights(c.login, c.box, c.now); got != c.want {
			t.Errorf("%s on %s: %+v, want %+v", c.login, c.box, got, c.want)
		}
	}
	for login, want := range map[string]string{
		"mario": "bozze@pec.example.org chiusa@pec.example.org firma@pec.example.org " + box,
		"Lucia": "bozze@pec.example.org firma@pec.example.org " + box, "gone": "bozze@pec.example.org",
		"paolo": "bozze@pec.example.org firma@pec.example.org", "anna@example.org": "", "nobody": "",
	} {
		var got []string
		for _, m := range p.Boxes(login, day) {
			got = append(got, m.Address)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s sees %v, want %s", login, got, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p := house()
	for i := range 1000 {
		p.Users = append(p.Users, User{Login: fmt.Sprintf("user%d", i), Email: fmt.Sprintf("user%d@example.org", i)})
		p.Mailboxes = append(p.Mailboxes, Mailbox{Address: fmt.Sprintf("casella%d@pec.example.org", i), Active: true,
			Members: []Member{{User: fmt.Sprintf("user%d", i), Send: true}}})
	}
	s := submission()
	s.Identity.User, s.ReversePath, s.From = "user999", "casella999@pec.example.org", "casella999@pec.example.org"
	if v := p.Decide(s); !v.Allow {
		b.Fatal(v)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(s)
	}
}

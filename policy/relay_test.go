package policy

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// served is the house with groupware servers.
func served() *Policy {
	p := house()
	p.Users = append(p.Users, User{Login: "two", Email: "both@example.org"}, User{Login: "three", Email: "both@example.org"},
		User{Login: "solo", Email: "solo@example.org", Line: "policy.yaml:70"}, User{Login: "scrive", Email: "scrive@example.org"},
		User{Login: "nulla", Email: "nulla@example.org"}, User{Login: "autore", Email: "autore@example.org"})
	p.Mailboxes = append(p.Mailboxes,
		Mailbox{Address: "protocollo@pec.example.net", Active: true, Line: "policy.yaml:80", Members: []Member{
			{User: "mario", Send: true, Line: "policy.yaml:81"}, {User: "solo", Send: true, Line: "policy.yaml:82"},
			{User: "scrive", Compose: true, Line: "policy.yaml:83"}}},
		Mailbox{Address: "protocollo@pec.example.com", Active: true, Line: "policy.yaml:85", Members: []Member{{User: "gone", Send: true}}})
	p.Mailboxes[1].PINMethods = []string{PINBySubject, PINByReply} // firma
	p.Mailboxes = append(p.Mailboxes, Mailbox{Address: "urgente@pec.example.org", Active: true, PINRequired: true, Line: "policy.yaml:90",
		Members: []Member{{User: "autore", Compose: true}, {User: "two", Send: true, Line: "policy.yaml:91"}}})
	common := Relay{Name: "exchange", Users: ByEmail, Trigger: "[PEC]", Marks: []string{MarkFrom, MarkSubject, MarkSuffix, MarkDomains, MarkSenders},
		Suffix: "pec", Domains: []string{"pec.comune.example.it"}, Senders: []string{"Solo@example.org"}, PINs: []string{PINByReply}, Line: "policy.yaml:100"}
	p.Relays = []Relay{common}
	add := func(name string, change func(*Relay)) {
		r := common
		r.Name, r.Line = name, fmt.Sprintf("policy.yaml:%d", 100+10*len(p.Relays))
		change(&r)
		p.Relays = append(p.Relays, r)
	}
	add("header", func(r *Relay) { r.Users = "header:X-Pecgate-User" })
	add("fixed", func(r *Relay) { r.Users = "user:MARIO" })
	add("nobody", func(r *Relay) { r.Users = "user:nobody" })
	add("none", func(r *Relay) { r.Users = "" })
	add("plain", func(r *Relay) { r.Marks, r.Smarthost = []string{MarkSubject}, true })
	add("smart", func(r *Relay) { r.Smarthost, r.InternalWarn = true, true })
	add("default", func(r *Relay) { r.Mailbox, r.PINs = "Firma@pec.example.org", []string{PINByReply, PINBySubject} })
	add("fromonly", func(r *Relay) { r.Marks = []string{MarkFrom} })
	add("listed", func(r *Relay) { r.Marks = []string{MarkDomains} })
	add("twice", func(r *Relay) {})
	add("TWICE", func(r *Relay) {})
	return p
}

// facts is a message of mario that names the mailbox in its subject.
func facts() RelayFacts {
	return RelayFacts{Relay: "exchange", ReversePath: "mario.rossi@example.org", From: []string{"Mario.Rossi@example.org"}, Tags: []string{"firma"},
		Recipients: []string{"a@b.it"}, Visible: []string{"A@b.it"}, Now: day}
}

func relayCases() []struct {
	name   string
	change func(*RelayFacts)
	want   string // what comes out, or the reason of a refusal
} {
	const firma = "firma@pec.example.org"
	with := func(changes ...func(*RelayFacts)) func(*RelayFacts) {
		return func(f *RelayFacts) {
			for _, c := range changes {
				c(f)
			}
		}
	}
	by := func(relay string) func(*RelayFacts) { return func(f *RelayFacts) { f.Relay = relay } }
	sender := func(reverse string, from ...string) func(*RelayFacts) {
		return func(f *RelayFacts) { f.ReversePath, f.From = reverse, from }
	}
	tags := func(words ...string) func(*RelayFacts) { return func(f *RelayFacts) { f.Tags = words } }
	to := func(all ...string) func(*RelayFacts) {
		return func(f *RelayFacts) { f.Recipients, f.Visible = all, all }
	}
	identity := func(values ...string) func(*RelayFacts) {
		return func(f *RelayFacts) { f.Relay, f.Identity = "header", values }
	}
	mario, solo := sender("mario.rossi@example.org", "mario.rossi@example.org"), sender("solo@example.org", "solo@example.org")
	return []struct {
		name   string
		change func(*RelayFacts)
		want   string
	}{
		{"tag with a local part", with(), "mario " + firma + " subject a@b.it"},
		{"tag with an address", tags("FIRMA@PEC.example.org"), "mario " + firma + " subject a@b.it"},
		{"the same tag twice", tags("firma", "Firma", ""), "mario " + firma + " subject a@b.it"},
		{"name of the relay in capitals", by("EXCHANGE"), "mario " + firma + " subject a@b.it"},
		{"From is the mailbox", with(sender("mario.rossi@example.org", "Firma@pec.example.org"), tags()), "mario " + firma + " from a@b.it"},
		{"From is the mailbox and so says the tag", sender("mario.rossi@example.org", firma), "mario " + firma + " from subject a@b.it"},
		{"From is the mailbox and the tag names none", with(sender("mario.rossi@example.org", firma), tags("")), "mario " + firma + " from subject a@b.it"},
		{"suffix", with(solo, by("header"), identity("solo"), tags(), to("a@b.it.PEC", "c@d.it.pec")), "solo protocollo@pec.example.net suffix senders a@b.it c@d.it"},
		{"suffix on all and a tag", to("a@b.it.pec", "c@d.it.pec"), "mario " + firma + " subject suffix a@b.it c@d.it"},
		{"suffix on some, and a tag makes it all PEC", to("a@b.it.pec", "c@d.it"), "mario " + firma + " subject a@b.it c@d.it"},
		{"suffix twice", to("a@b.it.pec.Pec"), "mario " + firma + " subject suffix a@b.it"},
		{"two forms of one address", to("a@b.it.pec", "A@b.it"), "mario " + firma + " subject a@b.it"},
		{"listed domain", with(by("default"), tags(), to("x@PEC.comune.example.it")), "mario " + firma + " domains x@pec.comune.example.it"},
		{"listed domain and suffix", with(by("default"), tags(), to("x@pec.comune.example.it", "a@b.it.pec")), "mario " + firma + " suffix domains x@pec.comune.example.it a@b.it"},
		{"listed domain below the suffix", with(by("default"), tags(), to("x@pec.comune.example.it.pec")), "mario " + firma + " suffix domains x@pec.comune.example.it"},
		{"listed sender", with(solo, tags()), "solo protocollo@pec.example.net senders a@b.it"},
		{"who writes for approval", with(sender("scrive@example.org", "scrive@example.org"), tags("")), "scrive protocollo@pec.example.net subject a@b.it"},
		{"who writes for approval needs no PIN", with(sender("autore@example.org", "urgente@pec.example.org"), tags()), "autore urgente@pec.example.org from a@b.it"},
		{"the only mailbox", with(solo, tags("")), "solo protocollo@pec.example.net subject senders a@b.it"},
		{"a common local part and one line", with(sender("solo@example.org", "solo@example.org"), tags("protocollo")), "solo protocollo@pec.example.net subject senders a@b.it"},
		{"the mailbox of the relay", with(by("default"), tags("")), "mario " + firma + " subject a@b.it"},
		{"the mailbox of the relay is not the user's", with(by("default"), solo, tags("")), "solo protocollo@pec.example.net subject senders a@b.it"},
		{"a named one before the mailbox of the relay", with(by("default"), tags(box)), "mario " + box + " subject a@b.it"},
		{"field with a login", with(identity(" Mario\t"), sender("any@example.org", "any@example.org")), "mario " + firma + " subject a@b.it"},
		{"field with an email", with(identity("Mario.Rossi@example.org"), sender(firma, firma), tags()), "mario " + firma + " from a@b.it"},
		{"a fixed user", with(by("fixed"), sender("scanner@example.org", "scanner@example.org")), "mario " + firma + " subject a@b.it"},
		{"unmarked to the smarthost", with(by("smart"), tags()), "unmarked"},
		{"unmarked of nobody to the smarthost", with(by("smart"), sender("x@y.it", "x@y.it", "z@y.it"), tags(), to("a@b.it")), "unmarked"},
		{"people inside are told of", with(by("smart"), func(f *RelayFacts) { f.Visible = append(f.Visible, "capo@example.org") }), "mario " + firma + " subject a@b.it +1"},
		{"To with the suffix", func(f *RelayFacts) { f.Visible = []string{"A@b.it.pec"} }, "mario " + firma + " subject a@b.it"},

		{"unknown relay", by("domino"), UnknownRelay},
		{"two relays of one name", by("twice"), UnknownRelay},
		{"no relay", by(""), UnknownRelay},
		{"a bounce", sender("", "mario.rossi@example.org"), NullSender},
		{"a bounce with the From of a mailbox", sender("", firma), NullSender},
		{"unmarked", tags(), NotMarked},
		{"unmarked where From counts alone", with(by("fromonly")), NotMarked},
		{"unmarked where neither tag nor From counts", with(by("listed"), tags()), NotMarked},
		{"From is a mailbox where that is no mark", with(by("plain"), sender("mario.rossi@example.org", firma), tags()), NotMarked},
		{"reverse path is a mailbox and nothing is marked", with(by("smart"), sender(firma, "mario.rossi@example.org"), tags()), NotMarked},
		{"one of two From is a mailbox and that is no mark", with(by("plain"), sender("mario.rossi@example.org", "x@y.it", firma), tags()), NotMarked},
		{"suffix on some", with(tags(), to("a@b.it.pec", "c@d.it")), MixedRecipients},
		{"suffix on some, with a smarthost", with(by("smart"), tags(), to("c@d.it", "a@b.it.pec")), MixedRecipients},
		{"listed domain for some", with(tags(), to("x@pec.comune.example.it", "c@d.it")), MixedRecipients},
		{"listed domain for some, with a smarthost", with(by("smart"), tags(), to("x@pec.comune.example.it", "c@d.it")), MixedRecipients},
		{"unknown sender", sender("x@example.org", "x@example.org"), UnknownUser},
		{"an email of two", sender("both@example.org", "both@example.org"), UnknownUser},
		{"a login that looks like an email", sender("anna@example.org", "anna@example.org"), UnknownUser},
		{"From of another", sender("mario.rossi@example.org", "lucia.bianchi@example.org"), SendersDiffer},
		{"From of a stranger", sender("mario.rossi@example.org", "capo@example.net"), SendersDiffer},
		{"From of two people", sender("mario.rossi@example.org", "both@example.org"), SendersDiffer},
		{"reverse path of another", sender("lucia.bianchi@example.org", "mario.rossi@example.org"), SendersDiffer},
		{"only the mailbox", sender(firma, firma), NoOrdinarySender},
		{"only another mailbox", sender(box, firma), NoOrdinarySender},
		{"reverse path is a mailbox", sender(firma, "mario.rossi@example.org"), NoOrdinarySender},
		{"bad reverse path", sender("mario", "mario.rossi@example.org"), BadAddress},
		{"two From", sender("mario.rossi@example.org", "mario.rossi@example.org", firma), BadAddress},
		{"the same From twice", sender("mario.rossi@example.org", "mario.rossi@example.org", "mario.rossi@example.org"), BadAddress},
		{"no From", sender("mario.rossi@example.org"), BadAddress},
		{"bad From", sender("mario.rossi@example.org", "Mario <mario.rossi@example.org>"), BadAddress},
		{"no field", identity(), IdentityField},
		{"two fields", identity("mario", "mario"), IdentityField},
		{"an empty field", identity(" "), UnknownUser},
		{"field with a stranger", identity("nobody"), UnknownUser},
		{"field with an email of two", identity("both@example.org"), UnknownUser},
		{"field with a login for one mailbox", identity("mario/" + firma), UnknownUser},
		{"the field of another relay", func(f *RelayFacts) {
			f.Identity, f.ReversePath, f.From = []string{"mario"}, "x@y.it", []string{"x@y.it"}
		}, UnknownUser},
		{"the fixed user is none", by("nobody"), UnknownUser},
		{"a relay without users", by("none"), UnknownUser},
		{"From and tag differ", with(sender("mario.rossi@example.org", box)), MarksDiffer},
		{"two tags differ", tags("firma", box), MarksDiffer},
		{"From is the mailbox where that is no mark, and the tag differs", with(by("plain"), sender("mario.rossi@example.org", box)), MarksDiffer},
		{"several and none named", tags(""), MailboxNeeded},
		{"several and the mailbox of the relay is not among them", with(by("default"), func(f *RelayFacts) {
			f.Relay, f.ReversePath, f.From, f.Tags = "default", "lucia.bianchi@example.org", []string{"lucia.bianchi@example.org"}, []string{""}
		}), "Lucia bozze@pec.example.org subject a@b.it"},
		{"a common local part", tags("protocollo"), MailboxAmbiguous},
		{"a common local part and no line", with(sender("nulla@example.org", "nulla@example.org"), tags("protocollo")), NoMailbox},
		{"unknown local part", tags("presidente"), UnknownMailbox},
		{"a local part with no sense", tags("fir ma\r\n"), UnknownMailbox},
		{"unknown address", tags("presidente@pec.example.org"), UnknownMailbox},
		{"the mailbox of others", with(solo, tags(firma)), NotMember},
		{"From is the mailbox of others", sender("solo@example.org", firma), NotMember},
		{"From is the mailbox of others alone", with(sender("solo@example.org", firma), tags()), NotMember},
		{"may not send", with(mario, tags("bozze")), NoSend},
		{"inactive", tags("chiusa"), Inactive},
		{"a PIN that cannot come", with(identity("two"), tags("urgente")), NoPINWay},
		{"no mailbox at all", with(sender("nulla@example.org", "nulla@example.org"), tags("")), NoMailbox},
		{"no mailbox at all and a name of none", with(sender("nulla@example.org", "nulla@example.org"), tags("x")), NoMailbox},
		{"no recipient", to(), NoRecipient},
		{"bad recipient", to("a@b.it", `"x y"@b.it`), BadAddress},
		{"nothing before the suffix", to("a@pec"), BadAddress},
		{"one label before the suffix", to("a@it.pec"), BadAddress},
		{"a dot behind the suffix", to("a@b.it.pec."), BadAddress},
		{"people inside", func(f *RelayFacts) { f.Visible = append(f.Visible, "capo@example.org", "Capo@example.org", "") }, InternalRecipient},
		{"people inside with the suffix", func(f *RelayFacts) { f.Visible = append(f.Visible, "capo@example.org.pec") }, InternalRecipient},
	}
}

// Every decision on what a groupware server submits stands in testdata/policy/relays.golden.
func TestDecideRelay(t *testing.T) {
	const golden = "../testdata/policy/relays.golden"
	var out bytes.Buffer
	seen := map[string]bool{}
	for _, c := range relayCases() {
		f := facts()
		c.change(&f)
		before := fmt.Sprint(f)
		v := served().DecideRelay(f)
		got := v.Reason
		switch {
		case v.Unmarked && (!v.Allow || v.Box != "" || v.Identity.User != "" || v.Recipients != nil || v.Marks != nil):
			got = fmt.Sprintf("unmarked, but %+v", v)
		case v.Unmarked:
			got = "unmarked"
		case v.Allow:
			got = strings.Join(slices.Concat([]string{v.Identity.User, v.Box}, v.Marks, v.Recipients), " ")
			if len(v.Warn) > 0 {
				got += fmt.Sprintf(" +%d", len(v.Warn))
			}
		case v.Box != "" || v.Identity.User != "" || v.Recipients != nil:
			got = fmt.Sprintf("refused, but %+v", v)
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if after := fmt.Sprint(f); after != before {
			t.Errorf("%s: the facts became %s", c.name, after)
		}
		sentences := []string{v.Italian, v.English}
		for _, w := range v.Warn {
			sentences = append(sentences, w.Italian, w.English)
		}
		for _, text := range sentences {
			if text == "" || len(text) > 450 || strings.Trim(text, printable) != "" || !strings.HasSuffix(text, ".") {
				t.Errorf("%s: not a sentence for a reply: %q", c.name, text)
			}
		}
		if v.Allow && !v.Unmarked && (v.Seen.User != v.Identity.User || v.Seen.Box != v.Box || !slices.Equal(v.Seen.Marks, v.Marks)) {
			t.Errorf("%s: seen %+v", c.name, v.Seen)
		}
		seen[v.Reason] = true
		fmt.Fprintf(&out, "%s\n  %s %d %s %s %s\n", c.name, v.Reason, v.Code, v.Enhanced, v.RelayLine, v.Line)
		for _, text := range sentences {
			fmt.Fprintf(&out, "  %s\n", text)
		}
	}
	for _, reason := range []string{Allowed, UnknownRelay, NullSender, NotMarked, MixedRecipients, UnknownUser, SendersDiffer, NoOrdinarySender,
		IdentityField, MarksDiffer, NoMailbox, MailboxNeeded, MailboxAmbiguous, InternalRecipient, UnknownMailbox, NotMember, NoSend, Inactive,
		BadAddress, NoRecipient, NoPINWay} {
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

// An allowed verdict is what Decide takes, and the audit log learns the ordinary address.
func TestDecideRelay_ThenDecide(t *testing.T) {
	p := served()
	f := facts()
	f.From, f.Tags = []string{"protocollo@pec.example.net"}, nil
	v := p.DecideRelay(f)
	if !v.Allow || v.Ordinary != "mario.rossi@example.org" {
		t.Fatalf("%+v", v)
	}
	if d := p.Decide(Submission{Identity: v.Identity, ReversePath: v.Box, From: v.Box, Recipients: v.Recipients, Now: day}); !d.Allow || d.Line != v.Line {
		t.Errorf("%+v, before %+v", d, v.Verdict)
	}
	f = facts()
	f.ReversePath, f.From, f.Tags = "scrive@example.org", []string{"Scrive@example.org"}, []string{""}
	if v := p.DecideRelay(f); !v.Allow || v.Then != ToApprove || v.Ordinary != "scrive@example.org" {
		t.Errorf("%+v", v)
	}
}

func TestTags(t *testing.T) {
	r := Relay{Trigger: "[PEC]", Marks: []string{MarkSubject}}
	for subject, want := range map[string]string{
		"": "", "Offerta": "", "[PEC] Offerta": `""`, "Offerta [pec]": `""`, "[PEC:firma] x": `"firma"`, "R: [ PEC : firma@pec.example.org ]x": `"firma@pec.example.org"`,
		"[PEC:]": `""`, "[PEC:a][PEC:b]": `"a" "b"`, "[PECORINO]": "", "PEC": "", "[PEC": "", "[PEC:a": "", "[PEC:[a]": "", "[[PEC]]": `""`, "[PEC:a\nb]": "",
		"[PEC:" + strings.Repeat("x", 255) + "]": "", "[PIN:123456] [PEC]": `""`, "[PEC:\u00f3]": `"\u00f3"`,
	} {
		var got []string
		for _, w := range r.Tags(subject) {
			got = append(got, fmt.Sprintf("%+q", w))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %s", subject, got, want)
		}
	}
	r.Trigger = "[.C*]"
	if got := r.Tags("[XC] [.c*]"); len(got) != 1 {
		t.Errorf("a word is no pattern: %v", got)
	}
	for _, trigger := range []string{"", "[]", "PEC", "[PEC", "PEC]", "[P:C]", "[[P]]", "[\xff]"} {
		r.Trigger = trigger
		if got := r.Tags("[PEC] [] PEC [P:C] [[P]] [\xff]"); got != nil {
			t.Errorf("%q: %v", trigger, got)
		}
	}
	r.Trigger, r.Marks = "[PEC]", nil
	if got := r.Tags("[PEC]"); got != nil {
		t.Errorf("tags do not count: %v", got)
	}
}

func TestRelay_IdentityField(t *testing.T) {
	for users, want := range map[string]string{"header:X-Pecgate-User": "X-Pecgate-User", "by_email": "", "user:header:x": "", "": "", "header:": ""} {
		if got := (&Relay{Users: users}).IdentityField(); got != want {
			t.Errorf("%q: %q", users, got)
		}
	}
}

func TestLongestSentences_Relay(t *testing.T) {
	long := strings.Repeat("a", 64) + "@" + strings.Repeat(strings.Repeat("b", 45)+".", 4) + "it"
	many := slices.Repeat([]string{long}, 1000)
	r := &Relay{Trigger: "[" + strings.Repeat("x", 62) + "]", Marks: []string{MarkSubject}}
	for _, v := range []Verdict{refuseUnknownRelay(), refuseNullSender(""), refuseNotMarked(r, ""), refuseNotMarkedPEC(long, ""), refuseOrdinaryToPEC(long, ""), refuseMixed(MarkSuffix, ""),
		refuseMixed(MarkDomains, ""), refuseIdentity(2, ""), refuseUnknownSender(long, ""), refuseNoOrdinary(long, ""), refuseSendersDiffer(long, long, ""),
		refuseMarksDiffer(many), refuseNoPINWay(long, ""), refuseNameOne(r, many, ""), refuseNoSuchWord(many), refuseAmbiguousWord(many), refuseInternal(many, "")} {
		if len(v.Italian) > 450 || len(v.English) > 450 {
			t.Errorf("%s: %d and %d octets", v.Reason, len(v.Italian), len(v.English))
		}
	}
	if w := warnInternal(many); len(w.Italian) > 450 || len(w.English) > 450 {
		t.Error(w)
	}
}

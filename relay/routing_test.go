package relay

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/policy"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// sightOf is the table of rights, as IMAP shows a folder.
func sightOf(p *policy.Policy, login string, role mailbox.Role, now time.Time) (mailbox.Scope, bool) {
	r := p.Rights(login, testBox, now)
	box, _ := p.Mailbox(testBox)
	switch {
	case !r.Reads():
		return 0, false
	case role == mailbox.RoleAnomalies:
		return mailbox.ScopeOwnOrCommon, r.Anomalies
	case r.Receive && (role == mailbox.RoleOutcomes || box.ReceiptsTo != "sender"):
		return mailbox.ScopeAll, true
	case r.Receive:
		return mailbox.ScopeOwnOrCommon, true
	}
	return mailbox.ScopeOwn, r.Writes()
}

// sight is what a person sees of a folder's message: in the mailbox's tree, in
// their own INBOX, or nowhere.
func (i *intake) sight(p *policy.Policy, login string, who mailbox.Person, role mailbox.Role) string {
	i.t.Helper()
	at := ""
	if scope, ok := sightOf(p, login, role, i.store.Now()); ok && i.inFolder(role, who, scope) > 0 {
		at = "tree"
	}
	st, err := i.store.Status(context.Background(), mailbox.FolderKey{Owner: who, Role: mailbox.RoleInbox}, mailbox.Viewer{Person: who})
	if err != nil {
		i.t.Fatal(err)
	}
	if st.Messages > 0 {
		at += "inbox"
	}
	return at
}

// house sets people, their lines and receipts_to, and returns their persons.
func (i *intake) house(p *policy.Policy, logins ...string) map[string]mailbox.Person {
	i.t.Helper()
	i.s.opt.Policy = func() *policy.Policy { return p }
	i.s.opt.Accounts = func() []Account { return []Account{i.acc} }
	people := map[string]mailbox.Person{}
	i.update(func(tx *mailbox.Tx) error {
		for _, l := range logins {
			who, err := tx.EnsurePerson(l)
			if err != nil {
				return err
			}
			people[l] = who
		}
		return nil
	})
	return people
}

func lineOf(user string, m *policy.Member) []policy.Member {
	if m == nil {
		return nil
	}
	l := *m
	l.User = user
	return []policy.Member{l}
}

// TestReceiptsGoWhereTheyBelong is every combination of receipts_to, what the
// sender may do by now, who receives, and what came: a receipt reaches the sender,
// those who receive or the administrator, each in one place, and nobody else.
func TestReceiptsGoWhereTheyBelong(t *testing.T) {
	over := time.Unix(1, 0)
	senders := map[string]*policy.Member{
		"sends": {Send: true}, "composes": {Compose: true}, "sends and receives": {Send: true, Receive: true, Anomalies: true},
		"receives": {Receive: true}, "sees anomalies": {Anomalies: true}, "has no line": nil,
		"send only": {Send: true, SendOnly: true}, "is over": {Send: true, Receive: true, Expires: over}, "left": nil,
	}
	receivers := map[string]*policy.Member{
		"receives": {Receive: true, Anomalies: true}, "is over": {Receive: true, Anomalies: true, Expires: over}, "writes": {Send: true},
		"receives no anomalies": {Receive: true},
	}
	admins := map[string]*policy.Member{"no member": nil, "anomalies": {Anomalies: true}}
	type arrival struct {
		kind  providersim.Kind
		role  mailbox.Role
		tied  bool
		admin bool
	}
	arrivals := map[string]arrival{
		"acceptance": {providersim.Acceptance, mailbox.RoleAcceptance, true, false},
		"delivery":   {providersim.Delivery, mailbox.RoleDelivery, true, false},
		"error":      {providersim.DeliveryError, mailbox.RoleErrors, true, false},
		"unmatched":  {providersim.Delivery, mailbox.RoleDelivery, false, false},
		"anomaly":    {providersim.Anomaly, mailbox.RoleAnomalies, false, false},
		"in charge":  {providersim.TakenInCharge, mailbox.RoleAnomalies, false, true},
	}
	logins := []string{"mario", "lucia", "capo"}
	n := 0
	for sender, mario := range senders {
		i := newIntake(t)
		i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
		people := i.house(&policy.Policy{}, logins...)
		if sender == "left" {
			if _, err := i.store.Part(t.Context(), []mailbox.Leaving{{Login: "mario"}}, nil); err != nil {
				t.Fatal(err)
			}
		}
		for what, a := range arrivals {
			raw := i.receipt(a.kind, nil)
			for receiver, lucia := range receivers {
				for admin, capo := range admins {
					for _, to := range []string{"sender", "receivers", "both"} {
						name := fmt.Sprintf("%s: the sender %s, another %s, administrator: %s, receipts to %s", what, sender, receiver, admin, to)
						p := &policy.Policy{
							Users: []policy.User{{Login: "mario"}, {Login: "lucia"}, {Login: "capo"}},
							Mailboxes: []policy.Mailbox{{Address: testBox, Active: true, Admin: "capo", ReceiptsTo: to,
								Members: slices.Concat(lineOf("mario", mario), lineOf("lucia", lucia), lineOf("capo", capo))}},
						}
						if sender == "left" {
							p.Users = p.Users[1:]
						}
						i.s.opt.Policy = func() *policy.Policy { return p }
						rights := func(login string) policy.Rights { return p.Rights(login, testBox, i.store.Now()) }
						want := map[string]string{}
						here := a.tied && rights("mario").Any()
						enough := func(l string) bool { return rights(l).Reads() && rights(l).Receive }
						if a.role == mailbox.RoleAnomalies {
							enough = func(l string) bool { return rights(l).Reads() && rights(l).Anomalies }
						}
						for _, l := range logins {
							own := here && l == "mario"
							switch {
							case own && (rights(l).Receive || rights(l).Writes()) && rights(l).Reads(),
								!own && here && enough(l) && to != "sender",
								!here && !a.admin && enough(l),
								a.admin && l == "capo" && enough(l):
								want[l] = "tree"
							case own && to != "receivers", a.admin && l == "capo":
								want[l] = "inbox"
							}
						}
						if len(want) == 0 {
							want["capo"] = "inbox"
						}
						if got := i.destined(p, people, raw, a.role, a.tied); fmt.Sprint(got) != fmt.Sprint(want) {
							t.Errorf("%s\ngot  %v\nwant %v", name, got, want)
						}
						n++
						if sender == "send only" && receiver == "is over" && admin == "no member" && to == "receivers" {
							i.filed(p, people, raw, a.role, want, name)
						}
					}
				}
			}
		}
	}
	if n != len(arrivals)*len(senders)*len(receivers)*len(admins)*3 {
		t.Errorf("%d combinations", n)
	}
}

// destined is who sees, by where the relay sends it, a message of this mailbox.
func (i *intake) destined(p *policy.Policy, people map[string]mailbox.Person, raw []byte, role mailbox.Role, tied bool) map[string]string {
	i.t.Helper()
	ix, err := mime.Parse(bytes.NewReader(raw), int64(len(raw)), mime.Limits{})
	if err != nil {
		i.t.Fatal(err)
	}
	r, err := i.s.opt.Reader.Read(i.t.Context(), bytes.NewReader(raw), int64(len(raw)), ix)
	if err != nil {
		i.t.Fatal(err)
	}
	var d destination
	i.update(func(tx *mailbox.Tx) (err error) {
		var sub *Submission
		if tied {
			if sub, err = load(tx, "s1"); err != nil {
				return err
			}
		}
		d, err = i.s.opt.toWhom(tx, i.acc, r, role, sub)
		return err
	})
	out := map[string]string{}
	for login, who := range people {
		scope, ok := sightOf(p, login, role, i.store.Now())
		at := ""
		if ok && (scope == mailbox.ScopeAll || d.audience == who || d.audience == 0 && scope == mailbox.ScopeOwnOrCommon) {
			at = "tree"
		}
		if slices.Contains(d.inbox, who) {
			at += "inbox"
		}
		if at != "" {
			out[login] = at
		}
	}
	return out
}

// filed takes the message in and looks where it stands.
func (i *intake) filed(p *policy.Policy, people map[string]mailbox.Person, raw []byte, role mailbox.Role, want map[string]string, name string) {
	i.t.Helper()
	i.take(raw)
	got := map[string]string{}
	for login, who := range people {
		if at := i.sight(p, login, who, role); at != "" {
			got[login] = strings.ReplaceAll(at, "treeinbox", "tree")
		}
	}
	for login, at := range want {
		if !strings.Contains(got[login], at) {
			i.t.Errorf("%s, filed\ngot  %v\nwant %v", name, got, want)
		}
	}
}

// TestReceiptThatWaitedGoesToTheSenderToo: what waited for its submission goes the
// same way when it is tied.
func TestReceiptThatWaitedGoesToTheSenderToo(t *testing.T) {
	i := newIntake(t)
	p := &policy.Policy{Users: []policy.User{{Login: "mario"}, {Login: "lucia"}}, Mailboxes: []policy.Mailbox{{
		Address: testBox, Active: true, Admin: "capo", ReceiptsTo: "sender",
		Members: []policy.Member{{User: "mario", Send: true, SendOnly: true}, {User: "lucia", Receive: true}},
	}}}
	people := i.house(p, "mario", "lucia", "capo")
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	i.take(i.receipt(providersim.Delivery, noMsgID))
	if got := i.sight(p, "mario", people["mario"], mailbox.RoleDelivery) + ", " + i.sight(p, "lucia", people["lucia"], mailbox.RoleDelivery); got != ", tree" {
		t.Errorf("while it waits: %q", got)
	}
	i.take(i.receipt(providersim.Acceptance, nil))
	if got := i.sight(p, "mario", people["mario"], mailbox.RoleDelivery) + ", " + i.sight(p, "lucia", people["lucia"], mailbox.RoleDelivery); got != "inbox, " {
		t.Errorf("tied: %q", got)
	}
	if st := i.inFolder(mailbox.RoleDelivery, people["lucia"], mailbox.ScopeAll); st != 1 {
		t.Errorf("%d entries of one receipt", st)
	}
}

// TestHistoryStandsInNoInbox: what stood at the provider at first contact is filed
// and given to nobody.
func TestHistoryStandsInNoInbox(t *testing.T) {
	i := newIntake(t)
	p := &policy.Policy{Users: []policy.User{{Login: "mario"}}, Mailboxes: []policy.Mailbox{{
		Address: testBox, Active: true, Admin: "capo", ReceiptsTo: "both", Members: []policy.Member{{User: "mario", Send: true, SendOnly: true}},
	}}}
	people := i.house(p, "mario", "capo")
	i.takeAt(i.receipt(providersim.Delivery, nil), i.store.Now(), cursor{UIDValidity: 1, HistoryTo: 100})
	for login, who := range people {
		if got := i.sight(p, login, who, mailbox.RoleDelivery); strings.Contains(got, "inbox") {
			t.Errorf("%s: %s", login, got)
		}
	}
}

// TestWhatIsToldAboutOneWhoLeft: the report of an outcome and a notice of what a
// person sent who has left by now go to those who receive, else to the
// administrator, and never to where nobody looks.
func TestWhatIsToldAboutOneWhoLeft(t *testing.T) {
	for _, c := range []struct {
		name      string
		left      bool
		receiver  policy.Member
		noticeFor string
		reports   string // who sees the report
	}{
		{"is there", false, policy.Member{Receive: true}, "mario", "mario lucia"},
		{"left", true, policy.Member{Receive: true}, "lucia", "lucia"},
		{"left, and nobody receives", true, policy.Member{Send: true}, "capo", ""},
	} {
		i := newIntake(t)
		p := &policy.Policy{Users: []policy.User{{Login: "mario"}, {Login: "lucia"}}, Mailboxes: []policy.Mailbox{{
			Address: testBox, Active: true, Admin: "capo", ReceiptsTo: "sender", Members: slices.Concat(lineOf("mario", &policy.Member{Send: true}), lineOf("lucia", &c.receiver)),
		}}}
		people := i.house(p, "mario", "lucia", "capo")
		i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
		if c.left {
			p.Users = p.Users[1:]
			if _, err := i.store.Part(t.Context(), []mailbox.Leaving{{Login: "mario"}}, nil); err != nil {
				t.Fatal(err)
			}
		}
		i.take(i.receipt(providersim.Acceptance, nil))
		if _, err := i.s.reportDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := cancelNotice(stored(t, i.store, "s1"), i.s.opt).file(t.Context(), i.store, func(*mailbox.Tx) (bool, error) { return true, nil })
		if err != nil {
			t.Fatal(err)
		}
		notices, reports := "", ""
		for _, l := range []string{"mario", "lucia", "capo"} {
			at := i.sight(p, l, people[l], mailbox.RoleOutcomes)
			if strings.Contains(at, "inbox") && (l != "capo" || c.noticeFor == "capo") {
				notices += l
			}
			if strings.Contains(at, "tree") {
				reports += " " + l
			}
		}
		if notices != c.noticeFor || strings.TrimSpace(reports) != c.reports {
			t.Errorf("%s: notices to %q instead of %q, report to %q instead of %q", c.name, notices, c.noticeFor, reports, c.reports)
		}
	}
}

// TestH9_ReceiptOfWhatIsUnknownOrPurged: a receipt of something that nobody knows
// is kept and seen, at the least by the administrator; one of a submission whose
// message was removed since is tied all the same.
func TestH9_ReceiptOfWhatIsUnknownOrPurged(t *testing.T) {
	i := newIntake(t)
	p := &policy.Policy{Users: []policy.User{{Login: "mario"}, {Login: "capo"}}, Mailboxes: []policy.Mailbox{{
		Address: testBox, Active: true, Admin: "capo", ReceiptsTo: "sender", Members: lineOf("mario", &policy.Member{Send: true}),
	}}}
	people := i.house(p, "mario", "capo")
	unknown := i.receipt(providersim.Delivery, nil)
	i.take(unknown)
	i.take(unknown)
	st, err := i.store.Status(t.Context(), mailbox.FolderKey{Owner: people["capo"], Role: mailbox.RoleInbox}, mailbox.Viewer{Person: people["capo"]})
	if err != nil || st.Messages != 1 || i.inFolder(mailbox.RoleDelivery, 0, mailbox.ScopeAll) != 1 {
		t.Errorf("the administrator has %d, %v", st.Messages, err)
	}
	i.send("s2", "m2@alfa.example", strings.ReplaceAll(sentText, testMsgID, "m2@alfa.example"), "a@pec.example", "b@pec.example")
	i.update(func(tx *mailbox.Tx) error {
		sub, err := load(tx, "s2")
		if err != nil {
			return err
		}
		sub.Message += 1000 // its message is none any more
		return save(tx, sub, nil)
	})
	i.take(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.MsgID = "<m2@alfa.example>" }))
	if s := i.shown("s2"); s.State != Accepted || len(s.Receipts) != 1 {
		t.Errorf("%s, %d receipts\n%s", s.State, len(s.Receipts), i.log)
	}
	if at := i.sight(p, "mario", people["mario"], mailbox.RoleAcceptance); at != "tree" {
		t.Errorf("the sender sees it in %q", at)
	}
}

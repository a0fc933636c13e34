package configs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/policy"
)

// people is goodPolicy with more users, and with sections before and lines inside its mailbox.
func people(sections, members string) string {
	text := strings.Replace(goodPolicy, "mailboxes:\n", `  - {login: lucia, email: lucia@example.org, password: '`+hash+`', pin: '`+hash+`'}
  - {login: anna, password: '`+hash+`', pin: '`+hash+`'}
`+sections+"mailboxes:\n", 1)
	return strings.Replace(text, "      - {user: mario}\n", members, 1)
}

func loadText(t *testing.T, config, text string) (*Loaded, []string) {
	t.Helper()
	write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o600)
	loaded, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	for _, w := range loaded.Warnings {
		warnings = append(warnings, strings.TrimPrefix(w.String(), filepath.Dir(config)+"/policy.yaml:"))
	}
	return loaded, warnings
}

// What one line says, with what it does not speak of.
func TestLineRights(t *testing.T) {
	const all = ^policy.Words(0)
	usual := policy.Send | policy.Receive | policy.Anomalies
	config := house(t)
	for line, want := range map[string]struct{ given, said policy.Words }{
		"":                            {usual, 0},
		"send: false":                 {usual &^ policy.Send, policy.Send},
		"delete: true, receive: true": {usual | policy.Delete, policy.Delete | policy.Receive},
		"approve: true":               {usual | policy.Approve, policy.Approve},
		"compose: true":               {usual&^policy.Send | policy.Compose, policy.Send | policy.Compose},
		"own_only: true":              {policy.Send, policy.Receive | policy.Anomalies},
		"own_only: false":             {usual, 0},
		"preset: full":                {usual | policy.Approve | policy.Delete, all},
		"preset: full, delete: false, approve: false": {usual, all},
		"preset: full, own_only: true":                {policy.Send | policy.Approve | policy.Delete, all},
		"preset: read only":                           {policy.Receive | policy.Anomalies, all},
		"preset: read only, anomalies: false":         {policy.Receive, all},
		"preset: send only":                           {policy.Send | policy.SendOnly, all},
	} {
		text := people("", "      - {user: mario}\n      - {user: Lucia}\n")
		if line != "" {
			text = people("", "      - {user: mario}\n      - {user: Lucia, "+line+"}\n")
		}
		loaded, _ := loadText(t, config, text)
		got := loaded.Policy.Mailboxes[0].Members[1].Rule(time.UTC)
		if got.User != "lucia" || got.Given() != want.given || got.Unsaid != ^want.said {
			t.Errorf("%s: given %s, unsaid %s", line, got.Given(), got.Unsaid)
		}
	}
	loaded, _ := loadText(t, config, people("", "      - {user: mario, expires: {from: 2090-01-10, for: 3 months}}\n"))
	if r := loaded.Policy.Mailboxes[0].Members[0].Rule(loaded.Appliance.Location()); r.Begins.Format(time.RFC3339) != "2090-01-10T00:00:00+01:00" ||
		r.Expires.Format(time.RFC3339) != "2090-04-10T00:00:00+02:00" {
		t.Errorf("from %s until %s", r.Begins, r.Expires)
	}
}

// The conflict report: what several lines say of one person, which won and why. Lines that agree are not worth a word.
func TestConflictWarnings(t *testing.T) {
	const groups = "groups:\n  - {name: segreteria, users: [mario, lucia]}\n  - {name: capi, groups: [segreteria], users: [anna]}\n"
	config := house(t)
	for _, c := range []struct {
		name, sections, members string
		want                    []string
	}{
		{"one line each", groups, "      - {group: capi}\n", nil},
		{"agree", groups, "      - {group: segreteria}\n      - {user: lucia, delete: true}\n      - {group: capi, anomalies: true}\n", nil},
		{"deny wins", groups, "      - {group: segreteria, send: true}\n      - {user: lucia, send: false, receive: false}\n",
			[]string{`18:9: protocollo@pec.example.org: the lines of user "lucia" disagree: line 18 denies send and wins over line 17`}},
		{"two deny, one gives", groups, "      - {group: segreteria, anomalies: false}\n      - {group: capi, anomalies: false}\n      - {user: lucia, anomalies: true}\n",
			[]string{`19:9: protocollo@pec.example.org: the lines of user "lucia" disagree: line 17 denies anomalies and wins over line 19`}},
		{"send only", groups, "      - {user: lucia, preset: send only}\n      - {group: segreteria, receive: true}\n",
			[]string{`17:31: preset: send only, but pecgate.yaml has no outgoing.smarthost: IMAP is refused and the receipts do not go by mail`,
				`18:9: protocollo@pec.example.org: the lines of user "lucia" disagree: line 17 denies receive and wins over line 18`}},
		{"the first end", groups, "      - {group: segreteria, expires: 2090-01-01}\n      - {user: mario}\n      - {user: anna}\n",
			[]string{`18:9: protocollo@pec.example.org: the lines of user "mario" disagree: line 17 ends first and ends all`}},
		{"the last beginning", groups, "      - {group: segreteria, expires: {from: 2027-01-01, for: 1 year}}\n      - {user: mario, expires: {from: 2027-02-01, for: 11 months}}\n",
			[]string{`18:9: protocollo@pec.example.org: the lines of user "mario" disagree: line 18 begins last and holds all back`}},
		{"nobody receives by name", groups, "      - {group: segreteria}\n      - {user: mario, receive: false}\n", nil},
		{"nobody can approve", groups, "      - {group: segreteria}\n      - {user: anna, compose: true, approve: true}\n", []string{
			`17:7: nobody may approve what "anna" writes from protocollo@pec.example.org: give another member approve`}},
		{"one approves their own", groups + "defaults: {approve_own: true}\n", "      - {group: segreteria}\n      - {user: anna, compose: true, approve: true}\n", nil},
		{"no pin to approve with", "  - {login: piero, password: '" + hash + "'}\n" + groups + "defaults: {pin_required: true}\n",
			"      - {user: mario, compose: true}\n      - {user: piero, send: false, approve: true}\n", []string{
				`20:9: user "piero" has no pin and cannot approve for protocollo@pec.example.org: give them one, or write approval_pin: false`}},
		{"no pin needed to approve", "  - {login: piero, password: '" + hash + "'}\n" + groups + "defaults: {pin_required: true, approval_pin: false}\n",
			"      - {user: mario, compose: true}\n      - {user: piero, send: false, approve: true}\n", nil},
		{"a group without users", "groups: [{name: vuoto}]\n", "      - {group: vuoto}\n      - {user: mario}\n",
			[]string{`8:10: group "vuoto" has no users: lines that name it speak of nobody`}},
		{"a line of defaults", "defaults:\n  members: [{user: lucia, preset: read only}]\n", "      - {user: mario}\n      - {user: lucia, send: true}\n",
			[]string{`9:13: protocollo@pec.example.org: the lines of user "lucia" disagree: line 9 denies send and wins over line 17`}},
	} {
		_, got := loadText(t, config, people(c.sections, c.members))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// What a mailbox takes from defaults, key by key.
func TestDefaultsAreInherited(t *testing.T) {
	config := house(t)
	text := people(`defaults:
  admin: lucia
  receipt: brief
  split: always
  pin_methods: [subject, header]
  limits: {recipients: 20, per_minute: 3}
  smtp: {timeout: 20s, port: 1465}
  incoming: {every: 5m, host: imap.example.org}
  keep: 10d
  max_members: 2
  members:
    - {user: lucia, send: false, expires: {from: 2027-01-01, for: 90d}}
`, "      - {user: mario}\n") + `  - address: due@pec.example.org
    smtp: {host: smtp.example.org}
    password: {file: secrets/protocollo}
    receipt: complete
    pin_methods: [subject]
    limits: {recipients: 40}
    members: [{user: anna}]
  - address: tre@pec.example.org
    inherit: false
    provider: aruba
    password: {file: secrets/protocollo}
    admin: mario
    members: [{user: anna}]
`
	loaded, _ := loadText(t, config, text)
	var got []string
	for _, m := range loaded.Policy.Mailboxes {
		var who []string
		for _, l := range m.Members {
			who = append(who, fmt.Sprintf("%s %d %s", l.User, l.At.Line, l.Expires))
		}
		got = append(got, fmt.Sprint(m.Admin, m.Receipt, m.Split, m.PINMethods, m.Limits, m.SMTP.Host, m.SMTP.Port, m.SMTP.Timeout,
			m.Incoming.Host, m.Incoming.Every, m.Keep.After, m.MaxMembers, who))
	}
	// The first has its own provider: no limits, port or host of defaults.
	want := []string{
		"mariobriefalways[subject header]{50 100MB 0 10}smtps.pec.aruba.it465 20simaps.pec.aruba.it5m0s240h0m0s2[mario 26  lucia 19 2027-03-31]",
		"luciacompletealways[subject]{40 30MB 3 10}smtp.example.org1465 20simap.example.org5m0s240h0m0s2[anna 33  lucia 19 2027-03-31]",
		"mariocompletenever[subject]{50 100MB 0 10}smtps.pec.aruba.it465 1m0simaps.pec.aruba.it1m0s0s30[anna 39 ]",
	}
	for i := range want {
		if i >= len(got) || strings.ReplaceAll(got[i], " ", "") != strings.ReplaceAll(want[i], " ", "") {
			t.Errorf("got\n%s\nwant\n%s", got[i], want[i])
		}
	}
	// Nothing is shared: a mailbox that is changed does not change another, nor the defaults.
	loaded.Policy.Mailboxes[0].PINMethods[0] = "x"
	if loaded.Policy.Defaults.PINMethods[0] != "subject" {
		t.Error("shared list")
	}
}

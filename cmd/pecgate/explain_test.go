package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const testHash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

// groupedPolicy has what explain and diff resolve: groups, defaults, presets, terms and a list.
const groupedPolicy = `users:
  - {login: mario, email: mario@example.org, password: '` + testHash + `', pin: '` + testHash + `'}
  - {login: lucia, password: '` + testHash + `'}
  - {login: anna, password: '` + testHash + `'}
groups:
  - {name: segreteria, users: [lucia, anna]}
defaults:
  admin: lucia
mailboxes:
  - address: protocollo@pec.example.org
    provider: aruba
    password: {file: secret}
    pin_required: true
    split: blind
    members:
      - {user: mario, delete: true, expires: {from: 2026-01-01, for: 10 years}}
      - {group: segreteria, preset: read only}
      - {user: lucia, send: true}
lists:
  - address: sindaci@liste.example.org
    members: [a@pec.example.it, b@pec.example.it]
    users: [mario]
`

// policyFolder is configFolder with another policy; it gives its folder with a slash at the end, too.
func policyFolder(t *testing.T, text string) (config, dir string) {
	t.Helper()
	config = configFolder(t)
	dir = filepath.Dir(config) + string(filepath.Separator)
	writeText(t, dir+"policy.yaml", text)
	return config, dir
}

func writeText(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExplainCommand(t *testing.T) {
	config, dir := policyFolder(t, groupedPolicy)
	const box = "protocollo@pec.example.org"
	state, out, errs := program(t, "", "explain", "--config", config, "--user", "lucia", "--from", "Protocollo@pec.example.org")
	want := `user       lucia                       policy.yaml:3
mailbox    protocollo@pec.example.org  policy.yaml:10
line       policy.yaml:17              group segreteria; gives receive, anomalies; denies send, compose, approve, delete
line       policy.yaml:18              by name; gives send
send       no                          policy.yaml:17, wins over policy.yaml:18
receive    yes                         policy.yaml:17
anomalies  yes                         policy.yaml:17
compose    no                          policy.yaml:17
approve    no                          policy.yaml:17
delete     no                          policy.yaml:17
now        yes
IMAP       yes
PIN        not needed
verdict    refused  no-send policy.yaml:17
550 5.7.1 Non siete abilitati a inviare dalla casella protocollo@pec.example.org: rivolgersi all'amministratore.
550 5.7.1 You may not send from the mailbox protocollo@pec.example.org: ask the administrator.
`
	// The width of the columns is that of the folder's name.
	if got := strings.Join(strings.Fields(strings.ReplaceAll(out, dir, "")), " "); state != exitGood || errs != "" || got != strings.Join(strings.Fields(want), " ") {
		t.Errorf("%d %s\n%s", state, errs, out)
	}

	eml := dir + "m.eml"
	for _, c := range []struct {
		name, message string
		args          []string
		reason        string
		then          string
		to            string
		split         string
		pin           string
	}{
		{"nothing but names", "", nil, "allowed", "relay", "", "", "needed"},
		{"by email", "", []string{"--user", "MARIO@example.org"}, "allowed", "relay", "", "", "needed"},
		{"unknown user", "", []string{"--user", "nobody"}, "not-member", "", "", "", "not needed"},
		{"login of one mailbox", "", []string{"--user", "mario/" + box}, "allowed", "relay", "", "", "needed"},
		{"unknown mailbox", "", []string{"--from", "altra@pec.example.org"}, "unknown-mailbox", "", "", "", "not needed"},
		{"a recipient", "", []string{"--to", "a@b.it"}, "allowed", "relay", "a@b.it", "", "needed"},
		{"a bad recipient", "", []string{"--to", "a"}, "bad-address", "", "a", "", "needed"},
		{"a list", "", []string{"--to", "sindaci@liste.example.org", "--to", "x@y.it"}, "allowed", "relay", "a@pec.example.it b@pec.example.it x@y.it", "always", "needed"},
		{"somebody else's list", "", []string{"--user", "lucia", "--to", "sindaci@liste.example.org"}, "no-send", "", "sindaci@liste.example.org", "", "not needed"},
		{"a message", "From: " + box + "\nTo: a@b.it\nSubject: x\n\nciao\n", nil, "allowed", "relay", "a@b.it", "", "needed"},
		{"another From", "From: altra@pec.example.org\nTo: a@b.it\n\nciao\n", nil, "from-differs", "", "a@b.it", "", "needed"},
		{"two From", "From: " + box + "\nFrom: " + box + "\nTo: a@b.it\n\nciao\n", nil, "header", "", "", "", "needed"},
		{"a blind copy", "From: " + box + "\nTo: a@b.it\nBcc: c@d.it\nSubject: x\n\nciao\n", nil, "allowed", "relay", "a@b.it c@d.it", "blind", "needed"},
		{"a bare CR", "From: " + box + "\nTo: a@b.it\n\nci\rao\n", nil, "line-ends", "", "", "", "needed"},
	} {
		args := []string{"explain", "--json", "--config", config, "--from", box, "--user", "mario"}
		if c.message != "" {
			writeText(t, eml, c.message)
			args = append(args, "--eml", eml)
		}
		state, out, errs := program(t, "", append(args, c.args...)...)
		var x explanation
		if err := json.Unmarshal([]byte(out), &x); err != nil || state != exitGood || errs != "" {
			t.Errorf("%s: %d %s %v", c.name, state, errs, err)
			continue
		}
		if x.Verdict.Reason != c.reason || x.Verdict.Then != c.then || strings.Join(x.To, " ") != c.to || x.Split != c.split || x.PIN != c.pin {
			t.Errorf("%s: %s", c.name, out)
		}
		if x.Verdict.Allow != (c.reason == "allowed") || x.Verdict.Italian == "" || x.Verdict.English == "" {
			t.Errorf("%s: %+v", c.name, x.Verdict)
		}
	}
	for _, c := range []struct {
		args  []string
		state int
		want  string
	}{
		{[]string{"--user", "mario"}, exitUsage, "pecgate: explain needs --user and --from: whose right on which mailbox is asked?\n"},
		{[]string{"mario"}, exitUsage, "pecgate: explain takes no argument: name the person with --user and the mailbox with --from (see pecgate --help)\n"},
		{[]string{"--user", "mario", "--from", box, "--eml", dir + "none.eml"}, exitFailed, "pecgate: message: open " + dir + "none.eml: no such file or directory\n"},
	} {
		if state, _, errs := program(t, "", append([]string{"explain", "--config", config}, c.args...)...); state != c.state || errs != c.want {
			t.Errorf("%v: %d %q", c.args, state, errs)
		}
	}
}

func TestPolicyDiff(t *testing.T) {
	config, dir := policyFolder(t, groupedPolicy)
	// What is compared need not be in order as a whole: secrets may be elsewhere, and anybody may read it.
	edit := func(pairs ...string) string {
		return strings.NewReplacer(pairs...).Replace(groupedPolicy)
	}
	for _, c := range []struct {
		name, text string
		want       []string // change mailbox user what old new
	}{
		{"nothing", edit("{file: secret}", "{file: secret}"), nil},
		{"in other words", edit("users: [lucia, anna]", "users: [anna]}\n  - {name: x, users: [lucia]", "{user: lucia, send: true}",
			"{group: x, preset: read only}\n      - {user: lucia, send: true}"), nil},
		{"a preset", edit("read only", "full"), []string{
			"gains protocollo@pec.example.org anna send  ", "gains protocollo@pec.example.org anna approve  ", "gains protocollo@pec.example.org anna delete  ",
			"gains protocollo@pec.example.org lucia send  ", "gains protocollo@pec.example.org lucia approve  ", "gains protocollo@pec.example.org lucia delete  "}},
		{"somebody leaves a group", edit("[lucia, anna]", "[lucia]"), []string{
			"loses protocollo@pec.example.org anna receive  ", "loses protocollo@pec.example.org anna anomalies  "}},
		{"an end", edit("10 years", "11 months", "delete: true, ", ""), []string{
			"loses protocollo@pec.example.org mario delete  ", "changes protocollo@pec.example.org mario expires 2035-12-31 2026-11-30"}},
		{"no term", edit(", expires: {from: 2026-01-01, for: 10 years}", ""), []string{
			"changes protocollo@pec.example.org mario begins 2026-01-01 always", "changes protocollo@pec.example.org mario expires 2035-12-31 never"}},
		{"long over", edit("{from: 2026-01-01, for: 10 years}", "2020-01-01"), []string{
			"loses protocollo@pec.example.org mario send  ", "loses protocollo@pec.example.org mario receive  ",
			"loses protocollo@pec.example.org mario anomalies  ", "loses protocollo@pec.example.org mario delete  ",
			"changes protocollo@pec.example.org mario begins 2026-01-01 always",
			"changes protocollo@pec.example.org mario expires 2035-12-31 2020-01-01"}},
		{"settings", edit("pin_required: true", "pin_required: false\n    limits: {recipients: 20}\n    keep: 3650d\n    provider_copy: 36h", "{file: secret}", "{file: other}",
			"admin: lucia", "admin: mario"), []string{
			"changes protocollo@pec.example.org  password  ",
			"changes protocollo@pec.example.org  pin_required true false",
			"changes protocollo@pec.example.org  provider_copy keep 36h",
			"changes protocollo@pec.example.org  provider_copy_receipts keep 36h",
			"changes protocollo@pec.example.org  keep forever 3650d",
			"changes protocollo@pec.example.org  limits.recipients 50 20",
			"changes protocollo@pec.example.org  admin lucia mario"}},
		{"users", edit("pin: '"+testHash+"'", "deliver: [imap, forward]", "{login: anna,", "{login: piero, email: p@example.org}\n  - {login: anna,"), []string{
			"loses  mario pin  ", "changes  mario deliver [imap] [imap, forward]", "gains  piero user  "}},
		{"another password", edit("{login: anna, password: '"+testHash, "{login: anna, password: '"+strings.Replace(testHash, "t=2", "t=3", 1)), []string{"changes  anna password  "}},
		{"a list", edit("b@pec.example.it", "c@pec.example.it", "users: [mario]", "groups: [segreteria]"), []string{
			"changes   list sindaci@liste.example.org b@pec.example.it ", "changes   list sindaci@liste.example.org  c@pec.example.it",
			"gains  anna list sindaci@liste.example.org  ", "gains  lucia list sindaci@liste.example.org  ", "loses  mario list sindaci@liste.example.org  "}},
		{"a server more", groupedPolicy + "relays:\n  - {name: x, networks: [192.0.2.1/32]}\n", []string{"gains   relay x  "}},
		{"a mailbox more", edit("lists:", "  - {address: due@pec.example.org, provider: aruba, password: {file: x}, members: [{user: anna, preset: send only}, {user: mario, send: false}]}\nlists:"), []string{
			"gains due@pec.example.org  mailbox  ", "gains due@pec.example.org anna send  ", "gains due@pec.example.org anna send only  ",
			"gains due@pec.example.org mario receive  ", "gains due@pec.example.org mario anomalies  "}},
	} {
		writeText(t, dir+"new.yaml", c.text)
		if err := os.Chmod(dir+"new.yaml", 0o644); err != nil {
			t.Fatal(err)
		}
		state, out, errs := program(t, "", "policy", "diff", "--json", "--config", config, dir+"policy.yaml", dir+"new.yaml")
		if state != exitGood || errs != "" {
			t.Errorf("%s: %d %s", c.name, state, errs)
		}
		var got []string
		for line := range strings.Lines(out) {
			var x change
			if err := json.Unmarshal([]byte(line), &x); err != nil {
				t.Fatal(err)
			}
			if x.Line == "" {
				t.Errorf("%s: no line: %s", c.name, line)
			}
			got = append(got, strings.Join([]string{x.Change, x.Mailbox, x.User, x.What, x.Old, x.New}, " "))
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
		if strings.Contains(out, "argon2id") || strings.Contains(out, "c2FsdHNh") {
			t.Errorf("%s shows a hash", c.name)
		}
	}
	// As a table, and backwards what was gained is lost.
	state, out, _ := program(t, "", "policy", "diff", "--config", config, dir+"new.yaml", dir+"policy.yaml")
	if state != exitGood || !strings.HasPrefix(out, "MAILBOX") || strings.Count(out, "loses") != 5 || strings.Contains(out, "gains") {
		t.Errorf("%d\n%s", state, out)
	}
	if state, out, _ := program(t, "", "policy", "diff", dir+"policy.yaml", dir+"policy.yaml", "--config", dir+"none"); state != exitGood ||
		out != "no difference: nobody gains or loses anything\n" {
		t.Errorf("%d %s", state, out)
	}
	writeText(t, dir+"new.yaml", edit("members:", "membres:"))
	state, _, errs := program(t, "", "policy", "diff", "--config", config, dir+"policy.yaml", dir+"new.yaml")
	if state != exitUsage || !strings.Contains(errs, `new.yaml:15:5: unknown key "membres": did you mean "members"?`) {
		t.Errorf("%d %s", state, errs)
	}
	if state, _, errs := program(t, "", "policy", "diff", "one"); state != exitUsage || errs != "pecgate: diff needs two policy files: the old one and the new one (see pecgate --help)\n" {
		t.Errorf("%d %s", state, errs)
	}
	if state, _, _ := program(t, "", "policy"); state != exitUsage {
		t.Error("policy alone is good")
	}
}

// What changes of a groupware server is told by key; of its password, that it is another one.
func TestPolicyDiff_Relays(t *testing.T) {
	other := strings.Replace(testHash, "t=2", "t=3", 1)
	const relays = "relays:\n  - {name: x, networks: [192.0.2.1/32], "
	config, dir := policyFolder(t, groupedPolicy+relays+"login: x, password: '"+testHash+"', senders: [mario@example.org]}\n")
	writeText(t, dir+"new.yaml", groupedPolicy+strings.Replace(relays, "2.1", "2.2", 1)+"login: x, password: '"+other+
		"', users: 'user:mario', suffix: pec, marks: [suffix], client_ca: none.pem, unmarked: smarthost, pin: subject, journal: true, delivery_reports: false, internal_recipients: warn, mailbox: protocollo@pec.example.org}\n")
	state, out, errs := program(t, "", "policy", "diff", "--config", config, dir+"policy.yaml", dir+"new.yaml")
	var got []string
	for line := range strings.Lines(strings.ReplaceAll(out, dir, "")) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := `MAILBOX USER CHANGE WHAT FROM TO LINE
- - changes networks [192.0.2.1/32] [192.0.2.2/32] new.yaml:24
- - changes client_ca none none.pem new.yaml:24
- - changes password - - new.yaml:24
- - changes users by_email user:mario new.yaml:24
- - changes marks [from, subject, senders] [suffix] new.yaml:24
- - changes suffix none pec new.yaml:24
- - changes senders [mario@example.org] [] new.yaml:24
- - changes mailbox none protocollo@pec.example.org new.yaml:24
- - changes unmarked refuse smarthost new.yaml:24
- - changes pin reply subject new.yaml:24
- - changes internal_recipients refuse warn new.yaml:24
- - changes journal false true new.yaml:24
- - changes delivery_reports true false new.yaml:24`
	if state != exitGood || errs != "" || strings.Join(got, "\n") != want || strings.Contains(out, "argon2") {
		t.Errorf("%d %s\n%s", state, errs, strings.Join(got, "\n"))
	}
}

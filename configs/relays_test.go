package configs

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pecgate/policy"
)

func TestRelayDefaults(t *testing.T) {
	config := house(t)
	write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), goodPolicy+`relays:
  - {name: exchange, networks: [192.0.2.10/32]}
  - {name: other, networks: ["2001:db8::1/128"], users: "user:MARIO", suffix: PEC, domains: [PEC.comune.example.it], mailbox: Protocollo@pec.example.org, pin: subject}
  - {name: only, networks: [192.0.2.11/32], marks: [senders], senders: [Mario.Rossi@example.org], internal_recipients: warn, delivery_reports: false}
`, 0o640)
	loaded, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(config), "policy.yaml")
	for i, want := range []policy.Relay{
		{Name: "exchange", Users: "by_email", Trigger: "[PEC]", Marks: []string{"from", "subject"}, PINs: []string{"reply"}, Delivery: true, Line: file + ":14"},
		{Name: "other", Users: "user:mario", Trigger: "[PEC]", Marks: []string{"from", "subject", "suffix", "domains"}, Suffix: "pec",
			Domains: []string{"pec.comune.example.it"}, Mailbox: "protocollo@pec.example.org", PINs: []string{"reply", "subject"}, Delivery: true, Line: file + ":15"},
		{Name: "only", Users: "by_email", Trigger: "[PEC]", Marks: []string{"senders"}, Senders: []string{"mario.rossi@example.org"}, PINs: []string{"reply"},
			InternalWarn: true, Line: file + ":16"},
	} {
		got := loaded.Policy.Relays[i].Rule()
		for _, list := range []*[]string{&got.Domains, &got.Senders} {
			if len(*list) == 0 {
				*list = nil
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("relay %d\n%+v\nwant\n%+v", i, got, want)
		}
	}
	if got := loaded.Policy.Relays[1].Prefixes(); len(got) != 1 || got[0].String() != "2001:db8::1/128" {
		t.Errorf("networks %v", got)
	}
}

// What is likely a mistake, but may be meant, is told and taken.
func TestRelayWarnings(t *testing.T) {
	config := house(t)
	dir := filepath.Dir(config)
	old, _ := selfSigned(t, "exchange.example.org", time.Now().AddDate(0, 0, -1))
	soon, _ := selfSigned(t, "exchange.example.org", time.Now().AddDate(0, 0, 3))
	write(t, filepath.Join(dir, "old-ca.pem"), old, 0o644)
	write(t, filepath.Join(dir, "soon-ca.pem"), soon, 0o644)
	const users = `users:
  - login: mario
    password: ` + hash + `
mailboxes:
  - address: protocollo@pec.example.org
    active: false
    provider: aruba
    password: {file: secrets/protocollo}
    admin: mario
    members:
      - {user: mario}
`
	withPIN := strings.Replace(goodPolicy, "    admin: mario\n", "    admin: mario\n    pin_required: true\n", 1)
	for _, c := range []struct{ name, appliance, policy, relay, want string }{
		{"a good one", "smtp: {relay: [\"192.0.2.1:25\"]}\n", goodPolicy, "{name: a, networks: [192.0.2.10/32]}", ""},
		{"a listener on every address", "", goodPolicy, "{name: a, networks: [192.0.2.10/32]}", "listens on every address (0.0.0.0:25)"},
		{"a listener on every address of both kinds", "smtp: {relay: [\"[::]:25\"]}\n", goodPolicy, "{name: a, networks: [192.0.2.10/32]}", "listens on every address ([::]:25)"},
		{"no listener", "smtp: {relay: []}\n", goodPolicy, "{name: a, networks: [192.0.2.10/32]}", "no relay can connect"},
		{"a wide network", "", goodPolicy, "{name: a, networks: [10.0.0.0/8]}", "everybody in 10.0.0.0/8 could send"},
		{"a wide network with a login", "smtp: {relay: [\"192.0.2.1:25\"]}\n", goodPolicy, "{name: a, networks: [10.0.0.0/8], login: a, password: \"" + hash + "\"}", ""},
		{"a large network", "", goodPolicy, "{name: a, networks: [192.0.2.0/27]}", "everybody in 192.0.2.0/27 could send as any user"},
		{"a small network", "smtp: {relay: [\"192.0.2.1:25\"]}\n", goodPolicy, "{name: a, networks: [192.0.2.0/28, \"2001:db8::/64\"]}", ""},
		{"a large network of the other kind", "", goodPolicy, "{name: a, networks: [\"2001:db8::/63\"]}", "everybody in 2001:db8::/63 could send as any user"},
		{"a large network with a secret", "smtp: {relay: [\"192.0.2.1:25\"]}\n", goodPolicy, "{name: a, networks: [192.0.2.0/24], secret_header: {name: X-S, value: " + secretHash + "}}", ""},
		{"a network of Microsoft 365", "", goodPolicy, "{name: a, networks: [40.107.1.2/32]}", "from 40.107.1.2/32 every customer of Microsoft 365 sends"},
		{"a network around it, with a certificate", "", goodPolicy, "{name: a, networks: [40.0.0.0/9], client_ca: soon-ca.pem}", "every customer of Microsoft 365 sends"},
		{"the same with a secret", "smtp: {relay: [\"192.0.2.1:25\"]}\n", goodPolicy, "{name: a, networks: [40.92.0.0/15], secret_header: {name: X-S, value: " + secretHash + "}}", ""},
		{"an expired CA", "", goodPolicy, "{name: a, networks: [192.0.2.10/32], client_ca: old-ca.pem}", "client_ca: the certificate expired on"},
		{"a CA that expires", "", goodPolicy, "{name: a, networks: [192.0.2.10/32], client_ca: soon-ca.pem}", "client_ca: the certificate expires on"},
		{"a suffix in use", "", goodPolicy, "{name: a, networks: [192.0.2.10/32], suffix: it}", "domains in use end with .it"},
		{"a longer suffix in use", "", goodPolicy, "{name: a, networks: [192.0.2.10/32], suffix: Legal}", "domains in use end with .legal"},
		{"a suffix of one's own", "smtp: {relay: [\"192.0.2.1:25\"]}\n", goodPolicy, "{name: a, networks: [192.0.2.10/32], suffix: invio.example.it}", ""},
		{"the domain of a mailbox of ours", "", goodPolicy, "{name: a, networks: [192.0.2.10/32], domains: [PEC.example.org]}", "is the domain of our mailbox protocollo@pec.example.org"},
		{"the domain of colleagues", "", goodPolicy, "{name: a, networks: [192.0.2.10/32], domains: [example.org]}", `is the domain of the email of user "mario"`},
		{"a sender who is nobody", "", goodPolicy, "{name: a, networks: [192.0.2.10/32], senders: [x@example.org]}", "is no user's email"},
		{"a sender whom a field vouches for", "smtp: {relay: [\"192.0.2.1:25\"]}\n", goodPolicy, "{name: a, networks: [192.0.2.10/32], senders: [x@example.org], users: \"header:X-User\"}", ""},
		{"no user has an email", "", users, "{name: a, networks: [192.0.2.10/32]}", "no user has an email"},
		{"a mailbox that is not active", "", users, "{name: a, networks: [192.0.2.10/32], users: \"user:mario\", mailbox: protocollo@pec.example.org}", "is not active"},
		{"a PIN that cannot come", "", withPIN, "{name: a, networks: [192.0.2.10/32]}", "protocollo@pec.example.org needs a PIN"},
		{"a PIN that the one user does not need", "smtp: {relay: [\"192.0.2.1:25\"]}\n", strings.Replace(withPIN, "mailboxes:", "  - {login: scanner, password: \""+hash+"\"}\nmailboxes:", 1),
			"{name: a, networks: [192.0.2.10/32], users: \"user:scanner\"}", ""},
		{"journal reports", "", goodPolicy, "{name: a, networks: [192.0.2.10/32], journal: true}", "let nobody but Exchange write to journal@"},
		{"journal reports with a PIN in the Subject", "", goodPolicy, "{name: a, networks: [192.0.2.10/32], journal: true, pin: subject}", "only pin: reply makes sense here"},
		{"a PIN by the subject", "smtp: {relay: [\"192.0.2.1:25\"]}\n", withPIN, "{name: a, networks: [192.0.2.10/32], pin: subject}", ""},
	} {
		write(t, config, goodAppliance+c.appliance, 0o644)
		write(t, filepath.Join(dir, "policy.yaml"), c.policy+"relays:\n  - "+c.relay+"\n", 0o640)
		loaded, err := Load(config)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, w := range loaded.Warnings {
			if strings.Contains(w.Message, noEffect) || strings.Contains(w.Message, "has no password") {
				continue
			}
			if w.Line < 11 {
				t.Errorf("%s: not at the relay: %s", c.name, w)
			}
			got = append(got, w.Message)
		}
		all := strings.Join(got, "\n")
		if c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("%s: warned of %q, want %q", c.name, all, c.want)
		}
	}
}

const secretHash = "$sha256$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// The field with the secret needs a name of its own and a hash that was made for it; what is there in place of a hash is
// never shown.
func TestRelaySecretHeader(t *testing.T) {
	config := house(t)
	for _, c := range []struct{ key, want string }{
		{"{name: X-S, value: " + secretHash + "}", ""},
		{"{name: X-S}", "value is missing"},
		{"{value: " + secretHash + "}", "name is missing"},
		{"{name: X S, value: " + secretHash + "}", "needs the name of a header field"},
		{"{name: Auto-Submitted, value: " + secretHash + "}", "is written by every mail program"},
		{"{name: x-user, value: " + secretHash + "}", "is the field of users, too"},
		{"{name: X-S, value: SUPERSECRET}", "needs what `pecgate password --secret` prints"},
		{"{name: X-S, value: $sha256$SUPERSECRET}", "needs what `pecgate password --secret` prints"},
		{"{name: X-S, value: \"" + hash + "\"}", "needs what `pecgate password --secret` prints"},
		{"{name: X-S, value: " + secretHash + "}, journal: true", "journal: cannot go with secret_header"},
		{"SUPERSECRET", "secret_header"},
		{"{}", "value is missing"},
	} {
		write(t, config, goodAppliance, 0o644)
		write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), goodPolicy+"relays:\n  - {name: a, networks: [192.0.2.10/32], users: \"header:X-User\", secret_header: "+c.key+"}\n", 0o640)
		loaded, err := Load(config)
		switch {
		case c.want == "" && (err != nil || loaded.Policy.Relays[0].SecretHeader != SecretHeader{"X-S", secretHash}):
			t.Errorf("%s: %v", c.key, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", c.key, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "SUPERSECRET") || !strings.Contains(err.Error(), "policy.yaml:14")) {
			t.Errorf("%s: %v", c.key, err)
		}
	}
}

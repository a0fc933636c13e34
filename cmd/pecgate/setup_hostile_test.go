package main

import (
	"os/exec"
	"strings"
	"testing"
)

// Names that hold quotes of the target language, or characters that PowerShell takes for quotes, stay values; what cannot
// stand in one line is refused.
func TestSetupHostileNames(t *testing.T) {
	table := psCmdlets(t)
	facts := func(product, name string) setupFacts {
		return setupFacts{Product: product, Relay: name, Hostname: "pecgate.comune.example", Port: 25, Addresses: []string{"192.0.2.30"}, MaxSize: 100 << 20, Login: name,
			Users: "by_email", Identities: []setupIdentity{{Email: name + "@comune.example", Login: name}}, Marks: []string{"from", "subject", "suffix", "senders"}, Trigger: "[" + name + "]",
			Suffix: "pec", Senders: []string{"ufficio@comune.example"}, Mailboxes: []string{"protocollo@pec.comune.example"}, BackHost: "mail.comune.example", BackPort: 25,
			Notices: "pecgate@pecgate.comune.example", Warnings: []string{name}}
	}
	for _, name := range []string{"x'; Remove-Mailbox -Identity 'a", "dell\u2019ufficio", "citt\u00e0", "$(Remove-Mailbox)", "a`nb", "\u201b; Remove-Mailbox; #", "a\"b", "END", "$HOME`id`", "'; rm -rf /; '",
		"pec.*|x", strings.Repeat("lungo ", 40)} {
		for _, product := range setupProducts() {
			f := facts(product, name)
			if product == "exchange" || product == "m365" {
				f.IdentityHeader, f.Users = "X-Pecgate-User", "header:X-Pecgate-User"
			}
			for _, remove := range []bool{false, true} {
				text, err := setupText(f, setupWish{product: product, language: "it", remove: remove})
				if err != nil {
					if product == "postfix" && !remove { // a tag that cannot be looked for, or a sender that is no key
						continue
					}
					t.Errorf("%s %q: %v", product, name, err)
					continue
				}
				if strings.ContainsFunc(text, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\t' }) {
					t.Errorf("%s %q is not ASCII", product, name)
				}
				switch product {
				case "exchange", "m365":
					if _, err := readPowerShell(text, product, table); err != nil {
						t.Errorf("%s %q: %v\n%s", product, name, err, text)
					}
				case "postfix":
					// Functions in place of the programs: whatever a name makes the shell run is none of them.
					guard := "postconf() { case $1 in -h) echo \"$PWD/etc\" ;; esac; }; mkdir() { /bin/mkdir \"$@\"; }; postfix() { :; }; cat() { :; }; umask() { :; }; rm() { :; }; rmdir() { :; }; grep() { return 1; }; PATH=/nowhere\n"
					cmd := exec.CommandContext(t.Context(), "sh", "-c", guard+text)
					cmd.Dir, cmd.Env = t.TempDir(), []string{"PECGATE_RELAY_PASSWORD=x"}
					if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "not found") {
						t.Errorf("%q: %v %s", name, err, out)
					}
				}
			}
		}
	}
	for _, name := range []string{"a\nRemove-Mailbox", "a\rb", "a\x00b", "a\u202eb", "a\xffb", "a\u2028b"} {
		for _, product := range setupProducts() {
			if text, err := setupText(facts(product, name), setupWish{product: product, language: "en"}); err == nil {
				t.Errorf("%s takes %q:\n%s", product, name, text)
			}
		}
	}
}

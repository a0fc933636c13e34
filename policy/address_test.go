package policy

import (
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"mario@example.org":                                          "mario@example.org",
		"Mario.Rossi@PEC.Example.ORG":                                "Mario.Rossi@pec.example.org",
		"a@b.it":                                                     "a@b.it",
		"mario+tag@example.org":                                      "mario+tag@example.org",
		"o'brien@example.org":                                        "o'brien@example.org",
		"!#$%&'*+-/=?^_`{|}~@example.org":                            "!#$%&'*+-/=?^_`{|}~@example.org",
		"mario@xn--caff-8oa.example.org":                             "mario@xn--caff-8oa.example.org",
		"mario@1.example.org":                                        "mario@1.example.org",
		strings.Repeat("a", 64) + "@example.org":                     strings.Repeat("a", 64) + "@example.org",
		"a@" + strings.Repeat("b", 63) + ".org":                      "a@" + strings.Repeat("b", 63) + ".org",
		"a@" + strings.Repeat(strings.Repeat("b", 48)+".", 5) + "it": "a@" + strings.Repeat(strings.Repeat("b", 48)+".", 5) + "it",
	} {
		if got, err := ParseAddress(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func badAddresses() []string {
	return []string{
		"", "@", "mario", "mario@", "@example.org", "mario@@example.org", "a@b@example.org", "mario@example", "mario@localhost",
		".mario@example.org", "mario.@example.org", "ma..rio@example.org", "mario@example.org.", "mario@.example.org",
		"mario@example..org", "mario@-example.org", "mario@example-.org", "mario@exa_mple.org", "mario@192.0.2.1",
		"mario@[192.0.2.1]", "mario@[IPv6:2001:db8::1]", "<mario@example.org>", "Mario <mario@example.org>",
		`"mario"@example.org`, `"ma rio"@example.org`, `"a@evil.com> NOTIFY=NEVER"@dom.it`, `mario\@example.org`,
		"@relay.example.org:mario@example.org", "mario(comment)@example.org", "mario@example.org(comment)",
		"mario@(comment)example.org", " mario@example.org", "mario@example.org ", "mario @example.org", "mario@ example.org",
		"mario@example.org\r\n", "mario@example.org\nRCPT TO:<x@example.org>", "mario\r@example.org", "mario\x00@example.org",
		"mario@example.org\x00", "mario@exa\tmple.org", "mario,lucia@example.org", "mario@example.org,lucia@example.org",
		"mario@example.org;", "Group: mario@example.org;", "mario:x@example.org", "m\u00e0rio@example.org",
		"mario@ex\u00e0mple.org", "ma\u200brio@example.org", "mario@exam\u200bple.org", "m\u0430rio@example.org", "\u212aarl@example.org",
		"mario\uff20example.org", "mario@example\u3002org", "mario\xff@example.org", "=?utf-8?q?mario?= <m@example.org>",
		"mario@example.org/x", "mario@example.org#archivio", "mario@example.org>", "[mario]@example.org",
		strings.Repeat("a", 65) + "@example.org", "a@" + strings.Repeat("b", 64) + ".org",
		"a@" + strings.Repeat(strings.Repeat("b", 48)+".", 5) + "itaaaaaaaa", strings.Repeat("a", 1<<20),
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, in := range badAddresses() {
		if got, err := ParseAddress(in); err != ErrAddress || got != "" {
			t.Errorf("%.60q: %q, %v", in, got, err)
		}
	}
}

// What is accepted is safe to write between angle brackets, and reading it again changes nothing.
func FuzzParseAddress(f *testing.F) {
	for _, s := range badAddresses() {
		if len(s) < 1000 {
			f.Add(s)
		}
	}
	f.Add("Mario.Rossi@PEC.Example.ORG")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseAddress(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(got, " \t\r\n\x00<>()[]\\\",;:") || len(got) > maxAddress || strings.Count(got, "@") != 1 {
			t.Errorf("%q gave %q", s, got)
		}
		if again, err := ParseAddress(got); err != nil || again != got || !same(got, s) {
			t.Errorf("%q gave %q, then %q, %v", s, got, again, err)
		}
	})
}

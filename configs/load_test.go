package configs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// exampleHouse puts both example files and what they name into a folder.
func exampleHouse(t testing.TB) string {
	t.Helper()
	config := house(t)
	dir := filepath.Dir(config)
	for _, name := range []string{"pecgate", "policy"} {
		b, err := os.ReadFile(name + ".example.yaml")
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name+".yaml"), string(b), 0o640)
	}
	b, err := os.ReadFile(filepath.Join(dir, "pec-ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "exchange-ca.pem"), string(b), 0o644)
	write(t, filepath.Join(dir, "provider-ca.pem"), string(b), 0o644)
	write(t, filepath.Join(dir, "secrets/ufficio.acquisti"), "hunter2\n", 0o600)
	write(t, filepath.Join(dir, "secrets/smarthost"), "hunter2\n", 0o600)
	return config
}

func TestExamplesLoad(t *testing.T) {
	for _, name := range []string{"PROTOCOLLO_PASSWORD", "PROTOCOLLO_SMTP_PASSWORD", "PROTOCOLLO_FETCH_PASSWORD"} {
		t.Setenv(name, "hunter2")
	}
	config := exampleHouse(t)
	dir := filepath.Dir(config)
	loaded, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range loaded.Warnings {
		got = append(got, w.Message)
	}
	want := []string{
		"pin_methods: a reply stays among what its writer sent, with the PIN in it: better give one-time codes, `pecgate pin --totp mario` (and 2 more)",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("warnings:\n%s", strings.Join(got, "\n"))
	}
	if loaded.Policy.Mailboxes[0].Admin != "lucia" || loaded.Policy.Mailboxes[0].Split != "blind" {
		t.Errorf("defaults %+v", loaded.Policy.Mailboxes[0])
	}
	m := loaded.Policy.Mailboxes[1]
	if m.ProviderCopy.After != 15*24*time.Hour || m.Limits != (Limits{50, 30e6, 6, 10}) || m.SMTP.CA != filepath.Join(dir, "provider-ca.pem") {
		t.Errorf("mailbox %+v", m)
	}
	if loaded.Appliance.TLS.Key != filepath.Join(dir, "tls/key.pem") || loaded.Appliance.SMTP.MaxMessageSize != 100<<20 {
		t.Errorf("appliance %+v", loaded.Appliance)
	}
	if got := m.Members[1].Expires.End(loaded.Appliance.Location()).Format(time.RFC3339); got != "2099-07-01T00:00:00+02:00" {
		t.Errorf("expires at %s", got)
	}
	if at := m.Members[0].At; at.File != filepath.Join(dir, "policy.yaml") || at.Line <= m.At.Line || at.Line >= m.Members[1].At.Line {
		t.Errorf("member at %v", at)
	}
}

// Every key of the structs stands in the example files: they cannot fall behind.
func TestExamplesHoldEveryKey(t *testing.T) {
	for _, c := range []struct {
		file string
		typ  reflect.Type
	}{{"pecgate.example.yaml", reflect.TypeFor[Appliance]()}, {"policy.example.yaml", reflect.TypeFor[Policy]()}} {
		b, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		n, fault := parseYAML(c.file, b)
		if fault != nil {
			t.Fatal(fault)
		}
		d := newDecoder(c.file)
		d.mapping("", n, reflect.New(c.typ).Elem())
		if len(d.faults) > 0 {
			t.Fatal(Faults(d.faults))
		}
		seen := map[string]bool{}
		for path := range d.at {
			seen[plainPath(path)] = true
		}
		for _, key := range allKeys("", c.typ) {
			if strings.HasPrefix(key, "defaults.") {
				continue // the keys of mailboxes
			}
			if section, ok := strings.CutSuffix(key, ".sealed"); ok && bytes.Contains(b, []byte(label(section)+": {sealed: ")) || key == "users.totp" {
				continue // in a comment: a sealed text opens with the key alone that it was made with
			}
			if of, _, ok := strings.Cut(key, ".password."); ok && seen[of+".password"] && of != "mailboxes" {
				continue // as of the password of a mailbox
			}
			if !seen[key] {
				t.Errorf("%s lacks %s", c.file, key)
			}
		}
	}
}

// plainPath takes the indexes out of a path.
func plainPath(path string) string {
	var out strings.Builder
	in := false
	for _, r := range path {
		switch {
		case r == '[':
			in = true
		case r == ']':
			in = false
		case !in:
			out.WriteRune(r)
		}
	}
	return out.String()
}

func allKeys(path string, t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		p := join(path, key)
		out = append(out, p)
		typ := f.Type
		if typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() == reflect.Struct && !isLeaf(typ) {
			out = append(out, allKeys(p, typ)...)
		}
	}
	return out
}

// The defaults are those of the published contract.
func TestDefaults(t *testing.T) {
	config := house(t)
	loaded, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(config)
	a := *loaded.Appliance
	a.dir, a.loc = "", nil
	wantA := Appliance{
		Hostname: "pecgate.example.org", Language: "it", Timezone: "Europe/Rome", Address: "pecgate@pecgate.example.org",
		DataDir: "/var/lib/pecgate", MinFree: 1 << 30, Log: Log{"info", "json"}, PolicyFile: filepath.Join(dir, "policy.yaml"), SealKey: filepath.Join(dir, "seal.key"),
		TLS: TLS{filepath.Join(dir, "tls/fullchain.pem"), filepath.Join(dir, "tls/key.pem")},
		SMTP: SMTP{Submissions: []string{"0.0.0.0:465"}, Submission: []string{"0.0.0.0:587"}, Relay: []string{"0.0.0.0:25"},
			MaxMessageSize: 100 << 20},
		IMAP:       IMAP{IMAPS: []string{"0.0.0.0:993"}},
		Revocation: true, Outgoing: Outgoing{Smarthost{Port: 25, Security: "starttls"}, OutgoingIMAP{Port: 993, Security: "tls", Username: "{email}", Folder: "INBOX", Rule: "copy"}},
	}
	if !reflect.DeepEqual(a, wantA) {
		t.Errorf("appliance\n%+v\nwant\n%+v", a, wantA)
	}
	m := loaded.Policy.Mailboxes[0]
	m.At = Position{}
	m.Members[0].At = Position{}
	wantM := Mailbox{
		Address: "protocollo@pec.example.org", Active: true, Provider: "aruba", Username: "protocollo@pec.example.org",
		Password: Secret{File: filepath.Join(dir, "secrets/protocollo")},
		SMTP:     Server{Host: "smtps.pec.aruba.it", Port: 465, Security: "tls", Timeout: time.Minute},
		Incoming: Incoming{Protocol: "imap", Host: "imaps.pec.aruba.it", Port: 993, Security: "tls", Timeout: time.Minute, Every: time.Minute},
		Receipt:  "complete", ReceiptsTo: "sender", ProviderCopy: CopyRule{Mode: "keep"}, ProviderCopyReceipts: CopyRule{Mode: "keep"},
		Keep: Retention{Forever: true}, WhenFull: "wait", QuotaWarnings: []int{70, 90}, Uncertain: "hold", UncertainAfter: 15 * time.Minute, Split: "never",
		Auth: "password", SentFolder: "INBOX.Inviata", ApprovalPIN: true, PINMethods: []string{"subject"}, Limits: Limits{50, 100e6, 0, 10}, History: "seen", Watch: Watchdogs{Patience(30 * time.Minute), Patience(12 * time.Hour), Patience(24 * time.Hour), 0, Patience(time.Hour)}, Admin: "mario", MaxMembers: 30, Inherit: true,
		Members: []Member{{User: "mario", Send: true, Receive: true, Anomalies: true}},
	}
	if !reflect.DeepEqual(m, wantM) {
		t.Errorf("mailbox\n%+v\nwant\n%+v", m, wantM)
	}
	if got := loaded.Policy.Users[0].Deliver; !reflect.DeepEqual(got, []string{"imap"}) {
		t.Errorf("deliver %v", got)
	}
}

// Every key of pecgate.yaml can be set from the environment, and the environment wins over the file.
func TestEnvironmentSetsEveryKey(t *testing.T) {
	config := exampleHouse(t)
	dir := filepath.Dir(config)
	t.Setenv("PROTOCOLLO_PASSWORD", "hunter2")
	values := map[string]string{
		"hostname": "other.example.org", "language": "en", "timezone": "UTC", "address": "x@Example.org",
		"data_dir": "/srv/pecgate", "min_free": "2GiB", "log.level": "warn", "log.format": "text",
		"policy_file": filepath.Join(dir, "policy.yaml"), "seal_key": "keys/seal.key", "tls.certificate": "tls/fullchain.pem", "tls.key": "tls/key.pem",
		"smtp.submissions": "127.0.0.1:1465, 127.0.0.1:2465", "smtp.submission": "127.0.0.1:1587", "smtp.relay": "127.0.0.1:1025",
		"smtp.max_message_size": "50MiB", "imap.imaps": "127.0.0.1:1993,[::1]:1993", "api.listen": "127.0.0.1:9443", "autoconfig.listen": "127.0.0.1:7443", "proxy_protocol.from": "192.0.2.9/32,192.0.2.10",
		"provider_trust": "pec-ca.pem,exchange-ca.pem", "outgoing.smarthost.host": "mail.example.org",
		"outgoing.smarthost.port": "2525", "outgoing.smarthost.security": "tls", "outgoing.smarthost.ca": "pec-ca.pem",
		"outgoing.smarthost.username": "gateway", "outgoing.smarthost.password_file": "secrets/smarthost",
		"outgoing.imap.host": "imap.example.org", "outgoing.imap.port": "1143", "outgoing.imap.security": "starttls", "outgoing.imap.ca": "pec-ca.pem",
		"outgoing.imap.domains": "example.org,example.net", "outgoing.imap.username": "{local}", "outgoing.imap.password_file": "secrets/smarthost", "outgoing.imap.folder": "PEC", "outgoing.imap.rule": "move",
		"outgoing.imap.oauth2.token_url": "https://login.example.org/token", "outgoing.imap.oauth2.client_id": "app",
		"outgoing.imap.oauth2.client_secret_file": "secrets/smarthost", "outgoing.imap.oauth2.scope": "mail",
		"revocation": "false",
	}
	for _, k := range leafKeys("", reflect.TypeFor[Appliance]()) {
		if values[k.path] == "" {
			t.Fatalf("the test lacks a value for %s", k.path)
		}
		t.Setenv(k.env(), values[k.path])
	}
	loaded, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	a := *loaded.Appliance
	if n := a.ProxyProtocol.Networks(); len(n) != 2 || n[1].String() != "192.0.2.10/32" {
		t.Errorf("networks %v", n)
	}
	a.dir, a.loc, a.ProxyProtocol.networks = "", nil, nil
	want := Appliance{
		Hostname: "other.example.org", Language: "en", Timezone: "UTC", Address: "x@example.org", DataDir: "/srv/pecgate",
		MinFree: 2 << 30, Log: Log{"warn", "text"}, PolicyFile: filepath.Join(dir, "policy.yaml"), SealKey: filepath.Join(dir, "keys/seal.key"),
		TLS: TLS{filepath.Join(dir, "tls/fullchain.pem"), filepath.Join(dir, "tls/key.pem")},
		SMTP: SMTP{[]string{"127.0.0.1:1465", "127.0.0.1:2465"}, []string{"127.0.0.1:1587"}, []string{"127.0.0.1:1025"},
			50 << 20},
		IMAP: IMAP{[]string{"127.0.0.1:1993", "[::1]:1993"}}, API: API{"127.0.0.1:9443"}, Autoconfig: Autoconfig{"127.0.0.1:7443"},
		ProviderTrust: []string{filepath.Join(dir, "pec-ca.pem"), filepath.Join(dir, "exchange-ca.pem")},
		Outgoing: Outgoing{Smarthost{"mail.example.org", 2525, "tls", filepath.Join(dir, "pec-ca.pem"), "gateway", filepath.Join(dir, "secrets/smarthost")},
			OutgoingIMAP{"imap.example.org", 1143, "starttls", filepath.Join(dir, "pec-ca.pem"), []string{"example.org", "example.net"}, "{local}", filepath.Join(dir, "secrets/smarthost"),
				OAuth2{"https://login.example.org/token", "app", filepath.Join(dir, "secrets/smarthost"), "mail"}, "PEC", "move"}},
		ProxyProtocol: ProxyProtocol{From: []string{"192.0.2.9/32", "192.0.2.10"}},
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("appliance\n%+v\nwant\n%+v", a, want)
	}
}

func TestEnvironmentFaults(t *testing.T) {
	config := house(t)
	t.Setenv("PECGATE_SMTP_MAX_MESSAGE_SIZE", "50")
	t.Setenv("PECGATE_LANGUAGE", "de")
	t.Setenv("PECGATE_TLS_KEY", "nowhere.pem")
	t.Setenv("PECGATE_IMAP_IMAPS", "993")
	t.Setenv("PECGATE_SMTP_SUBMISION", "127.0.0.1:1587")
	r := Check(config)
	want := `environment variable PECGATE_IMAP_IMAPS: imaps: needs IP:port, like 0.0.0.0:465 or [::]:465, not "993"
environment variable PECGATE_LANGUAGE: needs it or en, not "de"
environment variable PECGATE_SMTP_MAX_MESSAGE_SIZE: needs a size with its unit, like 30MB or 100MiB, not "50"
environment variable PECGATE_TLS_KEY: key: file nowhere.pem: there is no such file`
	got := strings.ReplaceAll(r.Faults.Error(), filepath.Dir(config)+"/", "")
	if got != want {
		t.Errorf("faults\n%s\nwant\n%s", got, want)
	}
	if len(r.Warnings) != 1 || r.Warnings[0].String() != `environment variable PECGATE_SMTP_SUBMISION: has no effect, no key has this name: did you mean PECGATE_SMTP_SUBMISSION?` {
		t.Errorf("warnings %v", r.Warnings)
	}
}

// What is written wins over the preset, key by key.
func TestPresets(t *testing.T) {
	presets, err := loadPresets()
	if err != nil {
		t.Fatal(err)
	}
	if len(presets) != 4 {
		t.Errorf("%d presets", len(presets))
	}
	cases := []struct {
		extra    string
		provider string
		smtp     string
		incoming string
		limits   Limits
	}{
		{"", "aruba", "smtps.pec.aruba.it:465 tls", "imaps.pec.aruba.it:993 tls", Limits{50, 100e6, 0, 10}},
		{"username: M123456", "legalmail", "sendm.cert.legalmail.it:465 tls", "mbox.cert.legalmail.it:993 tls", Limits{50, 30e6, 6, 10}},
		{"username: 123456\n    limits: {per_minute: 0, recipients: 10}", "legalmail", "sendm.cert.legalmail.it:465 tls", "mbox.cert.legalmail.it:993 tls", Limits{10, 30e6, 0, 10}},
		{"", "poste", "mail.postecert.it:465 tls", "mail.postecert.it:993 tls", Limits{50, 30e6, 0, 10}},
		{"", "postel", "mail.postecertifica.it:465 tls", "mail.postecertifica.it:993 tls", Limits{50, 30e6, 0, 10}},
		{"smtp: {port: 1465}\n    incoming: {host: localhost}", "aruba", "smtps.pec.aruba.it:1465 tls", "localhost:993 tls", Limits{50, 100e6, 0, 10}},
		{"smtp: {security: starttls}\n    incoming: {security: starttls, port: 2143}", "aruba", "smtps.pec.aruba.it:587 starttls", "imaps.pec.aruba.it:2143 starttls", Limits{50, 100e6, 0, 10}},
		{"smtp: {host: 127.0.0.1, port: 1}\n    incoming: {host: \"::1\", security: starttls}", "", "127.0.0.1:1 tls", "::1:143 starttls", Limits{50, 30e6, 0, 10}},
	}
	config := house(t)
	for i, c := range cases {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			text := strings.Replace(goodPolicy, "    provider: aruba\n", "", 1)
			if c.provider != "" {
				text = strings.Replace(text, "    admin:", "    provider: "+c.provider+"\n    admin:", 1)
			}
			if c.extra != "" {
				text = strings.Replace(text, "    admin:", "    "+c.extra+"\n    admin:", 1)
			}
			write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o600)
			loaded, err := Load(config)
			if err != nil {
				t.Fatal(err)
			}
			m := loaded.Policy.Mailboxes[0]
			if got := fmt.Sprintf("%s:%d %s", m.SMTP.Host, m.SMTP.Port, m.SMTP.Security); got != c.smtp {
				t.Errorf("smtp %s, want %s", got, c.smtp)
			}
			if got := fmt.Sprintf("%s:%d %s", m.Incoming.Host, m.Incoming.Port, m.Incoming.Security); got != c.incoming {
				t.Errorf("incoming %s, want %s", got, c.incoming)
			}
			if m.Limits != c.limits {
				t.Errorf("limits %+v, want %+v", m.Limits, c.limits)
			}
		})
	}
}

// A warning is no fault, and each says what happens instead.
func TestWarnings(t *testing.T) {
	second := strings.SplitAfterN(goodPolicy, "mailboxes:\n", 2)[1]
	cases := []struct{ name, old, new, want string }{
		{"no sender", "{user: mario}", "{user: mario, send: false}", "12:7: no member of protocollo@pec.example.org may send"},
		{"expired", "{user: mario}", "{user: mario, expires: 2020-02-29}", `12:32: the access of "mario" to protocollo@pec.example.org expired at the end of 2020-02-29`},
		{"no pin", "    pin: " + hash + "\n", "", ""},
		{"no pin where required", "    admin", "    pin_required: true\n    admin", ""},
		{"split", "    admin", "    split: blind\n    admin", ""},
		{"keep", "    admin", "    keep: 3650d\n    admin", ""},
		{"keep and provider's copy", "    admin", "    keep: 10d\n    provider_copy: 10d\n    provider_copy_receipts: 3d\n    admin", ""},
		{"keep below provider's copy", "    admin", "    keep: 10d\n    provider_copy: 15d\n    admin",
			"10:11: keep is shorter than provider_copy: our messages stay until a week after the provider's copy is due to go, since it is compared with ours before"},
		{"keep below receipts", "    admin", "    keep: 10d\n    provider_copy_receipts: 15d\n    admin",
			"10:11: keep is shorter than provider_copy_receipts: our messages stay until a week after the provider's copy is due to go, since it is compared with ours before"},
		{"forward", "    email", "    deliver: [imap, forward]\n    email", "3:14: deliver: forward, but pecgate.yaml has no outgoing.smarthost: the messages are read by IMAP"},
		{"weak hash", "m=65536,t=3", "m=8192,t=1", "4:15: password: the hash is weaker than m=19456,t=2: make it anew with `pecgate password`"},
		{"no password", "    password: " + hash + "\n", "", `2:5: user "mario" has no password: only an app password lets them log in`},
		{"environment", "{file: secrets/protocollo}", "{env: NO_SUCH_VARIABLE}", `9:21: environment variable "NO_SUCH_VARIABLE" is not set here`},
		{"same login", goodPolicy, goodPolicy + strings.Replace(second, "protocollo@", "altra@", 1) + "    username: protocollo@pec.example.org\n", "19:15: the mailbox at line 7 uses the same login at the same server"},
		{"no rights", "{user: mario}", "{user: mario}\n      - {user: lucia, send: false, receive: false, anomalies: false}", ""},
	}
	config := house(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(goodPolicy, c.old, c.new, 1)
			if c.name == "no rights" {
				text = strings.Replace(text, "mailboxes:", "  - {login: lucia, email: l@example.org}\nmailboxes:", 1)
			}
			write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o600)
			loaded, err := Load(config)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range loaded.Warnings {
				got = append(got, strings.TrimPrefix(w.String(), filepath.Dir(config)+"/policy.yaml:"))
			}
			switch {
			case c.name == "no rights":
				if len(got) != 2 || got[1] != `14:9: member "lucia" has no right at all` {
					t.Errorf("warnings %q", got)
				}
			case c.want == "" && len(got) > 0:
				t.Errorf("warnings %q", got)
			case c.want != "" && (len(got) == 0 || !slices.Contains(got, c.want)):
				t.Errorf("warnings\n%s\nwant\n%s", strings.Join(got, "\n"), c.want)
			}
		})
	}
	text := strings.Replace(goodPolicy, "    pin: "+hash+"\n", "", 1)
	text = strings.Replace(text, "    admin", "    pin_required: true\n    admin", 1)
	write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o600)
	loaded, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Warnings) != 1 || loaded.Warnings[0].Message != `user "mario" has no pin and cannot send from protocollo@pec.example.org, which requires one` {
		t.Errorf("warnings %v", loaded.Warnings)
	}
}

// The certificate of the listeners is looked at, and what is wrong with it today is only a warning.
func TestCertificateWarnings(t *testing.T) {
	config := house(t)
	dir := filepath.Dir(config)
	certificate, key := selfSigned(t, "elsewhere.example.org", time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	write(t, filepath.Join(dir, "tls/fullchain.pem"), certificate, 0o644)
	write(t, filepath.Join(dir, "tls/key.pem"), key, 0o600)
	for now, want := range map[string]string{
		"2029-06-01": "the certificate is not for pecgate.example.org: mail programs that use this name will refuse it",
		"2029-12-25": "the certificate expires on 2030-01-01",
		"2030-02-01": "the certificate expired on 2030-01-01: mail programs will refuse it",
	} {
		at, err := time.Parse(time.DateOnly, now)
		if err != nil {
			t.Fatal(err)
		}
		r := check(config, at)
		if len(r.Faults) > 0 || len(r.Warnings) == 0 || r.Warnings[0].Message != want {
			t.Errorf("%s: %v %v", now, r.Faults, r.Warnings)
		}
	}
}

// own_only and compose take away what they must, in the struct that everybody reads.
func TestMemberRights(t *testing.T) {
	config := house(t)
	text := strings.Replace(goodPolicy, "{user: mario}", "{user: mario}\n      - {user: Lucia, own_only: true}\n      - {user: anna, compose: true}", 1)
	text = strings.Replace(text, "mailboxes:", "  - {login: lucia, password: '"+hash+"'}\n  - {login: anna, password: '"+hash+"'}\nmailboxes:", 1)
	write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o600)
	loaded, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	m := loaded.Policy.Mailboxes[0].Members
	if l := m[1]; l.User != "lucia" || !l.Send || l.Receive || l.Anomalies {
		t.Errorf("own_only gives %+v", l)
	}
	if l := m[2]; l.Send || !l.Receive || !l.Anomalies {
		t.Errorf("compose gives %+v", l)
	}
}

// TestReadOnlyGroupDoesNotSend: a group whose name says that it only reads gets no
// right to send by a default.
func TestReadOnlyGroupDoesNotSend(t *testing.T) {
	for line, good := range map[string]bool{
		"{group: read-only}":                               false,
		"{group: READ-ONLY, receive: true}":                false,
		"{group: ufficio.Sola_Lettura}":                    false,
		"{group: read-only, preset: read only}":            true,
		"{group: read-only, send: false}":                  true,
		"{group: read-only, send: true}":                   true,
		"{group: read-only, compose: true, delete: false}": true,
		"{group: readers}":                                 true,
	} {
		config := house(t)
		policy := strings.Replace(goodPolicy, "mailboxes:", "groups:\n  - {name: read-only, users: [mario]}\n  - {name: ufficio.sola_lettura, users: [mario]}\n  - {name: readers, users: [mario]}\nmailboxes:", 1)
		write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), strings.Replace(policy, "{user: mario}", line, 1), 0o640)
		_, err := Load(config)
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "write `preset: read only`") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/configs/seal"
)

// sealedHouse is a house with a key whose mailbox has a sealed password and whose user has sealed codes.
func sealedHouse(t testing.TB) (config string, ring *seal.Ring) {
	t.Helper()
	config = house(t)
	file := filepath.Join(filepath.Dir(config), "seal.key")
	if err := seal.Make(t.Context(), file, ""); err != nil {
		t.Fatal(err)
	}
	at, err := ReadSealKey(config)
	if err != nil || at.Ring.Len() != 1 || at.File != file || at.Credential {
		t.Fatalf("%+v, %v", at, err)
	}
	put(t, config, sealText(t, at.Ring, seal.Password, "hunter2"), sealText(t, at.Ring, seal.Code("mario"), "hunter2hunter2hunter"))
	return config, at.Ring
}

func sealText(t testing.TB, r *seal.Ring, p seal.Purpose, secret string) string {
	t.Helper()
	text, err := r.Seal(p, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// put writes a policy with these sealed texts.
func put(t testing.TB, config, password, code string) {
	t.Helper()
	text := strings.Replace(goodPolicy, "{file: secrets/protocollo}", `{sealed: "`+password+`"}`, 1)
	text = strings.Replace(text, "pin: "+hash, `totp: {sealed: "`+code+`"}`, 1)
	write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o640)
}

// TestSealedSecrets: what is sealed with the key of the appliance opens when it is used; in all other cases the fault
// stands where the text does and says what to do, and nothing of the secret.
func TestSealedSecrets(t *testing.T) {
	config, ring := sealedHouse(t)
	l, err := Load(config)
	if err != nil || len(l.Warnings) > 0 {
		t.Fatal(err, l)
	}
	if got, err := l.Policy.Mailboxes[0].Password.Resolve(); got != "hunter2" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	u := l.Policy.Users[0]
	if got, err := l.OpenCode("Mario", u.TOTP.Sealed); string(got) != "hunter2hunter2hunter" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := l.OpenCode("lucia", u.TOTP.Sealed); err == nil {
		t.Error("the codes of Mario open for Lucia")
	}
	texts := l.SealedTexts()
	if len(texts) != 2 || texts[0].Text != u.TOTP.Sealed || texts[1].Purpose != seal.Password {
		t.Errorf("%+v", texts)
	}
	password, code := texts[1].Text, texts[0].Text
	last := func(s string) string { // the last character but one holds whole bits
		other := "A"
		if s[len(s)-2] == 'A' {
			other = "B"
		}
		return s[:len(s)-2] + other + s[len(s)-1:]
	}
	key := filepath.Join(filepath.Dir(config), "seal.key")
	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	const again = ": make it anew with `pecgate seal`"
	for _, c := range []struct {
		name           string
		password, code string
		key            func()
		want           []string
	}{
		{"damaged", last(password), code, nil, []string{"policy.yaml:9:24: sealed: it is damaged, or sealed for something else" + again}},
		{"both damaged", last(password), last(code), nil, []string{
			"policy.yaml:5:20: sealed: it is damaged, or sealed for something else: make it anew with `pecgate pin --totp mario`",
			"policy.yaml:9:24: sealed: it is damaged, or sealed for something else" + again}},
		{"changed places", code, password, nil, []string{
			"policy.yaml:5:20: sealed: it is damaged, or sealed for something else: make it anew with `pecgate pin --totp mario`",
			"policy.yaml:9:24: sealed: it is damaged, or sealed for something else" + again}},
		{"the codes of another", password, sealText(t, ring, seal.Code("lucia"), "hunter2hunter2hunter"), nil, []string{
			"policy.yaml:5:20: sealed: it is damaged, or sealed for something else: make it anew with `pecgate pin --totp mario`"}},
		{"no secret of codes", password, sealText(t, ring, seal.Code("mario"), "hunter2"), nil, []string{
			"policy.yaml:5:20: sealed: this is no secret of one-time codes: make it anew with `pecgate pin --totp mario`"}},
		{"lines", sealText(t, ring, seal.Password, "hunter2\nQUIT"), code, nil, []string{"policy.yaml:9:24: password from sealed text: it must be one line"}},
		{"a key was added", password, code, func() {
			if err := seal.Add(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"another key", password, code, func() {
			remove(t, filepath.Dir(config), "seal.key")
			if err := seal.Make(t.Context(), key, ""); err != nil {
				t.Fatal(err)
			}
		}, []string{
			"policy.yaml:5:20: sealed: it was sealed with another key (" + ring.Newest() + ") than those in file " + key + ": put the old key back as its first line, or make the text anew with `pecgate pin --totp mario`",
			"policy.yaml:9:24: sealed: it was sealed with another key (" + ring.Newest() + ") than those in file " + key + ": put the old key back as its first line, or make the text anew with `pecgate seal`"}},
		{"a key that others can read", password, code, func() { chmod("seal.key", 0o644)(t, filepath.Dir(config)) }, []string{
			"pecgate.yaml: seal_key: file " + key + ": its mode 0644 lets others read or change it: run `chmod 0640 " + key + "`"}},
		{"a broken key", password, code, func() { write(t, key, "hunter2\n", 0o600) }, []string{
			"pecgate.yaml: seal_key: file " + key + ": line 1 is not a key that pecgate made"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, key, string(good), 0o600)
			put(t, config, c.password, c.code)
			if c.key != nil {
				c.key()
			}
			r := Check(config)
			var got []string
			for _, f := range r.Faults {
				text := strings.Replace(f.String(), filepath.Dir(config)+"/", "", 1)
				if strings.HasPrefix(text, "pecgate.yaml:") { // it stands nowhere in the file
					_, message, _ := strings.Cut(text, " ")
					text = "pecgate.yaml: " + message
				}
				got = append(got, text)
				for _, secret := range []string{"hunter2", password[12:24], code[12:24], string(good[len(good)-20 : len(good)-4])} {
					if strings.Contains(text, secret) {
						t.Errorf("a fault shows a secret: %s", text)
					}
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("faults\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestNoKeyIsAWarning: the shell of an administrator may lack the key that systemd gives the service; what is sealed does
// not open then, and says so.
func TestNoKeyIsAWarning(t *testing.T) {
	config, _ := sealedHouse(t)
	key := filepath.Join(filepath.Dir(config), "seal.key")
	credentials := t.TempDir()
	if err := os.Rename(key, filepath.Join(credentials, "seal.key")); err != nil {
		t.Fatal(err)
	}
	r := Check(config)
	if len(r.Faults) > 0 || len(r.Warnings) != 2 || !strings.HasSuffix(r.Warnings[1].String(), "policy.yaml:9:24: sealed: the key is not here, so it stays closed: there is no file "+key) {
		t.Errorf("faults %v, warnings %v", r.Faults, r.Warnings)
	}
	if got, err := r.Loaded.Policy.Mailboxes[0].Password.Resolve(); got != "" || err == nil || err.Error() != "password from sealed text: there is no key" {
		t.Errorf("%q, %v", got, err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	r = Check(config)
	if len(r.Faults)+len(r.Warnings) > 0 {
		t.Fatalf("faults %v, warnings %v", r.Faults, r.Warnings)
	}
	if got, err := r.Loaded.Policy.Mailboxes[0].Password.Resolve(); got != "hunter2" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if at, err := ReadSealKey(config); err != nil || !at.Credential || at.File != filepath.Join(credentials, "seal.key") {
		t.Errorf("%+v, %v", at, err)
	}
}

// TestCodesAreAdvised where a PIN is given by a reply, for those who have a fixed one.
func TestCodesAreAdvised(t *testing.T) {
	config, _ := sealedHouse(t)
	name := filepath.Join(filepath.Dir(config), "policy.yaml")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const advice = "pin_methods: a reply stays among what its writer sent, with the PIN in it: better give one-time codes, `pecgate pin --totp mario`"
	for _, c := range []struct {
		text, more, want string
	}{
		{string(b), "    pin_required: true\n    pin_methods: [reply]\n", ""},
		{goodPolicy, "    pin_required: true\n    pin_methods: [reply]\n", advice},
		{goodPolicy, "    pin_required: true\n    pin_methods: [subject, header]\n", ""},
		{goodPolicy, "    pin_required: false\n    pin_methods: [reply]\n", ""},
	} {
		write(t, name, strings.Replace(c.text, "    admin: mario\n", c.more+"    admin: mario\n", 1), 0o640)
		r := Check(config)
		got := ""
		for _, w := range r.Warnings {
			got += w.Message
		}
		if len(r.Faults) > 0 || got != c.want {
			t.Errorf("%s: faults %v, warned %q", c.more, r.Faults, got)
		}
	}
}

package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the .want files anew; read the difference before it is kept")

const hash = "$argon2id$v=19$m=65536,t=3,p=2$c2FsdHNhbHRzYWx0$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

const goodAppliance = `hostname: pecgate.example.org
tls:
  certificate: tls/fullchain.pem
  key: tls/key.pem
`

const goodPolicy = `users:
  - login: mario
    email: mario.rossi@example.org
    password: ` + hash + `
    pin: ` + hash + `
mailboxes:
  - address: protocollo@pec.example.org
    provider: aruba
    password: {file: secrets/protocollo}
    admin: mario
    members:
      - {user: mario}
`

func write(t testing.TB, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	// The mask of the process must not decide what the test sees.
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func selfSigned(t testing.TB, host string, until time.Time) (certificate, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: until.AddDate(-2, 0, 0), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// house makes a folder with a whole, good configuration and everything it names, and gives the name of pecgate.yaml.
func house(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	certificate, key := selfSigned(t, "pecgate.example.org", time.Now().AddDate(1, 0, 0))
	_, other := selfSigned(t, "pecgate.example.org", time.Now().AddDate(1, 0, 0))
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("pecgate.yaml"), goodAppliance, 0o644)
	write(t, in("policy.yaml"), goodPolicy, 0o640)
	write(t, in("open.yaml"), goodPolicy, 0o644)
	write(t, in("tls/fullchain.pem"), certificate, 0o644)
	write(t, in("tls/key.pem"), key, 0o600)
	write(t, in("tls/other.pem"), other, 0o600)
	write(t, in("tls/open.pem"), key, 0o644)
	write(t, in("pec-ca.pem"), certificate, 0o644)
	write(t, in("secrets/protocollo"), "hunter2\n", 0o600)
	write(t, in("secrets/open"), "hunter2\n", 0o644)
	write(t, in("secrets/empty"), "\n", 0o600)
	write(t, in("secrets/two-lines"), "hunter2\nhunter2\n", 0o600)
	return in("pecgate.yaml")
}

// G11: every broken file gives exactly the faults that stand beside it, and no configuration.
func TestG11_BrokenFiles(t *testing.T) {
	files, err := filepath.Glob("../testdata/policy/broken/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 60 {
		t.Fatalf("%d broken files, at least 60 are wanted", len(files))
	}
	config := house(t)
	dir := filepath.Dir(config)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			appliance, policy := goodAppliance, string(text)
			if strings.HasPrefix(name, "pecgate-") {
				appliance, policy = string(text), goodPolicy
			}
			write(t, config, appliance, 0o644)
			write(t, filepath.Join(dir, "policy.yaml"), policy, 0o640)
			loaded, err := Load(config)
			if err == nil || loaded != nil {
				t.Fatal("a broken file was accepted")
			}
			faults, ok := err.(Faults)
			if !ok {
				t.Fatalf("error is a %T", err)
			}
			got := strings.ReplaceAll(faults.Error(), dir+string(filepath.Separator), "") + "\n"
			want := strings.TrimSuffix(file, ".yaml") + ".want"
			if *update {
				write(t, want, got, 0o644)
			}
			expected, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(expected) {
				t.Errorf("faults:\n%swanted:\n%s", got, expected)
			}
			for _, secret := range []string{"hunter2", "012345", "c2FsdHNh", "AAECAwQF", "cHh8"} { // the last three: pieces of the hash
				if strings.Contains(got, secret) {
					t.Errorf("a fault shows %s of a secret", secret)
				}
			}
			for _, f := range faults {
				if f.Line == 0 && f.Position.File == "" || strings.ContainsAny(f.Message, "\r\n") {
					t.Errorf("fault %+v is not one line with a place", f)
				}
			}
		})
	}
	// The same house is good with good files: what was refused above was refused for its own fault.
	write(t, config, goodAppliance, 0o644)
	write(t, filepath.Join(dir, "policy.yaml"), goodPolicy, 0o640)
	loaded, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Warnings) != 0 {
		t.Errorf("warnings: %v", loaded.Warnings)
	}
}

// G11: what a file cannot say of itself.
func TestG11_Files(t *testing.T) {
	cases := []struct {
		name string
		do   func(t *testing.T, dir string)
		want string
	}{
		{"no pecgate.yaml", func(t *testing.T, dir string) { remove(t, dir, "pecgate.yaml") }, "pecgate.yaml: there is no such file"},
		{"no policy.yaml", func(t *testing.T, dir string) { remove(t, dir, "policy.yaml") }, "policy.yaml: there is no such file"},
		{"policy is a folder", func(t *testing.T, dir string) {
			remove(t, dir, "policy.yaml")
			if err := os.Mkdir(filepath.Join(dir, "policy.yaml"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "policy.yaml: it is not a regular file"},
		{"policy readable by all", chmod("policy.yaml", 0o644), "policy.yaml: its mode 0644 lets others read or change it: run `chmod 0640 policy.yaml`"},
		{"policy writable by the group", chmod("policy.yaml", 0o660), "policy.yaml: its mode 0660 lets others read or change it: run `chmod 0640 policy.yaml`"},
		{"pecgate.yaml writable by all", chmod("pecgate.yaml", 0o666), "pecgate.yaml: its mode 0666 lets others change it: run `chmod 0644 pecgate.yaml`"},
		{"key readable by all", chmod("tls/key.pem", 0o604), "pecgate.yaml:4:8: key: file tls/key.pem: its mode 0604 lets others read or change it: run `chmod 0640 tls/key.pem`"},
		{"CA writable by the group", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "pecgate.yaml"), goodAppliance+"provider_trust: [pec-ca.pem]\n", 0o644)
			chmod("pec-ca.pem", 0o664)(t, dir)
		}, "pecgate.yaml:5:18: provider_trust: file pec-ca.pem: its mode 0664 lets others change it: run `chmod 0644 pec-ca.pem`"},
		{"huge policy", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "policy.yaml"), goodPolicy+strings.Repeat("# and so on\n", maxPolicy/10), 0o600)
		}, "policy.yaml: it is larger than 4MiB"},
		{"huge pecgate.yaml", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "pecgate.yaml"), goodAppliance+strings.Repeat("# and so on\n", maxAppliance/10), 0o600)
		}, "pecgate.yaml: it is larger than 1MiB"},
		{"too many nodes", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "policy.yaml"), "users:\n  - deliver: ["+strings.Repeat("imap,", maxNodes+10)+"]\n", 0o600)
		}, "policy.yaml: the file holds too much"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config := house(t)
			dir := filepath.Dir(config)
			c.do(t, dir)
			_, err := Load(config)
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func chmod(name string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// No text, however broken, makes the reader fall over or take it for a configuration it did not understand.
func FuzzPolicy(f *testing.F) {
	files, _ := filepath.Glob("../testdata/policy/broken/*.yaml")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(goodPolicy))
	config := house(f)
	name := filepath.Join(filepath.Dir(config), "policy.yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, name, string(b), 0o600)
		r := Check(config)
		if (r.Loaded == nil) == (len(r.Faults) == 0) {
			t.Fatal("neither good nor faulty")
		}
		for _, x := range append(r.Faults, r.Warnings...) {
			if strings.ContainsAny(x.Message, "\r\n\x00") || x.File == "" {
				t.Errorf("fault %q", x)
			}
		}
	})
}

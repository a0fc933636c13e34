//go:build peers

// Package dovecottest runs a private Dovecot on loopback with one mailbox, as the
// IMAP and POP3 service of a provider that others wrote. Only tests import it.
package dovecottest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a running Dovecot.
type Server struct {
	Dir   string
	Ports map[string]int // imap, imaps, pop3, pop3s
	next  int            // of the names of messages
}

const conf = `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
listen = 127.0.0.1
protocols = imap pop3
ssl = required
ssl_cert = <%[1]s/cert.pem
ssl_key = <%[1]s/key.pem
mail_location = maildir:%[1]s/mail
disable_plaintext_auth = yes
auth_mechanisms = plain login
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%%u %[1]s/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%[1]s
}
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=%[6]s
}
service imap-login {
  chroot =
  inet_listener imap {
    port = %[2]d
  }
  inet_listener imaps {
    port = %[3]d
    ssl = yes
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = %[4]d
  }
  inet_listener pop3s {
    port = %[5]d
    ssl = yes
  }
}
`

// Options say what it serves.
type Options struct {
	Certificate     tls.Certificate
	Login, Password string
	Quota           string // as 100M; the default
	// Introspect is the address (RFC 7662) at which access tokens are asked about, which
	// it takes then (XOAUTH2); "": it takes none. Names are compared with "username".
	Introspect string
}

const tokenConf = `
auth_mechanisms = plain login xoauth2
passdb {
  driver = oauth2
  mechanisms = xoauth2
  args = %s/oauth2.conf.ext
}
`

// Start runs Dovecot with these messages in the inbox until the test ends.
func Start(t testing.TB, o Options, messages ...string) *Server {
	t.Helper()
	if o.Quota == "" {
		o.Quota = "100M"
	}
	d := &Server{Dir: t.TempDir(), Ports: map[string]int{}}
	// Its processes run as other users and have to get here.
	for dir := d.Dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	args := []any{d.Dir}
	var held []net.Listener
	for _, name := range []string{"imap", "imaps", "pop3", "pop3s"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, ln) // until all have one of their own
		d.Ports[name] = ln.Addr().(*net.TCPAddr).Port
		args = append(args, d.Ports[name])
	}
	for _, ln := range held {
		ln.Close()
	}
	key, err := x509.MarshalPKCS8PrivateKey(o.Certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain strings.Builder
	for _, c := range o.Certificate.Certificate {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c}))
	}
	d.write(t, "cert.pem", chain.String())
	d.write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	// Dovecot folds the names of logins.
	d.write(t, "users", strings.ToLower(o.Login)+":{PLAIN}"+o.Password+"\n")
	text := fmt.Sprintf(conf, append(args, o.Quota)...)
	if o.Introspect != "" {
		text += fmt.Sprintf(tokenConf, d.Dir)
		d.write(t, "oauth2.conf.ext", "introspection_url = "+o.Introspect+"\nintrospection_mode = post\nusername_attribute = username\nactive_attribute = active\nactive_value = true\n")
	}
	d.write(t, "dovecot.conf", text)
	for _, dir := range []string{"mail", "mail/cur", "mail/new", "mail/tmp"} {
		if err := os.MkdirAll(filepath.Join(d.Dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		own(t, filepath.Join(d.Dir, dir))
	}
	d.Deliver(t, "", messages...)
	d.run(t)
	return d
}

func (d *Server) run(t testing.TB) {
	t.Helper()
	cmd := exec.Command("dovecot", "-F", "-c", filepath.Join(d.Dir, "dovecot.conf"))
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			log, _ := os.ReadFile(filepath.Join(d.Dir, "log"))
			t.Logf("dovecot ended: %v\n%s\n%s", err, &said, log)
		}
	})
	for _, port := range d.Ports {
		up := false
		for i := 0; i < 400 && !up; i++ {
			c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if up = err == nil; up {
				c.Close()
				continue
			}
			time.Sleep(50 * time.Millisecond) // until it listens
		}
		if !up {
			t.Fatal("dovecot does not listen")
		}
	}
}

// Deliver puts messages into a folder ("": the inbox) as a provider's own software
// stores them: lines end in LF, and each appears at once.
func (d *Server) Deliver(t testing.TB, folder string, messages ...string) {
	t.Helper()
	root := filepath.Join(d.Dir, "mail")
	if folder != "" {
		root = filepath.Join(root, "."+folder)
	}
	for _, m := range messages {
		name := fmt.Sprintf("%d.M%06d.host", 1_700_000_000+d.next, d.next)
		d.next++
		tmp := filepath.Join(root, "tmp", name)
		if err := os.WriteFile(tmp, []byte(strings.ReplaceAll(m, "\r\n", "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		own(t, tmp)
		if err := os.Rename(tmp, filepath.Join(root, "new", name)); err != nil {
			t.Fatal(err)
		}
	}
}

// Messages returns what stands in the inbox by Dovecot's own files, with lines
// ending in CRLF, by their names.
func (d *Server) Messages(t testing.TB) (all []string) {
	t.Helper()
	for _, dir := range []string{"cur", "new"} {
		files, err := filepath.Glob(filepath.Join(d.Dir, "mail", dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, strings.ReplaceAll(string(b), "\n", "\r\n"))
		}
	}
	return all
}

// Admin runs doveadm.
func (d *Server) Admin(t testing.TB, args ...string) {
	t.Helper()
	out, err := exec.Command("doveadm", append([]string{"-c", filepath.Join(d.Dir, "dovecot.conf")}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("doveadm %v: %v\n%s", args, err, out)
	}
}

func (d *Server) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.Dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// own gives a file to the user that the mail processes run as.
func own(t testing.TB, path string) {
	t.Helper()
	const nobody = 65534 // on every Debian
	if err := os.Chown(path, nobody, -1); err != nil {
		t.Fatal(err)
	}
}

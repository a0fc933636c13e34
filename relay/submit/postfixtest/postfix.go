//go:build peers

// Package postfixtest runs a private Postfix on loopback: a submission service that
// others wrote (TLS and login, as a provider's), and a smarthost for ordinary mail. It
// keeps every message that it takes. Only tests import it.
//
// The logins are judged by a Dovecot of its own, which Postfix asks.
//
// It must not import any room of pecgate.
package postfixtest

import (
	"bytes"
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

// Options say what it serves.
type Options struct {
	// Certificate of the submission services; without one only "smtp" is served.
	Certificate     tls.Certificate
	Login, Password string
	// Refuse are replies to RCPT by recipient, as "550 5.1.1 no such mailbox".
	Refuse map[string]string
	// RefuseAtDot are replies to the final dot by sender.
	RefuseAtDot map[string]string
	// Next, where it has an Addr, gets all that is taken, after Release.
	Next Next
}

// Next is a server that a Postfix hands on to, as a client of the provider does: TLS
// from the first byte, its certificate verified, and a login.
type Next struct {
	Addr            string // localhost:port
	CA              []byte // PEM
	Login, Password string
	Connections     int // most at once
}

// Server is a running Postfix.
type Server struct {
	Dir string
	// Ports are smtp (no TLS, no login, for every loopback address), submission
	// (STARTTLS and login demanded), submissions (TLS from the first byte, login
	// demanded).
	Ports map[string]int

	master *process
}

// Message is one that was delivered to one recipient.
type Message struct {
	From, To string
	Data     string // without what Postfix put above it, lines ending in CRLF
	Trace    string // what Postfix put above it
}

const mainCf = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/log
myhostname = postfix.example
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
local_recipient_maps =
smtpd_peername_lookup = no
disable_dns_lookups = yes
message_size_limit = 67108864
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = static:all
virtual_mailbox_base = %[1]s
virtual_mailbox_maps = static:mail/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 100
local_header_rewrite_clients =
smtpd_recipient_restrictions = check_recipient_access texthash:%[1]s/etc/rcpt
smtpd_end_of_data_restrictions = check_sender_access texthash:%[1]s/etc/dot
smtpd_tls_cert_file = %[1]s/etc/cert.pem
smtpd_tls_key_file = %[1]s/etc/key.pem
smtpd_sasl_type = dovecot
smtpd_sasl_path = %[1]s/sasl
`

const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/sasl.log
listen = 127.0.0.1
protocols =
ssl = no
auth_mechanisms = plain login
disable_plaintext_auth = no
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%%u %[1]s/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%[1]s
}
service auth {
  unix_listener %[1]s/sasl {
    mode = 0666
  }
}
`

// Start runs Postfix until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	p := &Server{Dir: t.TempDir(), Ports: map[string]int{}}
	// Its processes run as other users and have to get here.
	for dir := p.Dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"etc", "queue", "data", "mail", "mail/new", "mail/cur", "mail/tmp"} {
		if err := os.Mkdir(filepath.Join(p.Dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(d, "mail") {
			if err := os.Chown(filepath.Join(p.Dir, d), 65534, 65534); err != nil { // nobody
				t.Fatal(err)
			}
		}
	}
	names := []string{"smtp"}
	if o.Certificate.PrivateKey != nil {
		names = append(names, "submission", "submissions")
		p.writeCertificate(t, o.Certificate)
		p.startSASL(t, o)
	}
	p.reserve(t, names)
	conf := fmt.Sprintf(mainCf, p.Dir)
	if o.Next.Addr != "" {
		conf = strings.Replace(conf, "virtual_mailbox_domains = static:all\n", "virtual_mailbox_domains =\n"+p.handsOn(t, o.Next), 1)
	}
	p.write(t, "etc/main.cf", conf)
	p.write(t, "etc/rcpt", table(o.Refuse))
	p.write(t, "etc/dot", table(o.RefuseAtDot))
	p.write(t, "etc/master.cf", p.masterCf())
	for _, step := range [][]string{
		{"chown", "postfix", filepath.Join(p.Dir, "data")},
		{"postfix", "-c", filepath.Join(p.Dir, "etc"), "check"}, // makes the folders of the queue
	} {
		if out, err := exec.CommandContext(t.Context(), step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
	daemons, err := exec.CommandContext(t.Context(), "postconf", "-h", "daemon_directory").Output()
	if err != nil {
		t.Fatal(err)
	}
	// postfix start-fg leaves the master behind when it is ended.
	p.master = &process{log: "log", name: filepath.Join(strings.TrimSpace(string(daemons)), "master"), args: []string{"-d", "-c", filepath.Join(p.Dir, "etc")}}
	t.Cleanup(func() { p.master.end(t, p.Dir) })
	p.Again(t)
	return p
}

// Stop ends it as an administrator does; what it took stays.
func (p *Server) Stop(t testing.TB) {
	t.Helper()
	p.master.end(t, p.Dir)
}

// Again starts it after Stop, at the same ports.
func (p *Server) Again(t testing.TB) {
	t.Helper()
	p.master.start(t)
	for _, port := range p.Ports {
		p.wait(t, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
}

// Refuse changes the replies to RCPT, between Stop and Again.
func (p *Server) Refuse(t testing.TB, replies map[string]string) {
	t.Helper()
	p.write(t, "etc/rcpt", table(replies))
}

// Addr is host:port of one of the services.
func (p *Server) Addr(service string) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Ports[service]))
}

// masterCf lists the processes.
func (p *Server) masterCf() string {
	const submission = " -o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject"
	var b strings.Builder
	fmt.Fprintf(&b, "%s inet n - n - - smtpd\n", p.Addr("smtp"))
	if p.Ports["submission"] != 0 {
		fmt.Fprintf(&b, "%s inet n - n - - smtpd -o smtpd_tls_security_level=encrypt%s\n", p.Addr("submission"), submission)
		fmt.Fprintf(&b, "%s inet n - n - - smtpd -o smtpd_tls_wrappermode=yes%s\n", p.Addr("submissions"), submission)
	}
	// Name, private, most processes, program.
	for _, service := range [][4]string{{"cleanup", "n", "0", "cleanup"}, {"rewrite", "-", "-", "trivial-rewrite"}, {"bounce", "-", "0", "bounce"}, {"defer", "-", "0", "bounce"},
		{"trace", "-", "0", "bounce"}, {"verify", "-", "1", "verify"}, {"flush", "n", "0", "flush"}, {"proxymap", "-", "-", "proxymap"}, {"anvil", "-", "1", "anvil"},
		{"tlsmgr", "-", "1", "tlsmgr"}, {"error", "-", "-", "error"}, {"retry", "-", "-", "error"}} {
		fmt.Fprintf(&b, "%s unix %s - n - %s %s\n", service[0], service[1], service[2], service[3])
	}
	b.WriteString("smtp unix - - n - - smtp\n")
	b.WriteString("pickup unix n - n 60 1 pickup\n")  // postqueue looks for it
	b.WriteString("virtual unix - n n - - virtual\n") // as root: it becomes the owner of the mailbox
	b.WriteString("qmgr unix n - n 300 1 qmgr\npostlog unix-dgram n - n - 1 postlogd\n")
	return b.String()
}

// handsOn is the configuration for Options.Next. A limit of recipients of 1 is not in
// it: it would make Postfix count connections by recipient (qmgr(8)).
func (p *Server) handsOn(t testing.TB, n Next) string {
	t.Helper()
	host, port, err := net.SplitHostPort(n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "etc/next.pem", string(n.CA))
	p.write(t, "etc/next", fmt.Sprintf("[%s]:%s %s:%s\n", host, port, n.Login, n.Password))
	return fmt.Sprintf(`relayhost = [%[2]s]:%[3]s
defer_transports = smtp
smtp_tls_security_level = secure
smtp_tls_wrappermode = yes
smtp_tls_secure_cert_match = %[2]s
smtp_tls_CAfile = %[1]s/etc/next.pem
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:%[1]s/etc/next
smtp_sasl_tls_security_options = noanonymous
smtp_host_lookup = native
default_destination_concurrency_limit = %[4]d
initial_destination_concurrency = %[4]d
`, p.Dir, host, port, n.Connections)
}

// Release lets go to the next server what was taken for it, and what comes later.
func (p *Server) Release(t testing.TB) {
	t.Helper()
	etc := filepath.Join(p.Dir, "etc")
	for _, step := range [][]string{{"postconf", "-c", etc, "-e", "defer_transports="}, {"postfix", "-c", etc, "reload"}, {"postqueue", "-c", etc, "-f"}} {
		if out, err := exec.CommandContext(t.Context(), step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
}

// Messages are those that were delivered, in no order, one for each recipient.
func (p *Server) Messages(t testing.TB) (all []Message) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Dir, "mail", "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, split(string(b)))
	}
	return all
}

// Wait waits until so many were delivered, at most a minute.
func (p *Server) Wait(t testing.TB, n int) []Message {
	t.Helper()
	var all []Message
	for range 1200 {
		if all = p.Messages(t); len(all) >= n {
			return all
		}
		time.Sleep(50 * time.Millisecond) // until its queue has been worked off
	}
	t.Fatalf("Postfix delivered %d messages, want %d", len(all), n)
	return nil
}

// Log is what Postfix wrote down.
func (p *Server) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// split cuts off what Postfix puts above a message: Return-Path, X-Original-To and
// Delivered-To, and one Received over several lines.
func split(s string) (m Message) {
	rest, received := s, false
	for {
		line, after, ok := strings.Cut(rest, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case !ok:
		case name == "Return-Path":
			m.From = strings.Trim(value, "<>")
		case name == "Delivered-To":
			m.To = value
		case name == "X-Original-To", received && strings.HasPrefix(line, "\t"):
		case name == "Received" && !received:
			received = true
		default:
			ok = false
		}
		if !ok {
			break
		}
		rest = after
	}
	m.Trace = s[:len(s)-len(rest)]
	m.Data = strings.ReplaceAll(rest, "\n", "\r\n")
	return m
}

func table(of map[string]string) string {
	var b strings.Builder
	for key, reply := range of {
		fmt.Fprintf(&b, "%s %s\n", key, reply)
	}
	return b.String()
}

// reserve finds a port for each service.
func (p *Server) reserve(t testing.TB, names []string) {
	t.Helper()
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() // when all have one of their own
		p.Ports[name] = ln.Addr().(*net.TCPAddr).Port
	}
}

func (p *Server) writeCertificate(t testing.TB, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain strings.Builder
	for _, der := range c.Certificate {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	p.write(t, "etc/cert.pem", chain.String())
	p.write(t, "etc/key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

// startSASL runs the Dovecot that judges logins.
func (p *Server) startSASL(t testing.TB, o Options) {
	t.Helper()
	// Dovecot folds the names of logins.
	p.write(t, "users", strings.ToLower(o.Login)+":{PLAIN}"+o.Password+"\n")
	p.write(t, "dovecot.conf", fmt.Sprintf(dovecotConf, p.Dir))
	p.run(t, "sasl.log", "dovecot", "-F", "-c", filepath.Join(p.Dir, "dovecot.conf"))
	p.wait(t, "unix", filepath.Join(p.Dir, "sasl"))
}

// process is a service that stays in the foreground.
type process struct {
	log, name string // log: below the server's folder, shown where the test fails
	args      []string

	cmd  *exec.Cmd // nil: it does not run
	said bytes.Buffer
}

func (r *process) start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(r.name, r.args...)
	cmd.Stdout, cmd.Stderr = &r.said, &r.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Postfix ends its group with itself
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.cmd = cmd
}

func (r *process) end(t testing.TB, dir string) {
	t.Helper()
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	if err := r.cmd.Wait(); t.Failed() {
		text, _ := os.ReadFile(filepath.Join(dir, r.log))
		t.Logf("%s ended: %v\n%.2000s\n%.8000s", r.name, err, r.said.String(), text)
	}
	r.cmd = nil
}

// run starts a service and ends it with the test.
func (p *Server) run(t testing.TB, log, name string, args ...string) {
	t.Helper()
	r := &process{log: log, name: name, args: args}
	r.start(t)
	t.Cleanup(func() { r.end(t, p.Dir) })
}

func (p *Server) wait(t testing.TB, network, addr string) {
	t.Helper()
	for range 400 {
		if c, err := net.Dial(network, addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond) // until it listens
	}
	t.Fatalf("nobody listens at %s", addr)
}

func (p *Server) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

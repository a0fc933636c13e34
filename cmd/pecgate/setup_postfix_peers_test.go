//go:build peers

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"pecgate/mailbox/mime"
	"pecgate/relay/submit/smarthosttest"
)

// privatePostfix is a Postfix of its own on loopback, set up as an administrator would have it before pecgate.
type privatePostfix struct {
	t   *testing.T
	dir string
}

const privateMainCf = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/log
myhostname = mail.ordinary.example
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
local_recipient_maps =
disable_dns_lookups = yes
smtp_host_lookup = native
relayhost = [127.0.0.1]:%[2]s
transport_maps = inline:{ intranet.example=discard: }
header_checks = regexp:{{/^X-Inside:/ IGNORE}}
`

func newPrivatePostfix(t *testing.T, ordinary string) *privatePostfix {
	t.Helper()
	p := &privatePostfix{t: t, dir: t.TempDir()}
	for dir := p.dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"etc", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(p.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, port, err := net.SplitHostPort(ordinary)
	if err != nil {
		t.Fatal(err)
	}
	p.write("main.cf", fmt.Sprintf(privateMainCf, p.dir, port))
	master := "submission inet n - n - - smtpd -o smtpd_client_restrictions=permit_mynetworks,reject\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\ndiscard unix - - n - - discard\n"
	for _, s := range [][4]string{{"cleanup", "n", "0", "cleanup"}, {"rewrite", "-", "-", "trivial-rewrite"}, {"bounce", "-", "0", "bounce"}, {"defer", "-", "0", "bounce"},
		{"trace", "-", "0", "bounce"}, {"proxymap", "-", "-", "proxymap"}, {"anvil", "-", "1", "anvil"}, {"tlsmgr", "-", "1", "tlsmgr"}, {"error", "-", "-", "error"}, {"retry", "-", "-", "error"}, {"scache", "-", "1", "scache"}} {
		master += fmt.Sprintf("%s unix %s - n - %s %s\n", s[0], s[1], s[2], s[3])
	}
	p.write("master.cf", master+"qmgr unix n - n 300 1 qmgr\npostlog unix-dgram n - n - 1 postlogd\n")
	p.run(nil, "chown", "postfix", filepath.Join(p.dir, "data"))
	return p
}

func (p *privatePostfix) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "etc", name), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// run runs a command on this Postfix; it returns what it wrote to standard output.
func (p *privatePostfix) run(env []string, name string, args ...string) string {
	p.t.Helper()
	out, errs, err := p.try(env, name, args...)
	if err != nil {
		p.t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, errs)
	}
	return out
}

func (p *privatePostfix) try(env []string, name string, args ...string) (out, errs string, err error) {
	cmd := exec.CommandContext(p.t.Context(), name, args...)
	cmd.Env = append(append(os.Environ(), "MAIL_CONFIG="+filepath.Join(p.dir, "etc")), env...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// settings are all that setup may change.
func (p *privatePostfix) settings() string {
	p.t.Helper()
	return strings.TrimSpace(string(readFile(p.t, filepath.Join(p.dir, "etc", "main.cf")))) + "\n" + p.run(nil, "postconf", "-M")
}

// start runs it until the test ends, its submission service on a port of its own.
func (p *privatePostfix) start() (submission string) {
	p.t.Helper()
	submission = free(p.t)
	master := string(readFile(p.t, filepath.Join(p.dir, "etc", "master.cf")))
	p.write("master.cf", regexp.MustCompile(`(?m)^submission\b`).ReplaceAllString(master, submission))
	daemons := strings.TrimSpace(p.run(nil, "postconf", "-h", "daemon_directory"))
	cmd := exec.Command(filepath.Join(daemons, "master"), "-d", "-c", filepath.Join(p.dir, "etc"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Postfix ends its group with itself
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // ended by the signal
		if p.t.Failed() {
			b, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			p.t.Logf("%s", b[max(0, len(b)-4000):])
		}
	})
	for range 400 {
		if c, err := net.Dial("tcp", submission); err == nil {
			c.Close()
			return submission
		}
		time.Sleep(50 * time.Millisecond) // until it listens
	}
	p.t.Fatal("Postfix does not listen")
	return ""
}

// setupBesidePostfix is a house whose relay is what the settings of this Postfix were printed for.
func setupBesidePostfix(t *testing.T, keys string) (h *house, printed func(args ...string) string) {
	t.Helper()
	h = newHouse(t)
	relay := free(t)
	appliance := string(readFile(t, h.config()))
	h.write("pecgate.yaml", strings.Replace(appliance, "smtp: {", fmt.Sprintf("smtp: {relay: [%q], ", relay), 1))
	h.policy += "relays:\n  - name: ufficio\n    networks: [127.0.0.1/32]\n    login: gruppo\n    password: " + cheapHash(t, "gruppogruppo") + "\n" + keys
	h.writePolicy(h.policy)
	return h, func(args ...string) string {
		t.Helper()
		state, out, errs := program(t, "", append([]string{"setup", "--config", h.config(), "postfix", "--ca", filepath.Join(h.dir, "tls", "ca.pem")}, args...)...)
		if state != exitGood {
			t.Fatalf("state %d, %s", state, errs)
		}
		return out
	}
}

var relayPassword = []string{"PECGATE_RELAY_PASSWORD=gruppogruppo"}

// The printed script runs on a real Postfix, twice without a difference, gives each address its next hop and each subject its
// way, and what --remove prints leaves the configuration as it was.
func TestPeers_SetupPostfixMaps(t *testing.T) {
	_, printed := setupBesidePostfix(t, "    suffix: pec\n    domains: [pec.azienda.example]\n    senders: [lucia@ordinary.example]\n    marks: [from, subject, suffix, domains, senders]\n")
	p := newPrivatePostfix(t, "127.0.0.1:25")
	before := p.settings()
	script, remove := printed(), printed("--remove")
	p.run(relayPassword, "sh", "-c", script)
	once := p.settings()
	if once == before {
		t.Fatal("nothing was set")
	}
	p.run(relayPassword, "sh", "-c", script)
	if twice := p.settings(); twice != once {
		t.Errorf("the second run changed\n%s\ninto\n%s", once, twice)
	}
	if _, errs, err := p.try(nil, "postfix", "check"); err != nil || strings.Contains(errs, "warning") {
		t.Errorf("postfix check: %v %s", err, errs)
	}
	_, port, _ := strings.Cut(regexp.MustCompile(`pecgate-ufficio:\[localhost\]:([0-9]+)`).FindString(script), "]:")
	hop := "pecgate-ufficio:[localhost]:" + port
	dir := filepath.Join(p.dir, "etc", "pecgate-ufficio")
	for _, c := range [][3]string{
		{"transport", ".pec", hop}, {"transport", "pec.azienda.example", hop}, {"transport", "gateway.example", hop},
		{"transport", "azienda.example", ""}, {"senders", boxA, hop}, {"senders", boxB, hop}, {"senders", "lucia@ordinary.example", hop}, {"senders", "mario@ordinary.example", ""},
	} {
		out, _, _ := p.try(nil, "postmap", "-q", c[1], "texthash:"+filepath.Join(dir, c[0])) // its status says whether there is one
		if strings.TrimSpace(out) != c[2] {
			t.Errorf("postmap -q %s %s: %q, want %q", c[1], c[0], out, c[2])
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "sasl")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the password's file: %v %v", info, err)
	}
	p.checkSubjects("regexp:" + filepath.Join(dir, "header_checks"))
	p.run(nil, "sh", "-c", remove)
	if after := p.settings(); after != before {
		t.Errorf("was\n%s\nand is after --remove\n%s", before, after)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	p.run(nil, "sh", "-c", remove) // and once more
	if after := p.settings(); after != before {
		t.Errorf("a second --remove changed the configuration")
	}
}

// checkSubjects asks the header checks about the Subject of each message of a groupware server, and others.
func (p *privatePostfix) checkSubjects(table string) {
	p.t.Helper()
	tag := regexp.MustCompile(`(?i)\[[ \t]*PEC[ \t]*(?::[^\[\]\r\n]*)?\]`)
	subjects := []string{
		"Subject: [PEC] Istanza", "Subject: R: [ pec : protocollo ] Istanza", "Subject: [PECORA] Istanza", "Subject: PEC Istanza", "Subject: =?utf-8?Q?Citt=C3=A0_[PEC]?=",
		"Subject: =?UTF-8?B?YVtQRUNdIHg=?=", "Subject: =?UTF-8?B?YWJbUEVDXSB4?=", "Subject: =?UTF-8?B?W3BlY10geA==?=", "Subject: =?UTF-8?B?W1BFWF0geA==?=", "Subject: =?utf-8?q?=5bPEC=5d?=",
	}
	files, err := filepath.Glob("../../testdata/groupware/*.eml")
	if err != nil || len(files) < 40 {
		p.t.Fatalf("%d messages, %v", len(files), err)
	}
	for _, f := range files {
		b := readFile(p.t, f)
		head, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
		for _, field := range mime.Fields(append(head, "\r\n"...)) {
			if strings.EqualFold(field.Name, "Subject") {
				subjects = append(subjects, strings.TrimRight(strings.ReplaceAll(string(field.Raw), "\r\n", "\n"), "\n"))
			}
		}
	}
	hits := 0
	for _, s := range subjects {
		want := tag.MatchString(mime.DecodeWords(strings.TrimPrefix(s, "Subject: ")))
		out, _, _ := p.try(nil, "postmap", "-q", s, table)
		if got := strings.HasPrefix(out, "FILTER pecgate-ufficio:[localhost]:"); got != want {
			p.t.Errorf("%q: %q, want a way to the gateway: %t", s, out, want)
		}
		if want {
			hits++
		}
	}
	if hits < 10 {
		p.t.Errorf("only %d subjects with the tag", hits)
	}
}

// A real Postfix with the printed settings hands what is marked to the gateway, over TLS and with its login, and everything
// else to its usual way; the provider gets the message with the mailbox in From and a body that nobody changed.
func TestPeers_SetupPostfixSends(t *testing.T) {
	h, printed := setupBesidePostfix(t, "    suffix: pec\n")
	ordinary := smarthosttest.New(t)
	p := newPrivatePostfix(t, ordinary.Addr())
	p.run(relayPassword, "sh", "-c", printed())
	submission := p.start()
	h.start()
	to := boxA
	body := "Citt\xc3\xa0 e 8 bit, .\r\n.con un punto\r\n"
	for _, m := range []struct{ id, rcpt, subject string }{
		{"uno", to + ".pec", "Suffisso"}, {"due", to, "[PEC] Oggetto"}, {"tre", to, "=?utf-8?B?W1BFQ10gQ2l0dMOg?="}, {"quattro", "amico@altrove.example", "Ordinario"},
	} {
		message := "From: Lucia Bianchi <lucia@ordinary.example>\r\nTo: <" + m.rcpt + ">\r\nSubject: " + m.subject + "\r\nDate: Mon, 16 Nov 2026 10:00:00 +0100\r\nMessage-ID: <" + m.id +
			"@ordinary.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
		if err := sayPlainly(submission, "lucia@ordinary.example", m.rcpt, message); err != nil {
			t.Fatal(err)
		}
	}
	var sent []string
	h.until("three messages are sent", func() bool {
		sent = h.folder("lucia/"+boxB, "Posta inviata")
		return len(sent) == 3
	})
	for _, m := range sent {
		if !strings.HasSuffix(m, "\r\n\r\n"+body) || !strings.Contains(m, "From: Lucia Bianchi <"+boxB+">\r\n") || !strings.Contains(m, "To: <"+boxA+">\r\n") || strings.Contains(m, "PEC]") ||
			strings.Contains(m, "lucia@") {
			t.Errorf("what was sent is\n%s", m)
		}
	}
	h.until("the ordinary message took its usual way", func() bool { return len(ordinary.All()) > 0 })
	got := ordinary.All()
	if len(got) != 1 || !strings.Contains(got[0].Data, "quattro@ordinary.example") {
		t.Errorf("the usual way has %+v", got)
	}
}

// sayPlainly submits a message without TLS to a server on loopback.
func sayPlainly(addr, from, to, message string) error {
	return sayDSN(addr, from, to, "", "", message)
}

// sayDSN is sayPlainly with parameters of RCPT and an ENVID (RFC 3461); to may be several addresses with blanks between.
func sayDSN(addr, from, to, notify, envID, message string) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if notify != "" {
		notify, envID = " "+notify, " RET=HDRS ENVID="+envID
	} else {
		envID = ""
	}
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	lines := []string{"", "EHLO pc.ordinary.example\r\n", "MAIL FROM:<" + from + "> BODY=8BITMIME" + envID + "\r\n"}
	for _, one := range strings.Fields(to) {
		lines = append(lines, "RCPT TO:<"+one+">"+notify+"\r\n")
	}
	for _, say := range append(lines, "DATA\r\n", regexp.MustCompile(`(?m)^\.`).ReplaceAllString(message, "..")+".\r\n") {
		if _, err := c.Write([]byte(say)); err != nil {
			return err
		}
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		if n == 0 || buf[0] > '3' {
			return fmt.Errorf("%.40q is answered %s", say, buf[:n])
		}
	}
	return nil
}

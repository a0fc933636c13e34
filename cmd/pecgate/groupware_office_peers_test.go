//go:build peers

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pecgate/relay/fetch"
	"pecgate/relay/submit/smarthosttest"
)

// office is a company: its people submit at a Postfix, which was set up by what `pecgate setup postfix` prints and keeps
// their mail in a Dovecot behind it; the gateway is a process beside it.
type office struct {
	*house
	postfix    *privatePostfix
	submission string // where people submit
	incoming   string // where the gateway delivers
	dovecot    string // folder of the Dovecot
	relayAt    string // where the Postfix hands over to the gateway
	imap       string
	ordinary   *smarthosttest.Server // the usual way out of the Postfix
	process    *process
}

const officeDovecot = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
listen = 127.0.0.1
protocols = imap lmtp
ssl = required
ssl_cert = <%[1]s/cert.pem
ssl_key = <%[1]s/key.pem
auth_mechanisms = plain
auth_username_format = %%Ln
mail_location = maildir:%%h/mail
maildir_very_dirty_syncs = yes
mail_fsync = never
postmaster_address = postmaster@ordinary.example
hostname = mail.ordinary.example
submission_host = %[4]s
default_process_limit = 20
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%%n %[1]s/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%[1]s/home/%%n
}
service imap-login {
  chroot =
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    address = 127.0.0.1
    port = %[2]s
    ssl = yes
  }
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = %[3]s
  }
}
protocol lmtp {
  mail_plugins = sieve
}
plugin {
  sieve = file:%%h/active.sieve
  sieve_extensions = +vacation-seconds
  sieve_vacation_min_period = 0
  sieve_vacation_default_period = 0
  sieve_user_email = %%n@ordinary.example
  sieve_notify_mailto_envelope_from = user_email
  sieve_redirect_envelope_from = recipient
}
`

// officePeople have an ordinary mailbox; nadia is no user of the gateway.
func officePeople() []string { return []string{"mario", "lucia", "anna", "piero", "nadia"} }

// newOffice starts everything. keys are of the relay in policy.yaml; scripts are Sieve scripts by person.
func newOffice(t *testing.T, keys string, scripts map[string]string, mailboxes ...string) *office {
	t.Helper()
	o := &office{house: newHouse(t, mailboxes...), ordinary: smarthosttest.New(t)}
	relay, lmtp := free(t), free(t)
	o.relayAt = relay
	o.incoming = free(t)
	host, port, err := net.SplitHostPort(o.incoming)
	if err != nil {
		t.Fatal(err)
	}
	appliance := strings.Replace(string(readFile(t, o.config())), "smtp: {", fmt.Sprintf("smtp: {relay: [%q], ", relay), 1)
	o.write("pecgate.yaml", appliance+fmt.Sprintf("outgoing: {smarthost: {host: %s, port: %s, security: none}}\n", host, port))
	o.policy = strings.ReplaceAll(o.policy, "    password: $", "    deliver: [imap, forward]\n    password: $") +
		"relays:\n  - name: ufficio\n    networks: [127.0.0.1/32]\n    login: gruppo\n    password: " + cheapHash(t, "gruppogruppo") + "\n" + keys
	o.writePolicy(o.policy)

	o.postfix = newPrivatePostfix(t, o.ordinary.Addr())
	o.postfix.run(nil, "postconf", "-e", "virtual_mailbox_domains = ordinary.example", "virtual_transport = lmtp:inet:"+lmtp, "virtual_mailbox_maps = static:all",
		"lmtp_destination_recipient_limit = 1", "local_header_rewrite_clients =", "maximal_queue_lifetime = 1h", "smtpd_client_connection_count_limit = 0",
		"smtpd_peername_lookup = no")
	o.postfix.run(nil, "postconf", "-M", "lmtp/unix=lmtp unix - - n - - lmtp", o.incoming+"/inet="+o.incoming+" inet n - n - - smtpd")
	state, script, errs := program(t, "", "setup", "--config", o.config(), "postfix", "--ca", filepath.Join(o.dir, "tls", "ca.pem"))
	if state != exitGood {
		t.Fatalf("setup: state %d, %s", state, errs)
	}
	o.postfix.run(relayPassword, "sh", "-c", script)
	o.submission = o.postfix.start()
	o.startDovecot(lmtp, scripts)
	o.process = o.launch()
	return o
}

func (o *office) startDovecot(lmtp string, scripts map[string]string) {
	t := o.t
	t.Helper()
	o.dovecot = t.TempDir()
	for dir := o.dovecot; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) { // its processes run as other users and have to get here
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o.imap = free(t)
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(o.dovecot, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := ""
	for _, who := range officePeople() {
		home := filepath.Join(o.dovecot, "home", who)
		err := os.MkdirAll(home, 0o755)
		if script := scripts[who]; err == nil && script != "" {
			write("home/"+who+"/active.sieve", script)
		}
		const nobody = 65534 // on every Debian
		if err := errors.Join(err, os.Chown(home, nobody, -1)); err != nil {
			t.Fatal(err)
		}
		users += who + ":{PLAIN}" + who + who + "\n"
	}
	write("users", users)
	write("cert.pem", string(readFile(t, filepath.Join(o.dir, "tls", "fullchain.pem"))))
	write("key.pem", string(readFile(t, filepath.Join(o.dir, "tls", "key.pem"))))
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
	conf := write("dovecot.conf", fmt.Sprintf(officeDovecot, o.dovecot, port(o.imap), port(lmtp), o.submission))
	cmd := exec.Command("dovecot", "-F", "-c", conf)
	said := new(syncBuffer)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); t.Failed() {
			log, _ := os.ReadFile(filepath.Join(o.dovecot, "log"))
			t.Logf("dovecot ended: %v\n%s\n%s", err, said, log[max(0, len(log)-2000):])
		}
	})
	if !listening(lmtp, 20*time.Second) || !listening(o.imap, 20*time.Second) {
		t.Fatal("dovecot does not listen")
	}
}

// post submits a message of a person at the Postfix, without a word about DSN.
func (o *office) post(who, to, message string) {
	o.t.Helper()
	if err := sayPlainly(o.submission, who+"@ordinary.example", to, message); err != nil {
		o.t.Fatal(err)
	}
}

// mailOf is everything in the ordinary mailbox of a person, as Dovecot serves it by IMAP.
func (o *office) mailOf(who string) (all []string) {
	o.t.Helper()
	_, port, err := splitPort(o.imap)
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := fetch.Dial(ctx, fetch.Server{Host: "localhost", Port: port, Security: "tls", Roots: o.roots(), Username: who, Password: who + who, Timeout: 30 * time.Second})
	if err != nil {
		o.t.Fatal(err)
	}
	_, err = s.New(ctx, "INBOX", fetch.Cursor{}, 1000, func(_ context.Context, it fetch.Item) error {
		b, err := io.ReadAll(it.Body)
		all = append(all, string(b))
		return err
	})
	if err := errors.Join(err, s.Close()); err != nil {
		o.t.Fatalf("mail of %s: %v", who, err)
	}
	return all
}

// untilMail waits for messages of a person that hold all of some words, and returns them.
func (o *office) untilMail(who string, n int, words ...string) (found []string) {
	o.t.Helper()
	o.until(fmt.Sprintf("%s has %d messages with %q", who, n, words), func() bool {
		found = nil
		for _, m := range o.mailOf(who) {
			if holdsAll(m, words) {
				found = append(found, m)
			}
		}
		return len(found) >= n
	})
	return found
}

func holdsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

// officeLetter is a message as a mail program of the office writes it, with a name and fields of the inside.
func officeLetter(name, from, to, subject, msgid string) string {
	return "Received: from pc17.intranet.example (pc17.intranet.example [10.20.0.17])\r\n\tby mail.ordinary.example with ESMTPSA; Mon, 16 Nov 2026 10:00:00 +0100\r\n" +
		"From: " + name + " <" + from + ">\r\nSender: <" + from + ">\r\nTo: <" + to + ">\r\nSubject: " + subject + "\r\nThread-Topic: " + subject + "\r\n" +
		"X-Originating-IP: [10.20.0.17]\r\nReply-To: " + from + "\r\nDisposition-Notification-To: <" + from + ">\r\n" +
		"Date: Mon, 16 Nov 2026 10:00:00 +0100\r\nMessage-ID: <" + msgid + ">\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + officeText
}

const officeText = "Citt\xc3\xa0, un punto:\r\n.\r\n..e due, e una riga con spazi \t\r\n\r\nFrom qui.\r\n"

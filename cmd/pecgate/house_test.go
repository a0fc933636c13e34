package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/configs"
	"pecgate/gateway"
	"pecgate/gateway/admin"
	"pecgate/gateway/auth"
	"pecgate/mailbox"
	"pecgate/relay"
	"pecgate/relay/fetch"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

// house is a whole appliance beside a simulated provider, for scenarios.
type house struct {
	t        testing.TB
	dir      string
	provider *providersim.Provider
	gateway  *gateway.Gateway
	src      *source
	log      *syncBuffer
	free     func() (mailbox.DiskFree, error) // of the disk; nil: the disk itself
	policy   string                           // policy.yaml with SMTPPORT and IMAPPORT for the ports of the provider
	smtps    string
	imaps    string
}

const (
	boxA     = "protocollo@pec.alfa.example"
	boxB     = "ufficio@pec.beta.example"
	pinMario = "471193"
)

// syncBuffer keeps the log; several goroutines write it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// secretsOf makes hashes that cost little, so that scenarios are quick.
func cheapHash(t testing.TB, secret string) string {
	t.Helper()
	h, err := auth.HashSecretCost(secret, auth.Cost{Time: 1, Memory: 8 * 1024, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// users are the people of all scenarios; the password is the login twice.
func users(t testing.TB) string {
	var b strings.Builder
	b.WriteString("users:\n")
	for _, login := range []string{"mario", "lucia", "anna", "piero"} {
		fmt.Fprintf(&b, "  - login: %s\n    email: %s@ordinary.example\n    password: %s\n", login, login, cheapHash(t, login+login))
		if login == "mario" || login == "piero" {
			fmt.Fprintf(&b, "    pin: %s\n", cheapHash(t, pinMario))
		}
	}
	return b.String()
}

// mailboxText is one mailbox of a scenario's policy.
func mailboxText(address string, pin bool, more string, members ...string) string {
	s := fmt.Sprintf(`  - address: %s
    username: %s
    password: {file: secrets/%s}
    smtp: {host: localhost, port: SMTPPORT, timeout: 20s, ca: ca.pem}
    incoming: {protocol: imap, host: localhost, port: IMAPPORT, timeout: 20s, every: 1s, ca: ca.pem}
    pin_required: %t
    admin: lucia
%s    members:
`, address, address, address, pin, more)
	for _, m := range members {
		s += "      - {user: " + m + "}\n"
	}
	return s
}

// newHouse makes provider and configuration; start brings the gateway up.
func newHouse(t testing.TB, mailboxes ...string) *house {
	t.Helper()
	return newHouseAt(t, providersim.Options{}, mailboxes...)
}

// newHouseAt is newHouse at a provider with further options.
func newHouseAt(t testing.TB, o providersim.Options, mailboxes ...string) *house {
	t.Helper()
	if len(mailboxes) == 0 {
		mailboxes = []string{
			mailboxText(boxA, true, "", "mario", "anna, send: false", "piero, expires: 2020-01-31"),
			mailboxText(boxB, false, "", "lucia"),
		}
	}
	h := &house{t: t, dir: t.TempDir(), log: new(syncBuffer)}
	var err error
	o.Domain, o.Mailboxes = "pec.gestore.example", []providersim.Mailbox{
		{Address: boxA, Username: boxA, Password: "provider-a"}, {Address: boxB, Username: boxB, Password: "provider-b"},
	}
	if h.provider, err = providersim.Start(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.provider.Close(); err != nil {
			t.Error(err)
		}
	})
	h.policy = users(t) + "mailboxes:\n" + strings.Join(mailboxes, "")
	for _, d := range []string{"tls", "secrets"} {
		if err := os.Mkdir(filepath.Join(h.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w := demoWorld{dir: h.dir, provider: h.provider}
	if err := errors.Join(w.certificates(), w.ports()); err != nil {
		t.Fatal(err)
	}
	h.smtps, h.imaps = w.smtps, w.imaps
	h.write("ca.pem", string(h.provider.CAPEM()))
	h.write("secrets/"+boxA, "provider-a\n")
	h.write("secrets/"+boxB, "provider-b\n")
	h.write("pecgate.yaml", fmt.Sprintf(`hostname: localhost
address: pecgate@gateway.example
data_dir: %s
min_free: 10MB
tls: {certificate: tls/fullchain.pem, key: tls/key.pem}
smtp: {submissions: [%q], submission: []}
imap: {imaps: [%q]}
provider_trust: [ca.pem]
`, filepath.Join(h.dir, "data"), h.smtps, h.imaps))
	h.writePolicy(h.policy)
	return h
}

func (h *house) writePolicy(text string) {
	_, smtp, err1 := splitPort(h.provider.SMTPAddr())
	_, imap, err2 := splitPort(h.provider.IMAPAddr())
	_, pop3, err3 := splitPort(h.provider.POP3Addr())
	if err := errors.Join(err1, err2, err3); err != nil {
		h.t.Fatal(err)
	}
	h.write("policy.yaml", strings.NewReplacer("SMTPPORT", fmt.Sprint(smtp), "IMAPPORT", fmt.Sprint(imap), "POP3PORT", fmt.Sprint(pop3)).Replace(text))
}

func (h *house) write(name, content string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) config() string { return filepath.Join(h.dir, "pecgate.yaml") }

// start brings the gateway up in this process.
func (h *house) start() *house {
	h.t.Helper()
	if err := h.tryStart(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(h.stop)
	return h
}

func (h *house) tryStart() error {
	h.t.Helper()
	l, err := configs.Load(h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	if h.src, err = newSource(l); err != nil {
		h.t.Fatal(err)
	}
	opt, err := h.src.gatewayOptions(slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		h.t.Fatal(err)
	}
	opt.Schedule = relay.Schedule{First: 200 * time.Millisecond, Most: time.Second, Hurry: []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}}
	opt.Free = h.free
	g, err := gateway.Start(context.Background(), opt)
	if err == nil {
		h.gateway = g
	}
	return err
}

func (h *house) stop() {
	if h.gateway == nil {
		return
	}
	if err := h.gateway.Close(); err != nil {
		h.t.Error(err)
	}
	h.gateway = nil
}

func (h *house) roots() *x509.CertPool {
	h.t.Helper()
	pool, err := (&demoWorld{dir: h.dir}).roots()
	if err != nil {
		h.t.Fatal(err)
	}
	return pool
}

// mail is a plain message.
func mail(from, to, subject, msgid string) string {
	return "From: <" + from + ">\r\nTo: <" + to + ">\r\nSubject: " + subject + "\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n" +
		"Message-ID: <" + msgid + ">\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nSi trasmette " + subject[:min(4, len(subject))] + ".\r\n"
}

// send submits a message over TLS as a person.
func (h *house) send(login, password, from string, to []string, message string) submit.Result {
	h.t.Helper()
	return sendTo(h.t, h.smtps, h.roots(), login, password, from, to, message)
}

func sendTo(t testing.TB, addr string, roots *x509.CertPool, login, password, from string, to []string, message string) submit.Result {
	t.Helper()
	host, port, err := splitPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return submit.Send(ctx, submit.Server{
		Host: host, Port: port, Security: "tls", Roots: roots, Username: login, Password: password, Timeout: 30 * time.Second, Hello: "client.example",
	}, from, to, bytesBody{strings.NewReader(message)}, submit.Hooks{})
}

// shown asks the running gateway for a submission.
func (h *house) shown(id string) (relay.Shown, error) {
	var s relay.Shown
	err := admin.NewClient(filepath.Join(h.dir, "data")).JSON(context.Background(), "/v1/show", map[string][]string{"id": {id}}, &s)
	return s, err
}

func (h *house) status() relay.Status {
	h.t.Helper()
	var s relay.Status
	if err := admin.NewClient(filepath.Join(h.dir, "data")).JSON(context.Background(), "/v1/status", nil, &s); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// until waits for something to be so, for a minute at most.
func (h *house) until(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			log := h.log.String()
			h.t.Fatalf("after a minute still not: %s\nstatus: %+v\nend of the log:\n%s", what, h.status(), log[max(0, len(log)-2000):])
		}
	}
}

// settled waits until a submission has a state and returns it.
func (h *house) settled(id string, state relay.State) relay.Shown {
	h.t.Helper()
	var s relay.Shown
	h.until(fmt.Sprintf("%s is %s", id, state), func() bool {
		var err error
		s, err = h.shown(id)
		return err == nil && s.State == state
	})
	return s
}

// folder reads all messages of an IMAP folder.
func (h *house) folder(login, folder string) []string {
	h.t.Helper()
	host, port, err := splitPort(h.imaps)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	user, _, _ := strings.Cut(login, "/")
	s, err := fetch.Dial(ctx, fetch.Server{
		Host: host, Port: port, Security: "tls", Roots: h.roots(), Username: login, Password: user + user, Timeout: 30 * time.Second,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	_, err = s.New(ctx, folder, fetch.Cursor{}, 1000, func(_ context.Context, it fetch.Item) error {
		b, err := io.ReadAll(it.Body)
		all = append(all, string(b))
		return err
	})
	if err := errors.Join(err, s.Close()); err != nil {
		h.t.Fatalf("folder %s: %v", folder, err)
	}
	return all
}

// free returns an address nobody listens on. Its port is below those that the
// system gives away by itself (32768 and above on Linux): no listener on port 0 gets
// the same one before it is used.
func free(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))); err == nil {
			defer l.Close() // the port only is wanted
			return l.Addr().String()
		}
	}
	t.Fatal(err)
	return ""
}

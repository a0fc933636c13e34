package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/mailbox/pec"
	"pecgate/relay/providersim" // messages as a provider makes them, and the provider itself
	"pecgate/relay/upstream/upstreamtest"
)

var testCA = sync.OnceValue(func() *upstreamtest.CA { return upstreamtest.NewCA(&testing.T{}, "Test root") })

func localhost(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{testCA().Server(t, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })}}
}

func portOf(t *testing.T, addr string) int {
	t.Helper()
	_, s, err := net.SplitHostPort(addr)
	n, err2 := strconv.Atoi(s)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return n
}

// popMessage is a message of a drop; its id and size may lie.
type popMessage struct {
	id, raw string
	size    int // 0: that of raw
}

// drop is a POP3 server that a test rules over at every word.
type drop struct {
	ln net.Listener
	wg sync.WaitGroup

	mu       sync.Mutex
	messages []popMessage
	commands []string
	on       func(cmd string) (answer string, ok bool) // in place of the usual answer
	quit     string                                    // the answer to QUIT, which then deletes nothing
}

func newDrop(t *testing.T, messages ...popMessage) *drop {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &drop{ln: ln, messages: messages}
	config := localhost(t)
	d.wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			d.wg.Go(func() {
				defer raw.Close()
				d.serve(tls.Server(raw, config))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); d.wg.Wait() })
	return d
}

func (d *drop) endpoint(t *testing.T) Endpoint {
	return Endpoint{Host: "localhost", Port: portOf(t, d.ln.Addr().String()), Security: "tls", Roots: testCA().Roots(), Timeout: 20 * time.Second}
}

func (d *drop) set(fn func(*drop)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fn(d)
}

func (d *drop) ids() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, m := range d.messages {
		out = append(out, m.id)
	}
	return strings.Join(out, " ")
}

// saw returns how many commands began with a word since the last call.
func (d *drop) saw(word string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, c := range d.commands {
		if strings.HasPrefix(c, word) {
			n++
		}
	}
	d.commands = nil
	return n
}

func (d *drop) serve(c net.Conn) {
	d.mu.Lock()
	here := slices.Clone(d.messages)
	d.mu.Unlock()
	io.WriteString(c, "+OK\r\n")
	marked := map[string]bool{}
	for sc := bufio.NewScanner(c); sc.Scan(); {
		answer, over := d.answer(sc.Text(), here, marked)
		if _, err := io.WriteString(c, answer); err != nil || over {
			return
		}
	}
}

func (d *drop) answer(cmd string, here []popMessage, marked map[string]bool) (answer string, over bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.commands = append(d.commands, cmd)
	if d.on != nil {
		if answer, ok := d.on(cmd); ok {
			return answer, false
		}
	}
	word, arg, _ := strings.Cut(cmd, " ")
	var m popMessage
	if n, err := strconv.Atoi(strings.Fields(arg + " x")[0]); err == nil {
		m = here[n-1]
	}
	list := func(line func(popMessage) string) string {
		var b strings.Builder
		for i, m := range here {
			fmt.Fprintf(&b, "%d %s\r\n", i+1, line(m))
		}
		return "+OK\r\n" + b.String() + ".\r\n"
	}
	switch word {
	case "CAPA":
		return "+OK\r\nTOP\r\nUIDL\r\nUSER\r\n.\r\n", false
	case "LIST":
		return list(func(m popMessage) string {
			if m.size > 0 {
				return strconv.Itoa(m.size)
			}
			return strconv.Itoa(len(m.raw))
		}), false
	case "UIDL":
		return list(func(m popMessage) string { return m.id }), false
	case "TOP":
		lines := strings.SplitAfter(m.raw, "\r\n")
		header := slices.Index(lines, "\r\n") + 1
		n, _ := strconv.Atoi(strings.Fields(arg)[1])
		m.raw = strings.Join(lines[:min(header+n, len(lines))], "")
		fallthrough
	case "RETR":
		return "+OK\r\n" + strings.ReplaceAll(m.raw, "\r\n.", "\r\n..") + ".\r\n", false
	case "DELE":
		marked[m.id] = true
	case "QUIT":
		if d.quit != "" {
			return d.quit, true
		}
		d.messages = slices.DeleteFunc(slices.Clone(d.messages), func(m popMessage) bool { return marked[m.id] })
		return "+OK\r\n", true
	}
	return "+OK\r\n", false
}

// letter is an ordinary message with a text of its own.
func letter(n int) string {
	return fmt.Sprintf("Received: from a by b; Sat, 21 Nov 2026 10:%02d:00 +0100\r\nFrom: x@esempio.example\r\nTo: %s\r\n"+
		"Message-ID: <letter@esempio.example>\r\nSubject: %d\r\n\r\n%s\r\n.\r\n%d\r\n", n%60, testBox, n, strings.Repeat("riga\r\n", 70), n)
}

func letters(n int) (out []popMessage) {
	for i := range n {
		out = append(out, popMessage{id: fmt.Sprintf("id%04d", i), raw: letter(i)})
	}
	return out
}

// fetched is a relay with a store whose clock the test sets, and one mailbox.
type fetched struct {
	t     *testing.T
	dir   string
	store *mailbox.Store
	s     *Service
	w     *worker
	log   *bytes.Buffer

	clock func() time.Time

	mu  sync.Mutex
	now time.Time
}

func newFetched(t *testing.T, acc Account) *fetched {
	t.Helper()
	f := &fetched{t: t, dir: t.TempDir(), log: new(bytes.Buffer), now: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)}
	acc.Box, acc.Admin, acc.Active, acc.Username = testBox, "capo", true, "M123"
	sim, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pec.NewTrust(sim.CAPEM())
	if err != nil {
		t.Fatal(err)
	}
	f.clock = func() time.Time {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.now
	}
	f.open()
	t.Cleanup(f.close)
	f.s = New(Options{
		Store: f.store, Reader: pec.NewReader(pec.Options{Trust: trust}), Accounts: f.accounts,
		Events: events.New(slog.New(slog.NewTextHandler(f.log, nil))),
	})
	f.worker(acc)
	return f
}

func (f *fetched) accounts() []Account {
	if f.w == nil {
		return nil
	}
	return []Account{f.w.acc}
}

// alarms are the kinds of the alarms that stand.
func (f *fetched) alarms() string {
	f.t.Helper()
	var kinds []string
	err := f.store.View(context.Background(), func(tx *mailbox.Tx) error {
		kinds = nil
		all, err := Alarms(tx, 100)
		for _, a := range all {
			kinds = append(kinds, a.Kind)
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.Join(kinds, " ")
}

func (f *fetched) open() {
	f.t.Helper()
	var err error
	if f.store, err = mailbox.Open(mailbox.Options{Dir: f.dir, Now: f.clock}); err != nil {
		f.t.Fatal(err)
	}
}

// close closes the store; it may be called again.
func (f *fetched) close() {
	if err := f.store.Close(); err != nil {
		f.t.Error(err)
	}
}

// worker begins anew with settings, as after a restart or a changed policy.
func (f *fetched) worker(acc Account) {
	if acc.Password == nil {
		acc.Password = func() (string, error) { return "segreta", nil }
	}
	f.w = &worker{
		acc: acc, logins: newLogins(acc),
		tries: map[spot]int{}, lookedTo: map[string]string{}, counted: map[string]time.Time{}, hints: make(chan struct{}, 1), well: make(chan struct{}, 1), sought: map[string]again{},
	}
}

func (f *fetched) change(fn func(*Account)) {
	acc := f.w.acc
	fn(&acc)
	f.worker(acc)
}

func (f *fetched) later(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// poll is one look at the provider. A session that broke off holds the maildrop
// until the provider has seen its end.
func (f *fetched) poll() (more bool, err error) {
	for range 500 {
		more, err = f.s.poll(context.Background(), f.w)
		if err == nil || !strings.Contains(err.Error(), "IN-USE") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return more, err
}

// round is one look at the provider, with those that follow at once.
func (f *fetched) round() {
	f.t.Helper()
	for range 100 {
		more, err := f.poll()
		if err != nil {
			f.t.Fatalf("%v\n%s", err, f.log)
		}
		if !more {
			return
		}
	}
	f.t.Fatal("there is always more")
}

// days looks once a day.
func (f *fetched) days(n int) {
	f.t.Helper()
	for range n {
		f.later(24 * time.Hour)
		f.round()
	}
}

// once tells that the store has each of these messages, once, byte for byte,
// and nothing else.
func (f *fetched) once(messages ...string) {
	f.t.Helper()
	all := 0
	err := f.store.View(context.Background(), func(tx *mailbox.Tx) error {
		all = 0
		for _, m := range messages {
			ids, err := tx.ByContent(sha256.Sum256([]byte(m)))
			if err != nil {
				return err
			}
			if len(ids) != 1 {
				f.t.Errorf("%d of %.60q", len(ids), m)
				continue
			}
			places, err := tx.Places(ids[0])
			if err != nil || len(places) != 1 {
				f.t.Errorf("%d places of %.60q, %v", len(places), m, err)
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	v := mailbox.Viewer{Person: 1, Scope: mailbox.ScopeAll}
	for _, role := range []mailbox.Role{mailbox.RoleInbox, mailbox.RoleAnomalies} {
		st, err := f.store.Status(context.Background(), mailbox.FolderKey{Box: testBox, Role: role}, v)
		if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			f.t.Fatal(err)
		}
		all += int(st.Messages)
	}
	if all != len(messages) {
		f.t.Errorf("the mailbox has %d messages instead of %d", all, len(messages))
	}
}

// audited returns what the audit log says of an event, oldest first.
func (f *fetched) audited(event string) (lines []string) {
	f.t.Helper()
	err := f.store.View(context.Background(), func(tx *mailbox.Tx) error {
		lines = nil
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if l.Event == event {
				lines = append(lines, strings.TrimSpace(l.Result+" "+l.More["uidl"]+l.More["uid"]))
			}
			return true
		})
	})
	if err != nil {
		f.t.Fatal(err)
	}
	slices.Reverse(lines)
	return lines
}

// simulated is a provider with one mailbox, and the two ways to read it.
func simulated(t *testing.T) (p *providersim.Provider, imap, pop3 Endpoint) {
	t.Helper()
	sim, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	p, err = providersim.Start(providersim.Options{
		Domain: "pec.gestore.example", CA: sim,
		Mailboxes: []providersim.Mailbox{{Address: testBox, Username: "M123", Password: "segreta"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.CAPEM())
	at := func(addr string) Endpoint {
		return Endpoint{Host: "localhost", Port: portOf(t, addr), Security: "tls", Roots: roots, Timeout: 20 * time.Second}
	}
	return p, at(p.IMAPAddr()), at(p.POP3Addr())
}

// put injects messages at the provider as they are.
func put(t *testing.T, p *providersim.Provider, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := p.Inject(testBox, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
}

// left are the UIDs of what stands at the provider.
func left(t *testing.T, p *providersim.Provider) (uids []uint32) {
	t.Helper()
	list, err := p.Folder(testBox, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		uids = append(uids, m.UID)
	}
	return uids
}

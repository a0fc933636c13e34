package relay

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/mailbox/pec"
	"pecgate/relay/providersim" // the provider, which judges from outside
)

// childEnv tells the test program to be a relay in place of running tests: what
// a crash leaves behind can only be seen from outside.
const childEnv = "PECGATE_TEST_RELAY"

// childOrder is what the relay of a child has to do.
type childOrder struct {
	Dir  string
	POP3 bool
	Port int
	SMTP int    // 0: nothing is sent
	CA   string // file of the authority of the way to the provider
	Copy CopyRule
	// Trust is a file of the CA of receipts; "" for none.
	Trust string
	// Crash is where the process dies of a fault of its own, at what ends in Poison.
	Crash  instant
	Poison string
}

// TestChildRelay is the relay of TestC1 to TestC3, in a process of its own. By
// itself it does nothing.
func TestChildRelay(t *testing.T) {
	order := os.Getenv(childEnv)
	if order == "" {
		return
	}
	var o childOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(o.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	store, err := mailbox.Open(mailbox.Options{Dir: o.Dir})
	if err != nil {
		t.Fatal(err)
	}
	acc := Account{
		Box: testBox, Admin: "capo", Active: true, Username: "M123", Password: func() (string, error) { return "segreta", nil },
		Every: 20 * time.Millisecond, Copy: o.Copy, CopyReceipts: o.Copy,
	}
	at := Endpoint{Host: "localhost", Port: o.Port, Security: "tls", Roots: roots, Timeout: 20 * time.Second}
	if o.POP3 {
		acc.POP3 = at
	} else {
		acc.IMAP = at
	}
	if o.SMTP > 0 {
		acc.SMTP = at
		acc.SMTP.Port = o.SMTP
	}
	var believed [][]byte
	if o.Trust != "" {
		pem, err := os.ReadFile(o.Trust)
		if err != nil {
			t.Fatal(err)
		}
		believed = append(believed, pem)
	}
	trust, err := pec.NewTrust(believed...)
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{
		Store: store, Reader: pec.NewReader(pec.Options{Trust: trust}), Accounts: func() []Account { return []Account{acc} },
		Events: events.New(slog.New(slog.NewTextHandler(os.Stderr, nil))),
	})
	if o.Crash != "" {
		s.opt.Address = "pecgate@gateway.example"
		s.at = func(at instant, id string) {
			if at == o.Crash && strings.HasSuffix(id, o.Poison) {
				go panic("planted") // where nothing recovers
				select {}
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }() // ends with the input, as the process does
	if err := errors.Join(s.Run(ctx), store.Close()); err != nil {
		t.Fatal(err)
	}
}

// child is a relay in a process of its own.
type child struct {
	cmd   *exec.Cmd
	in    io.Closer
	log   strings.Builder
	once  sync.Once
	ended chan struct{}
}

func startChild(t *testing.T, o childOrder) *child {
	t.Helper()
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=^TestChildRelay$"), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(order))
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.cmd.Wait(); close(c.ended) }()
	t.Cleanup(c.kill)
	return c
}

// kill ends the process as a power cut would, once.
func (c *child) kill() {
	c.once.Do(func() { _ = c.cmd.Process.Kill() })
	<-c.ended
}

// stop ends it in order.
func (c *child) stop(t *testing.T) {
	t.Helper()
	c.in.Close()
	<-c.ended
	if !c.cmd.ProcessState.Success() {
		t.Fatalf("the relay: %v\n%s", c.cmd.ProcessState, &c.log)
	}
}

// crash is a provider, a tap before it, and relays that come and go.
type crash struct {
	t     *testing.T
	p     *providersim.Provider
	tap   *tap
	order childOrder
	sent  []string
}

func newCrash(t *testing.T, pop3 bool, rule CopyRule) *crash {
	t.Helper()
	p, imapAt, popAt := simulated(t)
	addr, roots := p.IMAPAddr(), imapAt.Roots
	if pop3 {
		addr, roots = p.POP3Addr(), popAt.Roots
	}
	c := &crash{t: t, p: p, tap: newTap(t, addr, roots)}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testCA().Cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c.order = childOrder{Dir: filepath.Join(t.TempDir(), "data"), POP3: pop3, Port: c.tap.endpoint(t).Port, CA: ca, Copy: rule}
	// First contact, with nothing there; no crash is near.
	f := newFetched(t, Account{})
	f.close()
	f.dir = c.order.Dir
	f.clock = time.Now
	f.open()
	f.s.opt.Store = f.store
	at := c.tap.endpoint(t)
	f.change(func(a *Account) {
		a.Copy, a.CopyReceipts = rule, rule
		if a.IMAP = at; pop3 {
			a.IMAP, a.POP3 = Endpoint{}, at
		}
	})
	f.round()
	f.close()
	c.put(letter(0), letter(1), letter(2))
	return c
}

func (c *crash) put(messages ...string) {
	c.t.Helper()
	put(c.t, c.p, messages...)
	c.sent = append(c.sent, messages...)
}

// rounds waits until the relay has ended some whole rounds from now on.
func (c *crash) rounds(r *child, n int) *child {
	c.t.Helper()
	over := make(chan struct{}, 1)
	c.tap.set(func(l line) (string, bool) {
		// The goodbye of a round that began after this one's begin.
		if l.fromClient && (l.text == "QUIT\r\n" || strings.HasSuffix(l.text, " LOGOUT\r\n")) {
			if n--; n < 0 {
				select {
				case over <- struct{}{}:
				default:
				}
			}
		}
		return "", false
	})
	select {
	case <-over:
	case <-r.ended:
		c.t.Fatalf("the relay ended:\n%s", &r.log)
	case <-c.t.Context().Done():
		c.t.Fatal("no round")
	}
	c.tap.set(nil)
	return r
}

// killAt runs a relay and kills it when a line passes, before it goes on or
// after.
func (c *crash) killAt(when func(line) bool, after bool) {
	c.t.Helper()
	r := startChild(c.t, c.order)
	var once sync.Once
	c.tap.set(func(l line) (string, bool) {
		if !when(l) {
			return "", false
		}
		if after {
			// What was written is on its way when the process dies.
			once.Do(func() { time.AfterFunc(time.Millisecond, func() { _ = r.cmd.Process.Kill() }) })
			return "", false
		}
		once.Do(r.kill)
		return "", true // it does not arrive
	})
	<-r.ended
	c.tap.cut()
	c.tap.set(nil)
	if r.cmd.ProcessState.Exited() {
		c.t.Fatalf("the relay was not killed:\n%s", &r.log)
	}
}

// check runs the relay again until all is done, and opens its store.
func (c *crash) check(leftThere int) *fetched {
	c.t.Helper()
	c.rounds(startChild(c.t, c.order), 2).stop(c.t)
	f := &fetched{t: c.t, dir: c.order.Dir, clock: time.Now}
	f.open()
	c.t.Cleanup(f.close)
	f.once(c.sent...)
	if got := left(c.t, c.p); len(got) != leftThere {
		c.t.Errorf("left at the provider are %v", got)
	}
	return f
}

// moment is when a relay is killed.
type moment struct {
	pop3  bool
	name  string
	when  func(line) bool
	after bool
}

func (m moment) run(t *testing.T, rule CopyRule, leftThere int, more func(f *fetched)) {
	name := "IMAP "
	if m.pop3 {
		name = "POP3 "
	}
	t.Run(name+m.name, func(t *testing.T) {
		c := newCrash(t, m.pop3, rule)
		c.killAt(m.when, m.after)
		f := c.check(leftThere)
		if more != nil {
			more(f)
		}
	})
}

func sends(prefix string) func(line) bool {
	return func(l line) bool {
		_, imap, _ := strings.Cut(l.text, " ") // behind the tag
		return l.fromClient && (strings.HasPrefix(l.text, prefix) || strings.HasPrefix(imap, prefix))
	}
}

// answered tells the end of the answer to a command.
func answered(prefix, end string) func(line) bool {
	return func(l line) bool {
		tag, imap, _ := strings.Cut(l.last, " ")
		if l.fromClient || !strings.HasPrefix(l.last, prefix) && !strings.HasPrefix(imap, prefix) {
			return false
		}
		return strings.HasPrefix(l.text, end) || strings.HasPrefix(l.text, tag+" OK")
	}
}

// TestC1_CrashBetweenRetrAndCommit kills the relay when the end of a message
// passes: it is fetched again and stored once.
func TestC1_CrashBetweenRetrAndCommit(t *testing.T) {
	second := func(prefix, end string) func(line) bool {
		n := 0
		return func(l line) bool {
			if answered(prefix, end)(l) {
				n++
			}
			return n == 2
		}
	}
	for _, m := range []moment{
		{true, "before the first message's dot", answered("RETR", ".\r\n"), false},
		{true, "after it", answered("RETR", ".\r\n"), true},
		{true, "after the second one's", second("RETR", ".\r\n"), true},
		{false, "before the first message's OK", answered("UID FETCH 1 (UID BODY.PEEK[])", "\x00"), false},
		{false, "after it", answered("UID FETCH 1 (UID BODY.PEEK[])", "\x00"), true},
		{false, "after the second one's", answered("UID FETCH 2 (UID BODY.PEEK[])", "\x00"), true},
	} {
		m.run(t, CopyRule{}, 3, nil)
	}
}

// TestC17_CrashAtFirstContact kills the relay three times while it takes in, newest
// first, what stands in a folder at first contact: it goes on where it was, asks
// again only for what had no record, and all is there once, as history.
func TestC17_CrashAtFirstContact(t *testing.T) {
	const n = 60
	c := newCrash(t, false, CopyRule{})
	c.order.Dir = filepath.Join(t.TempDir(), "data") // it knows nothing
	for i := len(c.sent); i < n; i++ {
		c.put(letter(i))
	}
	var asked []string
	note := order(&asked)
	for _, m := range []struct {
		uid   string
		after bool
	}{{"45", true}, {"44", false}, {"12", true}} {
		is := answered("UID FETCH "+m.uid+" (UID BODY.PEEK[])", "\x00")
		c.killAt(func(l line) bool { note(l); return is(l) }, m.after)
	}
	if len(asked) < n-12 || len(asked) > n+3*(rowWaits+rowTogether+4) {
		t.Errorf("asked for %d: %v", len(asked), asked)
	}
	if !slices.IsSortedFunc(asked[:n-45], func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("not the newest first: %v", asked)
	}
	f := c.check(n)
	for i, raw := range c.sent {
		if !f.message(raw).History {
			t.Errorf("message %d is no history", i)
		}
	}
}

// TestC2_CrashBetweenCommitAndDele kills the relay when it has stored what is
// there and asks to delete it, or has asked: there is one copy, and it goes at
// the provider on a later round.
func TestC2_CrashBetweenCommitAndDele(t *testing.T) {
	for _, m := range []moment{
		{true, "at DELE", sends("DELE"), false},
		{true, "after DELE", answered("DELE", "+OK"), true},
		{false, "at STORE", sends("UID STORE"), false},
		{false, "after STORE", answered("UID STORE", "\x00"), true},
		{false, "at EXPUNGE", sends("UID EXPUNGE"), false},
		{false, "after EXPUNGE", answered("UID EXPUNGE", "\x00"), true},
	} {
		m.run(t, CopyRule{Delete: true}, 0, func(f *fetched) {
			if got := f.audited("provider-copy"); len(got) != 4 {
				f.t.Errorf("%q", got)
			}
		})
	}
}

// TestC3_CrashBetweenDeleAndQuit: what is marked and not deleted is recognised;
// what was deleted without our knowing is called so on the next round.
func TestC3_CrashBetweenDeleAndQuit(t *testing.T) {
	deletes := func(what func(line) bool) func(line) bool {
		asked := false
		return func(l line) bool {
			asked = asked || l.fromClient && strings.HasPrefix(l.text, "DELE")
			return asked && what(l)
		}
	}
	for _, m := range []moment{
		{true, "at QUIT", deletes(sends("QUIT")), false},
		{true, "before the answer", deletes(answered("QUIT", "+OK")), false},
		{true, "after the answer", deletes(answered("QUIT", "+OK")), true},
	} {
		m.run(t, CopyRule{Delete: true}, 0, func(f *fetched) {
			if got := f.audited("provider-copy"); len(got) != 4 || fmt.Sprint(got[0]) != "rule" {
				f.t.Errorf("%q", got)
			}
		})
	}
}

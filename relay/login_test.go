package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
)

// keeper is a provider that only judges logins, and counts them.
type keeper struct {
	t  *testing.T
	wg sync.WaitGroup

	mu       sync.Mutex
	password string            // taken; "": none
	answer   map[string]string // by service, to a wrong one
	hold     bool              // no answer before the line ends
	seen     map[string]int    // logins by service
	good     int
	changed  chan struct{}
}

func newKeeper(t *testing.T) *keeper {
	k := &keeper{t: t, seen: map[string]int{}, changed: make(chan struct{}, 1), answer: map[string]string{
		serviceSMTP: "535 5.7.8 wrong", serviceIMAP: "NO [AUTHENTICATIONFAILED] wrong", servicePOP3: "-ERR [AUTH] wrong",
	}}
	t.Cleanup(k.wg.Wait)
	return k
}

func (k *keeper) listen(service string) Endpoint {
	k.t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", localhost(k.t))
	if err != nil {
		k.t.Fatal(err)
	}
	k.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			k.wg.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				k.serve(service, conn)
			})
		}
	})
	k.t.Cleanup(func() { ln.Close() })
	return Endpoint{Host: "localhost", Port: portOf(k.t, ln.Addr().String()), Security: "tls", Roots: testCA().Roots(), Timeout: 20 * time.Second}
}

func (k *keeper) serve(service string, conn net.Conn) {
	say := func(text string) { fmt.Fprintf(conn, "%s\r\n", text) }
	say(map[string]string{serviceSMTP: "220 keeper", serviceIMAP: "* OK keeper", servicePOP3: "+OK keeper"}[service])
	in := bufio.NewScanner(conn)
	for in.Scan() {
		words := strings.Fields(in.Text())
		if len(words) == 0 {
			return
		}
		tag, verb := "", strings.ToUpper(words[0])
		if service == serviceIMAP && len(words) > 1 {
			tag, verb = words[0]+" ", strings.ToUpper(words[1])
		}
		switch verb {
		case "EHLO":
			say("250-keeper")
			say("250 AUTH PLAIN")
		case "CAPABILITY":
			say("* CAPABILITY IMAP4rev1")
			say(tag + "OK done")
		case "CAPA":
			say("+OK\r\nUSER\r\nUIDL\r\n.")
		case "USER":
			say("+OK")
		case "AUTH", "LOGIN", "PASS":
			given := strings.Trim(words[len(words)-1], `"`)
			if verb == "AUTH" {
				b, _ := base64.StdEncoding.DecodeString(given)
				given = string(b[strings.LastIndexByte(string(b), 0)+1:])
			}
			k.mu.Lock()
			k.seen[service]++
			hold, good, answer := k.hold, given == k.password, k.answer[service]
			if good {
				k.good++
			}
			k.mu.Unlock()
			select {
			case k.changed <- struct{}{}:
			default:
			}
			if hold {
				_ = in.Scan()
				return
			}
			if good {
				return // it went well; more is not needed here
			}
			say(tag + answer)
		default:
			return
		}
	}
}

func (k *keeper) logins() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, x := range k.seen {
		n += x
	}
	return n
}

func (k *keeper) set(fn func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn()
}

// gate runs relays on one store against a keeper.
type gate struct {
	*intake
	k *keeper

	mu       sync.Mutex
	acc      Account
	password map[string]string
}

func newGate(t *testing.T, pop3 bool) *gate {
	g := &gate{intake: newIntake(t), k: newKeeper(t), password: map[string]string{"": "vecchia"}}
	g.acc = Account{
		Box: testBox, Admin: "capo", Active: true, Username: "M123", SMTP: g.k.listen(serviceSMTP), Every: 5 * time.Millisecond,
		Password: g.secret(""),
	}
	if pop3 {
		g.acc.POP3 = g.k.listen(servicePOP3)
	} else {
		g.acc.IMAP = g.k.listen(serviceIMAP)
	}
	g.queue("0123456789abcdefghijklmnop")
	g.anew()
	return g
}

func (g *gate) secret(of string) func() (string, error) {
	return func() (string, error) { g.mu.Lock(); defer g.mu.Unlock(); return g.password[of], nil }
}

func (g *gate) now() []Account { g.mu.Lock(); defer g.mu.Unlock(); return []Account{g.acc} }

// anew makes the service of another start.
func (g *gate) anew() {
	o := g.s.opt
	o.Accounts, o.Address = g.now, "pecgate@gateway.example"
	o.Schedule = Schedule{First: 5 * time.Millisecond, Most: 10 * time.Millisecond}
	g.s = New(o)
}

// queue puts one submission into the queue.
func (g *gate) queue(id string) {
	g.t.Helper()
	ctx := context.Background()
	in, err := g.store.Begin(ctx)
	if err != nil {
		g.t.Fatal(err)
	}
	fmt.Fprintf(in, "From: <%s>\r\nTo: <a@pec.altro.example>\r\nMessage-ID: <%s@x.example>\r\nSubject: x\r\n\r\nx\r\n", testBox, id)
	st, err := in.Store(ctx, mailbox.Origin{Box: testBox, Direction: mailbox.Out, Submission: id})
	if err != nil {
		g.t.Fatal(err)
	}
	defer st.Close()
	_, err = g.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		if _, err := tx.EnsurePerson("mario"); err != nil {
			return err
		}
		m.Submission = id
		_, err := Enqueue(tx, Ticket{ID: id, Box: testBox, User: "mario", MsgID: id + "@x.example", To: []string{"a@pec.altro.example"}}, m)
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// run has a relay run until fn returns.
func (g *gate) run(fn func()) {
	g.t.Helper()
	g.anew()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.s.Run(ctx) }()
	fn()
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		g.t.Fatal(err)
	}
}

// until waits for something.
func (g *gate) until(what string, ok func() bool) {
	g.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			g.t.Fatalf("it does not come: %s; %d logins\n%s", what, g.k.logins(), g.log)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (g *gate) status() BoxStatus {
	g.t.Helper()
	st, err := g.s.Status(context.Background())
	if err != nil || len(st.Mailboxes) != 1 {
		g.t.Fatalf("%+v, %v", st, err)
	}
	return st.Mailboxes[0]
}

func (g *gate) told() (n int) {
	g.t.Helper()
	err := g.store.View(context.Background(), func(tx *mailbox.Tx) error {
		all, err := Alarms(tx, 100)
		n = len(all)
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// TestB10_OneRefusedLogin: of one credential one login is refused, over both ways
// and over fifty starts; another password, or a person, lets it go on.
func TestB10_OneRefusedLogin(t *testing.T) {
	for _, pop3 := range []bool{false, true} {
		t.Run(fmt.Sprintf("POP3 %t", pop3), func(t *testing.T) {
			g := newGate(t, pop3)
			for range 50 {
				g.run(func() {
					g.until("suspended", func() bool { return g.status().Suspended != "" && g.told() == 1 })
				})
			}
			if n := g.k.logins(); n != 1 {
				t.Errorf("%d logins with one wrong password", n)
			}
			g.until("status", func() bool { return strings.Contains(g.status().Suspended, "refused") })
			if strings.Contains(g.log.String(), "vecchia") {
				t.Error("the password is in the log")
			}
			g.run(func() {
				if err := g.s.Resume(t.Context(), testBox, Hand{Actor: "test"}); err != nil {
					t.Fatal(err)
				}
				g.until("a second login", func() bool { return g.k.logins() == 2 && g.told() == 1 })
				g.k.set(func() { g.k.password = "nuova" })
				g.mu.Lock()
				g.password[""] = "nuova"
				g.mu.Unlock()
				g.until("the new one", func() bool { g.k.mu.Lock(); defer g.k.mu.Unlock(); return g.k.good > 0 })
				g.until("no alarm", func() bool { return g.status().Suspended == "" && g.told() == 0 })
			})
			if err := g.s.Resume(t.Context(), testBox, Hand{Actor: "test"}); err == nil {
				t.Error("resumed what is not suspended")
			}
		})
	}
}

// TestB10_StoppedInTheMiddle: a provider that ponders over a wrong password while
// the gateway is started again and again sees two logins in all.
func TestB10_StoppedInTheMiddle(t *testing.T) {
	g := newGate(t, false)
	g.k.hold = true
	for i := range 50 {
		g.run(func() {
			if i < 2 {
				<-g.k.changed
				return
			}
			g.until("suspended", func() bool { return g.status().Suspended != "" })
		})
	}
	if n := g.k.logins(); n > 2 || n == 0 {
		t.Errorf("%d logins", n)
	}
}

// TestB10_NotAboutThePassword: 454 is not 535, and where the provider says that a
// protocol is switched off the others go on.
func TestB10_NotAboutThePassword(t *testing.T) {
	g := newGate(t, false)
	g.k.answer[serviceSMTP] = "454 4.7.0 later"
	g.k.answer[serviceIMAP] = "NO [UNAVAILABLE] later"
	g.run(func() {
		g.until("more logins", func() bool {
			g.k.mu.Lock()
			defer g.k.mu.Unlock()
			return g.k.seen[serviceSMTP] > 2 && g.k.seen[serviceIMAP] > 2
		})
	})
	if s := g.status().Suspended; s != "" || g.told() != 0 {
		t.Errorf("suspended: %s", s)
	}
	g = newGate(t, false)
	g.k.answer[serviceIMAP] = "NO [ALERT] IMAP access is disabled, use the panel"
	g.k.password = "altra"
	g.k.answer[serviceSMTP] = "454 4.7.0 later"
	g.run(func() {
		g.until("the others go on", func() bool {
			g.k.mu.Lock()
			defer g.k.mu.Unlock()
			return g.k.seen[serviceSMTP] > 2 && g.k.seen[serviceIMAP] == 1
		})
		g.until("suspended", func() bool { return strings.Contains(g.status().Suspended, "switched off") })
	})
	if n := g.k.seen[serviceIMAP]; n != 1 {
		t.Errorf("%d logins by IMAP", n)
	}
}

// TestB10_TwoCredentials: with a credential for each way one that is refused holds
// back its own way alone.
func TestB10_TwoCredentials(t *testing.T) {
	g := newGate(t, false)
	g.password["smtp"] = "altra"
	g.acc.SMTPLogin = Login{Password: g.secret("smtp")}
	g.k.password = "vecchia"
	g.run(func() {
		g.until("fetching goes on", func() bool { g.k.mu.Lock(); defer g.k.mu.Unlock(); return g.k.good > 2 && g.k.seen[serviceSMTP] == 1 })
		g.until("suspended", func() bool { return g.told() == 1 })
	})
	g.run(func() {
		g.k.set(func() { g.k.good = 0 })
		g.until("fetching goes on", func() bool { g.k.mu.Lock(); defer g.k.mu.Unlock(); return g.k.good > 2 })
	})
	if s := g.status().Suspended; g.k.seen[serviceSMTP] != 1 || !strings.HasPrefix(s, serviceSMTP) {
		t.Errorf("%d logins by SMTP, %q", g.k.seen[serviceSMTP], s)
	}
}

func TestServiceOff(t *testing.T) {
	for words, want := range map[string]bool{
		"auth: 535 5.7.8 authentication failed":                          false,
		"login refused: [AUTHENTICATIONFAILED] account disabled":         false,
		"535 5.7.1 SMTP access disabled":                                 true,
		"NO [ALERT] Accesso tramite IMAP disabilitato dal pannello":      true,
		"-ERR [SYS/PERM] POP3 not enabled for this user":                 true,
		"535 password scaduta, cambiarla":                                false,
		"NO protocollo IMAP non abilitato":                               true,
		"535 5.7.139 Authentication unsuccessful, the user was locked":   false,
		"535 user disabled; SMTP login not allowed, contact the service": false,
	} {
		if got := serviceOff(words); got != want {
			t.Errorf("%q: %t", words, got)
		}
	}
}

package relay

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/policy"
	"pecgate/relay/submit"
)

// TestB10_ListenerRefused: the second connection may be refused with any words; the
// mailbox is fetched all the same.
func TestB10_ListenerRefused(t *testing.T) {
	for _, words := range []string{"NO Too many simultaneous connections for this mailbox", "NO [ALERT]", "NO [AUTHENTICATIONFAILED] Authentication failed"} {
		t.Run(words, func(t *testing.T) {
			p, in, _ := simulated(t)
			between := newTap(t, p.IMAPAddr(), in.Roots)
			var mu sync.Mutex
			logins, tag := 0, ""
			between.set(func(l line) (string, bool) {
				mu.Lock()
				defer mu.Unlock()
				f := strings.Fields(l.text)
				if l.fromClient && len(f) > 1 && strings.EqualFold(f[1], "LOGIN") {
					if logins++; logins == 2 {
						tag = f[0]
					}
				}
				if x := tag; !l.fromClient && x != "" && strings.HasPrefix(l.text, x+" OK") {
					tag = ""
					return x + " " + words + "\r\n", true
				}
				return "", false
			})
			f, log := listening(t, Account{IMAP: between.endpoint(t)})
			until(t, "the refusal", func() bool { return strings.Contains(log.String(), "nobody listens") })
			if f.s.suspended(t.Context(), f.w, serviceIMAP) {
				t.Fatal("the mailbox is suspended")
			}
			put(t, p, letter(0))
			f.w.hint() // as the clock does
			until(t, "the next poll", fetchedOf(log, 1))
		})
	}
}

// TestB10_UnclearRefusal: a lock, or too many connections, is no wrong password,
// known or not; words that say nothing hold back only what was never taken.
func TestB10_UnclearRefusal(t *testing.T) {
	for words, want := range map[string]bool{ // suspends what was never taken
		"maildrop already locked":                      false,
		"Too many simultaneous connections":            false,
		"[SYS/TEMP] the disk is slow":                  false,
		"not now":                                      true,
		"[AUTH] no":                                    true,
		"Authentication failed":                        true,
		"Too many failed login attempts, try later on": true,
	} {
		t.Run(words, func(t *testing.T) {
			g := newGate(t, true)
			g.k.password, g.k.answer[servicePOP3], g.k.answer[serviceSMTP] = "none", "-ERR "+words, "454 later"
			g.run(func() {
				g.until("logins", func() bool {
					g.k.mu.Lock()
					defer g.k.mu.Unlock()
					return g.k.seen[servicePOP3] > 2 || want && g.told() > 0
				})
			})
			if got := g.status().Suspended != ""; got != want || want && g.k.seen[servicePOP3] != 1 {
				t.Errorf("suspended %t after %d logins", got, g.k.seen[servicePOP3])
			}
		})
	}
}

// TestB10_SystemOfTheProvider: [SYS/PERM] says that it is not the password, and that it
// does not pass by itself (RFC 3206 section 4): a login that was never taken is not
// held back for good, nor sent at each round. A service that is switched off waits for
// a person; words about the password count more than the code.
func TestB10_SystemOfTheProvider(t *testing.T) {
	for words, want := range map[string]string{ // what is told
		"[SYS/PERM] mailbox corrupted, call us":     "",
		"[SYS/PERM] POP3 not enabled for this user": "switched off",
		"[sys/perm] invalid password":               "login refused",
	} {
		t.Run(words, func(t *testing.T) {
			g := newGate(t, true)
			g.k.password, g.k.answer[servicePOP3], g.k.answer[serviceSMTP] = "none", "-ERR "+words, "454 later"
			g.run(func() {
				g.until("it is told", func() bool {
					st := g.status()
					return want == "" && strings.Contains(st.LastError, "is sent again in ") || want != "" && strings.Contains(st.Suspended, want)
				})
				g.k.mu.Lock()
				defer g.k.mu.Unlock()
				if g.k.seen[servicePOP3] != 1 {
					t.Errorf("%d logins", g.k.seen[servicePOP3])
				}
			})
			if st := g.status(); want == "" && st.Suspended != "" {
				t.Errorf("suspended: %s", st.Suspended)
			}
		})
	}
}

// TestB10_TakenBefore: a login that was taken is put off when it is refused without
// a reason, and is suspended at once when the provider names the credential.
func TestB10_TakenBefore(t *testing.T) {
	g := newGate(t, false)
	w := aWorker(g.acc)
	begin := func() (*loginTurn, error) { return g.s.login(t.Context(), w, serviceSMTP) }
	login, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	login.taken(t.Context())
	for _, want := range []time.Duration{doubtFirst, 2 * doubtFirst, 4 * doubtFirst} {
		if login, err = begin(); err != nil {
			t.Fatal(err)
		}
		login.end(t.Context(), unclear, "NO ask us")
		if g.s.suspended(t.Context(), w, serviceSMTP) {
			t.Fatal("suspended")
		}
		if _, err = begin(); err == nil || !strings.Contains(err.Error(), "again in "+policy.Term(want)+",") {
			t.Errorf("%v instead of a wait of %s", err, policy.Term(want))
		}
		at := loginAt{serviceSMTP, login.c}
		d := w.logins.unclear[at]
		d.until = time.Now() // it is over
		w.logins.unclear[at] = d
	}
	if login, err = begin(); err != nil {
		t.Fatal(err)
	}
	login.end(t.Context(), refused, "535 no")
	if !g.s.suspended(t.Context(), w, serviceSMTP) {
		t.Error("a wrong password is sent again")
	}
}

// TestB10_StoppedInTheMiddleOfAGoodLogin: a machine that is switched off in the
// middle of a login some times keeps no mailbox back whose password was good, and
// does not guess on for ever either.
func TestB10_StoppedInTheMiddleOfAGoodLogin(t *testing.T) {
	g := newGate(t, false)
	begin := func(how func(context.Context, *loginTurn)) error {
		login, err := g.s.login(t.Context(), aWorker(g.acc), serviceIMAP) // a worker that remembers nothing, as after a start
		if err == nil {
			err = login.before(t.Context())
		}
		if err == nil {
			how(t.Context(), login)
		}
		return err
	}
	good := func(ctx context.Context, l *loginTurn) { l.taken(ctx) }
	cut := func(ctx context.Context, l *loginTurn) {
		ctx, stop := context.WithCancel(ctx)
		stop()
		l.end(ctx, noAnswer, "")
	}
	for range 3 {
		if err := begin(good); err != nil {
			t.Fatal(err)
		}
		for i := range mostOfTaken {
			if err := begin(cut); err != nil || i+1 < mostOfTaken && g.status().Suspended != "" {
				t.Fatalf("stop %d: %v, %s", i+1, err, g.status().Suspended)
			}
			if i == mostOfTaken-2 {
				if err := begin(good); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
	}
	for i := range mostOfTaken {
		if err := begin(cut); err != nil {
			t.Fatalf("stop %d: %v", i+1, err)
		}
	}
	if err := begin(cut); !errors.Is(err, errSuspended) {
		t.Errorf("it is sent on and on: %v", err)
	}
}

// TestB10_UnclearAfterAStart: a login that was taken before the gateway was started
// anew is put off, too, when it is refused without a reason.
func TestB10_UnclearAfterAStart(t *testing.T) {
	g := newGate(t, false)
	for _, end := range []func(*loginTurn){
		func(l *loginTurn) { l.taken(t.Context()) },
		func(l *loginTurn) { l.end(t.Context(), unclear, "NO ask us") },
	} {
		w := aWorker(g.acc)
		login, err := g.s.login(t.Context(), w, serviceIMAP)
		if err == nil {
			err = login.before(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if end(login); g.s.suspended(t.Context(), w, serviceIMAP) {
			t.Fatal("suspended")
		}
	}
}

func TestSentAs(t *testing.T) {
	for _, c := range []struct {
		r    submit.Result
		want loginEnd
	}{
		{submit.Result{Class: submit.HandedOver}, noAnswer},
		{submit.Result{Class: submit.Temporary, Code: 454}, noAnswer},
		{submit.Result{Class: submit.AuthRefused}, refused}, // no usable user name
		{submit.Result{Class: submit.AuthRefused, Code: 535, Text: "too many"}, refused},
		{submit.Result{Class: submit.AuthRefused, Code: 554, Enhanced: "5.7.8"}, refused},
		{submit.Result{Class: submit.AuthRefused, Code: 550, Text: "Authentication failed"}, refused},
		{submit.Result{Class: submit.AuthRefused, Code: 554, Text: "no"}, unclear},
	} {
		if got := sentAs(c.r); got != c.want {
			t.Errorf("%+v: %d instead of %d", c.r, got, c.want)
		}
	}
}

package relay

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
	"pecgate/relay/forward"
	"pecgate/relay/providersim" // an IMAP server, and receipts as a provider makes them
)

// byIMAP gives the intake an IMAP server for the mailboxes of example.org, of which
// only mario's is there.
func (i *intake) byIMAP(t *testing.T) (*IMAPDelivery, func() []string) {
	t.Helper()
	p, err := providersim.Start(providersim.Options{
		Domain: "mail.example", Mailboxes: []providersim.Mailbox{{Address: "mario@example.org", Username: "mario@example.org", Password: "master"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.CAPEM())
	_, port, err := net.SplitHostPort(p.IMAPAddr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	way := &IMAPDelivery{
		Endpoint: Endpoint{Host: "localhost", Port: n, Security: "tls", Roots: roots, Timeout: 20 * time.Second},
		Domains:  []string{"Example.org"}, Username: "{email}", Folder: "INBOX", Password: func() (string, error) { return "master", nil },
	}
	return way, func() (all []string) {
		s, err := fetch.Dial(t.Context(), fetch.Server{Host: "localhost", Port: n, Security: "tls", Roots: roots, Username: "mario@example.org", Password: "master"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = s.New(t.Context(), "INBOX", fetch.Cursor{}, 100, func(_ context.Context, it fetch.Item) error {
			b, err := io.ReadAll(it.Body)
			all = append(all, string(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
}

// Copies for a mailbox that takes them by IMAP are put there once, byte for byte, also
// where nobody knows whether the first attempt came to its end; what is not of its
// domains waits for a smarthost.
func TestCopiesByIMAP(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	i.withAdmin()
	way, stands := i.byIMAP(t)
	i.s.opt.Smarthost, i.s.opt.IMAP = nil, way
	i.acc.OrdinaryTo = "ufficio@altrove.example"
	raw := i.envelope()
	i.take(raw)
	i.take(i.receipt(providersim.Delivery, nil)) // of nobody's submission: the administrator's
	i.take(ordinaryMail(""))
	i.mailed()
	sender := i.s.forwarder()
	if _, err := sender.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := stands()
	if !slices.Contains(all, string(raw)) {
		t.Fatalf("%d stand there", len(all))
	}
	left, err := Forwards(t.Context(), i.store, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range left {
		if it.To == "mario@example.org" {
			t.Errorf("left: %+v", it)
		}
		if it.To == "ufficio@altrove.example" && !strings.Contains(it.Error, "no smarthost is set") {
			t.Errorf("it waits for %q", it.Error)
		}
		if it.To == "capo@example.org" && (it.Attempts != 1 || !strings.Contains(it.Error, "login refused")) {
			t.Errorf("for a mailbox that is not there: %+v", it)
		}
	}
	if got := i.standingAlarms(); !strings.Contains(strings.Join(got, " "), "imap-delivery") {
		t.Errorf("nobody is told that a mailbox takes nothing: %q", got)
	}
	// The same once more, as after a line that broke: it is found there.
	m, err := i.store.Message(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	d := &deliverer{s: i.s, way: way, rests: map[string]rest{}}
	body, err := i.store.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	it := forward.Item{ID: "f1-0", Message: m.ID, To: "mario@example.org"}
	if r, ok := d.bring(t.Context(), it, true, body, m.Size()); !ok || r.Err != nil {
		t.Errorf("%+v", r)
	}
	if again := stands(); len(again) != len(all) {
		t.Errorf("%d stand there, and %d before", len(again), len(all))
	}
}

// A login that fails is left alone for longer and longer, however many go at once; no
// other login is kept waiting.
func TestIMAPLoginsRest(t *testing.T) {
	r := newReports(t)
	r.withMail()
	r.withAdmin()
	way, _ := r.byIMAP(t)
	asked := 0
	way.Password = func() (string, error) { asked++; return "other", nil }
	r.s.opt.IMAP = way
	d := &deliverer{s: r.s, way: way, rests: map[string]rest{}}
	it := forward.Item{ID: "t1", To: "mario@example.org"}
	try := func() string {
		got, ok := d.bring(t.Context(), it, false, strings.NewReader("Subject: x\r\n\r\n"), 14)
		if !ok || got.Err == nil {
			t.Fatalf("%+v", got)
		}
		return got.Err.Error()
	}
	for n, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		if why := try(); !strings.Contains(why, "login refused") || asked != n+1 {
			t.Fatalf("attempt %d: %s", n, why)
		}
		for range 3 { // those that were under way with it
			if err := d.note(t.Context(), "mario@example.org", false, fetch.ErrAuthRefused); err != nil {
				t.Fatal(err)
			}
		}
		r.later(wait - time.Second)
		if why := try(); !strings.Contains(why, "left alone") || asked != n+1 {
			t.Fatalf("too early: %s", why)
		}
		r.later(time.Second)
	}
	if _, ok := d.bring(t.Context(), forward.Item{To: "x@altrove.example"}, false, strings.NewReader(""), 0); ok {
		t.Error("an address of another domain goes there")
	}
}

// aboutIMAP are what the standing alarms of that kind are about.
func (i *intake) aboutIMAP() (about []string) {
	i.t.Helper()
	err := i.store.View(i.t.Context(), func(tx *mailbox.Tx) error {
		all, err := Alarms(tx, 100)
		about = nil
		for _, a := range all {
			if a.Kind == "imap-delivery" {
				about = append(about, a.About)
			}
		}
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return about
}

// A token that cannot be had, or a server that is not there, is told once, whichever
// mailboxes wait, and asked for by one of them; it counts for none of them, and all go
// when it is there again.
func TestIMAPServerAway(t *testing.T) {
	for name, hurt := range map[string]func(*IMAPDelivery) (mend func()){
		"no token": func(w *IMAPDelivery) func() {
			before := w.Password
			w.Password, w.Token = nil, func(context.Context) (string, error) {
				return "", errors.New("the token endpoint refuses (invalid_client)")
			}
			return func() { w.Password, w.Token = before, nil }
		},
		"no password": func(w *IMAPDelivery) func() {
			before := w.Password
			w.Password = func() (string, error) { return "", errors.New("no such file") }
			return func() { w.Password = before }
		},
		"nobody listens": func(w *IMAPDelivery) func() {
			before := w.Port
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			w.Port = ln.Addr().(*net.TCPAddr).Port
			ln.Close()
			return func() { w.Port = before }
		},
		"another server": func(w *IMAPDelivery) func() {
			before := w.Roots
			w.Roots = x509.NewCertPool()
			return func() { w.Roots = before }
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newReports(t)
			i.withMail()
			i.withAdmin()
			way, stands := i.byIMAP(t)
			mend := hurt(way)
			i.s.opt.Smarthost, i.s.opt.IMAP = nil, way
			i.take(i.envelope())
			i.take(i.receipt(providersim.Delivery, nil))
			i.mailed()
			sender := i.s.forwarder()
			for range 4 {
				if _, err := sender.Round(t.Context()); err != nil {
					t.Fatal(err)
				}
				i.later(15 * time.Minute)
			}
			if got := i.aboutIMAP(); !slices.Equal(got, []string{""}) {
				t.Errorf("alarms about %q", got)
			}
			left, err := Forwards(t.Context(), i.store, 100)
			if err != nil {
				t.Fatal(err)
			}
			attempts := 0
			for _, it := range left {
				attempts += it.Attempts
				if it.Answered != 0 || it.Days != 0 {
					t.Errorf("it counts for %+v", it)
				}
			}
			if len(left) < 2 || attempts < 3 || attempts > 4+3 { // those that were under way beside each other at first
				t.Errorf("%d wait, %d attempts", len(left), attempts)
			}
			mend()
			if _, err := sender.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := i.aboutIMAP(); slices.Contains(got, "") {
				t.Errorf("alarms about %q", got)
			}
			if n := len(stands()); n < 2 {
				t.Errorf("%d stand there", n)
			}
		})
	}
}

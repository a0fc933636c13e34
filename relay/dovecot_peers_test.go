//go:build peers

package relay

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // envelopes and receipts as a provider makes them
	"pecgate/relay/upstream/dovecottest"
)

const dovecotLogin = "M123"

func startDovecot(t testing.TB, quota string, messages ...string) *dovecottest.Server {
	t.Helper()
	return dovecottest.Start(t, dovecottest.Options{Certificate: localCertificate(), Login: dovecotLogin, Password: "segreta", Quota: quota}, messages...)
}

var localCertificate = sync.OnceValue(func() tls.Certificate {
	return testCA().Server(&testing.T{}, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })
})

// dovecotAccount is the account at a Dovecot by one of its services.
func dovecotAccount(d *dovecottest.Server, service string) (acc Account) {
	e := Endpoint{Host: "localhost", Port: d.Ports[service], Security: "tls", Roots: testCA().Roots(), Timeout: 20 * time.Second}
	if service == "imap" || service == "pop3" {
		e.Security = "starttls"
	}
	if strings.HasPrefix(service, "imap") {
		acc.IMAP = e
	} else {
		acc.POP3 = e
	}
	return acc
}

// signed are n envelopes of about size bytes, each followed by an acceptance where
// receipts says so.
func signed(t *testing.T, n, size int, receipts bool) (envelopes, acceptances []string) {
	t.Helper()
	i := intake{t: t}
	i.sim, _ = authority()
	for k := range n {
		attached := fmt.Sprintf("From: a@pec.example\r\nTo: %s\r\nSubject: %d\r\nMessage-ID: <%d@pec.example>\r\n\r\n%s.\r\n", testBox, k, k,
			strings.Repeat("Testo di una lettera che serve a riempire la busta di parole.\r\n", max(1, (size-7500)/64)))
		envelopes = append(envelopes, string(i.receipt(providersim.Transport, func(n *providersim.Notice) {
			n.To, n.Subject, n.Attached, n.Identifier = testBox, fmt.Sprint("prova ", k), []byte(attached), fmt.Sprintf("opec1.%d@pec.gestore.example", k)
		})))
		if receipts && k%10 == 0 {
			acceptances = append(acceptances, string(i.receipt(providersim.Acceptance, func(n *providersim.Notice) { n.Identifier = fmt.Sprintf("opec2.%d@pec.gestore.example", k) })))
		}
	}
	return envelopes, acceptances
}

// TestDovecotUpstream: 500 messages of a server that others wrote are ours byte
// for byte as its own files have them, and verified; then exactly those go there
// that the rules say; by IMAP and POP3, over TLS from the first byte and after
// STARTTLS and STLS. When Dovecot numbers the mailbox anew nothing is doubled.
func TestDovecotUpstream(t *testing.T) {
	envelopes, acceptances := signed(t, 450, 9000, true)
	var all []string
	for i, m := range envelopes {
		if all = append(all, m); i%10 == 0 {
			all = append(all, acceptances[i/10])
		}
	}
	for i := range 5 {
		all = append(all, letter(i), letter(i+10)+strings.Repeat(".riga con punto\r\n", 1000*i), fmt.Sprintf("Subject: lungo %d\r\n\r\n%s\r\n", i, strings.Repeat("x", 20_000)))
	}
	for _, service := range []string{"imaps", "pop3s", "imap", "pop3"} {
		t.Run(service, func(t *testing.T) {
			d := startDovecot(t, "", all...)
			acc := dovecotAccount(d, service)
			f := newFetched(t, acc)
			before := d.Messages(t)
			f.round()
			if len(before) != len(all) {
				t.Fatalf("%d files", len(before))
			}
			valid := 0
			for _, m := range before { // Dovecot's own files
				got := f.message(m)
				if got.Ref.Sum != sha256.Sum256([]byte(m)) || !got.History {
					t.Errorf("%+v", got)
				}
				if got.Verdict == "valid" {
					valid++
				}
			}
			if want := len(envelopes) + len(acceptances); valid != want {
				t.Errorf("%d are valid instead of %d", valid, want)
			}
			if q := f.w.status().Quota; acc.POP3.Host == "" && q == "" {
				t.Error("no quota is told")
			}
			// Receipts go after three days, messages stay.
			f.change(func(a *Account) { a.CopyReceipts = CopyRule{Delete: true, After: time.Hour} })
			f.days(7)
			left := d.Messages(t)
			want := slices.DeleteFunc(slices.Clone(before), func(m string) bool { return slices.Contains(acceptances, m) })
			slices.Sort(left)
			slices.Sort(want)
			if !slices.Equal(left, want) {
				t.Errorf("left are %d of %d, wanted %d\n%s", len(left), len(before), len(want), f.w.status().LastError)
			}
			if strings.HasPrefix(service, "pop3") {
				return
			}
			d.Admin(t, "mailbox", "update", "-u", strings.ToLower(dovecotLogin), "--uid-validity", "77", "INBOX")
			d.Deliver(t, "", letter(40))
			f.round()
			d.Deliver(t, "", letter(41))
			f.round()
			for _, m := range append(slices.Clone(before), letter(40), letter(41)) {
				f.message(m)
			}
			if c, ok, err := f.s.readCursor(t.Context(), testBox, "INBOX"); err != nil || !ok || c.UIDValidity != 77 || c.Left != 0 {
				t.Errorf("%+v %t %v", c, ok, err)
			}
			if !f.message(letter(40)).History || f.message(letter(41)).History {
				t.Error("history")
			}
			if got := len(d.Messages(t)); got != len(want)+2 {
				t.Errorf("left are %d", got)
			}
		})
	}
}

// TestDovecotIDLE: what Dovecot tells of by IDLE is fetched at once, and what it
// takes is told.
func TestDovecotIDLE(t *testing.T) {
	d := startDovecot(t, "", letter(0))
	_, log := listening(t, dovecotAccount(d, "imaps"))
	until(t, "the first round", fetchedOf(log, 1))
	for n := 1; n <= 3; n++ {
		began := time.Now()
		d.Deliver(t, "", letter(n))
		until(t, "the message", fetchedOf(log, n+1))
		t.Logf("ours %s after it came", time.Since(began).Round(time.Millisecond))
	}
}

// TestDovecotSentCopy: what was handed over stands in Dovecot's own folder for what
// was sent, once, byte for byte, also when a crash forgot that it does.
func TestDovecotSentCopy(t *testing.T) {
	d := startDovecot(t, "")
	d.Admin(t, "mailbox", "create", "-u", strings.ToLower(dovecotLogin), "Sent")
	acc := dovecotAccount(d, "imaps")
	acc.SentCopy, acc.SentFolder = true, "Sent"
	f := newFetched(t, acc)
	f.s.opt.Address = "pecgate@gateway.example"
	f.round()
	enqueue(t, f.store, "s", testMsgID)
	f.handed("s")
	f.round()
	again := func(tx *mailbox.Tx) error {
		sub, err := load(tx, "s")
		return errors.Join(err, wantSentCopy(tx, f.w.acc, sub))
	}
	if err := f.store.Update(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	f.round()
	files, err := filepath.Glob(filepath.Join(d.Dir, "mail", ".Sent", "[cn]*", "*.*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q %v\n%s", files, err, f.log)
	}
	raw, err := os.ReadFile(files[0])
	if got := strings.ReplaceAll(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n", "\r\n"); err != nil || got != "Message-ID: <"+testMsgID+">\r\n\r\nx\r\n" {
		t.Errorf("%q %v", got, err)
	}
}

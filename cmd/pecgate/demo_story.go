package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/gateway/admin"
	"pecgate/mailbox/pec"
	"pecgate/relay"
	"pecgate/relay/fetch"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

// tell plays the demo's story as its users would and fails at the first step
// that is not seen.
func (w *demoWorld) tell(ctx context.Context, t *timeline) error {
	msgid := fmt.Sprintf("demo.%d@alfa.example", time.Now().UnixNano())

	t.await("Mario sends without his PIN: refused")
	r, err := w.submit(ctx, w.message(msgid, "Diffida n. 7/2026"))
	if err != nil {
		return err
	}
	if r.Class != submit.Permanent || r.Code != 550 {
		return fmt.Errorf("a message without a PIN was not refused: %s %d %s", r.Class, r.Code, r.Text)
	}
	t.seen("Mario sends without his PIN: refused", "%d %s %s", r.Code, r.Enhanced, r.Text)
	if n := len(w.provider.Ledger()); n != 0 {
		return fmt.Errorf("the provider got %d messages although the PIN was missing", n)
	}

	t.await("Mario sends with his PIN: accepted")
	r, err = w.submit(ctx, w.message(msgid, "Diffida n. 7/2026 [PIN:"+w.marioPIN+"]"))
	if err != nil {
		return err
	}
	if r.Class != submit.HandedOver {
		return fmt.Errorf("the message with the PIN was not accepted: %s %d %s", r.Class, r.Code, r.Text)
	}
	t.seen("Mario sends with his PIN, from Protocollo to Ufficio Beta and to an address that does not exist: accepted", "%d %s %s", r.Code, r.Enhanced, r.Text)

	t.await("receipts of acceptance, delivery and error, and what they say")
	shown, err := w.receipts(ctx, t, msgid)
	if err != nil {
		return err
	}
	t.await("the provider got one message, byte for byte the stored one, without the PIN")
	sent := w.provider.Ledger()
	if len(sent) != 1 || sent[0].SHA256 != shown.SHA256 {
		return errors.New("the bytes that the provider got are not those that the gateway keeps")
	}
	if strings.Contains(string(sent[0].Raw), w.marioPIN) {
		return errors.New("the PIN left with the message")
	}
	t.seen("the provider got one message, byte for byte the stored one, without the PIN", "sha256 %s", shown.SHA256)
	return w.read(ctx, t)
}

// message is what Mario's client submits.
func (w *demoWorld) message(msgid, subject string) []byte {
	return []byte("From: Mario Rossi <" + demoBoxMario + ">\r\n" +
		"To: " + demoBoxLucia + ", " + demoNobody + "\r\n" +
		"Subject: " + subject + "\r\n" +
		"Date: " + time.Now().Format(time.RFC1123Z) + "\r\n" +
		"Message-ID: <" + msgid + ">\r\n" +
		"MIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=\"demo-boundary\"\r\n\r\n" +
		"--demo-boundary\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
		"Spett.le Ufficio, si trasmette in allegato la diffida: la scadenza è il 30.\r\n.\r\nUna riga con il solo punto sta sopra.\r\n" +
		"--demo-boundary\r\nContent-Type: text/csv; name=\"elenco.csv\"\r\nContent-Disposition: attachment; filename=\"elenco.csv\"\r\n\r\n" +
		"numero;importo\r\n7;120,50\r\n" +
		"--demo-boundary--\r\n")
}

// roots trusts the gateway's own certificate, as a mail client would.
func (w *demoWorld) roots() (*x509.CertPool, error) {
	b, err := os.ReadFile(filepath.Join(w.dir, "tls", "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, errors.New("tls/ca.pem holds no certificate")
	}
	return pool, nil
}

// bytesBody is a message in memory.
type bytesBody struct{ *strings.Reader }

// submit sends a message as Mario over TLS.
func (w *demoWorld) submit(ctx context.Context, message []byte) (submit.Result, error) {
	roots, err := w.roots()
	if err != nil {
		return submit.Result{}, err
	}
	host, port, err := splitPort(w.smtps)
	if err != nil {
		return submit.Result{}, err
	}
	return submit.Send(ctx, submit.Server{
		Host: host, Port: port, Security: "tls", Roots: roots, Username: "mario", Password: w.marioPassword, Timeout: 30 * time.Second,
	}, demoBoxMario, []string{demoBoxLucia, demoNobody}, bytesBody{strings.NewReader(string(message))}, submit.Hooks{}), nil
}

func splitPort(addr string) (string, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(p)
	return host, port, err
}

// receipts waits until acceptance, delivery and error are tied to the message,
// printing each as it comes.
func (w *demoWorld) receipts(ctx context.Context, t *timeline, msgid string) (relay.Shown, error) {
	client := admin.NewClient(filepath.Join(w.dir, "data"))
	told := map[string]bool{}
	tell := func(about string, rs []relay.ShownReceipt) error {
		for _, r := range rs {
			if told[r.SHA256] {
				continue
			}
			told[r.SHA256] = true
			if r.Verdict != pec.Valid {
				return fmt.Errorf("the %s of %s is %s", r.Kind, about, r.Verdict)
			}
			t.seen(fmt.Sprintf("receipt: %s, signature %s, tied to %s", r.Kind, r.Verdict, about), "sha256 %s", r.SHA256)
		}
		return nil
	}
	for {
		var s relay.Shown
		if err := client.JSON(ctx, "/v1/show", map[string][]string{"id": {msgid}}, &s); err != nil {
			return s, err
		}
		if err := tell("the message", s.Receipts); err != nil {
			return s, err
		}
		done := s.State == relay.Accepted
		for _, r := range s.Recipients {
			if err := tell(r.Address, r.Receipts); err != nil {
				return s, err
			}
			done = done && r.State != relay.Waiting
		}
		if done {
			return s, w.outcome(t, s)
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("the receipts did not all come: the submission is %s, its recipients %v", s.State, s.Recipients)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (w *demoWorld) outcome(t *timeline, s relay.Shown) error {
	want := map[string]relay.RecipientState{demoBoxLucia: relay.Delivered, demoNobody: relay.Failed}
	for _, r := range s.Recipients {
		if want[r.Address] != r.State {
			return fmt.Errorf("%s is %s instead of %s", r.Address, r.State, want[r.Address])
		}
	}
	t.seen("the outcome is known: accepted; delivered to Ufficio Beta, failed for the unknown address", "pecgate show %s", s.ID)
	return nil
}

// read opens the folders as Mario and Lucia and compares every byte with what
// the provider put out. What was read is left in messages/.
func (w *demoWorld) read(ctx context.Context, t *timeline) error {
	tree := "PEC/" + demoBoxMario + "/"
	for _, f := range []struct {
		login, password, folder, what string
	}{
		{"mario", w.marioPassword, tree + "Ricevute/Accettazione", "Mario reads the acceptance over IMAP"},
		{"mario", w.marioPassword, tree + "Ricevute/Consegna", "Mario reads the delivery receipt over IMAP"},
		{"mario", w.marioPassword, tree + "Ricevute/Errori", "Mario reads the error receipt over IMAP"},
		{"lucia", w.luciaPassword, "PEC/" + demoBoxLucia + "/Posta in arrivo", "Lucia reads the incoming PEC over IMAP"},
	} {
		t.await(f.what)
		got, err := w.folder(ctx, f.login, f.password, f.folder)
		if err != nil {
			return err
		}
		if len(got) != 1 {
			return fmt.Errorf("%s holds %d messages instead of 1", f.folder, len(got))
		}
		if err := w.keep(got[0]); err != nil {
			return err
		}
		sum := hex256(got[0])
		if !slices.ContainsFunc(w.provider.Emitted(), func(e providersim.Emitted) bool { return e.SHA256 == sum }) {
			return errors.New("the bytes are not those that the provider issued")
		}
		t.seen(f.what+": byte for byte what the provider issued", "%s, sha256 %s", f.folder, sum)
	}
	return nil
}

// folder reads every message of an IMAP folder of the gateway.
func (w *demoWorld) folder(ctx context.Context, login, password, folder string) (_ [][]byte, err error) {
	roots, err := w.roots()
	if err != nil {
		return nil, err
	}
	host, port, err := splitPort(w.imaps)
	if err != nil {
		return nil, err
	}
	for {
		var all [][]byte
		s, err := fetch.Dial(ctx, fetch.Server{
			Host: host, Port: port, Security: "tls", Roots: roots, Username: login, Password: password, Timeout: 30 * time.Second,
		})
		if err != nil {
			return nil, err
		}
		_, err = s.New(ctx, folder, fetch.Cursor{}, 100, func(_ context.Context, it fetch.Item) error {
			b, err := io.ReadAll(it.Body)
			all = append(all, b)
			return err
		})
		if err := errors.Join(err, s.Close()); err != nil {
			return nil, err
		}
		if len(all) > 0 {
			return all, nil
		}
		// The other mailbox is fetched on its own schedule.
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// keepComing leaves what the provider issues in messages/ as it comes, until ctx
// ends.
func (w *demoWorld) keepComing(ctx context.Context) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.keepEmitted(); err != nil {
			return err
		}
	}
}

// keepEmitted leaves everything that the provider issued in messages/. One at a
// time.
func (w *demoWorld) keepEmitted() error {
	all := w.provider.Emitted()
	for _, e := range all[w.kept:] {
		if err := w.keep(e.Raw); err != nil {
			return err
		}
		w.kept++
	}
	return nil
}

// keep leaves a message in messages/: whole, or not at all.
func (w *demoWorld) keep(raw []byte) error {
	name := filepath.Join("messages", hex256(raw)+".eml")
	if _, err := os.Stat(filepath.Join(w.dir, name)); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Join(w.dir, "messages"), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(w.dir, name))
	}
	return err
}

func hex256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

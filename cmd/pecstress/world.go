package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pecgate/gateway/auth"
	"pecgate/relay/providersim"
)

// person is one user of the gateway and the one mailbox that is theirs.
type person struct{ login, box string }

// password of a person at the gateway.
func (p person) password() string { return p.login + "-" + p.login }

// secret is the password of their mailbox at the provider.
func (p person) secret() string { return "provider-" + p.login }

// people of every world. Each mailbox has one member, so that whatever one of
// them sees of the other's is a fault.
func people() []person {
	return []person{{"mario", "protocollo@pec.alfa.example"}, {"lucia", "ufficio@pec.beta.example"}}
}

// gatewayAddress is the sender of the gateway's notices.
const gatewayAddress = "pecgate@gateway.example"

// pin of every person, asked for where the world's options say so.
const pin = "47119386"

// worldOptions says what a world is made of. Only Binary and Dir are needed.
type worldOptions struct {
	Binary  string   // the gateway's program
	Dir     string   // an empty folder for configuration, ledgers and logs
	Data    string   // data_dir; "": data below Dir
	Seed    uint64   // of everything random
	Env     []string // for the gateway besides the environment of this process
	Wrap    []string // put before the gateway's command line: strace -f ... or prlimit ...
	MinFree string   // min_free of the configuration; "": 10MB
	PIN     bool     // every mailbox asks for a PIN
	Clear   bool     // the provider's copies are deleted, and the last mailbox is fetched by POP3

	// Cut puts a cutter between the gateway and the provider's submission, and has
	// the last mailbox resend what is uncertain.
	Cut bool

	Patience time.Duration // how long to wait before the gateway is called stuck; 0: patience
}

// world is one gateway with its provider, its people and the ledgers of what
// they were promised. Its methods are for one goroutine, where nothing else is said.
type world struct {
	o        worldOptions
	provider *providersim.Provider
	roots    *x509.CertPool // that the gateway's certificate is checked with
	smtps    string         // host:port of the gateway
	imaps    string
	rnd      *rand.Rand
	ledger   *ledger
	gate     *process          // nil while none was started
	cutter   *cutter           // nil without worldOptions.Cut
	uids     map[string]string // what each UID named when it was seen, over all checks

	mu     sync.Mutex
	number int // of the next message, so that none is made twice
}

// newWorld makes folders, certificates, configuration and provider. The gateway
// is not started. close must be called.
func newWorld(o worldOptions) (_ *world, err error) {
	if o.Data == "" {
		o.Data = filepath.Join(o.Dir, "data")
	}
	if o.MinFree == "" {
		o.MinFree = "10MB"
	}
	w := &world{o: o, rnd: rand.New(rand.NewPCG(o.Seed, 2026)), uids: map[string]string{}}
	for _, d := range []string{"tls", "secrets"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	if w.ledger, err = openLedger(filepath.Join(o.Dir, "promises.jsonl")); err != nil {
		return nil, err
	}
	var boxes []providersim.Mailbox
	for _, p := range people() {
		boxes = append(boxes, providersim.Mailbox{Address: p.box, Username: p.box, Password: p.secret()})
	}
	w.provider, err = providersim.Start(providersim.Options{Domain: "pec.gestore.example", Mailboxes: boxes, ECDSA: true})
	if err != nil {
		return nil, errors.Join(err, w.ledger.close())
	}
	if o.Cut {
		if w.cutter, err = newCutter(w.provider); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	if err := errors.Join(w.certificates(), w.configure()); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// close ends the gateway with SIGKILL if it still runs, then the provider. The
// folders stay.
func (w *world) close() error {
	w.kill()
	if w.cutter != nil {
		w.cutter.close()
	}
	return errors.Join(w.provider.Close(), w.ledger.close())
}

// data is the gateway's data_dir.
func (w *world) data() string { return w.o.Data }

// config is the gateway's configuration file.
func (w *world) config() string { return filepath.Join(w.o.Dir, "pecgate.yaml") }

// log is the file of all that the gateway ever wrote to standard error.
func (w *world) log() string { return filepath.Join(w.o.Dir, "gateway.log") }

func (w *world) write(name, content string) error {
	return os.WriteFile(filepath.Join(w.o.Dir, name), []byte(content), 0o600)
}

// configure chooses the gateway's ports and writes both YAML files.
func (w *world) configure() error {
	var err1, err2 error
	w.smtps, err1 = w.freeAddress()
	w.imaps, err2 = w.freeAddress()
	smtpAddr := w.provider.SMTPAddr()
	if w.cutter != nil {
		smtpAddr = w.cutter.addr()
	}
	_, smtp, err3 := net.SplitHostPort(smtpAddr)
	_, imap, err4 := net.SplitHostPort(w.provider.IMAPAddr())
	_, pop, err5 := net.SplitHostPort(w.provider.POP3Addr())
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	var policy strings.Builder
	policy.WriteString("users:\n")
	// Hashes that cost little: what is measured here is the store.
	cost := auth.Cost{Time: 1, Memory: 8 * 1024, Threads: 1}
	for _, p := range people() {
		hash, err := auth.HashSecretCost(p.password(), cost)
		if err != nil {
			return err
		}
		hashedPIN, err := auth.HashSecretCost(pin, cost)
		if err != nil {
			return err
		}
		fmt.Fprintf(&policy, "  - login: %s\n    email: %s@ordinary.example\n    password: %s\n    pin: %s\n", p.login, p.login, hash, hashedPIN)
	}
	policy.WriteString("mailboxes:\n")
	for n, p := range people() {
		protocol, port, clear, uncertain := "imap", imap, "keep", "hold"
		if w.o.Cut && n == len(people())-1 {
			protocol, port, uncertain = "pop3", pop, "resend"
		}
		if w.o.Clear {
			clear = "delete"
			if n == len(people())-1 {
				protocol, port = "pop3", pop
			}
		}
		fmt.Fprintf(&policy, `  - address: %[1]s
    username: %[1]s
    password: {file: secrets/%[1]s}
    smtp: {host: localhost, port: %[2]s, timeout: 20s, ca: ca.pem}
    uncertain: %[8]s
    uncertain_after: 1m
    incoming: {protocol: %[6]s, host: localhost, port: %[3]s, timeout: 20s, every: 1s, ca: ca.pem}
    provider_copy: %[7]s
    pin_required: %[4]t
    admin: %[5]s
    limits: {per_minute: 0}
    members: [{user: %[5]s}]
`, p.box, smtp, port, w.o.PIN, p.login, protocol, clear, uncertain)
		if err := w.write(filepath.Join("secrets", p.box), p.secret()+"\n"); err != nil {
			return err
		}
	}
	return errors.Join(
		w.write("ca.pem", string(w.provider.CAPEM())),
		w.write("policy.yaml", policy.String()),
		w.write("pecgate.yaml", fmt.Sprintf(`hostname: localhost
address: %s
data_dir: %q
min_free: %s
tls: {certificate: tls/fullchain.pem, key: tls/key.pem}
smtp: {submissions: [%q], submission: []}
imap: {imaps: [%q]}
provider_trust: [ca.pem]
`, gatewayAddress, w.o.Data, w.o.MinFree, w.smtps, w.imaps)))
}

// freeAddress returns an address that nobody listens on. It lies below the ports
// that the kernel gives to outgoing connections: one of those would take it
// while the gateway is down.
func (w *world) freeAddress() (string, error) {
	var err error
	for range 200 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)) // not of the seed: it decides nothing
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

// next gives the number of the next message; safe for concurrent use.
func (w *world) next() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	return w.number
}

// arrive lets n messages arrive for each mailbox at the provider: transport
// envelopes of another provider, with bodies of up to size bytes.
func (w *world) arrive(n, size int) error {
	for range n {
		if err := w.arriveOne(w.next(), size); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) arriveOne(number, size int) error {
	for _, p := range people() {
		body := strings.Repeat(fmt.Sprintf("arriving %d\n", number), 1+size/16)
		if err := w.provider.SendFromOutside("cliente@pec.fuori.example", p.box, arriving(number), body); err != nil {
			return fmt.Errorf("let mail arrive: %w", err)
		}
	}
	return nil
}

// arriving is the subject of an arriving message.
func arriving(number int) string { return fmt.Sprintf("in arrivo %06d fine", number) }

// pause waits, or says that ctx ended first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

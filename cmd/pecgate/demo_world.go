package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pecgate/gateway/auth"
	"pecgate/relay/providersim"
)

// The demo's people and mailboxes.
const (
	demoProvider = "pec.gestore-demo.example"
	demoBoxMario = "protocollo@pec.alfa.example"
	demoBoxLucia = "ufficio@pec.beta.example"
	demoNobody   = "nessuno@pec.beta.example" // a PEC address that does not exist
)

// demoWorld is everything that the demo sets up on one machine.
type demoWorld struct {
	dir      string
	provider *providersim.Provider
	kept     int    // of what the provider issued; the keeper's alone
	config   string // pecgate.yaml

	marioPassword, marioPIN, luciaPassword string
	smtps, submission, imaps               string // addresses of the gateway
}

// buildDemo starts the simulated provider and writes both YAML files, the
// certificates and the secrets into an empty folder.
func buildDemo(dir string) (_ *demoWorld, err error) {
	w := &demoWorld{
		dir: dir, config: filepath.Join(dir, "pecgate.yaml"),
		marioPassword: secretWord(), luciaPassword: secretWord(), marioPIN: secretPIN(),
	}
	for _, d := range []string{"tls", "secrets", "messages", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	passwords := map[string]string{demoBoxMario: secretWord(), demoBoxLucia: secretWord()}
	var boxes []providersim.Mailbox
	for address, p := range passwords {
		boxes = append(boxes, providersim.Mailbox{Address: address, Username: address, Password: p})
		if err := w.write(filepath.Join("secrets", address), p+"\n"); err != nil {
			return nil, err
		}
	}
	w.provider, err = providersim.Start(providersim.Options{
		Domain: demoProvider, Name: "Gestore Demo S.p.A.", Mailboxes: boxes, Style: providersim.StyleNew,
	})
	if err != nil {
		return nil, fmt.Errorf("start the simulated provider: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.provider.Close())
		}
	}()
	if err := w.write("ca.pem", string(w.provider.CAPEM())); err != nil {
		return nil, err
	}
	if err := w.certificates(); err != nil {
		return nil, err
	}
	if err := w.ports(); err != nil {
		return nil, err
	}
	if err := w.configuration(); err != nil {
		return nil, err
	}
	return w, signDemo(dir)
}

// ports chooses free ports for the gateway. They are free again until it
// listens; nobody else on a demo's machine is likely to take them meanwhile.
func (w *demoWorld) ports() error {
	for _, p := range []*string{&w.smtps, &w.submission, &w.imaps} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*p = l.Addr().String()
		defer l.Close() // only after all are chosen, so that they differ
	}
	return nil
}

func (w *demoWorld) configuration() error {
	hash := map[string]string{}
	for _, s := range []string{w.marioPassword, w.luciaPassword, w.marioPIN} {
		h, err := auth.HashSecret(s)
		if err != nil {
			return err
		}
		hash[s] = h
	}
	_, smtpPort, err := net.SplitHostPort(w.provider.SMTPAddr())
	if err != nil {
		return err
	}
	_, imapPort, err := net.SplitHostPort(w.provider.IMAPAddr())
	if err != nil {
		return err
	}
	appliance := fmt.Sprintf(`hostname: localhost
language: it
address: pecgate@gateway.example
data_dir: %q
min_free: 100MB
policy_file: policy.yaml
tls:
  certificate: tls/fullchain.pem
  key: tls/key.pem
smtp:
  submissions: [%q]
  submission: [%q]
imap:
  imaps: [%q]
provider_trust: [ca.pem]
`, filepath.Join(w.dir, "data"), w.smtps, w.submission, w.imaps)
	box := func(address, name, admin, member string, pin bool) string {
		return fmt.Sprintf(`  - address: %q
    name: %q
    username: %q
    password: {file: %q}
    smtp: {host: localhost, port: %s, security: tls, timeout: 30s, ca: ca.pem}
    incoming: {protocol: imap, host: localhost, port: %s, security: tls, timeout: 30s, every: 2s, ca: ca.pem}
    pin_required: %t
    admin: %q
    members:
      - {user: %q}
`, address, name, address, "secrets/"+address, smtpPort, imapPort, pin, admin, member)
	}
	policy := fmt.Sprintf(`users:
  - login: mario
    name: Mario Rossi
    email: mario.rossi@alfa.example
    password: %q
    pin: %q
  - login: lucia
    name: Lucia Bianchi
    email: lucia.bianchi@beta.example
    password: %q

mailboxes:
`, hash[w.marioPassword], hash[w.marioPIN], hash[w.luciaPassword]) +
		box(demoBoxMario, "Ufficio Protocollo", "mario", "mario", true) +
		box(demoBoxLucia, "Ufficio Beta", "lucia", "lucia", false)
	return errors.Join(w.write("pecgate.yaml", appliance), w.write("policy.yaml", policy), w.write("accounts.txt", w.accounts()))
}

// accounts is what a person types into a mail client.
func (w *demoWorld) accounts() string {
	host := func(addr string) string { _, port, _ := net.SplitHostPort(addr); return "127.0.0.1 port " + port }
	var b strings.Builder
	fmt.Fprintf(&b, "Incoming mail (IMAP):   server %s, connection SSL/TLS, authentication: normal password\n", host(w.imaps))
	fmt.Fprintf(&b, "Outgoing mail (SMTP):   server %s, connection SSL/TLS, authentication: normal password\n", host(w.smtps))
	fmt.Fprintf(&b, "                   or   server %s, connection STARTTLS\n", host(w.submission))
	fmt.Fprintf(&b, "Certificate authority to trust in the client:  %s\n\n", filepath.Join(w.dir, "tls", "ca.pem"))
	fmt.Fprintf(&b, "Mario   e-mail address  %s   user name  mario   password  %s   PIN  %s\n", demoBoxMario, w.marioPassword, w.marioPIN)
	fmt.Fprintf(&b, "        every message needs  [PIN:%s]  anywhere in its subject; the gateway cuts it out\n", w.marioPIN)
	fmt.Fprintf(&b, "Lucia   e-mail address  %s      user name  lucia   password  %s\n\n", demoBoxLucia, w.luciaPassword)
	fmt.Fprintf(&b, "One account for one mailbox only: user name  mario/%s\n", demoBoxMario)
	return b.String()
}

// certificates makes the gateway's own CA and server certificate.
func (w *demoWorld) certificates() error {
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "pecgate demo CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return errors.Join(
		w.write("tls/ca.pem", block("CERTIFICATE", caDER)),
		w.write("tls/fullchain.pem", block("CERTIFICATE", leafDER)+block("CERTIFICATE", caDER)),
		w.write("tls/key.pem", block("PRIVATE KEY", keyDER)))
}

func (w *demoWorld) write(name, content string) error {
	return os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600)
}

func serial() *big.Int {
	var b [15]byte
	rand.Read(b[:])
	return new(big.Int).SetBytes(b[:])
}

// secretWord is a password of 60 random bits that can be typed.
func secretWord() string {
	var b [8]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:])[:12])
}

// secretPIN is six random digits.
func secretPIN() string {
	var b [8]byte
	rand.Read(b[:])
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(b[:])%1000000)
}

//go:build peers

package providersim

import (
	"bytes"
	"crypto"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// openssl is the verifier that a court's expert would use: every kind, in both
// styles, passes it, and what must not pass does not.
func TestOpensslVerifies(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	verify := func(ca string, raw []byte, wantGood bool, what string) {
		t.Helper()
		out := filepath.Join(dir, "out")
		cmd := exec.Command("openssl", "smime", "-verify", "-purpose", "any", "-CAfile", ca, "-in", file("m.eml", raw), "-out", out)
		text, err := cmd.CombinedOutput()
		if (err == nil) != wantGood {
			t.Errorf("%s: %v\n%s", what, err, text)
			return
		}
		if !wantGood {
			return
		}
		signed, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(signed, takeApart(t, raw).signed) {
			t.Errorf("%s: openssl saw other bytes than were signed", what)
		}
	}
	for _, style := range []Style{StyleOld, StyleNew} {
		p := start(t, func(o *Options) { o.Style = style })
		ca := file("ca.pem", p.CAPEM())
		eight := message("From: "+alice, "To: "+bob+", "+remote+", "+ghost, "Subject: perché", "Message-ID: <2@x>", "X-TipoRicevuta: breve",
			"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit") + "città, coda di spazi   \r\n\r\n\r\n"
		submit(t, p, eight, bob, remote, ghost)
		submit(t, p, ordinary(bob, "Bcc: "+remote), bob)
		submit(t, p, ordinary(bob+", "+plainR), bob, plainR)
		if err := p.SendFromOutside("a@pec.beta.example", alice, "oggetto", "testo"); err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Emitted() {
			verify(ca, e.Raw, true, string(e.Kind))
		}
		n := Notice{At: p.now(), Provider: "G", Sender: alice, Recipients: []Recipient{{bob, false}}, ReplyTo: alice, Identifier: "1@x", MsgID: "<1@x>", Recipient: bob,
			Header: headerOf([]byte(eight)), Attached: []byte(eight)}
		for _, kind := range []Kind{Transport, Acceptance, NonAcceptance, TakenInCharge, Anomaly, VirusDetected, Delivery, DeliveryError, DeliveryWarning} {
			for _, digest := range []crypto.Hash{crypto.SHA256, crypto.SHA1} {
				n.Kind = kind
				raw, err := Compose(n, p.CA().Signer(), SignOptions{Style: style, Digest: digest})
				if err != nil {
					t.Fatal(err)
				}
				verify(ca, raw, true, string(kind)+" "+digest.String())
			}
		}
		n.Kind = Delivery
		curve, err := p.CA().Issue(LeafOptions{Address: "posta-certificata@pec.gestore.example", ECDSA: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, digest := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			raw, err := Compose(n, curve, SignOptions{Style: style, Digest: digest})
			if err != nil {
				t.Fatal(err)
			}
			verify(ca, raw, true, "ECDSA "+digest.String())
		}
		for _, v := range []Variant{Expired, Foreign} {
			by, err := p.CA().Variant(v)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := Compose(n, by, SignOptions{Style: style})
			if err != nil {
				t.Fatal(err)
			}
			verify(ca, raw, false, "untrusted")
		}
		raw, err := Compose(n, p.CA().Signer(), SignOptions{Style: style, Broken: true})
		if err != nil {
			t.Fatal(err)
		}
		verify(ca, raw, false, "broken")
		other, err := NewAuthority("pec.gestore.example", p.now())
		if err != nil {
			t.Fatal(err)
		}
		verify(file("other.pem", other.CAPEM()), p.Emitted()[0].Raw, false, "other CA")
	}
}

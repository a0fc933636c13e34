package pec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/pec/cms/cmstest"
)

// oldTime is when the messages of these tests were signed.
var oldTime = time.Date(2012, 9, 2, 10, 47, 33, 0, time.UTC)

// issueSHA1 makes a certificate as of those years, signed with SHA-1 and expired
// since.
func issueSHA1(tpl x509.Certificate, key crypto.Signer, by *identity) *identity {
	tpl.SignatureAlgorithm = x509.SHA1WithRSA
	signer := key
	if by != nil {
		signer = by.key
	}
	if _, ok := signer.(*ecdsa.PrivateKey); ok {
		tpl.SignatureAlgorithm = x509.ECDSAWithSHA1
	}
	if tpl.NotBefore.IsZero() {
		tpl.NotBefore, tpl.NotAfter = oldTime.AddDate(-1, 0, 0), oldTime.AddDate(2, 0, 0)
	}
	return issue(tpl, key, by)
}

// oldLeaf is a provider's certificate of then: no extended key usage, 1,024 bits.
func oldLeaf(change func(*x509.Certificate), by *identity) *identity {
	tpl := leafTemplate(beta)
	tpl.ExtKeyUsage = nil
	if change != nil {
		change(&tpl)
	}
	return issueSHA1(tpl, oldKey(), by)
}

func oldCA(name string, change func(*x509.Certificate), key crypto.Signer, by *identity) *identity {
	tpl := caTemplate(name)
	if change != nil {
		change(&tpl)
	}
	return issueSHA1(tpl, key, by)
}

// readOld reads a message of then with the given certificates.
func readOld(t *testing.T, trust *Trust, at time.Time, certs ...*identity) *Report {
	t.Helper()
	rd := NewReader(Options{Trust: trust, Now: clock})
	msg := letter{old: true, xml: dated(at), cms: cmsSpec{by: certs[0], hash: crypto.SHA1, at: at, certs: certs}}.build()
	rep := readWith(t, rd, msg)
	if again := readWith(t, rd, msg); again.Verdict != rep.Verdict || again.Reason != rep.Reason {
		t.Errorf("the second time: %s, %s", again.Verdict, again.Reason)
	}
	return rep
}

// TestH7_SHA1Chain: a signature of 2012 with SHA-1 all over, whose certificates
// have expired since, is verified as of its day.
func TestH7_SHA1Chain(t *testing.T) {
	root := oldCA("Prova SHA-1 Root", nil, rootKey(), nil)
	ca := oldCA("Prova SHA-1 PEC CA", func(c *x509.Certificate) { c.MaxPathLenZero = true }, caKey(), root)
	trust := must(NewTrust(pemOf(root, ca)))
	rep := readOld(t, trust, oldTime, oldLeaf(nil, ca), ca)
	if rep.Verdict != ValidHistoric || !rep.Believed() {
		t.Fatalf("%s, %s", rep.Verdict, rep.Reason)
	}
	for _, why := range []string{"algorithm: signed with SHA-1", "chain: the chain of certificates is signed with SHA-1",
		"usage: the certificate names no extended key usage", "validity: the certificate expired on 2014-09-02T10:47:33Z, after signing"} {
		if !strings.Contains(rep.Reason, why) {
			t.Errorf("reason %q, want %q in it", rep.Reason, why)
		}
	}
	// The CA known by its key only, its certificate in the message.
	pinned := newTrust([]*x509.Certificate{root.cert}, nil)
	pinned.known = append(pinned.known, authorityOf(ca.cert))
	pinned.issuers = append(pinned.issuers, authorityOf(ca.cert))
	if rep := readOld(t, pinned, oldTime, oldLeaf(nil, ca), ca); rep.Verdict != ValidHistoric {
		t.Errorf("pinned: %s, %s", rep.Verdict, rep.Reason)
	}
	// One SHA-1 in the chain is enough.
	modern := issue(func() x509.Certificate {
		c := leafTemplate(beta)
		c.NotBefore, c.NotAfter = oldTime.AddDate(-1, 0, 0), oldTime.AddDate(2, 0, 0)
		return c
	}(), rsaKey(), ca)
	if rep := readOld(t, trust, oldTime, modern, ca); rep.Verdict != ValidHistoric || !strings.Contains(rep.Reason, "chain of certificates is signed with SHA-1") || strings.Contains(rep.Reason, "usage") {
		t.Errorf("SHA-256 leaf: %s, %s", rep.Verdict, rep.Reason)
	}
	ecCA := oldCA("Prova SHA-1 EC CA", nil, ecKey(), root)
	if rep := readOld(t, must(NewTrust(pemOf(root, ecCA))), oldTime, oldLeaf(nil, ecCA), ecCA); rep.Verdict != ValidHistoric {
		t.Errorf("ECDSA: %s, %s", rep.Verdict, rep.Reason)
	}
	// Two intermediates, and the upper one an anchor by itself.
	policy := oldCA("Prova SHA-1 Policy CA", nil, evilKey(), root)
	low := oldCA("Prova SHA-1 Low CA", nil, caKey(), policy)
	for name, pems := range map[string][]byte{"root": pemOf(root, policy, low), "no root": pemOf(policy, low)} {
		if rep := readOld(t, must(NewTrust(pems)), oldTime, oldLeaf(nil, low), low); rep.Verdict != ValidHistoric {
			t.Errorf("%s: %s, %s", name, rep.Verdict, rep.Reason)
		}
	}
}

// TestH7_SHA1ChainRefused: what crypto/x509 would refuse in a chain of today is
// refused in an old one.
func TestH7_SHA1ChainRefused(t *testing.T) {
	root := oldCA("Prova SHA-1 Root", nil, rootKey(), nil)
	good := oldCA("Prova SHA-1 PEC CA", nil, caKey(), root)
	variant := func(change func(*x509.Certificate)) *identity {
		return oldCA("Prova SHA-1 PEC CA", change, caKey(), root)
	}
	evilRoot := oldCA("Prova SHA-1 Root", nil, evilKey(), nil)
	evilCA := oldCA("Prova SHA-1 PEC CA", nil, evilKey(), evilRoot)
	shopCA := oldCA("Prova Client CA", nil, evilKey(), root)
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{2, 16, 840, 1, 99}, Critical: true, Value: []byte{5, 0}}
	long := oldCA("Prova SHA-1 Policy CA", func(c *x509.Certificate) { c.MaxPathLenZero = true }, evilKey(), root)
	low := oldCA("Prova SHA-1 Low CA", nil, caKey(), long)
	day := oldTime.AddDate(0, 0, 1)
	for _, c := range []struct {
		name    string
		ca      *identity // of the trust and the message
		leaf    *identity
		at      time.Time
		verdict string
		reason  string
	}{
		{"expired when it signed", good, oldLeaf(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = oldTime.AddDate(-3, 0, 0), oldTime.AddDate(0, 0, -1)
		}, good), oldTime, Invalid, "validity: signed at"},
		{"not yet valid when it signed", good, oldLeaf(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = day, day.AddDate(1, 0, 0)
		}, good), oldTime, Invalid, "validity: signed at"},
		{"the CA had expired", variant(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = oldTime.AddDate(-3, 0, 0), oldTime.AddDate(0, 0, -1)
		}),
			oldLeaf(nil, good), oldTime, Unverifiable, "chain: signed at"},
		{"signed after the root had expired", good, oldLeaf(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = oldTime, oldTime.AddDate(5, 0, 0)
		}, good), oldTime.AddDate(3, 0, 0), Unverifiable, "chain: signed at"},
		{"for clients only", good, oldLeaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, good), oldTime, Invalid, "usage"},
		{"key for encryption only", good, oldLeaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, good), oldTime, Invalid, "usage"},
		{"a CA as signer", good, oldLeaf(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, good), oldTime, Invalid, "usage"},
		{"a critical extension", good, oldLeaf(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{critical} }, good), oldTime, Unverifiable, "critical extension"},
		{"a CA with a critical extension", variant(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{critical} }), oldLeaf(nil, good), oldTime, Unverifiable, "critical extension"},
		{"a CA whose key signs no certificates", variant(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), oldLeaf(nil, good), oldTime, Unverifiable, "may not issue"},
		{"a CA for TLS only", variant(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), oldLeaf(nil, good), oldTime, Invalid, "may not issue for e-mail"},
		{"too long a path", low, oldLeaf(nil, low), oldTime, Unverifiable, "longer than"},
		{"the leaf changed", good, func() *identity {
			l := oldLeaf(nil, good)
			raw := []byte(strings.Replace(string(l.cert.Raw), "gestore-beta", "gestore-bet4", 1))
			return &identity{must(x509.ParseCertificate(raw)), l.key}
		}(), oldTime, Unverifiable, "has not signed it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pems := pemOf(root, c.ca)
			if c.ca == low {
				pems = pemOf(root, long, low)
			}
			rep := readOld(t, must(NewTrust(pems)), c.at, c.leaf, c.ca)
			if rep.Verdict != c.verdict || rep.Believed() || !strings.Contains(rep.Reason, c.reason) {
				t.Errorf("%s, %s", rep.Verdict, rep.Reason)
			}
		})
	}
	// An old chain under a root that nobody knows.
	l := oldLeaf(nil, evilCA)
	if rep := readOld(t, must(NewTrust(pemOf(root, good))), oldTime, l, evilCA, evilRoot); rep.Verdict != Unverifiable || rep.Believed() {
		t.Errorf("unknown root: %s, %s", rep.Verdict, rep.Reason)
	}
	// Another CA of the same root.
	l = oldLeaf(nil, shopCA)
	if rep := readOld(t, must(NewTrust(pemOf(root, good))), oldTime, l, shopCA, root); rep.Verdict != Unverifiable || !strings.Contains(rep.Reason, "unknown CA") {
		t.Errorf("another CA of the root: %s, %s", rep.Verdict, rep.Reason)
	}
	// The root itself, beside its PEC CA, signs no provider.
	l = oldLeaf(nil, root)
	if rep := readOld(t, must(NewTrust(pemOf(root, good))), oldTime, l, good); rep.Verdict != Unverifiable || rep.Believed() {
		t.Errorf("root as issuer: %s, %s", rep.Verdict, rep.Reason)
	}
}

// TestH7_SHA1ChainNames: constraints of names hold in old chains too, also those
// that crypto/x509 passes over.
func TestH7_SHA1ChainNames(t *testing.T) {
	root := oldCA("Prova SHA-1 Root", nil, rootKey(), nil)
	// The extension as bytes: subtrees of GeneralNames by their tags.
	ext := func(permitted bool, trees ...[]byte) func(*x509.Certificate) {
		var list []byte
		for _, b := range trees {
			list = append(list, cmstest.TLV(0x30, b)...)
		}
		tag := byte(0xa1)
		if permitted {
			tag = 0xa0
		}
		return func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: oidNameConstraints(), Critical: true, Value: cmstest.TLV(0x30, cmstest.TLV(tag, list))}}
		}
	}
	email := func(s string) []byte { return cmstest.TLV(0x81, []byte(s)) }
	dir := func(n pkix.Name) []byte {
		return cmstest.TLV(0xa4, must(asn1.Marshal(n.ToRDNSequence())))
	}
	it := pkix.Name{Country: []string{"it"}}
	ours := pkix.Name{Country: []string{"IT"}, Organization: []string{"GESTORE  di prova s.p.a."}}
	other := pkix.Name{Country: []string{"IT"}, Organization: []string{"Gestore altrui S.p.A."}}
	longer := pkix.Name{Country: []string{"IT"}, Organization: []string{"Gestore di prova S.p.A."}, CommonName: "Posta Certificata e altro"}
	withDNS := func(c *x509.Certificate) { c.DNSNames = []string{"www.gestore.example"} }
	for _, c := range []struct {
		name    string
		ca      func(*x509.Certificate)
		leaf    func(*x509.Certificate)
		verdict string
	}{
		{"the host", ext(true, email("pec.gestore-beta.example")), nil, ValidHistoric},
		{"the host in capitals", ext(true, email("PEC.Gestore-Beta.example")), nil, ValidHistoric},
		{"one of two hosts", ext(true, email("pec.gestore-alfa.example"), email("pec.gestore-beta.example")), nil, ValidHistoric},
		{"the mailbox", ext(true, email(beta)), nil, ValidHistoric},
		{"the domain", ext(true, email(".gestore-beta.example")), nil, ValidHistoric},
		{"another host", ext(true, email("pec.gestore-alfa.example")), nil, Invalid},
		{"another mailbox", ext(true, email("a@pec.gestore-beta.example")), nil, Invalid},
		{"the domain as a host", ext(true, email("gestore-beta.example")), nil, Invalid},
		{"the host as a domain", ext(true, email(".pec.gestore-beta.example")), nil, Invalid},
		{"the host excluded", ext(false, email("pec.gestore-beta.example")), nil, Invalid},
		{"another host excluded", ext(false, email("pec.gestore-alfa.example")), nil, ValidHistoric},
		{"a country", ext(true, dir(it)), nil, ValidHistoric},
		{"an organisation, spelt in another way", ext(true, dir(ours)), nil, ValidHistoric},
		{"one of two organisations", ext(true, dir(other), dir(ours)), nil, ValidHistoric},
		{"another organisation", ext(true, dir(other)), nil, Invalid},
		{"another organisation, the right host", ext(true, dir(other), email("pec.gestore-beta.example")), nil, Invalid},
		{"a longer name", ext(true, dir(longer)), nil, Invalid},
		{"the organisation excluded", ext(false, dir(ours)), nil, Invalid},
		{"another organisation excluded", ext(false, dir(other)), nil, ValidHistoric},
		{"DNS names, and the leaf has none", ext(false, cmstest.TLV(0x82)), nil, ValidHistoric},
		{"DNS names, and the leaf has one", ext(false, cmstest.TLV(0x82, []byte("x.example"))), withDNS, Unverifiable},
		{"a kind that nobody knows", ext(true, cmstest.TLV(0x88, []byte{1})), nil, Unverifiable},
		{"a minimum", ext(true, append(email("pec.gestore-beta.example"), 0x80, 1, 1)), nil, Unverifiable},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := oldCA("Prova SHA-1 PEC CA", c.ca, caKey(), root)
			rep := readOld(t, must(NewTrust(pemOf(root, ca))), oldTime, oldLeaf(c.leaf, ca), ca)
			if rep.Verdict != c.verdict || rep.Believed() != (c.verdict == ValidHistoric) {
				t.Errorf("%s, %s", rep.Verdict, rep.Reason)
			}
			if c.verdict != ValidHistoric && !strings.Contains(rep.Reason, "chain: ") {
				t.Errorf("reason %s", rep.Reason)
			}
		})
	}
}

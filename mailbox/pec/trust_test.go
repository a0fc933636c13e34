package pec

import (
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/pec/cms"
)

// TestTrust: what a list of CAs accepts.
func TestTrust(t *testing.T) {
	msg := letter{}.build()
	reissued := func() *identity {
		tpl := caTemplate("Prova PEC CA1")
		tpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
		tpl.NotBefore, tpl.NotAfter = signTime.AddDate(1, 0, 0), signTime.AddDate(9, 0, 0)
		return issue(tpl, caKey(), rootCert())
	}()
	otherCA := issue(caTemplate("Prova Client CA"), evilKey(), rootCert())
	for _, c := range []struct {
		name    string
		pems    [][]byte
		verdict string
		reason  string
	}{
		{"root and intermediate in one file", [][]byte{pemOf(rootCert(), pecCA())}, Valid, ""},
		{"in two files, other order", [][]byte{pemOf(pecCA()), pemOf(rootCert())}, Valid, ""},
		{"twice", [][]byte{pemOf(pecCA(), rootCert(), pecCA())}, Valid, ""},
		{"intermediate alone is an anchor", [][]byte{pemOf(pecCA())}, Valid, ""},
		{"root alone does not vouch for its intermediates", [][]byte{pemOf(rootCert())}, Unverifiable, "unknown CA"},
		{"root with another intermediate", [][]byte{pemOf(rootCert(), otherCA)}, Unverifiable, "unknown CA"},
		{"a later issue of the CA; the message carries the one of its day", [][]byte{pemOf(rootCert(), reissued)}, Valid, ""},
		{"a later issue alone", [][]byte{pemOf(reissued)}, Unverifiable, "the CA certificate at hand is valid from"},
		{"the built-in ones alone", nil, Unverifiable, "unknown CA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			trust, err := NewTrust(c.pems...)
			if err != nil {
				t.Fatal(err)
			}
			rd := NewReader(Options{Trust: trust, Now: clock})
			for range 2 { // the second time from what is kept
				rep := readWith(t, rd, msg)
				if rep.Verdict != c.verdict || !strings.Contains(rep.Reason, c.reason) {
					t.Errorf("%s, %s", rep.Verdict, rep.Reason)
				}
			}
		})
	}
	if rep := readWith(t, NewReader(Options{}), msg); rep.Verdict != Unverifiable {
		t.Errorf("no trust: %s", rep.Verdict)
	}
	for name, p := range map[string]string{
		"empty":    "",
		"no PEM":   "ciao",
		"a leaf":   string(pemOf(betaLeaf())),
		"a key":    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"not X509": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		if tr, err := NewTrust(pemOf(pecCA()), []byte(p)); tr != nil || err == nil || !strings.Contains(err.Error(), "trust file 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A given self-signed CA without intermediates signs its leaves itself.
	lone := issue(caTemplate("Prova CA sola"), evilKey(), nil)
	leaf := issue(leafTemplate(beta), rsaKey(), lone)
	trust := must(NewTrust(pemOf(lone)))
	if rep := readWith(t, NewReader(Options{Trust: trust, Now: clock}), letter{cms: cmsSpec{by: leaf, certs: []*identity{leaf}}}.build()); rep.Verdict != Valid {
		t.Errorf("lone CA: %s, %s", rep.Verdict, rep.Reason)
	}
}

// pinnedTrust knows the tests' root as built in, and the tests' PEC CA by its
// name and key only, as the product knows those of AgID.
func pinnedTrust() *Trust {
	t := newTrust([]*x509.Certificate{rootCert().cert}, nil)
	t.known = append(t.known, authorityOf(pecCA().cert))
	t.issuers = append(t.issuers, authorityOf(pecCA().cert))
	return t
}

// TestPinnedKey: the certificate of the CA comes with the message; its key is
// known, and it must lead to the root.
func TestPinnedKey(t *testing.T) {
	rd := NewReader(Options{Trust: pinnedTrust(), Now: clock})
	if rep := readWith(t, rd, letter{}.build()); rep.Verdict != Valid || !rep.Believed() {
		t.Errorf("genuine: %s, %s", rep.Verdict, rep.Reason)
	}
	evilRoot := issue(caTemplate("Prova Root CA"), evilKey(), nil)
	stolen := issue(caTemplate("Prova PEC CA1"), caKey(), evilRoot) // the name and key, another root
	loose := caTemplate("Prova PEC CA1")
	loose.NotAfter, loose.NotBefore = signTime.AddDate(0, 0, -1), signTime.AddDate(-3, 0, 0)
	earlier := issue(loose, caKey(), rootCert())
	fakeCA := issue(caTemplate("Prova PEC CA1"), evilKey(), rootCert()) // the name and root, another key
	fakeLeaf := issue(leafTemplate(beta), rsaKey(), fakeCA)
	renamed := issue(caTemplate("Prova Altra CA"), caKey(), rootCert())
	renamedLeaf := issue(leafTemplate(beta), rsaKey(), renamed)
	direct := issue(leafTemplate(beta), rsaKey(), rootCert())
	below := issue(caTemplate("Prova sotto CA"), evilKey(), rootCert())
	belowLeaf := issue(leafTemplate(beta), rsaKey(), below)
	for _, c := range []struct {
		name   string
		by     *identity
		certs  []*identity
		reason string
	}{
		{"the CA's certificate is missing", betaLeaf(), []*identity{betaLeaf()}, "the message lacks the certificate of its issuer, CN=Prova PEC CA1"},
		{"its key, but under another root", betaLeaf(), []*identity{betaLeaf(), stolen}, "leads to no root that is known"},
		{"with that root", betaLeaf(), []*identity{betaLeaf(), stolen, evilRoot}, "leads to no root that is known"},
		{"an issue of another day", betaLeaf(), []*identity{betaLeaf(), earlier}, "the CA certificate at hand is valid from"},
		{"its name and root, another key", fakeLeaf, []*identity{fakeLeaf, fakeCA, rootCert()}, "has not signed it"},
		{"its key under another name", renamedLeaf, []*identity{renamedLeaf, renamed}, "chain: "},
		{"the root signs a provider itself", direct, []*identity{direct, rootCert()}, "unknown CA"},
		{"another CA of the root", belowLeaf, []*identity{belowLeaf, below, rootCert()}, "unknown CA"},
	} {
		rep := readWith(t, rd, letter{cms: cmsSpec{by: c.by, certs: c.certs}}.build())
		if rep.Verdict != Unverifiable || rep.Believed() || !strings.Contains(rep.Reason, c.reason) {
			t.Errorf("%s: %s, %s", c.name, rep.Verdict, rep.Reason)
		}
	}
	// Several issues, wrong ones with them: the right one is found.
	for _, certs := range [][]*identity{{betaLeaf(), stolen, earlier, pecCA()}, {pecCA(), fakeCA, stolen, betaLeaf()}} {
		if rep := readWith(t, rd, letter{cms: cmsSpec{by: betaLeaf(), certs: certs}}.build()); rep.Verdict != Valid {
			t.Errorf("several issues: %s, %s", rep.Verdict, rep.Reason)
		}
	}
	// What the administrator gives as well changes nothing about the root.
	given := newTrust([]*x509.Certificate{rootCert().cert}, []*x509.Certificate{rootCert().cert})
	if rep := readWith(t, NewReader(Options{Trust: given, Now: clock}), letter{cms: cmsSpec{by: direct, certs: []*identity{direct}}}.build()); rep.Believed() {
		t.Error("a built-in root signs providers once it is given too")
	}
}

// TestKeptPath: what is kept is used only for a signing time for which the
// search would end in the same way.
func TestKeptPath(t *testing.T) {
	trust := must(NewTrust(pemOf(rootCert(), pecCA())))
	tpl := leafTemplate(beta)
	tpl.NotBefore, tpl.NotAfter = signTime.AddDate(-1, 0, 0), signTime.AddDate(1, 0, 0)
	leaf := issue(tpl, rsaKey(), pecCA())
	kept := newPaths(trust, 8)
	at := func(when time.Time) (*path, *fault) {
		s := must(cms.Parse(signCMS([]byte("x"), cmsSpec{by: leaf, at: when}), nil))
		return kept.find(s, when)
	}
	first, f := at(signTime)
	if f != nil {
		t.Fatal(f)
	}
	for _, c := range []struct {
		when time.Time
		good bool
	}{
		{signTime.AddDate(0, 6, 0), true}, {tpl.NotBefore, true}, {tpl.NotAfter, true},
		{tpl.NotBefore.Add(-time.Second), false}, {tpl.NotAfter.Add(time.Second), false},
		{signTime.AddDate(5, 0, 0), false}, {signTime.AddDate(-5, 0, 0), false},
	} {
		got, f := at(c.when)
		if c.good && got != first || !c.good && (f == nil || f.check != checkValidity || f.verdict != Invalid) {
			t.Errorf("%v: %+v, %+v", c.when, got, f)
		}
	}
	// A CA that is reissued: each signing time has the issue of its day.
	late := caTemplate("Prova PEC CA1")
	late.NotBefore, late.NotAfter = signTime.AddDate(0, 1, 0), signTime.AddDate(30, 0, 0)
	early := caTemplate("Prova PEC CA1")
	early.NotBefore, early.NotAfter = signTime.AddDate(-2, 0, 0), signTime.AddDate(0, 2, 0)
	lateCA, earlyCA := issue(late, caKey(), rootCert()), issue(early, caKey(), rootCert())
	kept = newPaths(must(NewTrust(pemOf(rootCert(), earlyCA))), 8)
	for _, turn := range []int{0, 1, 0, 1} {
		when := signTime.AddDate(0, turn*6, 0)
		s := must(cms.Parse(signCMS([]byte("x"), cmsSpec{by: leaf, at: when, certs: []*identity{leaf, lateCA}}), nil))
		got, f := kept.find(s, when)
		if f != nil || !got.certs[1].Equal([]*identity{earlyCA, lateCA}[turn].cert) {
			t.Errorf("turn %d: %+v", turn, f)
		}
	}
}

// TestReadTogether is for the race detector: one Reader, many messages.
func TestReadTogether(t *testing.T) {
	rd := testReader(t)
	msgs := [][]byte{letter{}.build(), letter{cms: cmsSpec{by: alfaLeaf()}}.build(), letter{cms: cmsSpec{by: betaLeaf(), ber: true}}.build()}
	want := []string{Valid, Invalid, Valid}
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := range 30 {
				n := (g + i) % 3
				if rep := readWith(t, rd, msgs[n]); rep.Verdict != want[n] {
					t.Errorf("message %d: %s, %s", n, rep.Verdict, rep.Reason)
				}
			}
		})
	}
	wg.Wait()
}

// TestH8_TrustNeverWidens: a list that cannot be read is an error, an anchor
// that is unknown or has expired is never a reason to believe.
func TestH8_TrustNeverWidens(t *testing.T) {
	if tr, err := NewTrust([]byte{}); tr != nil || err == nil {
		t.Error("an empty list is taken")
	}
	// Unknown anchor: not believed, whatever the message brings with it.
	rep := readWith(t, NewReader(Options{Now: clock}), letter{cms: cmsSpec{by: betaLeaf(), certs: []*identity{betaLeaf(), pecCA(), rootCert()}}}.build())
	if rep.Verdict != Unverifiable || rep.Believed() {
		t.Errorf("unknown anchor: %s, %s", rep.Verdict, rep.Reason)
	}
	// An anchor that has expired since: what it vouched for then is historic.
	tpl := caTemplate("Prova vecchia Root CA")
	tpl.NotBefore, tpl.NotAfter = signTime.AddDate(-9, 0, 0), signTime.Add(time.Hour)
	root := issue(tpl, rootKey(), nil)
	ca := caTemplate("Prova vecchia PEC CA")
	ca.NotBefore, ca.NotAfter = signTime.AddDate(-5, 0, 0), signTime.AddDate(5, 0, 0)
	inter := issue(ca, caKey(), root)
	leaf := issue(leafTemplate(beta), rsaKey(), inter)
	rd := NewReader(Options{Trust: must(NewTrust(pemOf(root, inter))), Now: clock})
	sign := func(at time.Time) *Report {
		return readWith(t, rd, letter{cms: cmsSpec{by: leaf, at: at, certs: []*identity{leaf, inter}}}.build())
	}
	if rep := sign(signTime); rep.Verdict != ValidHistoric || !strings.Contains(rep.Reason, "CA certificate of Prova vecchia Root CA expired on") {
		t.Errorf("expired since: %s, %s", rep.Verdict, rep.Reason)
	}
	// What was signed after it expired is not.
	for range 2 {
		if rep := sign(signTime.Add(2 * time.Hour)); rep.Verdict != Unverifiable || rep.Believed() {
			t.Errorf("signed after: %s, %s", rep.Verdict, rep.Reason)
		}
	}
}

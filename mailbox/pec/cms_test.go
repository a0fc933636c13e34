package pec

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/mime"
)

// TestAlgorithms: digests and keys, DER and BER.
func TestAlgorithms(t *testing.T) {
	ec := issue(leafTemplate(beta), ecKey(), pecCA())
	for _, ber := range []bool{false, true} {
		for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			for _, by := range []*identity{betaLeaf(), ec} {
				c := cmsSpec{by: by, hash: h, ber: ber}
				if by == ec {
					c.sigOID = map[crypto.Hash][]int{
						crypto.SHA1: oidECDSASHA1, crypto.SHA256: oidECDSASHA256,
						crypto.SHA384: {1, 2, 840, 10045, 4, 3, 3}, crypto.SHA512: {1, 2, 840, 10045, 4, 3, 4},
					}[h]
				}
				want := Valid
				if h == crypto.SHA1 {
					want = ValidHistoric
				}
				if rep := read(t, letter{cms: c}.build()); rep.Verdict != want {
					t.Errorf("%v, %T, ber=%v: %s, %s", h, by.key, ber, rep.Verdict, rep.Reason)
				}
			}
		}
	}
}

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
		{"none", nil, Unverifiable, "unknown CA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			trust, err := NewTrust(c.pems...)
			if err != nil {
				t.Fatal(err)
			}
			rep := readWith(t, NewReader(Options{Trust: trust, Now: clock}), msg)
			if rep.Verdict != c.verdict || !strings.Contains(rep.Reason, c.reason) {
				t.Errorf("%s, %s", rep.Verdict, rep.Reason)
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
	// A self-signed CA without intermediates signs its leaves itself.
	lone := issue(caTemplate("Prova CA sola"), evilKey(), nil)
	leaf := issue(leafTemplate(beta), rsaKey(), lone)
	trust := must(NewTrust(pemOf(lone)))
	if rep := readWith(t, NewReader(Options{Trust: trust, Now: clock}), letter{cms: cmsSpec{by: leaf, certs: []*identity{leaf}}}.build()); rep.Verdict != Valid {
		t.Errorf("lone CA: %s, %s", rep.Verdict, rep.Reason)
	}
}

// hostileCMS are signatures of reliability id F6.
func hostileCMS() map[string][]byte {
	good := signCMS([]byte("x"), cmsSpec{by: betaLeaf()})
	nest := func(n int) []byte {
		return append(bytes.Repeat([]byte{0x30, 0x80}, n), bytes.Repeat([]byte{0, 0}, n)...)
	}
	// Each level holds an empty element, so that it is not empty itself.
	filled := func(n int) []byte {
		return append(bytes.Repeat([]byte{0x30, 0x80, 0x05, 0x00}, n), bytes.Repeat([]byte{0, 0}, n)...)
	}
	definite := func(n int) []byte {
		b := []byte{5, 0}
		for range n {
			b = tlv(0x30, b)
		}
		return b
	}
	many := make([]*identity, 1000)
	for i := range many {
		many[i] = betaLeaf()
	}
	some := []*identity{betaLeaf()}
	for range 40 {
		some = append(some, pecCA())
	}
	big1 := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 20000, 1), E: 65537}
	tpl := leafTemplate(beta)
	tpl.SerialNumber = nextSerial()
	tpl.NotBefore, tpl.NotAfter = pecCA().cert.NotBefore, pecCA().cert.NotAfter
	bigCert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &tpl, pecCA().cert, big1, caKey()))))
	return map[string][]byte{
		"empty":                   {},
		"one byte":                {0x30},
		"cut":                     good[:len(good)/2],
		"30 80 without end":       bytes.Repeat([]byte{0x30, 0x80}, 60<<10),
		"8 MiB of 30 80":          bytes.Repeat([]byte{0x30, 0x80}, 4<<20),
		"30 80 closed":            nest(30 << 10),
		"30 80 filled":            filled(20 << 10),
		"empty ones in a row":     append(bytes.Repeat([]byte{0x30, 0x80, 0, 0}, 20<<10), bytes.Repeat([]byte{0, 0}, 20<<10)...),
		"definite, nested":        definite(2000),
		"many small elements":     tlv(0x30, bytes.Repeat([]byte{5, 0}, 50_000)),
		"high tag":                {0x3f, 0x81, 0x81, 0x81, 0x01, 0x80, 0, 0},
		"length past the end":     {0x30, 0x83, 0xff, 0xff, 0xff, 0},
		"length of length 127":    append([]byte{0x30, 0xff}, make([]byte, 200)...),
		"child past its parent":   {0x30, 0x04, 0x30, 0x10, 5, 0, 5, 0, 5, 0, 5, 0},
		"1,000 certificates":      signCMS([]byte("x"), cmsSpec{by: betaLeaf(), certs: many}),
		"41 certificates":         signCMS([]byte("x"), cmsSpec{by: betaLeaf(), certs: some}),
		"no certificate":          signCMS([]byte("x"), cmsSpec{by: betaLeaf(), noCerts: true}),
		"another's certificate":   signCMS([]byte("x"), cmsSpec{by: betaLeaf(), certs: []*identity{alfaLeaf()}}),
		"a key of 20,000 bits":    signCMS([]byte("x"), cmsSpec{by: &identity{bigCert, rsaKey()}}),
		"MD5":                     signCMS([]byte("x"), cmsSpec{by: betaLeaf(), hash: crypto.MD5}),
		"a certificate, no CMS":   betaLeaf().cert.Raw,
		"data in place of CMS":    tlv(0x30, dataOID(), tlv(0xa0, tlv(0x04, []byte("x")))),
		"signed in the year 1":    signCMS([]byte("x"), cmsSpec{by: betaLeaf(), at: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)}),
		"signed in the year 9999": signCMS([]byte("x"), cmsSpec{by: betaLeaf(), at: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}),
		"two signers":             signCMS([]byte("x"), cmsSpec{by: betaLeaf(), signers: 2}),
		"no signer":               withoutSigners(good),
		"digest of wrong length":  signCMS([]byte("x"), cmsSpec{by: betaLeaf(), sum: []byte("x")}),
	}
}

// withoutSigners makes the set of signers a sequence, which is none. The set is
// known by how its first signer begins: random bytes of a key may look like its
// tag alone.
func withoutSigners(cms []byte) []byte {
	out := bytes.Clone(cms)
	for i := range len(out) - 11 {
		b := out[i:]
		if b[0] == 0x31 && b[1] == 0x82 && b[4] == 0x30 && b[5] == 0x82 && bytes.Equal(b[8:11], []byte{2, 1, 1}) {
			b[0] = 0x30
			return out
		}
	}
	panic("the CMS has no signers")
}

func dataOID() []byte { return tlv(0x06, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1}) }

// TestF6_HostileSignature: bounded and refused cleanly, as "cannot be judged".
func TestF6_HostileSignature(t *testing.T) {
	rd := testReader(t)
	for name, b := range hostileCMS() {
		t.Run(name, func(t *testing.T) {
			if s, err := parseCMS(b); s != nil || err == nil {
				t.Fatalf("parsed: %+v", s)
			}
			rep := readWith(t, rd, letter{p7s: b}.build())
			if rep.Verdict != Unverifiable || rep.Believed() || rep.Reason == "" {
				t.Errorf("%s, %s", rep.Verdict, rep.Reason)
			}
		})
	}
	var alg algorithmError
	if _, err := parseCMS(hostileCMS()["a key of 20,000 bits"]); !errors.As(err, &alg) {
		t.Errorf("key: %v", err)
	}
}

// TestF6_SignaturePart: forms of the part that holds the signature.
func TestF6_SignaturePart(t *testing.T) {
	msg := string(letter{}.build())
	at := strings.LastIndex(msg, "Content-Transfer-Encoding: base64")
	head, tail := msg[:at], msg[at:]
	for _, c := range []struct{ name, old, new, verdict string }{
		{"as made", "base64", "base64", Valid},
		{"upper case", "base64", "BASE64", Valid},
		{"quoted-printable claimed", "base64", "quoted-printable", Unverifiable},
		{"7bit claimed", "base64", "7bit", Unverifiable},
		{"unknown encoding", "base64", "x-uuencode", Unverifiable},
		{"noise in it", "\r\n\r\nM", "\r\n\r\n!M", Unverifiable},
		{"text before it", "\r\n\r\nM", "\r\n\r\n====M", Unverifiable},
	} {
		if !strings.Contains(tail, c.old) {
			t.Fatalf("%s: %q is not there", c.name, c.old)
		}
		if rep := read(t, []byte(head+strings.Replace(tail, c.old, c.new, 1))); rep.Verdict != c.verdict {
			t.Errorf("%s: %s, %s", c.name, rep.Verdict, rep.Reason)
		}
	}
	// Base64 without its padding, and on one line.
	b64 := tail[strings.Index(tail, "\r\n\r\n")+4 : strings.Index(tail, "\r\n\r\n--")]
	one := strings.TrimRight(strings.ReplaceAll(b64, "\r\n", ""), "=")
	if rep := read(t, []byte(head+strings.Replace(tail, b64, one, 1))); rep.Verdict != Valid {
		t.Errorf("one line: %s, %s", rep.Verdict, rep.Reason)
	}
}

// TestManyParts: an original with thousands of parts hides neither the
// signature nor the daticert.xml behind it.
func TestManyParts(t *testing.T) {
	var in strings.Builder
	in.WriteString("Content-Type: multipart/mixed; boundary=\"m\"\r\n\r\n")
	for i := range 3000 {
		fmt.Fprintf(&in, "--m\r\nContent-Type: text/plain; name=\"parte-%d.txt\"\r\n\r\nx\r\n", i)
	}
	in.WriteString("--m--\r\n")
	l := letter{mark: "X-Trasporto: posta-certificata", xml: "-", msgID: pecID, parts: []string{eml(in.String()), in.String(), xmlPart(transportXML)}}
	if rep := read(t, l.build()); rep.Verdict != Valid || rep.Kind != Transport || !rep.Believed() {
		t.Errorf("%s, %s, %s", rep.Kind, rep.Verdict, rep.Reason)
	}
}

// TestLongHeader: a header of 256 KiB is read; in a longer one a second From
// could hide, so it is not judged.
func TestLongHeader(t *testing.T) {
	pad := func(n int) letter {
		line := "X-Riempimento: " + strings.Repeat("x", 900)
		return letter{header: strings.Split(strings.Repeat(line+"\n", n/len(line))+"X-Fine: 1", "\n")}
	}
	if rep := read(t, pad(240<<10).build()); rep.Verdict != Valid {
		t.Errorf("240 KiB: %s, %s", rep.Verdict, rep.Reason)
	}
	if rep := read(t, pad(300<<10).build()); rep.Believed() {
		t.Errorf("300 KiB: %s, %s", rep.Verdict, rep.Reason)
	}
}

func FuzzCMS(f *testing.F) {
	for _, b := range hostileCMS() {
		if len(b) <= 16<<10 {
			f.Add(b)
		}
	}
	f.Add(signCMS([]byte("x"), cmsSpec{by: betaLeaf(), ber: true}))
	f.Add(signCMS([]byte("x"), cmsSpec{by: alfaLeaf(), hash: crypto.SHA512}))
	msgs, trust := goldens(f)
	for _, m := range msgs {
		r := bytes.NewReader(m)
		ix := must(mime.Parse(r, int64(len(m)), mime.Limits{}))
		f.Add(must(readPart(r, &ix.Root.Children[1], maxCMS)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseCMS(b)
		if (s == nil) == (err == nil) {
			t.Fatal("both or neither")
		}
		if err != nil {
			if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("error %q", err)
			}
			return
		}
		_ = s.check()
		_ = trust.check(s.leaf, s.others, signTime)
		_ = issuerName(s.leaf)
	})
}

// goldens returns the stored samples with the CA that signed them: fuzzing runs
// in several processes, and keys made on the spot differ from one to the next.
func goldens(t testing.TB) (msgs [][]byte, trust *Trust) {
	t.Helper()
	for _, name := range must(filepath.Glob(filepath.Join(goldenDir, "*.eml"))) {
		msgs = append(msgs, must(os.ReadFile(name)))
	}
	return msgs, must(NewTrust(must(os.ReadFile(filepath.Join(goldenDir, "ca.pem")))))
}

func FuzzRead(f *testing.F) {
	msgs, trust := goldens(f)
	for _, m := range msgs {
		f.Add(m)
	}
	f.Add(unsigned())
	rd := NewReader(Options{Trust: trust, Now: clock})
	f.Fuzz(func(t *testing.T, msg []byte) {
		r := bytes.NewReader(msg)
		ix, err := mime.Parse(r, int64(len(msg)), mime.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		rep, err := rd.Read(context.Background(), r, int64(len(msg)), ix)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Kind == "" || rep.Verdict == "" || rep.Recipients == nil || strings.ContainsAny(rep.Reason, "\r\n") {
			t.Fatalf("%+v", rep)
		}
		// Every seed that can be believed has this identifier.
		if rep.Believed() && rep.Identifier != pecID {
			t.Fatalf("believed: %+v", rep)
		}
		// A Report that cannot be stored would stop the mailbox at this message.
		if _, err := json.Marshal(rep); err != nil || len(rep.Reason) > 4000 {
			t.Fatalf("%v, %+v", err, rep)
		}
	})
}

func benchmark(b *testing.B, size int) {
	text := "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		wrap64(bytes.Repeat([]byte("pec"), size/4))
	msg := letter{mark: "X-Trasporto: posta-certificata", xml: transportXML, inner: text, msgID: pecID, cms: cmsSpec{by: betaLeaf(), ber: true}}.build()
	r := bytes.NewReader(msg)
	ix := must(mime.Parse(r, int64(len(msg)), mime.Limits{}))
	rd := testReader(b)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		rep, err := rd.Read(context.Background(), r, int64(len(msg)), ix)
		if err != nil || rep.Verdict != Valid {
			b.Fatal(rep, err)
		}
	}
}

func BenchmarkVerify20KB(b *testing.B) { benchmark(b, 20<<10) }
func BenchmarkVerify2MB(b *testing.B)  { benchmark(b, 2<<20) }

// BenchmarkFloor is the least that a verification costs: the digest of the
// content and the two RSA operations of leaf and signature.
func BenchmarkFloor20KB(b *testing.B) { floor(b, 20<<10) }
func BenchmarkFloor2MB(b *testing.B)  { floor(b, 2<<20) }

func floor(b *testing.B, size int) {
	content := bytes.Repeat([]byte("pec "), size/4)
	sum := sumOf(crypto.SHA256, content)
	pub := rsaKey().Public().(*rsa.PublicKey)
	sig := must(rsaKey().Sign(rand.Reader, sum, crypto.SHA256))
	b.SetBytes(int64(size))
	for b.Loop() {
		if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sumOf(crypto.SHA256, content), sig); err != nil {
			b.Fatal(err)
		}
	}
}

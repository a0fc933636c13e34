package pec

import (
	"bytes"
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/pec/cms/cmstest"
)

// TestAlgorithms: digests, keys and ways to name the signer, DER and BER.
func TestAlgorithms(t *testing.T) {
	ec := issue(leafTemplate(beta), ecKey(), pecCA())
	old := issue(leafTemplate(beta), oldKey(), pecCA())
	for _, ber := range []bool{false, true} {
		for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			for name, c := range map[string]cmsSpec{
				"RSA":               {by: betaLeaf()},
				"RSA of 1,024 bits": {by: old},
				"RSA-PSS":           {by: betaLeaf(), more: func(s *cmstest.Spec) { s.PSS = &cmstest.PSS{Hash: h, MGF: h, Salt: h.Size()} }},
				"ECDSA":             {by: ec, sigOID: cmstest.OIDEC},
				"key id":            {by: withKeyID(), more: func(s *cmstest.Spec) { s.KeyID = true }},
			} {
				c.hash, c.ber = h, ber
				want := Valid
				if h == crypto.SHA1 {
					want = ValidHistoric
				}
				if rep := read(t, letter{cms: c}.build()); rep.Verdict != want {
					t.Errorf("%s, %v, ber=%v: %s, %s", name, h, ber, rep.Verdict, rep.Reason)
				}
			}
		}
	}
}

// withKeyID is a leaf with a subject key id.
func withKeyID() *identity {
	tpl := leafTemplate(beta)
	tpl.SubjectKeyId = []byte{1, 2, 3, 4}
	return issue(tpl, rsaKey(), pecCA())
}

// hostileCMS are signatures of reliability id F6, as parts of a message; package
// cms has many more.
func hostileCMS() map[string][]byte {
	good := signCMS([]byte("x"), cmsSpec{by: betaLeaf()})
	many := make([]*identity, 1000)
	for i := range many {
		many[i] = betaLeaf()
	}
	return map[string][]byte{
		"empty":                   {},
		"cut":                     good[:len(good)/2],
		"30 80 without end":       bytes.Repeat([]byte{0x30, 0x80}, 60<<10),
		"8 MiB of 30 80":          bytes.Repeat([]byte{0x30, 0x80}, 4<<20),
		"1,000 certificates":      signCMS([]byte("x"), cmsSpec{by: betaLeaf(), certs: many}),
		"33 certificates":         signCMS([]byte("x"), cmsSpec{by: betaLeaf(), certs: many[:33]}),
		"no certificate":          signCMS([]byte("x"), cmsSpec{by: betaLeaf(), noCerts: true}),
		"another's certificate":   signCMS([]byte("x"), cmsSpec{by: betaLeaf(), certs: []*identity{alfaLeaf()}}),
		"MD5":                     signCMS([]byte("x"), cmsSpec{by: betaLeaf(), hash: crypto.MD5}),
		"a certificate, no CMS":   betaLeaf().cert.Raw,
		"signed in the year 1":    signCMS([]byte("x"), cmsSpec{by: betaLeaf(), at: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)}),
		"signed in the year 9999": signCMS([]byte("x"), cmsSpec{by: betaLeaf(), at: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}),
		"two signers":             signCMS([]byte("x"), cmsSpec{by: betaLeaf(), signers: 2}),
		"content inside":          signCMS([]byte("x"), cmsSpec{by: betaLeaf(), embed: true}),
		"trailing bytes":          append(bytes.Clone(good), good...),
		"digest of wrong length":  signCMS([]byte("x"), cmsSpec{by: betaLeaf(), sum: []byte("x")}),
	}
}

// TestF6_HostileSignature: bounded and refused cleanly, as "cannot be judged".
func TestF6_HostileSignature(t *testing.T) {
	rd := testReader(t)
	for name, b := range hostileCMS() {
		t.Run(name, func(t *testing.T) {
			rep := readWith(t, rd, letter{p7s: b}.build())
			if rep.Verdict != Unverifiable || rep.Believed() || rep.Reason == "" {
				t.Errorf("%s, %s", rep.Verdict, rep.Reason)
			}
		})
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

// goldens returns the stored samples with the CA that signed them: fuzzing runs
// in several processes, and keys made on the spot differ from one to the next.
func goldens(t testing.TB) (msgs [][]byte, trust *Trust) {
	t.Helper()
	for _, name := range must(filepath.Glob(filepath.Join(goldenDir, "*.eml"))) {
		msgs = append(msgs, must(os.ReadFile(name)))
	}
	return msgs, must(NewTrust(must(os.ReadFile(filepath.Join(goldenDir, "ca.pem")))))
}

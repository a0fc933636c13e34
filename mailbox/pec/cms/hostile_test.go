package cms

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox/pec/cms/cmstest"
)

// refuse checks that b is refused, in one line.
func refuse(t *testing.T, name string, b []byte, why string) {
	t.Helper()
	s, err := Parse(b, NewCertificates(4))
	if s != nil || err == nil {
		t.Errorf("%s: accepted", name)
		return
	}
	if text := err.Error(); !strings.Contains(text, why) || len(text) > 300 || strings.ContainsAny(text, "\r\n") {
		t.Errorf("%s: %q, want %q in it", name, text, why)
	}
}

func TestF6_IndefiniteLength(t *testing.T) {
	good := sign(rsaID(), func(s *cmstest.Spec) { s.BER, s.Pieces, s.BERSet = true, true, true })
	verify(t, good)
	// Each end mark counts: a message that lacks its last ones is no message.
	for n := 1; n <= 8; n++ {
		refuse(t, "cut", good[:len(good)-n], "not readable as BER")
	}
	refuse(t, "primitive", []byte{0x04, 0x80, 0, 0}, "not readable as BER")
	refuse(t, "end mark first", []byte{0, 0, 0x30, 0x80}, "not readable as BER")
	// An end mark of the wrong form: a length after a zero tag.
	refuse(t, "end mark with a length", cmstest.Indef(0x30, []byte{0, 1, 0}), "not readable as BER")
}

func TestF6_Huge(t *testing.T) {
	refuse(t, "8 MiB of 30 80", bytes.Repeat([]byte{0x30, 0x80}, 4<<20), "larger than 128 KiB")
	refuse(t, "a length of 4 GiB", []byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0}, "not readable as BER")
	refuse(t, "a length of length 127", append([]byte{0x30, 0xff}, make([]byte, 200)...), "not readable as BER")
	refuse(t, "past the end", []byte{0x30, 0x83, 0xff, 0xff, 0xff, 0}, "not readable as BER")
	refuse(t, "child past its parent", []byte{0x30, 0x04, 0x30, 0x10, 5, 0, 5, 0, 5, 0, 5, 0}, "not readable as BER")
	refuse(t, "many small elements", sign(rsaID(), func(s *cmstest.Spec) {
		s.BER, s.CRLs = true, [][]byte{bytes.Repeat(cmstest.Null(), 50_000)}
	}), "too many elements")
	refuse(t, "a long object identifier", cmstest.TLV(0x30, cmstest.TLV(6, make([]byte, 60_000))), "SignedData")
	big := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 20000, 1), E: 65537}
	tpl := *rsaID().Cert
	der := must(x509.CreateCertificate(rand.Reader, &tpl, &tpl, big, rsaID().Key))
	id := &cmstest.Identity{Cert: must(x509.ParseCertificate(der)), Key: rsaID().Key}
	var alg AlgorithmError
	if _, err := Parse(sign(id, nil), nil); !errors.As(err, &alg) || !strings.Contains(alg.Error(), "20001 bits") {
		t.Errorf("a key of 20,001 bits: %v", err)
	}
}

func TestF6_Nested(t *testing.T) {
	// Each level holds an empty element, so that it is not empty itself.
	deep := func(n int) []byte {
		return append(bytes.Repeat([]byte{0x30, 0x80, 0x05, 0x00}, n), bytes.Repeat([]byte{0, 0}, n)...)
	}
	definite := func(n int) []byte {
		b := cmstest.Null()
		for range n {
			b = cmstest.TLV(0x30, b)
		}
		return b
	}
	refuse(t, "30 80 without end", bytes.Repeat([]byte{0x30, 0x80}, 60<<10), "")
	refuse(t, "30 80 closed", append(bytes.Repeat([]byte{0x30, 0x80}, 30<<10), make([]byte, 60<<10)...), "")
	refuse(t, "definite", definite(2000), "")
	in := func(b []byte) []byte { return sign(rsaID(), func(s *cmstest.Spec) { s.CRLs = [][]byte{b} }) }
	inBER := func(b []byte) []byte {
		return sign(rsaID(), func(s *cmstest.Spec) { s.BER, s.CRLs = true, [][]byte{b} })
	}
	verify(t, inBER(deep(30)))
	refuse(t, "41 levels in a list", inBER(deep(41)), "nested too deeply")
	refuse(t, "10,000 levels in a list", inBER(deep(10_000)), "nested too deeply")
	verify(t, in(definite(2000))) // nobody looks inside
	attr := func(b []byte) []byte {
		return sign(rsaID(), func(s *cmstest.Spec) { s.More = [][]byte{cmstest.Attribute(cmstest.OIDSigned, b)} })
	}
	verify(t, attr(definite(30)))
	refuse(t, "2,000 levels in an attribute", attr(definite(2000)), "nested too deeply")
}

func TestF6_NoCertificate(t *testing.T) {
	missing := "the signer's certificate is missing"
	refuse(t, "no field", sign(rsaID(), func(s *cmstest.Spec) { s.Certs = nil }), missing)
	refuse(t, "empty field", sign(rsaID(), func(s *cmstest.Spec) { s.Certs = [][]byte{} }), missing)
	refuse(t, "another's", sign(rsaID(), func(s *cmstest.Spec) { s.Certs = s.Certs[1:] }), missing)
	refuse(t, "key id", sign(rsaID(), func(s *cmstest.Spec) { s.KeyID, s.Certs = true, s.Certs[1:] }), missing)
	refuse(t, "only in another choice", sign(rsaID(), func(s *cmstest.Spec) {
		s.Certs = [][]byte{cmstest.TLV(0xa3, s.Certs[0])}
	}), missing)
}

func TestF6_ThousandCertificates(t *testing.T) {
	refuse(t, "1,000", sign(rsaID(), func(s *cmstest.Spec) { s.Certs = slicesOf(s.Certs[0], 1000) }), "larger than 128 KiB")
	refuse(t, "33", sign(rsaID(), func(s *cmstest.Spec) { s.Certs = slicesOf(s.Certs[0], 33) }), "more than 32 certificates")
	refuse(t, "1,000 small ones", sign(rsaID(), func(s *cmstest.Spec) {
		s.Certs = append(s.Certs, slicesOf(cmstest.TLV(0x30), 1000)...)
	}), "more than 32 certificates")
}

func slicesOf(b []byte, n int) (out [][]byte) {
	for range n {
		out = append(out, b)
	}
	return out
}

func TestF6_MD5(t *testing.T) {
	var alg AlgorithmError
	_, err := Parse(sign(rsaID(), func(s *cmstest.Spec) { s.Hash = crypto.MD5 }), nil)
	if !errors.As(err, &alg) || !strings.Contains(alg.Error(), "1.2.840.113549.2.5") {
		t.Errorf("digest: %v", err)
	}
	_, err = Parse(sign(rsaID(), func(s *cmstest.Spec) { s.SigOID = []int{1, 2, 840, 113549, 1, 1, 4} }), nil)
	if !errors.As(err, &alg) || !strings.Contains(alg.Error(), "1.2.840.113549.1.1.4") {
		t.Errorf("signature: %v", err)
	}
}

func TestF6_WrongOID(t *testing.T) {
	good := sign(rsaID(), nil)
	data := []byte(oidData)
	refuse(t, "data in place of SignedData", bytes.Replace(good, []byte(oidSignedData), data, 1), "SignedData")
	refuse(t, "signed content of another type", bytes.Replace(good, data, []byte(oidSignedData), 1), "not data")
	refuse(t, "contentType of another type", sign(rsaID(), func(s *cmstest.Spec) { s.Type = cmstest.OIDSigned }), "contentType")
	refuse(t, "a certificate", rsaID().Cert.Raw, "")
	refuse(t, "high tag", []byte{0x3f, 0x81, 0x81, 0x81, 0x01, 0x80, 0, 0}, "not readable as BER")
	refuse(t, "empty", nil, "not readable as BER")
	refuse(t, "one byte", []byte{0x30}, "not readable as BER")
	refuse(t, "text", []byte("firmato digitalmente"), "not readable as BER")
}

func TestF6_SeveralSigners(t *testing.T) {
	for _, ber := range []bool{false, true} {
		two := func(n int) []byte { return sign(rsaID(), func(s *cmstest.Spec) { s.Signers, s.BER = n, ber }) }
		refuse(t, "two", two(2), "2 signers")
		refuse(t, "fifty", two(50), "50 signers")
	}
	sd := func(signers []byte) []byte {
		return cmstest.TLV(0x30, cmstest.TLV(6, []byte(oidSignedData)), cmstest.TLV(0xa0, cmstest.TLV(0x30,
			[]byte{2, 1, 1}, cmstest.TLV(0x31), cmstest.TLV(0x30, cmstest.TLV(6, []byte(oidData))), signers)))
	}
	refuse(t, "an empty set", sd(cmstest.TLV(0x31)), "no signer")
	refuse(t, "no set", sd(nil), "not readable as BER")
	refuse(t, "a sequence", sd(cmstest.TLV(0x30, cmstest.Null())), "not readable as BER")
}

func TestF6_ContentInside(t *testing.T) {
	for _, ber := range []bool{false, true} {
		b := sign(rsaID(), func(s *cmstest.Spec) { s.Embed, s.BER = content, ber })
		refuse(t, "content", b, "content of its own")
	}
	refuse(t, "content of another type", cmstest.TLV(0x30, cmstest.TLV(6, []byte(oidSignedData)), cmstest.TLV(0xa0, cmstest.TLV(0x30,
		[]byte{2, 1, 1}, cmstest.TLV(0x31), cmstest.TLV(0x30, cmstest.TLV(6, []byte(oidData)), cmstest.TLV(0xa0, cmstest.TLV(0x30)))))), "not readable as BER")
}

func TestF6_TrailingBytes(t *testing.T) {
	for _, ber := range []bool{false, true} {
		good := sign(rsaID(), func(s *cmstest.Spec) { s.BER = ber })
		refuse(t, "a byte", append(bytes.Clone(good), 'x'), "bytes after the end")
		refuse(t, "another signature", append(bytes.Clone(good), good...), "bytes after the end")
		refuse(t, "17 zeros", append(bytes.Clone(good), make([]byte, 17)...), "bytes after the end")
	}
	good := sign(rsaID(), nil)
	inside := cmstest.TLV(0x30, good[4:], cmstest.Null())
	refuse(t, "inside of the outermost element", inside, "not readable as BER")
}

// TestF6_EveryCut: a signature cut anywhere is refused, and one with any byte
// changed never panics; where it still parses it is the same signature or a
// wrong one.
func TestF6_EveryCut(t *testing.T) {
	for _, ber := range []bool{false, true} {
		good := sign(rsaID(), func(s *cmstest.Spec) { s.BER = ber })
		want := cmstest.SumOf(crypto.SHA256, content)
		for i := range good {
			refuse(t, "cut", good[:i], "")
			good[i] ^= 0x81
			if s, err := Parse(good, nil); err == nil && s.SameContent(want) && s.Check() == nil &&
				!bytes.Equal(s.Leaf.RawSubjectPublicKeyInfo, rsaID().Cert.RawSubjectPublicKeyInfo) {
				t.Errorf("byte %d: another key", i)
			}
			good[i] ^= 0x81
		}
	}
}

// samples returns the signatures of the stored messages.
func samples(f *testing.F) (out [][]byte) {
	f.Helper()
	for _, name := range must(filepath.Glob("../../../testdata/pec/*.eml")) {
		text := strings.ReplaceAll(string(must(os.ReadFile(name))), "\r\n", "\n")
		_, tail, ok := strings.Cut(text, "name=\"smime.p7s\"")
		if !ok {
			continue
		}
		_, tail, _ = strings.Cut(tail, "\n\n")
		tail, _, _ = strings.Cut(tail, "\n--")
		if b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(tail, "\n", "")); err == nil {
			out = append(out, b)
		}
	}
	if len(out) < 24 {
		f.Fatalf("%d samples", len(out))
	}
	return out
}

func FuzzParse(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
	}
	for _, change := range []func(*cmstest.Spec){
		nil,
		func(s *cmstest.Spec) { s.BER, s.Pieces, s.BERSet, s.Shuffled = true, true, true, true },
		func(s *cmstest.Spec) { s.KeyID = true },
		func(s *cmstest.Spec) {
			s.PSS = &cmstest.PSS{Hash: crypto.SHA256, MGF: crypto.SHA256, Salt: 32, Trailer: 1}
		},
		func(s *cmstest.Spec) { s.More = [][]byte{cmstest.Protection(cmstest.OIDSHA256, cmstest.OIDRSA)} },
		func(s *cmstest.Spec) { s.Embed = []byte("x") },
		func(s *cmstest.Spec) { s.Signers = 2 },
	} {
		f.Add(sign(rsaID(), change))
	}
	f.Add(bytes.Repeat([]byte{0x30, 0x80}, 400))
	c := NewCertificates(16)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b, c)
		if (s == nil) == (err == nil) {
			t.Fatal("both or neither")
		}
		if err != nil {
			if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("error %q", err)
			}
			return
		}
		if s.Leaf == nil || len(s.Others) >= maxCertificates || s.Digest.Size() == 0 {
			t.Fatalf("%+v", s)
		}
		_ = s.Check()
		_ = s.SHA1()
		// The cache changes nothing.
		if again, err := Parse(b, nil); err != nil || again.Set != s.Set || !again.SignedAt.Equal(s.SignedAt) {
			t.Fatalf("parsed anew: %v", err)
		}
	})
}

package cms

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/pec/cms/cmstest"
)

// TestAlgorithms: what is accepted, in DER and in BER.
func TestAlgorithms(t *testing.T) {
	named := map[crypto.Hash]asn1.ObjectIdentifier{crypto.SHA1: cmstest.OIDRSASHA1, crypto.SHA256: cmstest.OIDRSASHA256,
		crypto.SHA384: cmstest.OIDRSASHA384, crypto.SHA512: cmstest.OIDRSASHA512}
	ecNamed := map[crypto.Hash]asn1.ObjectIdentifier{crypto.SHA1: cmstest.OIDECDSASHA1, crypto.SHA256: cmstest.OIDECDSASHA256,
		crypto.SHA384: cmstest.OIDECDSASHA384, crypto.SHA512: cmstest.OIDECDSASHA512}
	for h, oid := range named {
		for _, c := range []struct {
			name   string
			by     *cmstest.Identity
			change func(*cmstest.Spec)
		}{
			{"rsaEncryption", rsaID(), nil},
			{"RSA with the digest", rsaID(), func(s *cmstest.Spec) { s.SigOID = oid }},
			{"RSA of 1,024 bits", oldID(), nil},
			{"RSA-PSS", rsaID(), func(s *cmstest.Spec) { s.PSS = &cmstest.PSS{Hash: h, MGF: h, Salt: h.Size()} }},
			{"RSA-PSS, salt of 20", rsaID(), func(s *cmstest.Spec) { s.PSS = &cmstest.PSS{Hash: h, MGF: h, Salt: 20} }},
			{"RSA-PSS, trailer written", rsaID(), func(s *cmstest.Spec) { s.PSS = &cmstest.PSS{Hash: h, MGF: h, Salt: 40, Trailer: 1} }},
			{"ECDSA with the digest", ecID(), func(s *cmstest.Spec) { s.SigOID = ecNamed[h] }},
			{"id-ecPublicKey", ecID(), func(s *cmstest.Spec) { s.SigOID = cmstest.OIDEC }},
			{"key id", rsaID(), func(s *cmstest.Spec) { s.KeyID = true }},
			{"protected algorithms", rsaID(), func(s *cmstest.Spec) {
				s.SigOID, s.More = oid, [][]byte{cmstest.Protection(cmstest.DigestOID(h), oid)}
			}},
			{"protected, one name for two", rsaID(), func(s *cmstest.Spec) {
				s.More = [][]byte{cmstest.Protection(cmstest.DigestOID(h), oid)}
			}},
		} {
			for _, ber := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/%s/ber=%v", h, c.name, ber), func(t *testing.T) {
					s := verify(t, sign(c.by, func(s *cmstest.Spec) {
						s.Hash, s.BER, s.Pieces = h, ber, ber
						if c.change != nil {
							c.change(s)
						}
					}))
					if s.Digest != h || s.SHA1() != (h == crypto.SHA1) || !s.SignedAt.Equal(signTime) {
						t.Errorf("digest %v, SHA-1 %v, at %v", s.Digest, s.SHA1(), s.SignedAt)
					}
					if !s.Leaf.Equal(c.by.Cert) || len(s.Others) != 1 || !s.Others[0].Equal(otherID().Cert) {
						t.Errorf("leaf %v, %d others", s.Leaf.Subject, len(s.Others))
					}
				})
			}
		}
	}
	// Content and attributes may be hashed with different digests; the weaker counts.
	s := verify(t, sign(rsaID(), func(s *cmstest.Spec) { s.SigHash, s.SigOID = crypto.SHA1, cmstest.OIDRSASHA1 }))
	if !s.SHA1() || s.Digest != crypto.SHA256 {
		t.Errorf("digest %v, SHA-1 %v", s.Digest, s.SHA1())
	}
}

// TestForms: what genuine signers may write in more than one way.
func TestForms(t *testing.T) {
	other := cmstest.TLV(0xa1, cmstest.TLV(0x02, []byte{1})) // an attribute certificate, in form
	for _, c := range []struct {
		name   string
		change func(*cmstest.Spec)
	}{
		{"attributes shuffled in the message", func(s *cmstest.Spec) { s.Shuffled = true }},
		{"attributes signed as shuffled", func(s *cmstest.Spec) { s.Unsorted = true }},
		{"set of attributes with an indefinite length", func(s *cmstest.Spec) { s.BERSet = true }},
		{"shuffled and indefinite", func(s *cmstest.Spec) { s.BERSet, s.Shuffled, s.BER = true, true, true }},
		{"other choices of certificate, lists", func(s *cmstest.Spec) {
			s.Certs = [][]byte{other, s.Certs[0], other, s.Certs[1], cmstest.Indef(0xa3, cmstest.Indef(0x30))}
			s.CRLs = [][]byte{cmstest.TLV(0x30, cmstest.Null()), cmstest.Indef(0x30, cmstest.Null())}
		}},
		{"certificates in another order", func(s *cmstest.Spec) { s.Certs[0], s.Certs[1] = s.Certs[1], s.Certs[0] }},
		{"a certificate that is not readable", func(s *cmstest.Spec) {
			s.Certs = append([][]byte{cmstest.TLV(0x30, []byte("\x05\x00"))}, s.Certs...)
		}},
		{"attributes nobody knows", func(s *cmstest.Spec) {
			s.More = [][]byte{cmstest.Attribute(cmstest.OIDSigned, cmstest.Null(), cmstest.Null()), cmstest.Attribute(cmstest.OIDRSA)}
		}},
		{"content there, but empty", func(s *cmstest.Spec) { s.Embed = []byte{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := verify(t, sign(rsaID(), c.change))
			if len(s.Others) != 1 {
				t.Errorf("%d others", len(s.Others))
			}
		})
	}
	for _, pad := range []string{"\x00\x00", "\r\n", "\n"} {
		verify(t, append(sign(rsaID(), nil), pad...))
	}
	// GeneralizedTime is for 2050 and later, but some write it before.
	at := cmstest.Attribute(cmstest.OIDTimeAttr, cmstest.TLV(0x18, []byte("20260703071542Z")))
	if s := verify(t, sign(rsaID(), func(s *cmstest.Spec) { s.At, s.More = time.Time{}, [][]byte{at} })); !s.SignedAt.Equal(signTime) {
		t.Errorf("GeneralizedTime: %v", s.SignedAt)
	}
	for text, want := range map[string]time.Time{
		"260703091542+0200": signTime, "2607030915+0200": signTime.Truncate(time.Minute), "991231235959Z": time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC),
		"491231235959Z": time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		at := cmstest.Attribute(cmstest.OIDTimeAttr, cmstest.TLV(0x17, []byte(text)))
		if s := verify(t, sign(rsaID(), func(s *cmstest.Spec) { s.At, s.More = time.Time{}, [][]byte{at} })); !s.SignedAt.Equal(want) {
			t.Errorf("%s: %v", text, s.SignedAt)
		}
	}
	if s := verify(t, sign(rsaID(), func(s *cmstest.Spec) { s.At = signTime.AddDate(30, 0, 0) })); s.SignedAt.Year() != 2056 {
		t.Errorf("2056: %v", s.SignedAt)
	}
	if s := verify(t, sign(rsaID(), func(s *cmstest.Spec) { s.At = time.Time{} })); !s.SignedAt.IsZero() {
		t.Errorf("no time: %v", s.SignedAt)
	}
}

// TestRefused: what is not accepted, whether by an attacker or by a signer that
// is not met, and the reason.
func TestRefused(t *testing.T) {
	const algorithm = "AlgorithmError"
	h := crypto.SHA256
	pss := func(p cmstest.PSS) func(*cmstest.Spec) { return func(s *cmstest.Spec) { s.PSS = &p } }
	attr := func(a ...[]byte) func(*cmstest.Spec) { return func(s *cmstest.Spec) { s.At, s.More = time.Time{}, a } }
	tm := func(tag byte, s string) []byte {
		return cmstest.Attribute(cmstest.OIDTimeAttr, cmstest.TLV(tag, []byte(s)))
	}
	for _, c := range []struct {
		name   string
		by     *cmstest.Identity
		change func(*cmstest.Spec)
		why    string
	}{
		{"RSA-PSS without parameters", rsaID(), func(s *cmstest.Spec) { s.SigOID = cmstest.OIDRSAPSS }, algorithm},
		{"RSA-PSS, MGF1 over another digest", rsaID(), pss(cmstest.PSS{Hash: h, MGF: crypto.SHA1, Salt: 32}), algorithm},
		{"RSA-PSS, another digest than the content", rsaID(), func(s *cmstest.Spec) {
			s.PSS, s.SigHash = &cmstest.PSS{Hash: crypto.SHA512, MGF: crypto.SHA512, Salt: 32}, crypto.SHA512
		}, algorithm},
		{"RSA-PSS, trailer 2", rsaID(), pss(cmstest.PSS{Hash: h, MGF: h, Salt: 32, Trailer: 2}), algorithm},
		{"RSA-PSS, salt of 0", rsaID(), func(s *cmstest.Spec) {
			s.PSS, s.SigParams = &cmstest.PSS{Hash: h, MGF: h, Salt: 32}, (&cmstest.PSS{Hash: h, MGF: h}).Params()
		}, algorithm},
		{"RSA-PSS, salt of 100,000", rsaID(), func(s *cmstest.Spec) {
			s.PSS, s.SigParams = &cmstest.PSS{Hash: h, MGF: h, Salt: 32}, (&cmstest.PSS{Hash: h, MGF: h, Salt: 100_000}).Params()
		}, algorithm},
		{"RSA-PSS, parameters cut", rsaID(), func(s *cmstest.Spec) {
			s.PSS = &cmstest.PSS{Hash: h, MGF: h, Salt: 32}
			s.SigParams = cmstest.TLV(0x30, cmstest.TLV(0xa0))
		}, algorithm},
		{"RSA-PSS by an elliptic curve key", ecID(), func(s *cmstest.Spec) {
			s.SigOID, s.SigParams = cmstest.OIDRSAPSS, (&cmstest.PSS{Hash: h, MGF: h, Salt: 32}).Params()
		}, algorithm},
		{"ECDSA named over an RSA key", rsaID(), func(s *cmstest.Spec) { s.SigOID = cmstest.OIDECDSASHA256 }, algorithm},
		{"RSA named over an elliptic curve key", ecID(), func(s *cmstest.Spec) { s.SigOID = cmstest.OIDRSA }, algorithm},
		{"RSA with parameters", rsaID(), func(s *cmstest.Spec) { s.SigParams = cmstest.TLV(0x30) }, algorithm},
		{"protected: another digest", rsaID(), func(s *cmstest.Spec) {
			s.More = [][]byte{cmstest.Protection(cmstest.OIDSHA512, cmstest.OIDRSA)}
		}, "CMSAlgorithmProtection"},
		{"protected: another signature", rsaID(), func(s *cmstest.Spec) {
			s.More = [][]byte{cmstest.Protection(cmstest.OIDSHA256, cmstest.OIDRSASHA1)}
		}, "CMSAlgorithmProtection"},
		{"protected: unknown", rsaID(), func(s *cmstest.Spec) {
			s.More = [][]byte{cmstest.Protection(cmstest.OIDSHA256, cmstest.OIDMD5)}
		}, "CMSAlgorithmProtection"},
		{"protected: MAC", rsaID(), func(s *cmstest.Spec) {
			s.More = [][]byte{cmstest.Attribute(cmstest.OIDProtection, cmstest.TLV(0x30, cmstest.Algorithm(cmstest.OIDSHA256, nil), cmstest.TLV(0xa2)))}
		}, "not readable"},
		{"protected twice", rsaID(), func(s *cmstest.Spec) {
			a := cmstest.Protection(cmstest.OIDSHA256, cmstest.OIDRSA)
			s.More = [][]byte{a, a}
		}, "twice"},
		{"two values of one attribute", rsaID(), attr(cmstest.Attribute(cmstest.OIDTimeAttr, cmstest.Null(), cmstest.Null())), "not readable"},
		{"an attribute without values", rsaID(), attr(cmstest.Attribute(cmstest.OIDTimeAttr)), "not readable"},
		{"signing time twice", rsaID(), attr(tm(0x17, "260703071542Z"), tm(0x17, "260703071542Z")), "twice"},
		{"signing time no time", rsaID(), attr(tm(0x17, "ieri")), "not readable"},
		{"signing time a string", rsaID(), attr(tm(0x0c, "260703071542Z")), "not readable"},
		{"signing time of 1960", rsaID(), attr(tm(0x17, "600703071542Z")), "not plausible"},
		{"signing time of year 1", rsaID(), attr(tm(0x18, "00010101000001Z")), "not plausible"},
		{"signing time of year 9999", rsaID(), attr(tm(0x18, "99991231235959Z")), "not plausible"},
		{"attribute with an indefinite length", rsaID(), attr(cmstest.Attribute(cmstest.OIDSigned, cmstest.Indef(0x30, cmstest.Null()))), "not DER"},
		{"attribute with a row of octet strings", rsaID(), attr(cmstest.Attribute(cmstest.OIDSigned, cmstest.TLV(0x24, cmstest.TLV(4)))), "not DER"},
		{"attribute with a long length", rsaID(), attr(cmstest.Attribute(cmstest.OIDSigned, []byte{4, 0x81, 1, 0})), "not DER"},
		{"attribute with noise", rsaID(), attr(cmstest.TLV(0x30, []byte("\x06\x01\x2a\x31\x02\x09"))), "readable"},
		{"65 attributes", rsaID(), attr(bytes.SplitAfter(bytes.Repeat(cmstest.TLV(0x30, cmstest.Null()), 65), cmstest.TLV(0x30, cmstest.Null()))[:65]...), "more than 64"},
		{"messageDigest of the wrong length", rsaID(), func(s *cmstest.Spec) { s.Sum = []byte("x") }, "messageDigest"},
		{"messageDigest twice", rsaID(), func(s *cmstest.Spec) { s.Double = true }, "twice"},
		{"contentType of something else", rsaID(), func(s *cmstest.Spec) { s.Type = cmstest.OIDSigned }, "contentType"},
		{"no signed attributes", rsaID(), func(s *cmstest.Spec) { s.NoAttrs = true }, "no signed attributes"},
		{"key id of nobody", rsaID(), func(s *cmstest.Spec) { s.KeyID, s.Certs = true, s.Certs[1:] }, "certificate is missing"},
		{"key id, certificate not readable", rsaID(), func(s *cmstest.Spec) {
			s.KeyID, s.Certs = true, [][]byte{cmstest.TLV(0x30, cmstest.Null())}
		}, "certificates that cannot be read: 1"},
		{"the signer's certificate not readable", rsaID(), func(s *cmstest.Spec) { s.Certs[0] = negative(s.Certs[0]) }, "certificate is not readable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			by := *c.by
			if c.name == "the signer's certificate not readable" {
				// The signer names itself by the number that is in the certificate.
				by.Cert = must(x509.ParseCertificate(by.Cert.Raw))
				by.Cert.SerialNumber.SetInt64(-7)
			}
			s, err := Parse(sign(&by, c.change), nil)
			if s != nil || err == nil {
				t.Fatal("accepted")
			}
			var alg AlgorithmError
			if errors.As(err, &alg) != (c.why == algorithm) || c.why != algorithm && !strings.Contains(err.Error(), c.why) {
				t.Errorf("%T: %v", err, err)
			}
		})
	}
}

// negative makes the serial number 7 of a certificate -7, which crypto/x509
// refuses.
func negative(raw []byte) []byte {
	return bytes.Replace(bytes.Clone(raw), []byte{2, 1, 7}, []byte{2, 1, 0xf9}, 1)
}

// TestWrongSalt: the length of the salt is what the parameters say, not any.
func TestWrongSalt(t *testing.T) {
	h := crypto.SHA256
	s, err := Parse(sign(rsaID(), func(s *cmstest.Spec) {
		s.PSS, s.SigParams = &cmstest.PSS{Hash: h, MGF: h, Salt: 32}, (&cmstest.PSS{Hash: h, MGF: h, Salt: 20}).Params()
	}), nil)
	if err != nil || s.Check() == nil {
		t.Errorf("salt of 32 where 20 is said: %v", err)
	}
}

// TestCertificates: the cache keeps what is used, is bounded, and never hands
// out one certificate for another.
func TestCertificates(t *testing.T) {
	msg := sign(rsaID(), nil)
	c := NewCertificates(8)
	first := must(Parse(bytes.Clone(msg), c))
	for i := range 100 {
		id := identity(otherID().Key, int64(100+i))
		s := must(Parse(sign(id, func(s *cmstest.Spec) { s.Certs = s.Certs[:1] }), c))
		if !s.Leaf.Equal(id.Cert) || s.Set == first.Set {
			t.Fatal("another's certificate")
		}
		if again := must(Parse(msg, c)); again.Leaf != first.Leaf || again.Others[0] != first.Others[0] || again.Set != first.Set {
			t.Fatalf("parsed anew after %d others", i+1)
		}
		if n := c.kept.Len(); n > 8 {
			t.Fatalf("%d certificates kept", n)
		}
	}
	// The cache keeps none of the caller's bytes.
	mine := bytes.Clone(msg)
	fresh := NewCertificates(8)
	s := must(Parse(mine, fresh))
	clear(mine)
	if !s.Leaf.Equal(rsaID().Cert) {
		t.Error("the certificate changed with the message")
	}
	swapped := must(Parse(sign(otherID(), func(s *cmstest.Spec) {
		s.Certs = [][]byte{rsaID().Cert.Raw, otherID().Cert.Raw}
	}), fresh))
	if swapped.Set == s.Set {
		t.Error("the same certificates, but another signer: one name")
	}
}

// TestCertificatesTogether is for the race detector.
func TestCertificatesTogether(t *testing.T) {
	msgs := [][]byte{sign(rsaID(), nil), sign(ecID(), nil), sign(oldID(), nil)}
	c := NewCertificates(2)
	done := make(chan error)
	for g := range 8 {
		go func() {
			for i := range 50 {
				if s, err := Parse(msgs[(g+i)%3], c); err != nil || s.Check() != nil {
					done <- fmt.Errorf("goroutine %d: %v", g, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

package providersim

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Style is the way an engine writes its messages (pec-format section 7).
type Style int

const (
	// StyleOld writes as OpenPEC based engines and `openssl smime -sign` do:
	// DER, application/x-pkcs7-signature, boundary of dashes and 32 hex digits.
	StyleOld Style = iota
	// StyleNew writes as the engines of 2026: BER with indefinite lengths,
	// application/pkcs7-signature, folded Content-Type, X-REM-Subject.
	StyleNew
)

// String is the word that ParseStyle reads: old or new.
func (s Style) String() string {
	if s == StyleNew {
		return "new"
	}
	return "old"
}

// ParseStyle reads old or new.
func ParseStyle(word string) (Style, error) {
	switch word {
	case "old":
		return StyleOld, nil
	case "new":
		return StyleNew, nil
	}
	return StyleOld, fmt.Errorf("style %q is not old or new", word)
}

// Digest is the hash that real engines of the style sign with: SHA-1 until
// 2024, SHA-256 since. Options.Digest does not follow it by itself.
func (s Style) Digest() crypto.Hash {
	if s == StyleNew {
		return crypto.SHA256
	}
	return crypto.SHA1
}

// SignMultipart makes a whole message: header lines (each ended by CRLF, without
// MIME-Version and Content-Type), then multipart/signed over exactly the bytes
// of entity, which must itself begin with MIME header lines. No byte of entity
// is changed.
func (s *Signer) SignMultipart(header, entity []byte, o SignOptions) ([]byte, error) {
	cms, err := s.CMS(entity, o)
	if err != nil {
		return nil, err
	}
	if o.Style == StyleNew {
		return signNew(header, entity, cms, o)
	}
	return signOld(header, entity, cms, o)
}

func micalg(h crypto.Hash) string {
	switch h {
	case crypto.SHA1:
		return "sha1"
	case crypto.SHA384:
		return "sha-384"
	case crypto.SHA512:
		return "sha-512"
	}
	return "sha-256"
}

func signOld(header, entity, cms []byte, o SignOptions) ([]byte, error) {
	boundary, err := freshBoundary(entity, func(random string) string { return "----" + strings.ToUpper(random) })
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(len(header) + len(entity) + 2*len(cms) + 1024)
	at := mimePlace(header, o.Style)
	b.Write(header[:at])
	b.WriteString("MIME-Version: 1.0\r\n")
	fmt.Fprintf(&b, "Content-Type: multipart/signed; protocol=\"application/x-pkcs7-signature\"; micalg=\"%s\"; boundary=\"%s\"\r\n", micalg(o.Digest), boundary)
	b.Write(header[at:])
	b.WriteString("\r\n")
	b.WriteString("This is an S/MIME signed message\r\n\r\n")
	fmt.Fprintf(&b, "--%s\r\n", boundary)
	b.Write(entity)
	fmt.Fprintf(&b, "\r\n--%s\r\n", boundary)
	b.WriteString("Content-Type: application/x-pkcs7-signature; name=\"smime.p7s\"\r\n" +
		"Content-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: attachment; filename=\"smime.p7s\"\r\n\r\n")
	writeBase64(&b, cms, 64)
	fmt.Fprintf(&b, "\r\n--%s--\r\n\r\n", boundary)
	return b.Bytes(), nil
}

func signNew(header, entity, cms []byte, o SignOptions) ([]byte, error) {
	boundary, err := newStyleBoundary(entity, o)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(len(header) + len(entity) + 2*len(cms) + 1024)
	at := mimePlace(header, o.Style)
	b.Write(header[:at])
	b.WriteString(strings.Join([]string{
		"MIME-Version: 1.0",
		"Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=" + micalg(o.Digest) + "; ",
		"\tboundary=\"" + boundary + "\"",
		"",
	}, "\r\n"))
	b.Write(header[at:])
	fmt.Fprintf(&b, "\r\n--%s\r\n", boundary)
	b.Write(entity)
	fmt.Fprintf(&b, "\r\n--%s\r\n", boundary)
	b.WriteString("Content-Type: application/pkcs7-signature; name=smime.p7s; smime-type=signed-data\r\n" +
		"Content-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: attachment; filename=\"smime.p7s\"\r\n" +
		"Content-Description: S/MIME Cryptographic Signature\r\n\r\n")
	writeBase64(&b, cms, 76)
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes(), nil
}

// mimePlace is where real engines put the MIME fields: old ones before a
// closing Message-ID, new ones right after Subject.
func mimePlace(header []byte, style Style) int {
	fields, at, _ := split(header)
	if style == StyleOld {
		if n := len(fields); n > 0 && fields[n-1].is("Message-ID") {
			at -= len(fields[n-1].raw)
		}
		return at
	}
	pos := 0
	for _, f := range fields {
		pos += len(f.raw)
		if f.is("Subject") {
			return pos
		}
	}
	return at
}

func newStyleBoundary(content []byte, o SignOptions) (string, error) {
	return freshBoundary(content, func(random string) string {
		return fmt.Sprintf("----=_Part_%d_%s.%d", o.At.Nanosecond()/1000, random[:10], o.At.UnixMilli())
	})
}

// freshBoundary makes a delimiter from 32 random hex digits that does not occur
// in content, so that no submitted text can end a part early.
func freshBoundary(content []byte, form func(random string) string) (string, error) {
	for range 8 {
		var r [16]byte
		if _, err := rand.Read(r[:]); err != nil {
			return "", fmt.Errorf("random bytes for a boundary: %w", err)
		}
		if b := form(hex.EncodeToString(r[:])); !bytes.Contains(content, []byte(b)) {
			return b, nil
		}
	}
	return "", fmt.Errorf("no boundary found that is not in the content")
}

func writeBase64(b *bytes.Buffer, data []byte, width int) {
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > width {
		b.WriteString(text[:width])
		b.WriteString("\r\n")
		text = text[width:]
	}
	b.WriteString(text)
	b.WriteString("\r\n")
}

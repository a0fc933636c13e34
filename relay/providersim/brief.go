package providersim

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
)

// brief is the message of a short delivery receipt (ricevuta breve, pec-format
// 1.2): each attachment, and each nested message as a whole, is replaced by a
// text part named <name>.hash that holds the SHA-1 of the base64-encoded part.
// All other bytes stay. Enveloped S/MIME originals are left as they are, and a
// signed original keeps its structure and its signature part.
func brief(raw []byte) []byte {
	root := readParts(raw)
	if root.children == nil {
		return raw
	}
	var b bytes.Buffer
	b.Grow(len(raw))
	reduce(&b, raw, root)
	return b.Bytes()
}

func reduce(b *bytes.Buffer, raw []byte, p *part) {
	if p.children == nil {
		if name, ok := p.replaced(); ok {
			writeHash(b, name, raw[p.body:p.end], p.encoding)
			return
		}
		b.Write(raw[p.off:p.end])
		return
	}
	pos := p.off
	for _, c := range p.children {
		b.Write(raw[pos:c.off])
		reduce(b, raw, c)
		pos = c.end
	}
	b.Write(raw[pos:p.end])
}

func (p *part) replaced() (string, bool) {
	switch p.kind {
	case "application/pkcs7-signature", "application/x-pkcs7-signature":
		return "", false
	case "message/rfc822":
		return orElse(p.name, "messaggio.eml"), true
	}
	return p.name, p.name != ""
}

func writeHash(b *bytes.Buffer, name string, body []byte, encoding string) {
	name += ".hash"
	kind := mime.FormatMediaType("text/plain", map[string]string{"charset": "us-ascii", "name": name})
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": name})
	if kind == "" || disposition == "" { // a name that no parameter can hold
		kind, disposition = `text/plain; charset=us-ascii; name="allegato.hash"`, `attachment; filename="allegato.hash"`
	}
	fmt.Fprintf(b, "Content-Type: %s\r\nContent-Disposition: %s\r\nContent-Transfer-Encoding: 7bit\r\n\r\n", kind, disposition)
	fmt.Fprintf(b, "%x", sha1.Sum(encodedBody(body, encoding)))
}

// encodedBody is the part in base64: as it stands if it is that already (the
// digest then covers the very bytes of the message), else encoded in lines of 76.
func encodedBody(body []byte, encoding string) []byte {
	switch strings.TrimSpace(encoding) {
	case "base64":
		return body
	case "quoted-printable":
		if plain, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body))); err == nil {
			body = plain
		}
	}
	text := base64.StdEncoding.EncodeToString(body)
	var b bytes.Buffer
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	b.WriteString(text)
	return b.Bytes()
}

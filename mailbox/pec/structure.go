package pec

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"pecgate/mailbox/mime"
)

// message is one message while it is read.
type message struct {
	r     io.ReaderAt
	size  int64
	root  *mime.Part
	claim claim
	cut   bool // the header was longer than the index looks at

	// signed is the multipart/signed that is judged: the message itself, or, if
	// relayed, its one such child. Nil if there is none; unsigned then says why.
	signed   *mime.Part
	relayed  bool
	unsigned fault
}

// openMessage finds the signed part of the message.
func openMessage(r io.ReaderAt, size int64, ix *mime.Index) (*message, error) {
	head, err := mime.ReadHeader(r, &ix.Root)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	m := &message{r: r, size: size, root: &ix.Root, claim: readClaim(mime.Fields(head)), cut: ix.HeaderCut}
	m.locate()
	// The index is bounded in the order of the message, so an original with very
	// many parts hides the signature behind it. A look at the levels that count
	// here finds it: signed, mixed, and one more for a rewrapped message; with the
	// heads of the messages in it, or else without.
	for more := 1; more >= 0 && m.signed != nil && m.badStructure() != ""; more-- {
		depth := signedDepth + more
		if m.relayed {
			depth++
		}
		flat, err := mime.Parse(r, size, mime.Limits{Depth: depth})
		if err != nil {
			return nil, fmt.Errorf("read structure: %w", err)
		}
		m.root = &flat.Root
		m.locate()
	}
	return m, nil
}

// signedDepth is the levels of multipart that are a PEC message's own, signed and
// mixed; the parts of the latter stay whole.
const signedDepth = 2

// locate finds the multipart/signed that counts: the message's own, else the
// only one among the direct children of another multipart, which is what a
// mailing list makes of an envelope. A message/rfc822 is never looked into: what
// somebody forwards is theirs, not the provider's.
func (m *message) locate() {
	m.signed, m.relayed = nil, false
	if wrapped(m.root) {
		m.signed = m.root
		return
	}
	m.unsigned = fault{NotSigned, checkStructure, textNoSignature}
	switch {
	case m.root.Type == "multipart" && m.root.Subtype == "signed":
		m.unsigned.text = textProtocol(m.root.Params["protocol"])
	case m.root.Type == "application" && (m.root.Subtype == "pkcs7-mime" || m.root.Subtype == "x-pkcs7-mime"):
		switch strings.ToLower(m.root.Params["smime-type"]) {
		case "", "signed-data", "signed-receipt":
			m.unsigned = fault{Unverifiable, checkStructure, textOpaque}
		default:
			m.unsigned.text = textEncrypted
		}
	case m.root.Type == "multipart":
		n := 0
		for i := range m.root.Children {
			if wrapped(&m.root.Children[i]) {
				n++
				m.signed = &m.root.Children[i]
			}
		}
		if n > 1 {
			m.signed, m.unsigned.text = nil, textSeveral(n)
		}
		m.relayed = m.signed != nil
	}
	if m.signed != nil || m.claim.kind != Ordinary || m.unsigned.text != textNoSignature {
		return
	}
	switch {
	case m.attached():
		m.unsigned.text = textAttached
	case m.claim.riferim != "":
		m.unsigned.text = textBare
	}
}

// attached reports whether somebody forwards a signed message as an attachment.
// It is a word for people; the attachment itself stays unread.
func (m *message) attached() bool {
	for i := range m.root.Children {
		if in := m.root.Children[i].Message; in != nil && wrapped(in) {
			return true
		}
	}
	return false
}

// wrapped reports whether a part is S/MIME multipart/signed (RFC 8551 section
// 3.5.3). The protocol parameter may be missing; one that names another
// protocol, such as OpenPGP, is another thing.
func wrapped(p *mime.Part) bool {
	if p.Type != "multipart" || p.Subtype != "signed" {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(p.Params["protocol"])) {
	case "", "application/pkcs7-signature", "application/x-pkcs7-signature":
		return true
	}
	return false
}

// badStructure says what the multipart/signed lacks to be verified.
func (m *message) badStructure() string {
	if len(m.signed.Children) != 2 {
		return textNotTwo
	}
	p := &m.signed.Children[1]
	if p.Type != "application" || p.Subtype != "pkcs7-signature" && p.Subtype != "x-pkcs7-signature" {
		return textNoPKCS7
	}
	off, length := m.signed.Children[0].Raw()
	if off < 0 || length < 0 || off+length > m.size {
		return textOutside
	}
	if m.cut {
		// A second From could stand where nobody looked.
		return textLongHeader
	}
	return ""
}

// mixed is the signed multipart/mixed, nil if there is none.
func (m *message) mixed() *mime.Part {
	if m.signed == nil || len(m.signed.Children) == 0 {
		return nil
	}
	p := &m.signed.Children[0]
	if p.Type != "multipart" || p.Subtype != "mixed" {
		return nil
	}
	return p
}

// daticertPart finds daticert.xml at its one place. problem says why there is none
// that can be used; both are nil where there is none at all.
func (m *message) daticertPart() (found *mime.Part, problem error) {
	mixed := m.mixed()
	if mixed == nil {
		return nil, nil
	}
	for i := range mixed.Children {
		p := &mixed.Children[i]
		if !named(p, "daticert.xml") {
			continue
		}
		if found != nil {
			return nil, errors.New("there are two of them")
		}
		found = p
	}
	if found != nil && (mixed.HeaderOff > found.HeaderOff || found.BodyOff+found.BodyLen > mixed.BodyOff+mixed.BodyLen) {
		return nil, errors.New("it lies outside of the signed part")
	}
	return found, nil
}

// encodingOf is the transfer encoding of a part, in lower case.
func encodingOf(p *mime.Part) string {
	if p.Encoding == "" {
		return "7bit"
	}
	return strings.ToLower(p.Encoding)
}

// daticert finds and reads daticert.xml. problem says why there is none that can be
// used; both are nil where there is none at all.
func (m *message) daticert(room []byte) (cert *daticert, problem error, err error) {
	found, problem := m.daticertPart()
	if found == nil {
		return nil, problem, nil
	}
	raw, err := readPart(m.r, found, maxDaticert, room)
	var bad partError
	if errors.As(err, &bad) {
		return nil, bad, nil
	} else if err != nil {
		return nil, nil, err
	}
	cert, problem = parseDaticert(raw)
	return cert, problem, nil
}

// named reports whether a part bears a file name, in Content-Disposition or in
// Content-Type, in any case.
func named(p *mime.Part, name string) bool {
	return strings.EqualFold(strings.TrimSpace(p.FileName), name) ||
		strings.EqualFold(strings.TrimSpace(p.Params["name"]), name)
}

// wraps reports whether the signed part has the shape of an anomaly envelope
// and of nothing else: one whole message beside the text, and no XML. So an
// anomaly is known by what was signed, whatever became of its X-Trasporto.
func (m *message) wraps() bool {
	mixed := m.mixed()
	if mixed == nil {
		return false
	}
	messages := 0
	for i := range mixed.Children {
		p := &mixed.Children[i]
		switch {
		case p.Type == "message" && p.Subtype == "rfc822", named(p, "postacert.eml"):
			messages++
		case p.Subtype == "xml" || strings.HasSuffix(p.Subtype, "+xml"),
			strings.HasSuffix(strings.ToLower(p.FileName), ".xml"):
			return false
		}
	}
	return messages == 1
}

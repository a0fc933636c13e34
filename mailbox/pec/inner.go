package pec

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"pecgate/mailbox/mime"
)

// innerName is the file name of the part that holds the original (RFC 6109
// section 2.1.1.1).
const innerName = "postacert.eml"

// maxInnerHeader bounds the header of the inner message, in bytes. It is what
// mime looks at of any header.
const maxInnerHeader = 256 << 10

// Inner is the message inside of a PEC message, the part postacert.eml: the
// original with the provider's Message-ID, a brief form of it, or what an anomaly
// envelope wraps. It is signed where the PEC message is. The JSON keys are a
// contract with scripts. Values are bounded; they are the stranger's words.
type Inner struct {
	// Off and Size are the range of the inner message in the outer one, in raw
	// bytes. Size is 0 where Encoding is set: then it stands nowhere as it is.
	Off  int64 `json:"offset"`
	Size int64 `json:"size"`
	// Encoding is the transfer encoding that a message/rfc822 must not have
	// (RFC 2046 section 5.2.1) and that hides the range: base64 or
	// quoted-printable. Empty for the others.
	Encoding string `json:"encoding,omitempty"`
	// MessageID is as it stands inside: the PEC identifier, put there by the
	// provider in place of the client's. (In an anomaly it is the sender's own.)
	MessageID string `json:"msgid"`
	// ClientID is the last X-Riferimento-Message-ID inside, which the provider
	// appends with the client's Message-ID.
	ClientID string    `json:"client_msgid"`
	From     string    `json:"from"` // address of the first author
	To       int       `json:"to"`   // addresses in To and Cc
	Subject  string    `json:"subject"`
	Date     time.Time `json:"date,omitzero"` // UTC
	// Agrees tells that the message inside of a transport envelope or a delivery
	// receipt was compared with the daticert.xml signed with it: the Message-ID is
	// the identificativo, the other fields that both state are the same, and
	// nothing about the part is odd. False says that something differs (then the
	// Report's Reason does, too) or that there was nothing to compare.
	Agrees bool `json:"agrees"`

	odd []string // about the part itself
}

// findInner finds the message inside of the signed multipart/mixed: a direct
// child, never one that lies deeper. It is nil where there is none. The first
// message/rfc822 of the right name counts; without one the only message/rfc822,
// and in an anomaly envelope, whose parts have no prescribed name, the first. An
// error is an I/O error.
func findInner(m *message, mixed *mime.Part) (*Inner, error) {
	if mixed.Type != "multipart" || mixed.Subtype != "mixed" {
		return nil, nil
	}
	var named, others []*mime.Part
	for i := range mixed.Children {
		p := &mixed.Children[i]
		if strings.EqualFold(p.FileName, innerName) || strings.EqualFold(p.Params["name"], innerName) {
			named = append(named, p)
			continue
		}
		is, err := isMessage(m.r, p)
		if err != nil {
			return nil, err
		}
		if is {
			others = append(others, p)
		}
	}
	switch {
	case len(named) == 1:
		return readInner(m.r, named[0])
	case len(named) > 1:
		return readInner(m.r, named[0], fmt.Sprintf("there are %d of them, the first one counts", len(named)))
	case len(others) == 1 && m.claim.kind == Anomaly:
		return readInner(m.r, others[0])
	case len(others) == 1:
		return readInner(m.r, others[0], "the message inside is not named "+innerName)
	case len(others) > 1 && m.claim.kind == Anomaly:
		return readInner(m.r, others[0], fmt.Sprintf("there are %d messages inside, the first one counts", len(others)))
	}
	return nil, nil
}

// isMessage reports whether a part is message/rfc822. An index that was bounded
// shows one as a blob; then its own header tells.
func isMessage(r io.ReaderAt, p *mime.Part) (bool, error) {
	if p.Type == "message" && p.Subtype == "rfc822" {
		return true, nil
	}
	if p.Type != "application" || p.Subtype != "octet-stream" {
		return false, nil
	}
	head, err := mime.ReadHeader(r, p)
	if err != nil {
		return false, fmt.Errorf("read header of a part: %w", err)
	}
	for _, f := range mime.Fields(head) {
		if strings.EqualFold(f.Name, "content-type") {
			typ, _, _ := strings.Cut(f.Body(), ";")
			return strings.EqualFold(strings.TrimSpace(typ), "message/rfc822"), nil
		}
	}
	return false, nil
}

// readInner reads the header of the inner message; odd is what is already known
// to be odd about it.
func readInner(r io.ReaderAt, p *mime.Part, odd ...string) (*Inner, error) {
	in := &Inner{Off: p.BodyOff, Size: p.BodyLen, odd: odd}
	switch enc := strings.ToLower(p.Encoding); enc {
	case "", "7bit", "8bit", "binary":
	case "base64", "quoted-printable":
		in.Off, in.Size, in.Encoding = 0, 0, enc
		in.odd = append(in.odd, innerName+" is encoded as "+enc)
	default:
		in.odd = append(in.odd, innerName+" has the transfer encoding "+clip(enc))
	}
	is, err := isMessage(r, p)
	if err != nil {
		return nil, err
	}
	if !is {
		in.odd = append(in.odd, innerName+" is "+clip(p.Type+"/"+p.Subtype))
	}
	head, whole, err := readHead(mime.Content(r, p))
	if err != nil {
		return nil, fmt.Errorf("read header of %s: %w", innerName, err)
	}
	if !whole {
		in.odd = append(in.odd, "the header of "+innerName+" is too long to be judged")
	}
	in.fill(head)
	return in, nil
}

// fill takes the fields out of the inner header.
func (in *Inner) fill(head []byte) {
	var id, subject, date bool // seen; the first one counts
	for _, f := range mime.Fields(head) {
		switch strings.ToLower(f.Name) {
		case "message-id":
			if !id {
				in.MessageID, id = hint(firstID(f.Body())), true
			}
		case "subject":
			if !subject {
				in.Subject, subject = cut(oneLine(mime.DecodeWords(f.Body())), maxValue), true
			}
		case "date":
			if !date {
				in.Date, date = dateOf(f), true
			}
		case "x-riferimento-message-id":
			in.ClientID = hint(firstID(f.Body())) // the last one is the provider's
		case "from":
			if list := mime.AddressList(f.Body()); in.From == "" && len(list) > 0 && list[0].Domain != "" {
				in.From = hint(list[0].Local + "@" + list[0].Domain)
			}
		case "to", "cc":
			in.To += len(mime.AddressList(f.Body()))
		}
	}
}

// firstID takes the id out of a field's value: the first <...>, or the whole
// where there is none.
func firstID(s string) string {
	if i := strings.IndexByte(s, '<'); i >= 0 {
		if j := strings.IndexByte(s[i:], '>'); j > 0 {
			return s[i : i+j+1]
		}
	}
	return s
}

// dateOf reads a Date field, zero if it cannot be one. mime reads dates as part
// of a message, so a message of this one field is made.
func dateOf(f mime.Field) time.Time {
	ix, err := mime.Parse(bytes.NewReader(f.Raw), int64(len(f.Raw)), mime.Limits{})
	if err != nil || ix.Date.IsZero() || !plausible(ix.Date) {
		return time.Time{}
	}
	return ix.Date.UTC()
}

// readHead reads a header up to its blank line, which it includes. whole is
// false where there is more of it than maxInnerHeader.
func readHead(r io.Reader) (head []byte, whole bool, err error) {
	buf := make([]byte, 0, 4<<10)
	for from := 0; ; {
		n, err := fill(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if end := headEnd(buf, from); end >= 0 {
			return buf[:end], true, nil
		}
		if err == io.EOF {
			return buf, true, nil // a message that is nothing but a header
		}
		if err != nil {
			return nil, false, err
		}
		if len(buf) >= maxInnerHeader {
			return buf, false, nil
		}
		from = max(0, len(buf)-3)
		grown := make([]byte, len(buf), min(4*cap(buf), maxInnerHeader))
		copy(grown, buf)
		buf = grown
	}
}

// fill reads until p is full. Unlike io.ReadFull it leaves io.ErrUnexpectedEOF
// to the reader, which says by it that the storage has less than the index.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = r.Read(p[n:])
		n += k
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// headEnd is the offset behind the blank line that ends a header, or -1. What
// lies before from was searched before.
func headEnd(b []byte, from int) int {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 2
	}
	if bytes.HasPrefix(b, []byte("\n")) {
		return 1
	}
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return -1
		}
		from += i + 1
		switch rest := b[from:]; {
		case bytes.HasPrefix(rest, []byte("\n")):
			return from + 1
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return from + 2
		}
	}
}

// notes says what is odd about the inner message of a PEC message of a kind:
// whether it may and must be there, and where it disagrees with the daticert.xml
// that was signed with it. in and d may be nil. Only what both sides say is
// compared: providers leave things out. It sets Agrees.
func (in *Inner) notes(d *daticert, kind Kind) []string {
	receipt := ""
	if d != nil {
		receipt = d.ricevuta
	}
	if in == nil {
		if kind == Anomaly || kind == Transport || kind == Delivery && (receipt == Complete || receipt == Brief) {
			return []string{innerName + " is missing"}
		}
		return nil
	}
	notes := append([]string(nil), in.odd...)
	if kind == NonAcceptance || kind == VirusDetected || kind == DeliveryWarning || kind == Delivery && receipt == Synthetic {
		notes = append(notes, innerName+" in a message that has none")
	}
	if d == nil || kind != Transport && kind != Delivery {
		return notes // other kinds carry whatever they carry
	}
	if in.MessageID != "" && !SameID(in.MessageID, d.identificativo) {
		notes = append(notes, "Message-ID of "+innerName+" is not the identificativo of daticert.xml")
	}
	if in.ClientID != "" && d.msgid != "" && !SameID(in.ClientID, d.msgid) {
		notes = append(notes, "X-Riferimento-Message-ID of "+innerName+" is not the msgid of daticert.xml")
	}
	if in.From != "" && d.mittente != "" && !SameAddress(in.From, d.mittente) {
		notes = append(notes, "From of "+innerName+" is not the mittente of daticert.xml")
	}
	if !sameSubject(in.Subject, d.oggetto) {
		notes = append(notes, "Subject of "+innerName+" is not the oggetto of daticert.xml")
	}
	in.Agrees = in.MessageID != "" && len(notes) == 0
	return notes
}

// sameSubject compares two decoded subjects, blanks aside. It lets pass what may
// be the same text: an empty one (providers write a phrase of their own there),
// one that was cut, and one with characters that somebody could not read.
func sameSubject(a, b string) bool {
	a, b = squeeze(mime.DecodeWords(a)), squeeze(mime.DecodeWords(b))
	if a == "" || b == "" || strings.EqualFold(a, b) {
		return true
	}
	if len(a) > len(b) {
		a, b = b, a
	}
	const enough = 60 // bytes of a text that was cut
	if len(a) >= enough && strings.HasPrefix(b, a) {
		return true
	}
	return sameReadable(a, b)
}

// sameReadable compares two texts of which one may have lost what is not ASCII:
// what is left of both must be the same.
func sameReadable(a, b string) bool {
	lost := strings.ContainsAny(a+b, "?\ufffd")
	ascii := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r == '?' || r >= 0x80 {
				return -1
			}
			return r
		}, s)
	}
	return lost && ascii(a) == ascii(b)
}

// squeeze drops blanks and control characters.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == 0xa0 {
			return -1
		}
		return r
	}, s)
}

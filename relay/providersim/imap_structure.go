package providersim

import (
	"bytes"
	"mime"
	"net/mail"
	"strings"

	"github.com/emersion/go-imap/v2" // types of the session interface
)

const maxNested = 10 // messages within messages that BODYSTRUCTURE shows

// envelopeOf reads ENVELOPE (RFC 9051 7.5.2). What cannot be read is left out.
func envelopeOf(raw []byte) *imap.Envelope {
	fields, _, _ := split(raw)
	e := &imap.Envelope{
		Subject:   decodeText(firstValue(fields, "Subject")),
		From:      imapAddresses(fields, "From"),
		Sender:    imapAddresses(fields, "Sender"),
		ReplyTo:   imapAddresses(fields, "Reply-To"),
		To:        imapAddresses(fields, "To"),
		Cc:        imapAddresses(fields, "Cc"),
		Bcc:       imapAddresses(fields, "Bcc"),
		MessageID: strings.Trim(firstValue(fields, "Message-ID"), "<> \t"),
	}
	if at, err := mail.ParseDate(firstValue(fields, "Date")); err == nil {
		e.Date = at
	}
	for _, id := range strings.Fields(firstValue(fields, "In-Reply-To")) {
		e.InReplyTo = append(e.InReplyTo, strings.Trim(id, "<>"))
	}
	return e
}

func imapAddresses(fields []field, name string) []imap.Address {
	f, ok := first(fields, name)
	if !ok {
		return nil
	}
	var out []imap.Address
	if list, err := mail.ParseAddressList(f.value()); err == nil {
		for _, a := range list {
			out = append(out, imapAddress(a.Name, a.Address))
		}
		return out
	}
	for _, a := range addresses(f.value()) {
		if a != "" {
			out = append(out, imapAddress("", a))
		}
	}
	return out
}

func imapAddress(name, address string) imap.Address {
	local, domain := address, ""
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		local, domain = address[:i], address[i+1:]
	}
	return imap.Address{Name: name, Mailbox: local, Host: domain}
}

// structureOf reads BODYSTRUCTURE (RFC 9051 7.5.2), always with the extended
// fields. Its parts are numbered as section finds them.
func structureOf(raw []byte) imap.BodyStructure {
	budget := maxParts
	return structure(raw, readParts(raw), 0, &budget)
}

// structure describes p, a part of raw; budget is how many parts may follow.
func structure(raw []byte, p *part, nested int, budget *int) imap.BodyStructure {
	*budget--
	fields, _, _ := split(raw[p.off:p.body])
	disposition := dispositionOf(fields)
	kind, subtype, _ := strings.Cut(p.kind, "/")
	if len(p.children) > 0 {
		m := &imap.BodyStructureMultiPart{
			Subtype:  orElse(subtype, "mixed"),
			Extended: &imap.BodyStructureMultiPartExt{Params: p.params, Disposition: disposition},
		}
		for _, c := range p.children {
			m.Children = append(m.Children, structure(raw, c, nested, budget))
		}
		return m
	}
	body := raw[p.body:p.end]
	s := &imap.BodyStructureSinglePart{
		Type: kind, Subtype: subtype, Params: p.params,
		ID: firstValue(fields, "Content-ID"), Description: firstValue(fields, "Content-Description"),
		Encoding: p.encoding, Size: uint32(len(body)),
		Extended: &imap.BodyStructureSinglePartExt{Disposition: disposition},
	}
	switch {
	case p.kind == "message/rfc822" && nested < maxNested && *budget > 0:
		s.MessageRFC822 = &imap.BodyStructureMessageRFC822{
			Envelope: envelopeOf(body), BodyStructure: structure(body, readParts(body), nested+1, budget), NumLines: countLines(body),
		}
	case kind == "text" && subtype != "":
		s.Text = &imap.BodyStructureText{NumLines: countLines(body)}
	case kind == "multipart" || kind == "message" || kind == "" || subtype == "":
		// A multipart without parts, more than is looked into, or half a type: a leaf
		// that clients can show.
		s.Type, s.Subtype = "application", "octet-stream"
	}
	return s
}

func dispositionOf(fields []field) *imap.BodyStructureDisposition {
	value, params, err := mime.ParseMediaType(firstValue(fields, "Content-Disposition"))
	if err != nil || value == "" {
		return nil
	}
	return &imap.BodyStructureDisposition{Value: value, Params: params}
}

func countLines(b []byte) int64 {
	n := int64(bytes.Count(b, []byte("\n")))
	if len(b) > 0 && b[len(b)-1] != '\n' {
		n++
	}
	return n
}

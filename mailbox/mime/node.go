package mime

import "strings"

// node is a part while Parse works: the Part to be, and what only the wire
// bytes need. Strings in it are bounded copies, so that the memory of a whole
// message stays bounded whatever its headers hold.
type node struct {
	off, hlen, blen int64 // start of header, its length, length of the body
	lines           int64
	typ, subtype    string
	typeGiven       bool // Content-Type was there and could be read
	encoding        string
	params          []param // of Content-Type, for the wire
	decoded         map[string]string
	disposition     string
	dparams         []param
	fileName        string
	id, desc, md5   *string
	location        *string
	langs           []string
	boundary        string
	envelope        []byte // of the message whose root this is
	smallEnvelope   []byte // a shorter one, for nested messages only
	headings        headings
	children        []*node
	msg             *node
}

func (n *node) bodyOff() int64 { return n.off + n.hlen }

// Bounds of what one part keeps, in bytes.
const (
	maxText       = 900
	maxParamBytes = 2 << 10 // of all parameters of one field on the wire
	maxFileName   = 255
	maxLangs      = 8
)

// readHeader takes type, encoding and names from the header of a part. Fields
// beyond the limit are not looked at. Message headings are kept for roots only.
func (n *node) readHeader(header []byte, fields int, root, digest bool) {
	var ctype, disp *string
	count := 0
	eachField(header, func(name, raw []byte, _ int) bool {
		count++
		if count > fields {
			return false
		}
		if len(name) == 0 || len(name) > 30 {
			return true
		}
		var low [32]byte
		key := appendLower(low[:0], name)
		mime := len(key) > 8 && string(key[:8]) == "content-"
		if !mime && !root {
			return true
		}
		if !mime {
			switch string(key) {
			case "date", "subject", "in-reply-to", "message-id", "from", "sender", "reply-to", "to", "cc", "bcc":
				n.headings.set(string(key), fieldBody(raw, true))
			}
			return true
		}
		keep := func(p **string, limit int) {
			if *p == nil {
				v := strings.Clone(cut(fieldBody(raw, true), limit))
				*p = &v
			}
		}
		switch string(key) {
		case "content-type":
			keep(&ctype, 64<<10)
		case "content-disposition":
			keep(&disp, 64<<10)
		case "content-transfer-encoding":
			if n.encoding == "" {
				n.encoding = token(stripComments(cut(fieldBody(raw, true), 1000)), 40)
			}
		case "content-id":
			keep(&n.id, maxText)
		case "content-description":
			keep(&n.desc, maxText)
		case "content-md5":
			keep(&n.md5, 64)
		case "content-location":
			keep(&n.location, maxText)
		case "content-language":
			if n.langs == nil {
				for _, l := range strings.Split(stripComments(cut(fieldBody(raw, true), 1000)), ",") {
					if l = token(l, 40); l != "" && len(n.langs) < maxLangs {
						n.langs = append(n.langs, l)
					}
				}
			}
		}
		return true
	})
	if n.encoding == "" {
		n.encoding = "7bit"
	}
	n.setType(ctype, digest)
	n.setDisposition(disp)
}

// setType reads Content-Type. Absent or unreadable, the part is text/plain
// (RFC 2045 section 5.2), message/rfc822 in a digest (RFC 2046 section 5.1.5),
// or application/octet-stream where base64 says that it is no text.
func (n *node) setType(field *string, digest bool) {
	if field != nil {
		value, params, decoded := parseParams(*field)
		if i := strings.IndexAny(value, " \t"); i >= 0 {
			value = value[:i] // a missing semicolon
		}
		typ, subtype, ok := strings.Cut(value, "/")
		if ok && validName(typ) && validName(subtype) && typ != "*" {
			n.typ, n.subtype, n.typeGiven = typ, subtype, true
			n.boundary = lookup(params, "boundary")
			if n.boundary == "" {
				n.boundary = decoded["boundary"] // written as RFC 2231
			}
			n.boundary = strings.TrimRight(n.boundary, " \t")
			n.fileName = cut(decoded["name"], maxFileName)
			n.params, n.decoded = boundParams(params), boundDecoded(decoded)
			return
		}
		if len(params) > 0 {
			n.fileName = cut(decoded["name"], maxFileName)
		}
	}
	switch {
	case field == nil && digest:
		n.typ, n.subtype, n.typeGiven = "message", "rfc822", true
	case n.encoding == "base64":
		n.typ, n.subtype = "application", "octet-stream"
	default:
		n.typ, n.subtype = "text", "plain"
	}
}

func (n *node) setDisposition(field *string) {
	if field == nil {
		return
	}
	value, params, decoded := parseParams(*field)
	if !validName(value) {
		return
	}
	n.disposition = value
	n.dparams = boundParams(params)
	if name := decoded["filename"]; name != "" {
		n.fileName = cut(name, maxFileName)
	}
}

// identity tells whether the body stands as it is, so that parts can be found
// in it (RFC 2045 section 6.4 allows nothing else for composite types).
func (n *node) identity() bool {
	switch n.encoding {
	case "base64", "quoted-printable", "x-uuencode":
		return false
	}
	return true
}

// toBlob makes the node a leaf of bytes: what is beyond a limit is shown whole
// and can be saved.
func (n *node) toBlob() {
	n.toLeaf("application", "octet-stream")
}

// toText makes the node a leaf that clients show: a multipart without parts.
func (n *node) toText() {
	n.toLeaf("text", "plain")
}

func (n *node) toLeaf(typ, subtype string) {
	n.typ, n.subtype, n.typeGiven = typ, subtype, true
	var name []param
	for _, p := range n.params {
		if p.name == "name" || p.name == "name*" {
			name = append(name, p)
		}
	}
	n.params, n.decoded, n.boundary = name, nil, ""
	n.children, n.msg = nil, nil
}

func lookup(params []param, name string) string {
	for _, p := range params {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// token is the first word of s in lower case, empty if it is no token.
func token(s string, limit int) string {
	w := strings.Fields(s)
	if len(w) == 0 || len(w[0]) > limit || !validName(w[0]) {
		return ""
	}
	return strings.ToLower(w[0])
}

func boundParams(list []param) []param {
	total := 0
	var out []param
	for _, p := range list {
		total += len(p.name) + len(p.value) + 6
		if len(p.value) > maxText || total > maxParamBytes {
			break
		}
		out = append(out, param{strings.Clone(p.name), strings.Clone(p.value)})
	}
	return out
}

func boundDecoded(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[strings.Clone(k)] = cut(strings.Clone(v), maxTree)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

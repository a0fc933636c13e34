package providersim

import (
	"bytes"
	"mime"
	"strings"
)

const (
	maxDepth = 20
	maxParts = 500
)

// part is one MIME part as offsets into the message it was read from.
type part struct {
	off, body, end int // header start, body start, end of the body
	kind           string
	params         map[string]string
	name           string // file name, decoded; empty if none
	encoding       string
	children       []*part
}

// readParts reads the structure of a message. What cannot be read as multipart
// is a leaf.
func readParts(raw []byte) *part {
	budget := maxParts
	return readPart(raw, 0, len(raw), 0, &budget)
}

func readPart(raw []byte, off, end, depth int, budget *int) *part {
	*budget--
	fields, _, body := split(raw[off:end])
	p := &part{off: off, body: off + body, end: end, kind: "text/plain"}
	if v := firstValue(fields, "Content-Type"); v != "" {
		kind, params, err := mime.ParseMediaType(v)
		if err != nil {
			kind, _, _ = strings.Cut(v, ";")
			kind = strings.ToLower(strings.TrimSpace(kind))
		}
		p.kind, p.params = kind, params
	}
	p.encoding = strings.ToLower(firstValue(fields, "Content-Transfer-Encoding"))
	p.name = decodeText(p.params["name"])
	if _, params, err := mime.ParseMediaType(firstValue(fields, "Content-Disposition")); err == nil && params["filename"] != "" {
		p.name = decodeText(params["filename"])
	}
	boundary := p.params["boundary"]
	if !strings.HasPrefix(p.kind, "multipart/") || boundary == "" || depth >= maxDepth {
		return p
	}
	for _, span := range delimited(raw, p.body, end, boundary) {
		if *budget <= 0 {
			break
		}
		p.children = append(p.children, readPart(raw, span[0], span[1], depth+1, budget))
	}
	return p
}

// delimited finds the parts between the delimiter lines of boundary. The line
// end before a delimiter belongs to the delimiter (RFC 2046 5.1.1).
func delimited(raw []byte, pos, end int, boundary string) [][2]int {
	delimiter := []byte("--" + boundary)
	var spans [][2]int
	start := -1
	for pos < end {
		next := min(lineEnd(raw, pos), end)
		line := bytes.TrimRight(raw[pos:next], " \t\r\n")
		if rest, ok := bytes.CutPrefix(line, delimiter); ok && (len(rest) == 0 || bytes.Equal(rest, []byte("--"))) {
			if start >= 0 {
				stop := pos
				if stop > start && raw[stop-1] == '\n' {
					stop--
				}
				if stop > start && raw[stop-1] == '\r' {
					stop--
				}
				spans = append(spans, [2]int{start, stop})
			}
			start = next
			if len(rest) > 0 || len(spans) >= maxParts {
				return spans
			}
		}
		pos = next
	}
	if start >= 0 && start < end {
		spans = append(spans, [2]int{start, end}) // never closed
	}
	return spans
}

package archive

import (
	"bytes"
	"strings"
)

type look int

const (
	looksOther look = iota
	looksZip
	looksMbox
	looksMessage
)

// looksLike says what a file is by its first bytes, whatever its name.
func looksLike(head []byte) look {
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return looksZip
	case bytes.HasPrefix(head, []byte("From ")):
		return looksMbox
	case messageHeader(head):
		return looksMessage
	}
	return looksOther
}

// messageHeader reports whether head begins with fields of which one is such as
// every message has, and text files with colons have not.
func messageHeader(head []byte) bool {
	known := false
	for first := true; len(head) > 0; first = false {
		line, rest, whole := bytes.Cut(head, []byte("\n"))
		if !whole && !first {
			break // the end of what was read, not of the header
		}
		head = rest
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			break
		}
		if !first && (line[0] == ' ' || line[0] == '\t') {
			continue
		}
		name := fieldName(line)
		if name == "" {
			return false
		}
		switch strings.ToLower(name) {
		case "from", "received", "return-path", "date", "message-id", "mime-version", "x-ricevuta", "x-trasporto":
			known = true
		}
	}
	return known
}

// fieldName gives the name of a header field (RFC 5322 section 3.6.8) by its
// first line, with space before the colon as old messages have it, or "".
func fieldName(line []byte) string {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 {
		return ""
	}
	name := bytes.TrimRight(line[:colon], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return string(name)
}

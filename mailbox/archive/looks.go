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
		known = known || isKnown(name)
	}
	return known
}

// isKnown reports whether a field is such as every message has.
func isKnown(name string) bool {
	switch strings.ToLower(name) {
	case "from", "received", "return-path", "date", "message-id", "mime-version", "x-ricevuta", "x-trasporto":
		return true
	}
	return false
}

// maybeMessage reports whether head can begin a message, however damaged: a line
// of its first block is a field that every message has, or the first one is a
// field of any name. Documents, pictures and certificates are none.
func maybeMessage(head []byte) bool {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), "\r\n") // of an editor
	for first := true; len(head) > 0; first = false {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			break
		}
		name := fieldName(line)
		if isKnown(name) || first && isWord(name) {
			return true
		}
	}
	return false
}

// isWord reports whether a name is of letters, digits and hyphens, as the names
// of fields are in practice.
func isWord(name string) bool {
	for i, c := range strings.ToLower(name) {
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '_') {
			return false
		}
	}
	return name != ""
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

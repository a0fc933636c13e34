package imapd

import (
	"strconv"
	"time"

	"github.com/emersion/go-imap/v2" // section specifiers

	"pecgate/mailbox"
)

// The encoder of FETCH answers (RFC 9051 section 7.5.2). It appends to a slice;
// whole answers then go into the connection's output.

func appendNumber(b []byte, n uint32) []byte { return strconv.AppendUint(b, uint64(n), 10) }

// openFetch begins an answer.
func openFetch(b []byte, seq uint32) []byte {
	b = append(b, "* "...)
	b = appendNumber(b, seq)
	return append(b, " FETCH ("...)
}

func closeFetch(b []byte) []byte { return append(b, ")\r\n"...) }

// separate puts a space before every item but the first. What an item from the
// records ends with is never a parenthesis that opens.
func separate(b []byte) []byte {
	if b[len(b)-1] == '(' {
		return b
	}
	return append(b, ' ')
}

func appendUID(b []byte, uid mailbox.UID) []byte {
	b = append(separate(b), "UID "...)
	return appendNumber(b, uint32(uid))
}

func appendFlagList(b []byte, flags []string) []byte {
	b = append(separate(b), "FLAGS ("...)
	for i, f := range flags {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, f...)
	}
	return append(b, ')')
}

// appendFlags is the answer that STORE makes.
func appendFlags(b []byte, seq uint32, uid mailbox.UID, flags []string, byUID bool) []byte {
	b = openFetch(b, seq)
	if byUID {
		b = appendUID(b, uid)
	}
	return closeFetch(appendFlagList(b, flags))
}

// appendFlagUpdate tells flags that nobody asked for.
func appendFlagUpdate(b []byte, seq uint32, uid mailbox.UID, flags []string) []byte {
	return appendFlags(b, seq, uid, flags, true)
}

func appendDate(b []byte, t time.Time) []byte {
	b = append(separate(b), `INTERNALDATE "`...)
	b = t.AppendFormat(b, "_2-Jan-2006 15:04:05 -0700")
	return append(b, '"')
}

func appendItem(b []byte, name string, value []byte) []byte {
	b = append(separate(b), name...)
	b = append(b, ' ')
	return append(b, value...)
}

// appendLiteralHead announces a literal; eight says that it may hold NUL
// (literal8, RFC 9051 section 4.3).
func appendLiteralHead(b []byte, size int64, eight bool) []byte {
	b = append(b, ' ')
	if eight {
		b = append(b, '~')
	}
	b = append(b, '{')
	b = strconv.AppendInt(b, size, 10)
	return append(b, "}\r\n"...)
}

// appendSection names a body section as the client asked for it.
func appendSection(b []byte, o *imap.FetchItemBodySection) []byte {
	b = append(b, "BODY["...)
	b = appendPath(b, o.Part)
	if o.Specifier != imap.PartSpecifierNone {
		if len(o.Part) > 0 {
			b = append(b, '.')
		}
		b = append(b, o.Specifier...)
		names := o.HeaderFields
		switch {
		case len(names) > 0:
			b = append(b, ".FIELDS"...)
		case len(o.HeaderFieldsNot) > 0:
			names = o.HeaderFieldsNot
			b = append(b, ".FIELDS.NOT"...)
		}
		if len(names) > 0 {
			b = append(b, " ("...)
			for i, n := range names {
				if i > 0 {
					b = append(b, ' ')
				}
				b = appendAString(b, n)
			}
			b = append(b, ')')
		}
	}
	b = append(b, ']')
	if o.Partial != nil {
		b = appendOrigin(b, o.Partial)
	}
	return b
}

// appendOrigin tells from which byte on a section is (RFC 9051 section 7.5.2).
func appendOrigin(b []byte, p *imap.SectionPartial) []byte {
	b = append(b, '<')
	b = strconv.AppendInt(b, p.Offset, 10)
	return append(b, '>')
}

func appendPath(b []byte, path []int) []byte {
	for i, n := range path {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return b
}

// appendAString writes what a client sent back to it: as an atom, a quoted
// string, or a literal where nothing else holds it.
func appendAString(b []byte, s string) []byte {
	atom, quoted := s != "", true
	for i := range len(s) {
		// "[" is allowed in an atom, but clients look for the bracket's end.
		atom = atom && atomChar(s[i]) && s[i] != '['
		quoted = quoted && s[i] >= ' ' && s[i] < 0x7f
	}
	switch {
	case atom:
		return append(b, s...)
	case quoted:
		b = append(b, '"')
		for i := range len(s) {
			if s[i] == '"' || s[i] == '\\' {
				b = append(b, '\\')
			}
			b = append(b, s[i])
		}
		return append(b, '"')
	}
	b = append(b, '{')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	return append(append(b, "}\r\n"...), s...)
}

package mime

import (
	"strconv"
	"strings"
)

// maxQuoted is the longest string written in quotes; longer ones are literals,
// so that no response line grows beyond what clients read into one buffer.
const maxQuoted = 1000

// appendString writes an IMAP string (RFC 9051 section 4.3): quoted, or a
// literal where it holds CR, LF or 8-bit bytes or is long. NUL, which neither
// form may hold, is left out.
func appendString(dst []byte, s string) []byte {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	literal := len(s) > maxQuoted
	for i := 0; i < len(s) && !literal; i++ {
		literal = s[i] >= 0x80 || s[i] == '\r' || s[i] == '\n'
	}
	if literal {
		dst = append(dst, '{')
		dst = strconv.AppendInt(dst, int64(len(s)), 10)
		dst = append(dst, "}\r\n"...)
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// appendNString writes a string or NIL for one that is absent.
func appendNString(dst []byte, s *string) []byte {
	if s == nil {
		return append(dst, "NIL"...)
	}
	return appendString(dst, *s)
}

// appendNumber writes a number of RFC 9051's 32 bits; messages are far smaller.
func appendNumber(dst []byte, n int64) []byte {
	return strconv.AppendInt(dst, min(max(n, 0), 1<<32-1), 10)
}

package mime

import (
	"encoding/base64"
	"strings"
)

// maxWords bounds the input of DecodeWords; a header block is shorter.
const maxWords = maxHeader

// DecodeWords gives a header value as people read it: folding undone, encoded
// words (RFC 2047) decoded, bytes that are no UTF-8 read as windows-1252, and
// every control character except TAB a space, so that no CR, LF or NUL comes
// out whatever an encoded word held. It is lenient: words need no space around
// them, may hold spaces or lack their end, and a character split over two words
// is joined. What
// is no encoded word stays as written. Input above 1 MiB is cut.
func DecodeWords(s string) string {
	if len(s) > maxWords {
		s = s[:maxWords]
	}
	s = unfold(s)
	if !strings.Contains(s, "=?") {
		return clean(guessString(s))
	}
	var out strings.Builder
	var run []byte // decoded bytes of adjacent words of one character set
	label := ""
	plain := 0
	flush := func() {
		if run != nil {
			out.WriteString(DecodeCharset(label, run))
			run = nil
		}
	}
	eachWord(s, func(w word) {
		between := s[plain:w.start]
		joined := run != nil && strings.Trim(between, " \t\r\n") == ""
		if !joined || !strings.EqualFold(label, w.charset) {
			flush()
		}
		if !joined {
			out.WriteString(guessString(between))
		}
		if run == nil {
			run, label = []byte{}, w.charset
		}
		run = append(run, w.data...)
		plain = w.end
	})
	flush()
	out.WriteString(guessString(s[plain:]))
	return clean(out.String())
}

// word is one encoded word found at [start,end) of the text.
type word struct {
	start, end int
	charset    string
	data       []byte
}

// eachWord calls fn for each encoded word of s, in order, in linear time.
func eachWord(s string, fn func(word)) {
	sc := wordScanner{s: s}
	for pos := 0; ; {
		i := strings.Index(s[pos:], "=?")
		if i < 0 {
			return
		}
		start := pos + i
		w, ok := sc.at(start)
		if !ok {
			pos = start + 1
			continue
		}
		fn(w)
		pos = w.end
	}
}

// maxCharset bounds the name of a character set, and with it the cost of "=?"
// that begins no word.
const maxCharset = 64

// wordScanner remembers the last "?=" it found, so that many beginnings that
// share one end cost one search.
type wordScanner struct {
	s   string
	end int // place of a "?=", or len(s) for none from here on; 0 unknown
}

func (sc *wordScanner) at(start int) (word, bool) {
	rest := sc.s[start+2:]
	q := strings.IndexByte(rest[:min(len(rest), maxCharset+1)], '?')
	if q <= 0 || len(rest) < q+3 || rest[q+2] != '?' || strings.ContainsAny(rest[:q], " \t\r\n\"=()<>[]@,;/") {
		return word{}, false
	}
	begin := start + 2 + q + 3
	// The text may hold '?' (wrong, but seen), so the first "?=" ends it.
	if sc.end < begin {
		i := strings.Index(sc.s[begin:], "?=")
		if i < 0 {
			sc.end = len(sc.s)
		} else {
			sc.end = begin + i
		}
	}
	end, next := sc.end, sc.end+2
	// Where another word begins inside, only that one can be meant; reading the
	// whole as one would hide it.
	if end == len(sc.s) || strings.Contains(sc.s[begin:end], "=?") {
		var ok bool
		if end, ok = sc.unclosed(begin); !ok {
			return word{}, false
		}
		next = end
		if sc.s[end-1] == '?' {
			end--
		}
	}
	text := sc.s[begin:end]
	w := word{start: start, end: next, charset: rest[:q]}
	switch rest[q+1] {
	case 'B', 'b':
		data, ok := decodeB(text)
		w.data = data
		return w, ok
	case 'Q', 'q':
		w.data = decodeQ(text)
		return w, true
	}
	return word{}, false
}

// unclosed finds the end of a word that was cut off before its "?=", as programs
// do that shorten long subjects: the next space, with no other word before it.
func (sc *wordScanner) unclosed(begin int) (end int, ok bool) {
	i := begin
	for ; i < len(sc.s) && strings.IndexByte(" \t\r\n", sc.s[i]) < 0; i++ {
		// "=?" at the very end is padding and half an end.
		if sc.s[i] == '=' && i+2 < len(sc.s) && sc.s[i+1] == '?' && strings.IndexByte(" \t\r\n", sc.s[i+2]) < 0 {
			return 0, false
		}
	}
	return i, i > begin
}

// decodeB reads base64 with missing padding, with padding inside (words glued
// together) and with white space; any other stray character makes it no word.
func decodeB(s string) ([]byte, bool) {
	clean := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case isBase64(c):
			clean = append(clean, c)
		case c == '=':
			// Padding ends a group of four; what is left of the group is dropped.
			for len(clean)%4 != 0 {
				clean = append(clean, '=')
			}
		case c == ' ', c == '\t', c == '\r', c == '\n':
		default:
			return nil, false
		}
	}
	out := make([]byte, 0, len(clean)/4*3+3)
	var three [3]byte
	for len(clean) > 0 {
		group := clean[:min(4, len(clean))]
		clean = clean[len(group):]
		for len(group) > 0 && group[len(group)-1] == '=' {
			group = group[:len(group)-1]
		}
		n, err := base64.RawStdEncoding.Decode(three[:], group)
		if err != nil && len(group) > 1 {
			return nil, false
		}
		out = append(out, three[:n]...)
	}
	return out, true
}

// decodeQ reads the Q encoding; a '=' without two hexadecimal digits is itself.
func decodeQ(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			out = append(out, ' ')
		case c == '=' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0:
			out = append(out, byte(hex(s[i+1])<<4|hex(s[i+2])))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func guessString(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return guess([]byte(s))
		}
	}
	return s
}

// clean turns control characters into spaces, so that a decoded value can be
// shown and written on one line.
func clean(s string) string {
	i := strings.IndexFunc(s, isControl)
	if i < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
}

func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r == 0x7f || 0x80 <= r && r < 0xa0 || r == 0x2028 || r == 0x2029
}

// cut shortens s to at most n bytes without breaking a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for back := 0; back < 3 && n > 0 && s[n]&0xc0 == 0x80; back++ {
		n--
	}
	return strings.Clone(s[:n])
}

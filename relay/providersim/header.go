package providersim

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex" // charsets of subjects beyond the two that net/mime knows
)

// Reading of message headers by offsets. Written for this package alone: see
// the package comment.

const (
	maxFields = 2000
	maxHeader = 1 << 20
)

// field is one header field; raw includes folding and the final line end.
type field struct {
	name string // as written
	raw  []byte
}

func (f field) is(name string) bool { return strings.EqualFold(f.name, name) }

// value is the unfolded body without outer white space.
func (f field) value() string {
	_, v, _ := bytes.Cut(f.raw, []byte(":"))
	s := strings.NewReplacer("\r\n", "", "\n", "", "\r", "").Replace(string(v))
	return strings.TrimSpace(s)
}

// split cuts a message into its fields, the offset where the header ends and the
// offset where the body starts (after the blank line). A line that is neither
// field nor continuation ends the header without a blank line.
func split(raw []byte) (fields []field, headerEnd, body int) {
	pos := 0
	for pos < len(raw) && pos < maxHeader && len(fields) < maxFields {
		end := lineEnd(raw, pos)
		line := raw[pos:end]
		if text := bytes.TrimRight(line, "\r\n"); len(text) == 0 {
			return fields, pos, end
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimRight(name, " \t")
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
			return fields, pos, pos
		}
		for end < len(raw) && (raw[end] == ' ' || raw[end] == '\t') {
			end = lineEnd(raw, end)
		}
		fields = append(fields, field{name: string(name), raw: raw[pos:end]})
		pos = end
	}
	return fields, pos, pos
}

// lineEnd is the offset after the next LF, or the end.
func lineEnd(raw []byte, pos int) int {
	if i := bytes.IndexByte(raw[pos:], '\n'); i >= 0 {
		return pos + i + 1
	}
	return len(raw)
}

func first(fields []field, name string) (field, bool) {
	for _, f := range fields {
		if f.is(name) {
			return f, true
		}
	}
	return field{}, false
}

func firstValue(fields []field, name string) string {
	f, ok := first(fields, name)
	if !ok {
		return ""
	}
	return f.value()
}

// decodeText decodes RFC 2047 words; what cannot be decoded stays as written,
// and bytes that are no UTF-8 are read as ISO-8859-1.
func decodeText(s string) string {
	dec := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		enc, err := htmlindex.Get(charset)
		if err != nil {
			return nil, fmt.Errorf("charset %q: %w", charset, err)
		}
		return enc.NewDecoder().Reader(r), nil
	}}
	if !utf8.ValidString(s) {
		s = latin1(s)
	}
	if out, err := dec.DecodeHeader(s); err == nil {
		s = out
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func latin1(s string) string {
	r := make([]rune, 0, len(s))
	for _, b := range []byte(s) {
		r = append(r, rune(b))
	}
	return string(r)
}

// textField writes "Name: prefix text" folded at 76, in encoded words where the
// text is not plain ASCII or has a word too long for a line.
func textField(name, prefix, text string) string {
	if !plain(text) {
		return name + ": " + prefix + strings.Join(encodedWords(text), "\r\n ") + "\r\n"
	}
	var b strings.Builder
	b.WriteString(name + ":")
	col := b.Len()
	for i, word := range strings.Split(prefix+text, " ") {
		// Folding stands before an existing blank, so unfolding gives the text back.
		if i > 0 && word != "" && col+1+len(word) > 76 {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteString(" " + word)
		col += 1 + len(word)
	}
	b.WriteString("\r\n")
	return b.String()
}

// encodedWords writes text as RFC 2047 words of at most 75 characters, also
// where every character could stand in clear.
func encodedWords(text string) []string {
	var words []string
	for len(text) > 0 {
		n := 0
		for n < len(text) {
			_, size := utf8.DecodeRuneInString(text[n:])
			if n+size > 45 {
				break
			}
			n += size
		}
		words = append(words, "=?utf-8?B?"+base64.StdEncoding.EncodeToString([]byte(text[:n]))+"?=")
		text = text[n:]
	}
	return words
}

// plain tells whether text can stand in a header as it is.
func plain(s string) bool {
	if strings.Contains(s, "=?") {
		return false
	}
	for _, word := range strings.Split(s, " ") {
		if len(word) > 900 {
			return false
		}
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// crlf gives a raw header field CRLF line ends; it is used outside signatures only.
func crlf(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	raw = bytes.TrimRight(bytes.ReplaceAll(raw, []byte("\r"), []byte(" ")), "\n")
	return append(bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")), '\r', '\n')
}

package mime

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	// The character sets of mail beyond the four decoded here by hand.
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
)

// DecodeCharset gives b, written in the named character set, as valid UTF-8.
// It never fails: an unknown set, and bytes the set does not have, are read as
// UTF-8 where they are that and else as windows-1252.
func DecodeCharset(label string, b []byte) string {
	label = charsetName(label)
	switch label {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return guess(b)
	case "utf-7", "unicode-1-1-utf-7":
		return decodeUTF7(b)
	}
	enc := findCharset(label)
	if enc == nil {
		return guess(b)
	}
	out, err := enc.NewDecoder().Bytes(b)
	if err != nil {
		return guess(b)
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}

// charsetName is a label as the tables have it.
func charsetName(label string) string {
	label = strings.ToLower(strings.Trim(label, " \t\"'"))
	if lang := strings.IndexByte(label, '*'); lang >= 0 {
		label = label[:lang] // RFC 2231 section 5
	}
	return label
}

func findCharset(label string) encoding.Encoding {
	switch label {
	case "iso-8859-1", "latin1", "windows-1252", "cp1252":
		// Mail that says Latin 1 means windows-1252 where they differ.
		return charmap.Windows1252
	}
	if len(label) > 40 {
		return nil
	}
	if enc, err := ianaindex.MIME.Encoding(label); err == nil && enc != nil {
		return enc
	}
	if enc, err := ianaindex.MIME.Encoding("cs" + label); err == nil && enc != nil {
		return enc
	}
	if enc, err := htmlindex.Get(label); err == nil && enc != nil {
		// The "replacement" encoding turns everything into one mark; guess instead.
		if name, _ := htmlindex.Name(enc); name != "replacement" {
			return enc
		}
	}
	return nil
}

// decodeUTF7 reads RFC 2152, which old clients wrote and no library here knows.
func decodeUTF7(b []byte) string {
	var out strings.Builder
	for i := 0; i < len(b); i++ {
		if b[i] != '+' {
			out.WriteString(guess(b[i : i+1]))
			continue
		}
		start := i + 1
		for i++; i < len(b) && isBase64(b[i]); i++ {
		}
		if i == start {
			out.WriteByte('+') // "+-"
		}
		if raw, ok := decodeB(string(b[start:i])); ok {
			units := make([]uint16, len(raw)/2)
			for k := range units {
				units[k] = uint16(raw[2*k])<<8 | uint16(raw[2*k+1])
			}
			out.WriteString(string(utf16.Decode(units)))
		}
		if i < len(b) && b[i] != '-' {
			i-- // '-' ends the run and is dropped, anything else stays
		}
	}
	return out.String()
}

func isBase64(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}

func guess(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	s.Grow(len(b) + len(b)/4)
	for _, c := range b {
		s.WriteRune(charmap.Windows1252.DecodeByte(c))
	}
	return s.String()
}

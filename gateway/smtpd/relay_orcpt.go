package smtpd

import (
	"bytes"
	"regexp"
	"slices"
)

// goodORCPT is an ORCPT that the library takes, without its keyword: of the two types
// of address that it knows, decoding to what can be printed (RFC 3461 section 4.2, RFC
// 6533 section 3).
var goodORCPT = regexp.MustCompile(`^(?i:rfc822);(?:[!-*,-<>-~]|\+(?:[2-6][0-9A-F]|7[0-9A-E]))+$|^(?i:utf-8);(?:[!-*,-<>-\[\]-~]|\\x\{(?:[2-6][0-9A-F]|7[0-9A-E]|[A-F8-9][0-9A-F]|[0-9A-F]{3,6})\})+$`) // read only

// plainORCPT takes an ORCPT that the library does not take out of RCPT: addresses of
// X.400 or of Exchange's directory are good ones, and nobody is to lose a PEC over a
// word that only stands in reports. All else stays.
func plainORCPT(line []byte) []byte {
	const key = "ORCPT="
	if !hasVerb(line, "RCPT") || !bytes.Contains(bytes.ToUpper(line), []byte(key)) {
		return line
	}
	text := bytes.TrimSuffix(line, []byte("\r\n"))
	// What stands in the path is none.
	end := bytes.IndexByte(text, '>') + 1
	words := bytes.Split(text[end:], []byte(" "))
	words = slices.DeleteFunc(words, func(w []byte) bool {
		return len(w) >= len(key) && bytes.EqualFold(w[:len(key)], []byte(key)) && !goodORCPT.Match(w[len(key):])
	})
	return slices.Concat(text[:end], bytes.Join(words, []byte(" ")), []byte("\r\n"))
}

package smtpd

import "strings"

// rawPath takes the path out of the argument of MAIL or RCPT as the client
// wrote it: what stands between the brackets that follow the keyword at once
// (RFC 5321 section 4.1.2). The library unquotes local parts and drops source
// routes; who reads the same line otherwise must not get another address.
func rawPath(arg, keyword string) (string, bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", false
	}
	// A blank after the colon is wrong, common and harmless.
	s, ok := strings.CutPrefix(strings.TrimLeft(arg[len(keyword):], " "), "<")
	if !ok {
		return "", false
	}
	path, after, ok := strings.Cut(s, ">")
	if !ok || after != "" && after[0] != ' ' {
		return "", false
	}
	return path, true
}

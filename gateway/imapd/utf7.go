package imapd

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Names of folders in modified UTF-7 (RFC 3501 section 5.1.3). The library has
// this for its own commands and keeps it to itself.

func nameBase64() *base64.Encoding {
	return base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding).Strict()
}

func plain(r rune) bool { return r >= 0x20 && r <= 0x7e }

// encodeName writes a name of valid UTF-8 in modified UTF-7.
func encodeName(name string) string {
	var out strings.Builder
	for rest := name; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == '&':
			out.WriteString("&-")
		case plain(r):
			out.WriteByte(rest[0])
		default:
			var units []byte
			for rest != "" {
				if r, size = utf8.DecodeRuneInString(rest); plain(r) {
					break
				}
				for _, u := range utf16.Encode([]rune{r}) {
					units = append(units, byte(u>>8), byte(u))
				}
				rest = rest[size:]
			}
			out.WriteString("&" + nameBase64().EncodeToString(units) + "-")
			continue
		}
		rest = rest[size:]
	}
	return out.String()
}

// decodeName reads a name in modified UTF-7; raw UTF-8 is taken too. Each name
// has one spelling: whatever else means the same is refused, as are control
// characters.
func decodeName(s string) (string, bool) {
	if !utf8.ValidString(s) {
		return "", false
	}
	var out strings.Builder
	for s != "" {
		at := strings.IndexByte(s, '&')
		if at < 0 {
			out.WriteString(s)
			break
		}
		out.WriteString(s[:at])
		code, rest, ok := strings.Cut(s[at+1:], "-")
		if !ok {
			return "", false
		}
		s = rest
		if code == "" {
			out.WriteByte('&')
			continue
		}
		b, err := nameBase64().DecodeString(code)
		if err != nil || len(b)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
		}
		text := string(utf16.Decode(units))
		if encodeName(text) != "&"+code+"-" {
			return "", false // a lone surrogate, or what needed no code
		}
		out.WriteString(text)
	}
	name := out.String()
	return name, !strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

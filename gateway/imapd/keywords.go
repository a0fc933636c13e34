package imapd

import "github.com/emersion/go-imap/v2" // names of flags

// maxIntroduced bounds the keywords that a session is told of beyond those of
// SELECT: each makes the next list longer.
const maxIntroduced = 200

// introduce appends a new list of the folder's flags (RFC 3501 section 7.2.6)
// where flags, which an answer is about to show, hold a keyword that no list
// has named to this session yet.
func (v *view) introduce(b []byte, flags []string) []byte {
	fresh := false
	for _, f := range flags {
		if f == "" || f[0] == '\\' || v.keywords[f] {
			continue
		}
		if v.keywords == nil {
			v.keywords = map[string]bool{}
			for _, known := range append(clientFlags(), gatewayFlags()...) {
				v.keywords[string(known)] = true
			}
			if v.keywords[f] {
				continue
			}
		}
		if len(v.introduced) >= maxIntroduced {
			return b
		}
		v.keywords[f] = true
		v.introduced = append(v.introduced, f)
		fresh = true
	}
	if !fresh {
		return b
	}
	list := func(b []byte, flags []imap.Flag) []byte {
		for i, f := range flags {
			if i > 0 {
				b = append(b, ' ')
			}
			b = append(b, f...)
		}
		for _, f := range v.introduced {
			b = append(append(b, ' '), f...)
		}
		return b
	}
	b = append(list(append(b, "* FLAGS ("...), append(clientFlags(), gatewayFlags()...)), ")\r\n"...)
	if !v.readOnly {
		b = append(list(append(b, "* OK [PERMANENTFLAGS ("...), clientFlags()), ` \*)] Permanent flags`+"\r\n"...)
	}
	return b
}

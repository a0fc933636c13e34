package providersim

import "strings"

// addresses reads the addresses of an address list (RFC 5322 3.4): display
// names, quoted strings, comments and groups are stepped over. What holds no
// address gives an empty string, so that the caller can count it as faulty.
func addresses(list string) []string {
	var out []string
	var text, angle strings.Builder
	var inAngle, hadAngle bool
	push := func(group bool) {
		s := strings.TrimSpace(text.String())
		if hadAngle {
			s = strings.TrimSpace(angle.String())
		}
		if s != "" || (hadAngle && !group) {
			out = append(out, s)
		}
		text.Reset()
		angle.Reset()
		inAngle, hadAngle = false, false
	}
	into := func(c byte) {
		if inAngle {
			angle.WriteByte(c)
		} else {
			text.WriteByte(c)
		}
	}
	depth := 0
	quoted := false
	for i := 0; i < len(list); i++ {
		c := list[i]
		switch {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(list):
			if quoted && depth == 0 {
				into(c)
				into(list[i+1])
			}
			i++
		case depth > 0:
			if c == '(' {
				depth++
			} else if c == ')' {
				depth--
			}
		case c == '"':
			quoted = !quoted
			into(c)
		case quoted:
			into(c)
		case c == '(':
			depth++
		case c == '<' && !inAngle:
			inAngle, hadAngle = true, true
			angle.Reset()
		case c == '>' && inAngle:
			inAngle = false
		case c == ',' && !inAngle:
			push(false)
		case c == ';' && !inAngle:
			push(true)
		case c == ':' && !inAngle:
			text.Reset() // what stood before was the name of a group
		default:
			into(c)
		}
	}
	push(true)
	return out
}

// compliant tells whether s is an addr-spec with dot-atom local part and domain
// (RFC 5321 4.1.2 without quoted strings and literals).
func compliant(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || len(s) > 254 {
		return false
	}
	return atoms(s[:at], "!#$%&'*+-/=?^_`{|}~") && atoms(s[at+1:], "-")
}

func atoms(s, extra string) bool {
	for _, atom := range strings.Split(s, ".") {
		if atom == "" {
			return false
		}
		for i := 0; i < len(atom); i++ {
			c := atom[i]
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(extra, c) >= 0) {
				return false
			}
		}
	}
	return s != ""
}

// fold is the form in which addresses are compared here: providers compare
// whole addresses without case.
func fold(address string) string { return strings.ToLower(address) }

func domainOf(address string) string {
	return fold(address[strings.LastIndexByte(address, '@')+1:])
}

// fieldAddresses collects the addresses of all fields of one name.
func fieldAddresses(fields []field, name string) []string {
	var out []string
	for _, f := range fields {
		if f.is(name) {
			out = append(out, addresses(f.value())...)
		}
	}
	return out
}

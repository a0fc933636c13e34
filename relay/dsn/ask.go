package dsn

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Notify is for what a sender asks to be told about one recipient (RFC 3461 section
// 4.1). The zero value asks for nothing: then failures are told, and no more.
type Notify struct {
	Never, Success, Failure, Delay bool
}

// Asked tells whether the sender said anything.
func (n Notify) Asked() bool { return n != Notify{} }

// Wants tells whether the sender asked, in so many words, to be told of an action.
func (n Notify) Wants(a Action) bool {
	switch a {
	case Failed:
		return n.Failure
	case Delayed:
		return n.Delay
	case Delivered, Relayed, Expanded: // RFC 3461 section 5.2.2
		return n.Success
	}
	return false
}

// Refuses tells whether the sender does not want to be told of a failure.
func (n Notify) Refuses() bool { return n.Asked() && !n.Failure }

func (n Notify) String() string {
	var out []string
	for _, w := range []struct {
		is   bool
		word string
	}{{n.Never, "NEVER"}, {n.Success, "SUCCESS"}, {n.Failure, "FAILURE"}, {n.Delay, "DELAY"}} {
		if w.is {
			out = append(out, w.word)
		}
	}
	return strings.Join(out, ",")
}

// ParseNotify reads the value of NOTIFY; "" is the zero value.
func ParseNotify(s string) (n Notify, err error) {
	if s == "" {
		return n, nil
	}
	for _, w := range strings.Split(s, ",") {
		var to *bool
		switch strings.ToUpper(w) {
		case "NEVER":
			to = &n.Never
		case "SUCCESS":
			to = &n.Success
		case "FAILURE":
			to = &n.Failure
		case "DELAY":
			to = &n.Delay
		default:
			return Notify{}, fmt.Errorf("dsn: NOTIFY=%.40q", s)
		}
		if *to {
			return Notify{}, fmt.Errorf("dsn: NOTIFY names %s twice", strings.ToUpper(w))
		}
		*to = true
	}
	if n.Never && n != (Notify{Never: true}) {
		return Notify{}, fmt.Errorf("dsn: NOTIFY names NEVER beside others")
	}
	return n, nil
}

// DecodeXtext undoes xtext (RFC 3461 section 4): + and two digits are one octet.
func DecodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			if i+2 >= len(s) {
				return "", fmt.Errorf("dsn: xtext that ends in %q", s[i:])
			}
			if strings.Trim(s[i+1:i+3], "0123456789ABCDEF") != "" {
				return "", fmt.Errorf("dsn: %q in xtext", s[i:i+3])
			}
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", fmt.Errorf("dsn: %q in xtext", s[i:i+3])
			}
			b.WriteByte(byte(v))
			i += 2
		case c <= ' ' || c >= 0x7f || c == '=':
			return "", fmt.Errorf("dsn: octet %#x in xtext", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// EncodeXtext makes xtext.
func EncodeXtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// ParseORCPT reads the value of ORCPT: a type, a semicolon and an address in xtext.
func ParseORCPT(s string) (Address, error) {
	kind, enc, ok := strings.Cut(s, ";")
	if !ok || !atom(kind) || len(s) > 500 { // RFC 3461 section 4.2
		return Address{}, fmt.Errorf("dsn: ORCPT=%.40q", s)
	}
	if strings.EqualFold(kind, "utf-8") {
		return parseUTF8(enc)
	}
	addr, err := DecodeXtext(enc)
	if err != nil {
		return Address{}, err
	}
	if addr == "" || strings.ContainsFunc(addr, control) || !ascii(addr) {
		return Address{}, fmt.Errorf("dsn: ORCPT=%.40q", s)
	}
	return Address{Type: strings.ToLower(kind), Addr: addr}, nil
}

// String is the address as it stands in a field.
func (a Address) String() string {
	kind := a.Type
	if !atom(kind) {
		if kind = "rfc822"; !ascii(a.Addr) {
			kind = "utf-8"
		}
	}
	if kind == "utf-8" {
		return "utf-8; " + unitext(a.Addr)
	}
	return kind + "; " + plain(a.Addr)
}

// unitext writes what is not ASCII as \x{HEX} (RFC 6533 section 3), which
// message/delivery-status may hold.
func unitext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r >= 0x7f || r == '\\' || r == '+' || r == '=' {
			fmt.Fprintf(&b, `\x{%X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// parseUTF8 reads an address of type utf-8 in any of its three forms.
func parseUTF8(s string) (Address, error) {
	if !utf8.ValidString(s) {
		return Address{}, broken("an address that is not UTF-8")
	}
	var b strings.Builder
	for s != "" {
		at := strings.Index(s, `\x{`)
		if at < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:at])
		digits, rest, ok := strings.Cut(s[at+3:], "}")
		v, err := strconv.ParseUint(digits, 16, 32)
		if !ok || err != nil || len(digits) > 6 || v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
			return Address{}, broken("the address %.40q", s)
		}
		b.WriteRune(rune(v))
		s = rest
	}
	if b.Len() == 0 || strings.ContainsFunc(b.String(), control) {
		return Address{}, broken("an address without or with a strange character")
	}
	return Address{Type: "utf-8", Addr: b.String()}, nil
}

// parseAddress reads an address in a field.
func parseAddress(s string) (Address, error) {
	kind, addr, ok := strings.Cut(s, ";")
	kind, addr = strings.ToLower(strings.TrimSpace(kind)), strings.TrimSpace(addr)
	switch {
	case !ok || !atom(kind) || addr == "" || len(addr) > maxValue:
		return Address{}, broken("the address %.40q", s)
	case kind == "utf-8":
		return parseUTF8(addr)
	case !ascii(addr) || strings.ContainsFunc(addr, control):
		return Address{}, broken("the address %.40q", s)
	}
	return Address{Type: kind, Addr: addr}, nil
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x7f })
}

func control(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }

// atom tells a word of a field's type.
func atom(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?.=`, r)
	})
}

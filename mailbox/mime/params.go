package mime

import (
	"sort"
	"strconv"
	"strings"
)

// param is one parameter of Content-Type or Content-Disposition.
type param struct {
	name  string // lower case; on the wire "filename*" for RFC 2231 values
	value string
}

// parseParams reads "value; name=value; ..." (RFC 2045 section 5.1), leniently.
// wire holds the parameters as written, pieces of RFC 2231 joined, in order;
// decoded maps name to text. The first of a repeated parameter counts.
func parseParams(s string) (value string, wire []param, decoded map[string]string) {
	s = strings.ReplaceAll(s, "\x00", "")
	end := strings.IndexByte(s, ';')
	if end < 0 {
		end = len(s)
	}
	value = strings.ToLower(strings.Trim(stripComments(s[:end]), " \t\r\n"))
	wire, decoded = joinParams(rawParams(s))
	return value, wire, decoded
}

// rawParams cuts what follows the first ';' into name and value pairs.
func rawParams(s string) []param {
	var list []param
	i := strings.IndexByte(s, ';')
	for i >= 0 && i < len(s) && len(list) < maxParams {
		i++ // the ';'
		start := i
		for i < len(s) && s[i] != '=' && s[i] != ';' {
			i++
		}
		name := strings.ToLower(strings.Trim(stripComments(s[start:i]), " \t\r\n"))
		if i >= len(s) || s[i] == ';' {
			continue
		}
		i++ // the '='
		for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
			i++
		}
		var value string
		if i < len(s) && s[i] == '"' {
			value, i = quotedValue(s, i+1)
		} else {
			start = i
			for i < len(s) && s[i] != ';' {
				i++
			}
			value = s[start:i]
			// "us-ascii (plain)" has a comment; "copy (2).pdf" wants quotes, but a
			// file name is worth more than a comment.
			if c := strings.Index(value, " ("); c > 0 && !strings.Contains(name, "name") {
				value = value[:c]
			}
			value = strings.Trim(value, " \t\r\n")
		}
		for i < len(s) && s[i] != ';' {
			i++
		}
		if validName(name) {
			list = append(list, param{name, value})
		}
	}
	return list
}

// quotedValue reads a quoted string from behind its first quote. A backslash
// escapes only quote and backslash, since Windows paths are written raw.
func quotedValue(s string, i int) (string, int) {
	var b []byte
	for i < len(s) && s[i] != '"' {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\') {
			i++
		}
		b = append(b, s[i])
		i++
	}
	return string(b), min(i+1, len(s))
}

func validName(s string) bool {
	if s == "" || len(s) > 80 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?=", s[i]) >= 0 {
			return false
		}
	}
	return true
}

// pieces are the parts of one parameter that RFC 2231 section 3 continues.
type pieces struct{ list []piece }

type piece struct {
	n       int
	encoded bool
	value   string
}

// joinParams joins continued parameters and decodes values.
func joinParams(raw []param) (wire []param, decoded map[string]string) {
	if !anyContinued(raw) {
		return plainParams(raw)
	}
	continued := map[string]*pieces{}
	seen := map[string]bool{}
	var order []string // names with '*' behind for RFC 2231 forms
	plain := map[string]string{}
	for _, p := range raw {
		base, n, encoded, ok := splitName(p.name)
		switch {
		case !ok: // plain
			if !seen[p.name] {
				seen[p.name] = true
				order = append(order, p.name)
				plain[p.name] = p.value
			}
		default:
			c := continued[base]
			if c == nil {
				c = &pieces{}
				continued[base] = c
				order = append(order, base+"*")
			}
			c.list = append(c.list, piece{n, encoded, p.value})
		}
	}
	if len(order) > maxKeptParams {
		order = order[:maxKeptParams]
	}
	decoded = make(map[string]string, len(order))
	for _, name := range order {
		c := continued[strings.TrimSuffix(name, "*")]
		if c == nil || !strings.HasSuffix(name, "*") {
			wire = append(wire, param{name, plain[name]})
			if _, better := decoded[name]; !better {
				decoded[name] = clean(DecodeWords(plain[name]))
			}
			continue
		}
		base := strings.TrimSuffix(name, "*")
		w, text := c.join(base)
		wire = append(wire, w)
		decoded[base] = text // the RFC 2231 form is the better one
	}
	return wire, decoded
}

func anyContinued(raw []param) bool {
	for _, p := range raw {
		if strings.IndexByte(p.name, '*') >= 0 {
			return true
		}
	}
	return false
}

// plainParams is joinParams for the usual case.
func plainParams(raw []param) (wire []param, decoded map[string]string) {
	if len(raw) == 0 {
		return nil, nil
	}
	decoded = make(map[string]string, min(len(raw), maxKeptParams))
	for _, p := range raw {
		if _, again := decoded[p.name]; again || len(wire) == maxKeptParams {
			continue
		}
		wire = append(wire, p)
		decoded[p.name] = clean(DecodeWords(p.value))
	}
	return wire, decoded
}

// splitName reads "name*", "name*2" and "name*2*"; ok is false for other names.
func splitName(s string) (base string, n int, encoded, ok bool) {
	star := strings.IndexByte(s, '*')
	if star <= 0 {
		return "", 0, false, false
	}
	base, rest := s[:star], s[star+1:]
	if rest == "" {
		return base, 0, true, true
	}
	num, encoded := strings.CutSuffix(rest, "*")
	n, err := strconv.Atoi(num)
	if err != nil || n < 0 || n > 999 {
		return "", 0, false, false
	}
	return base, n, encoded, true
}

// join gives the parameter as one RFC 2231 value for the wire and as text.
func (c *pieces) join(base string) (param, string) {
	sort.SliceStable(c.list, func(i, j int) bool { return c.list[i].n < c.list[j].n })
	charset, prefix := "", ""
	encoded := false
	var data, star []byte
	last := -1
	for i, p := range c.list {
		if p.n == last {
			continue // a repeated piece: the first counts
		}
		last = p.n
		v := p.value
		if !p.encoded {
			data = append(data, v...)
			star = appendPercent(star, v)
			continue
		}
		if i == 0 {
			if a := strings.SplitN(v, "'", 3); len(a) == 3 {
				charset, prefix, v = a[0], a[0]+"'"+a[1]+"'", a[2]
			}
		}
		encoded = true
		star = append(star, v...)
		data = appendUnpercent(data, v)
	}
	text := clean(DecodeCharset(charset, data))
	if !encoded {
		return param{base, string(data)}, clean(DecodeWords(text))
	}
	return param{base + "*", prefix + string(star)}, text
}

func appendUnpercent(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0 {
			dst = append(dst, byte(hex(s[i+1])<<4|hex(s[i+2])))
			i += 2
			continue
		}
		dst = append(dst, s[i])
	}
	return dst
}

func appendPercent(dst []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$&+-.^_`{|}~", c) >= 0 {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', digits[c>>4], digits[c&15])
	}
	return dst
}

package mime

// structure gives the BODYSTRUCTURE (full) or BODY wire bytes of a tree (RFC
// 9051 section 7.5.2), and whether they keep their bound. Types and encodings
// are lower case and no space stands between parts: some clients want both.
func structure(root *node, full bool) ([]byte, bool) {
	b := &structureWriter{full: full}
	b.part(root)
	return b.w, len(b.w) < maxWire
}

type structureWriter struct {
	w    []byte
	full bool
}

func (b *structureWriter) raw(s string)      { b.w = append(b.w, s...) }
func (b *structureWriter) str(s string)      { b.w = appendString(b.w, s) }
func (b *structureWriter) nstring(s *string) { b.w = appendNString(b.w, s) }

func (b *structureWriter) part(n *node) {
	if len(b.w) >= maxWire {
		return // too long already; the caller drops it
	}
	b.raw("(")
	if n.typ == "multipart" {
		for _, c := range n.children {
			b.part(c)
		}
		b.raw(" ")
		b.str(n.subtype)
		if b.full {
			b.raw(" ")
			b.params(n.params)
			b.tail(n)
		}
		b.raw(")")
		return
	}
	b.str(n.typ)
	b.raw(" ")
	b.str(n.subtype)
	b.raw(" ")
	if n.typeGiven || n.typ != "text" {
		b.params(n.params)
	} else {
		b.raw(`("charset" "us-ascii")`) // RFC 2045 section 5.2
	}
	b.raw(" ")
	b.nstring(n.id)
	b.raw(" ")
	b.nstring(n.desc)
	b.raw(" ")
	b.str(n.encoding)
	b.raw(" ")
	b.w = appendNumber(b.w, n.blen)
	switch {
	case n.msg != nil:
		b.raw(" ")
		b.w = append(b.w, n.msg.envelope...)
		b.raw(" ")
		b.part(n.msg)
		b.raw(" ")
		b.w = appendNumber(b.w, n.lines)
	case n.typ == "text":
		b.raw(" ")
		b.w = appendNumber(b.w, n.lines)
	}
	if b.full {
		b.raw(" ")
		b.nstring(n.md5)
		b.tail(n)
	}
	b.raw(")")
}

// tail writes disposition, language and location.
func (b *structureWriter) tail(n *node) {
	b.raw(" ")
	if n.disposition == "" {
		b.raw("NIL")
	} else {
		b.raw("(")
		b.str(n.disposition)
		b.raw(" ")
		b.params(n.dparams)
		b.raw(")")
	}
	b.raw(" ")
	if len(n.langs) == 0 {
		b.raw("NIL")
	} else {
		b.raw("(")
		for i, l := range n.langs {
			if i > 0 {
				b.raw(" ")
			}
			b.str(l)
		}
		b.raw(")")
	}
	b.raw(" ")
	b.nstring(n.location)
}

func (b *structureWriter) params(list []param) {
	if len(list) == 0 {
		b.raw("NIL")
		return
	}
	b.raw("(")
	for i, p := range list {
		if i > 0 {
			b.raw(" ")
		}
		b.str(p.name)
		b.raw(" ")
		b.str(p.value)
	}
	b.raw(")")
}

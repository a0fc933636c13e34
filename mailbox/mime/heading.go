package mime

// Heading is what the header of a message or part says of its body.
type Heading struct {
	Type, Subtype string // lower case
	Boundary      string // of a multipart, without its dashes; "" for all others
	FileName      string // decoded filename or name, at most 255 bytes; never a path to open
}

// ReadHeading reads the header of a part for who sees a message pass and cannot
// wait for its Index. It understands what Parse does, as leniently.
func ReadHeading(header []byte) Heading {
	var n node
	n.readHeader(header, Limits{}.withDefaults().Fields, false, false)
	h := Heading{Type: n.typ, Subtype: n.subtype, FileName: n.fileName}
	if n.typ == "multipart" && n.identity() {
		h.Boundary = n.boundary
	}
	return h
}

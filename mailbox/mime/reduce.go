package mime

// reductions make a tree smaller, each further than the one before, until the
// encoded index and the wire bytes keep their bounds. The last one leaves a
// single leaf. Bytes only move into larger leaves; none becomes unreachable.
var reductions = [...]func(*node){
	func(n *node) { n.slim() },
	func(n *node) { n.flatten(16) },
	func(n *node) { n.flatten(8) },
	func(n *node) { n.keep(400) },
	func(n *node) { n.keep(200) },
	func(n *node) { n.keep(100) },
	func(n *node) { n.keep(50) },
	func(n *node) { n.keep(25) },
	func(n *node) { n.keep(10) },
	func(n *node) { n.flatten(0); n.strip() },
}

// walk calls fn for n and all below it.
func (n *node) walk(fn func(*node)) {
	fn(n)
	for _, c := range n.children {
		c.walk(fn)
	}
	if n.msg != nil {
		n.msg.walk(fn)
	}
}

// slim drops descriptions, shortens nested envelopes, and drops the parameters that nothing here works with.
func (n *node) slim() {
	n.walk(func(n *node) {
		n.desc, n.md5, n.location, n.langs = nil, nil, nil, nil
		if n.smallEnvelope != nil {
			n.envelope = n.smallEnvelope
		}
		n.params = slimParams(n.params)
		n.dparams = slimParams(n.dparams)
		for name := range n.decoded {
			if !essential(name) {
				delete(n.decoded, name)
			}
		}
		if len(n.decoded) == 0 {
			n.decoded = nil
		}
	})
}

func slimParams(list []param) []param {
	var out []param
	for _, p := range list {
		if len(p.value) <= 120 && (essential(p.name) || p.name == "filename" || p.name == "filename*") {
			out = append(out, p)
		}
	}
	return out
}

func essential(name string) bool {
	switch name {
	case "charset", "protocol", "micalg", "smime-type", "report-type", "name", "name*":
		return true
	}
	return false
}

// strip leaves a lone leaf nothing that could be long.
func (n *node) strip() {
	n.slim()
	n.id, n.params, n.dparams, n.decoded = nil, nil, nil, nil
}

// flatten turns what lies deeper than depth levels into blobs.
func (n *node) flatten(depth int) {
	if len(n.children) == 0 && n.msg == nil {
		return
	}
	if depth == 0 {
		n.toBlob()
		return
	}
	for _, c := range n.children {
		c.flatten(depth - 1)
	}
	if n.msg != nil {
		n.msg.flatten(depth - 1)
	}
}

// keep leaves the first parts of the tree, in the order of the message; what
// follows in a multipart becomes one blob at its end.
func (n *node) keep(parts int) {
	left := parts - 1
	n.keepBelow(&left)
}

func (n *node) keepBelow(left *int) {
	if n.msg != nil {
		if *left <= 0 {
			n.toBlob()
			return
		}
		*left--
		n.msg.keepBelow(left)
	}
	for i, c := range n.children {
		if *left <= 0 {
			if i == 0 {
				n.toBlob()
				return
			}
			rest := &node{off: c.off, blen: n.bodyOff() + n.blen - c.off, encoding: "8bit"}
			rest.toBlob()
			n.children = append(n.children[:i], rest)
			return
		}
		*left--
		c.keepBelow(left)
	}
}

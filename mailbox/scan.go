package mailbox

// ScanFrom is Scan for the keys that are not below from, which begins with
// prefix: for going on where another transaction ended.
func (sp Space) ScanFrom(prefix, from string, fn func(k string, raw []byte) (bool, error)) error {
	base := len(sp.key(""))
	return sp.tx.r.Scan(sp.key(prefix), sp.key(from), func(k, v []byte) (bool, error) {
		return fn(string(k[base:]), v)
	})
}

package pec

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
)

// Constraints of names (RFC 5280 section 4.2.1.10) for the chains that
// crypto/x509 does not judge: e-mail addresses and subjects, the two that CAs of
// PEC use. Any other kind refuses the certificates that have such a name.

func oidNameConstraints() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 30} }

// Tags of GeneralName.
const (
	nameEmail = 1
	nameDNS   = 2
	nameDir   = 4
	nameURI   = 6
	nameIP    = 7
)

// subtree is a GeneralSubtree; X.509 uses neither minimum nor maximum.
type subtree struct {
	Base    asn1.RawValue
	Minimum int `asn1:"optional,tag:0"`
	Maximum int `asn1:"optional,tag:1,default:-1"`
}

type constraints struct {
	Permitted []subtree `asn1:"optional,tag:0"`
	Excluded  []subtree `asn1:"optional,tag:1"`
}

// constrained checks the certificates below a CA against its constraints.
func constrained(ca *x509.Certificate, below []*x509.Certificate) *fault {
	for _, ext := range ca.Extensions {
		if !ext.Id.Equal(oidNameConstraints()) {
			continue
		}
		var c constraints
		if rest, err := asn1.Unmarshal(ext.Value, &c); err != nil || len(rest) > 0 {
			return unjudgedNames(ca)
		}
		for _, cert := range below {
			if f := c.check(ca, cert); f != nil {
				return f
			}
		}
	}
	return nil
}

func unjudgedNames(ca *x509.Certificate) *fault {
	return &fault{Unverifiable, checkChain, clip(ca.Subject.CommonName) + " constrains names in a way that is not judged"}
}

func (c *constraints) check(ca, cert *x509.Certificate) *fault {
	var subject pkix.RDNSequence
	if rest, err := asn1.Unmarshal(cert.RawSubject, &subject); err != nil || len(rest) > 0 {
		return unjudgedNames(ca)
	}
	var mayEmail, mayDir []bool // what the permitted subtrees of each kind say
	for i, list := range [][]subtree{c.Permitted, c.Excluded} {
		for _, s := range list {
			if s.Base.Class != asn1.ClassContextSpecific || s.Minimum != 0 || s.Maximum != -1 {
				return unjudgedNames(ca)
			}
			var hits []bool
			switch s.Base.Tag {
			case nameEmail:
				for _, a := range cert.EmailAddresses {
					hits = append(hits, emailWithin(a, string(s.Base.Bytes)))
				}
				if i == 0 {
					mayEmail = either(mayEmail, hits)
				}
			case nameDir:
				var base pkix.RDNSequence
				if rest, err := asn1.Unmarshal(s.Base.Bytes, &base); err != nil || len(rest) > 0 {
					return unjudgedNames(ca)
				}
				hits = []bool{nameWithin(subject, base)}
				if i == 0 {
					mayDir = either(mayDir, hits)
				}
			case nameDNS, nameURI, nameIP:
				if len(cert.DNSNames)+len(cert.URIs)+len(cert.IPAddresses) > 0 {
					return unjudgedNames(ca)
				}
			default:
				return unjudgedNames(ca)
			}
			for _, hit := range hits {
				if i == 1 && hit {
					return namesFault()
				}
			}
		}
	}
	for _, may := range append(mayEmail, mayDir...) {
		if !may {
			return namesFault()
		}
	}
	return nil
}

// either adds the verdicts of a further subtree, one for each name.
func either(may, hits []bool) []bool {
	if may == nil {
		return hits
	}
	for i := range may {
		may[i] = may[i] || hits[i]
	}
	return may
}

// emailWithin reports whether an address lies in a subtree: one mailbox, the
// mailboxes of one host, or, after a dot, those of all hosts of a domain.
func emailWithin(address, base string) bool {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return false
	}
	host := address[at+1:]
	switch {
	case base == "":
		return true
	case strings.Contains(base, "@"):
		at := strings.LastIndexByte(base, '@')
		return address[:len(address)-len(host)] == base[:at+1] && asciiEqualFold(host, base[at+1:])
	case base[0] == '.':
		return len(host) > len(base) && asciiEqualFold(host[len(host)-len(base):], base)
	}
	return asciiEqualFold(host, base)
}

// nameWithin reports whether a name begins with base. Values are compared
// without regard to case and runs of blanks (RFC 5280 section 7.1), whatever
// type of string they have.
func nameWithin(name, base pkix.RDNSequence) bool {
	if len(base) > len(name) {
		return false
	}
	for i, rdn := range base {
		if len(rdn) != len(name[i]) {
			return false
		}
		for j, want := range rdn {
			got := name[i][j]
			a, ok1 := got.Value.(string)
			b, ok2 := want.Value.(string)
			if !ok1 || !ok2 || !got.Type.Equal(want.Type) ||
				!strings.EqualFold(strings.Join(strings.Fields(a), " "), strings.Join(strings.Fields(b), " ")) {
				return false
			}
		}
	}
	return true
}

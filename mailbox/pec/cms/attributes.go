package cms

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// maxAttributes bounds the signed attributes; real ones are 3 to 6.
	maxAttributes = 64
	// firstYear and lastYear bound a signing time that is believed: CMS is from
	// 1999, and four digits is what the formats of dates have.
	firstYear, lastYear = 1999, 8999
)

// readSet reads the signed attributes: [0] IMPLICIT SET OF Attribute. It
// keeps each as it stands.
func (s *Signature) readSet(r *reader) error {
	r.enter(tag0)
	for r.more() {
		if len(s.attributes) == maxAttributes {
			return fmt.Errorf("more than %d signed attributes", maxAttributes)
		}
		s.attributes = append(s.attributes, r.element())
	}
	r.leave()
	return nil
}

// readAttributes takes what the signed attributes say: contentType and
// messageDigest exactly once, signingTime and CMSAlgorithmProtection at most
// once.
func (s *Signature) readAttributes() error {
	if len(s.attributes) == 0 {
		// Without them the signature covers the content directly, and the
		// attributes of one message could pass as the content of another.
		return errors.New("no signed attributes")
	}
	var contentType, digest, at, protection []byte
	for _, raw := range s.attributes {
		if err := checkDER(raw); errors.Is(err, errDER) {
			return errors.New("the signed attributes are not DER")
		} else if err != nil {
			return fmt.Errorf("the signed attributes are %w", err)
		}
		r := reader{b: raw}
		r.enter(tagSequence)
		oid := identifier{oid: r.value(tagOID)}
		r.enter(tagSet)
		if r.err != nil {
			return errors.New("a signed attribute is not readable")
		}
		var to *[]byte
		switch string(oid.oid) {
		case oidContentType:
			to = &contentType
		case oidMessageDigest:
			to = &digest
		case oidSigningTime:
			to = &at
		case oidProtection:
			to = &protection
		default:
			continue
		}
		if *to != nil {
			return fmt.Errorf("signed attribute %s twice", oid)
		}
		*to = r.element()
		r.leave()
		r.leave()
		if r.err != nil {
			return fmt.Errorf("signed attribute %s is not readable", oid)
		}
	}
	err := readContentType(contentType)
	if err != nil {
		return err
	}
	r := reader{b: digest}
	s.contentSum = r.value(tagOctets)
	if r.err != nil || len(s.contentSum) != s.Digest.Size() {
		return errors.New("signed attribute messageDigest is missing or of the wrong length")
	}
	if at != nil {
		if s.SignedAt, err = readTime(at); err != nil {
			return err
		}
		if y := s.SignedAt.Year(); y < firstYear || y > lastYear {
			s.SignedAt = time.Time{}
			return errors.New("signed attribute signingTime is not plausible")
		}
	}
	if protection != nil {
		return s.checkProtection(protection)
	}
	return nil
}

func readContentType(b []byte) error {
	r := reader{b: b}
	if oid := r.value(tagOID); r.err != nil || string(oid) != oidData {
		return errors.New("signed attribute contentType is not data")
	}
	return nil
}

// readTime reads a signingTime: UTCTime for the years 1950 to 2049, else
// GeneralizedTime (RFC 5652 section 11.3). Beyond what DER allows, some signers
// leave the seconds out or name another zone than Z.
func readTime(b []byte) (time.Time, error) {
	r := reader{b: b}
	layouts := []string{"20060102150405Z0700"}
	tag := r.peek()
	if tag == tagUTCTime {
		layouts = []string{"060102150405Z0700", "0601021504Z0700"}
	} else {
		tag = tagTime
	}
	text := string(r.value(tag))
	leap := time.Duration(0)
	if at := len(layouts[0]) - len("05Z0700"); len(text) > at+2 && text[at:at+2] == "60" {
		text, leap = text[:at]+"59"+text[at+2:], time.Second // a leap second, which no time.Time has
	}
	for _, l := range layouts {
		t, err := time.Parse(l, text)
		if r.err != nil || err != nil {
			continue
		}
		t = t.Add(leap)
		if tag == tagUTCTime && t.Year() >= 2050 {
			t = t.AddDate(-100, 0, 0)
		}
		return t.UTC(), nil
	}
	return time.Time{}, errors.New("signed attribute signingTime is not readable")
}

// checkProtection compares the algorithms that CMSAlgorithmProtection (RFC 6211)
// names with those in use. One that says sha256WithRSA where the signer's
// information says rsaEncryption with SHA-256 names the same algorithm.
func (s *Signature) checkProtection(b []byte) error {
	r := reader{b: b}
	r.enter(tagSequence)
	digest := r.identifier(tagSequence)
	signature := r.identifier(tag1)
	r.leave()
	if r.err != nil {
		return errors.New("signed attribute CMSAlgorithmProtection is not readable")
	}
	h, err := digestOf(digest)
	if err == nil && h == s.Digest {
		var a algorithm
		if a, err = algorithmOf(signature, h); err == nil && a == s.algorithm {
			return nil
		}
	}
	return errors.New("the algorithms are not those that CMSAlgorithmProtection names")
}

// sorted returns the signed attributes in the order of DER, which is that of
// their encodings as strings of bytes (X.690 section 11.6). A shorter one is
// padded with zeros for that, which no two encodings of different length need:
// they differ before, in the length.
func (s *Signature) sorted() (list [][]byte, moved bool) {
	if slices.IsSortedFunc(s.attributes, bytes.Compare) {
		return s.attributes, false
	}
	list = slices.Clone(s.attributes)
	slices.SortFunc(list, bytes.Compare)
	return list, true
}

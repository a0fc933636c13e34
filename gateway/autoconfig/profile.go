package autoconfig

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"slices"
	"strconv"
	"strings"
)

const plistType = `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n"

// Profile writes a configuration profile for Apple's devices
// (com.apple.mail.managed). It is not signed: the device says so and asks the
// person. It holds no password: the device asks for it, and for what the account
// leaves empty. The same account at the same gateway gives the same profile, so
// that installing it again replaces the one of before.
func Profile(s Settings, a Account) ([]byte, error) {
	w := s.words()
	name, id := w.generic+s.Hostname, identity("profile", s, a)
	if a.Address != "" {
		name = w.account + a.Address
	}
	labels := strings.Split(strings.ToLower(s.Hostname), ".")
	slices.Reverse(labels)
	identifier := strings.Join(labels, ".") + ".pec." + id
	port, _ := s.port()
	mail := dict{
		{"EmailAccountDescription", name},
		{"EmailAccountType", "EmailTypeIMAP"},
		{"EmailAddress", a.Address},
		{"IncomingMailServerAuthentication", "EmailAuthPassword"},
		{"IncomingMailServerHostName", s.Hostname},
		{"IncomingMailServerPortNumber", s.IMAPS},
		{"IncomingMailServerUseSSL", true},
		{"IncomingMailServerUsername", a.UserName()},
		{"OutgoingMailServerAuthentication", "EmailAuthPassword"},
		{"OutgoingMailServerHostName", s.Hostname},
		{"OutgoingMailServerPortNumber", port},
		{"OutgoingMailServerUseSSL", true},
		{"OutgoingMailServerUsername", a.UserName()},
		{"OutgoingPasswordSameAsIncomingPassword", true},
		{"PayloadDisplayName", name},
		{"PayloadIdentifier", identifier + ".mail"},
		{"PayloadType", "com.apple.mail.managed"},
		{"PayloadUUID", identity("mail", s, a)},
		{"PayloadVersion", 1},
	}
	if a.Address == "" {
		mail = mail.without("EmailAddress")
	}
	if a.UserName() == "" {
		mail = mail.without("IncomingMailServerUsername").without("OutgoingMailServerUsername")
	}
	b, err := document(plistType, plist{Version: "1.0", Dict: dict{
		{"PayloadContent", []dict{mail}},
		{"PayloadDescription", w.description},
		{"PayloadDisplayName", name},
		{"PayloadIdentifier", identifier},
		{"PayloadRemovalDisallowed", false},
		{"PayloadType", "Configuration"},
		{"PayloadUUID", id},
		{"PayloadVersion", 1},
	}})
	// encoding/xml knows no empty elements, and not every reader of property lists
	// takes them in two tags. In a text no < is left.
	b = bytes.ReplaceAll(b, []byte("<true></true>"), []byte("<true/>"))
	return bytes.ReplaceAll(b, []byte("<false></false>"), []byte("<false/>")), err
}

// identity is a UUID that depends on the gateway's name and the account alone
// (RFC 9562 section 5.8).
func identity(what string, s Settings, a Account) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{"pecgate", what, strings.ToLower(s.Hostname), strings.ToLower(a.Login), strings.ToLower(a.Address)}, "\x00")))
	b := sum[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80 // version 8, the variant of the RFC
	h := strings.ToUpper(hex.EncodeToString(b))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// plist is a property list.
type plist struct {
	XMLName xml.Name `xml:"plist"`
	Version string   `xml:"version,attr"`
	Dict    dict     `xml:"dict"`
}

// dict is a dictionary of a property list, in a fixed order. Values are string,
// int, bool and []dict.
type dict []entry

type entry struct {
	key   string
	value any
}

func (d dict) without(key string) dict {
	return slices.DeleteFunc(slices.Clone(d), func(e entry) bool { return e.key == key })
}

// MarshalXML writes keys and values one after the other.
func (d dict) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, x := range d {
		name, value := "string", x.value
		switch v := x.value.(type) {
		case int:
			name, value = "integer", strconv.Itoa(v)
		case bool:
			name, value = strconv.FormatBool(v), ""
		case []dict:
			name, value = "array", struct {
				Dicts []dict `xml:"dict"`
			}{v}
		}
		if err := e.EncodeElement(x.key, xml.StartElement{Name: xml.Name{Local: "key"}}); err != nil {
			return err
		}
		if err := e.EncodeElement(value, xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

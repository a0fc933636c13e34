package autoconfig

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"time"
)

// The schemas of Autodiscover (MS-OXDSCLI section 2.2). Outlook asks for
// responseOutlook; phones ask for another one, which is not spoken here.
const (
	responseBase    = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
	responseOutlook = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

// Bounds of a request of Autodiscover. Those of Outlook have five elements.
const (
	maxDepth  = 8
	maxTokens = 200
)

// errRequest says that a body is not a request of Autodiscover. It never holds
// a part of the body.
var errRequest = errors.New("not a request of Autodiscover")

// discovery is what a request of Autodiscover asks for.
type discovery struct {
	address string // as written
	schema  string // of the answer; may be empty
}

// readDiscovery reads a request. Of each text only what may be an address or a
// schema is kept; elements are told by their local names, since clients differ
// in their namespaces.
func readDiscovery(body []byte) (q discovery, err error) {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	var path []string
	var text strings.Builder
	found := false
	for range maxTokens {
		t, err := d.RawToken()
		if errors.Is(err, io.EOF) && found && len(path) == 0 {
			return q, nil
		}
		if err != nil {
			return q, errRequest
		}
		switch t := t.(type) {
		case xml.StartElement:
			if len(path) == 0 && (found || t.Name.Local != "Autodiscover") || len(path) == maxDepth {
				return q, errRequest
			}
			found = true
			path = append(path, t.Name.Local)
			text.Reset()
		case xml.EndElement:
			if len(path) == 0 || path[len(path)-1] != t.Name.Local {
				return q, errRequest
			}
			switch strings.Join(path, "/") {
			case "Autodiscover/Request/EMailAddress":
				q.address = strings.TrimSpace(text.String())
			case "Autodiscover/Request/AcceptableResponseSchema":
				q.schema = strings.TrimSpace(text.String())
			}
			path = path[:len(path)-1]
			text.Reset()
		case xml.CharData:
			text.Write(t)
		case xml.Directive:
			return q, errRequest // a document type, where entities are declared
		}
	}
	return q, errRequest
}

// autodiscover is the answer to Outlook.
type autodiscover struct {
	XMLName  xml.Name `xml:"Autodiscover"`
	Schema   string   `xml:"xmlns,attr"`
	Response response `xml:"Response"`
}

type response struct {
	Schema  string          `xml:"xmlns,attr,omitempty"`
	Account *outlookAccount `xml:"Account"`
	Error   *outlookRefusal `xml:"Error"`
}

type outlookAccount struct {
	Type      string            `xml:"AccountType"`
	Action    string            `xml:"Action"`
	Protocols []outlookProtocol `xml:"Protocol"`
}

type outlookProtocol struct {
	Type           string `xml:"Type"` // IMAP or SMTP
	Server         string `xml:"Server"`
	Port           int    `xml:"Port"`
	DomainRequired string `xml:"DomainRequired"`
	LoginName      string `xml:"LoginName"`
	SPA            string `xml:"SPA"` // on asks for NTLM
	SSL            string `xml:"SSL"`
	Encryption     string `xml:"Encryption"` // wins over SSL: SSL is TLS from the first byte, TLS is STARTTLS
	AuthRequired   string `xml:"AuthRequired"`
	UsePOPAuth     string `xml:"UsePOPAuth,omitempty"` // on: SMTP takes the user name and password of IMAP
	SMTPLast       string `xml:"SMTPLast,omitempty"`
}

type outlookRefusal struct {
	Time    string `xml:"Time,attr"`
	ID      string `xml:"Id,attr"`
	Code    int    `xml:"ErrorCode"`
	Message string `xml:"Message"`
	Debug   string `xml:"DebugData"`
}

// outlook writes the answer for an address that has been checked.
func outlook(s Settings, address string) ([]byte, error) {
	login := s.words().login + "/" + address
	protocol := func(kind string, port int, startTLS bool) outlookProtocol {
		p := outlookProtocol{Type: kind, Server: s.Hostname, Port: port, DomainRequired: "off", LoginName: login,
			SPA: "off", SSL: "on", Encryption: "SSL", AuthRequired: "on"}
		if startTLS {
			p.Encryption = "TLS"
		}
		if kind == "SMTP" {
			p.UsePOPAuth, p.SMTPLast = "on", "off"
		}
		return p
	}
	port, startTLS := s.port()
	return document("", autodiscover{Schema: responseBase, Response: response{Schema: responseOutlook, Account: &outlookAccount{
		Type: "email", Action: "settings",
		Protocols: []outlookProtocol{protocol("IMAP", s.IMAPS, false), protocol("SMTP", port, startTLS)},
	}}})
}

// The codes of a refusal (MS-OXDSCLI section 2.2.4.1.1.2).
const (
	codeInvalid = 600 // not a request
	codeSchema  = 601 // a schema that is not spoken here
)

// outlookError writes a refusal.
func outlookError(code int, now time.Time) ([]byte, error) {
	r := outlookRefusal{Time: now.UTC().Format("15:04:05.0000000"), ID: "0", Code: code, Message: "Invalid Request"}
	if code == codeSchema {
		r.Message = "Provider is not available"
	}
	return document("", autodiscover{Schema: responseBase, Response: response{Error: &r}})
}

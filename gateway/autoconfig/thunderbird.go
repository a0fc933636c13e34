package autoconfig

import "encoding/xml"

// clientConfig is Thunderbird's configuration file, version 1.1
// (wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat).
type clientConfig struct {
	XMLName  xml.Name      `xml:"clientConfig"`
	Version  string        `xml:"version,attr"`
	Provider emailProvider `xml:"emailProvider"`
}

type emailProvider struct {
	ID        string         `xml:"id,attr"`
	Domain    string         `xml:"domain"`
	Name      string         `xml:"displayName"`
	ShortName string         `xml:"displayShortName"`
	Incoming  []clientServer `xml:"incomingServer"`
	Outgoing  []clientServer `xml:"outgoingServer"`
}

type clientServer struct {
	Type           string `xml:"type,attr"` // imap or smtp
	Hostname       string `xml:"hostname"`
	Port           int    `xml:"port"`
	SocketType     string `xml:"socketType"` // SSL or STARTTLS
	Username       string `xml:"username"`
	Authentication string `xml:"authentication"`
	// Only in an outgoing server: an account without its own sends through that of
	// another, with a From that is refused there.
	Add    *bool `xml:"addThisServer"`
	Global *bool `xml:"useGlobalPreferredServer"`
}

// thunderbird writes the configuration file for a domain. The address is not
// needed: the client puts it in place of the word between percent signs. What
// stands before it cannot be known here, so a person has to put the login there;
// the brackets keep it from being anybody's.
func thunderbird(s Settings, domain string) ([]byte, error) {
	w := s.words()
	server := func(kind string, port int, startTLS bool) clientServer {
		c := clientServer{Type: kind, Hostname: s.Hostname, Port: port, SocketType: "SSL",
			Username: w.login + "/%EMAILADDRESS%", Authentication: "password-cleartext"}
		if startTLS {
			c.SocketType = "STARTTLS"
		}
		if kind == "smtp" {
			yes, no := true, false
			c.Add, c.Global = &yes, &no
		}
		return c
	}
	c := clientConfig{Version: "1.1", Provider: emailProvider{
		ID: s.Hostname, Domain: domain, Name: w.generic + s.Hostname, ShortName: "PEC",
		Incoming: []clientServer{server("imap", s.IMAPS, false)},
	}}
	// The first that works is taken.
	if s.Submissions != 0 {
		c.Provider.Outgoing = append(c.Provider.Outgoing, server("smtp", s.Submissions, false))
	}
	if s.Submission != 0 {
		c.Provider.Outgoing = append(c.Provider.Outgoing, server("smtp", s.Submission, true))
	}
	return document("", c)
}

// document is a value as a whole XML document.
func document(docType string, v any) ([]byte, error) {
	b, err := xml.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header+docType), append(b, '\n')...), nil
}

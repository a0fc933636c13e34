package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The legal floor of every provider (50 recipients, 30 MB of size x recipients), and our own waits.
const (
	defaultRecipients  = 50
	defaultConnections = 10
	defaultProduct     = Size(30e6)
	defaultTimeout     = time.Minute
	defaultEvery       = time.Minute
)

// provider completes the servers and limits of a mailbox: what is written, then the preset, then the defaults.
func (c *policyCheck) provider(i int, m *Mailbox, path string) {
	var p preset
	if m.Provider != "" {
		var ok bool
		if p, ok = c.presets[m.Provider]; !ok {
			c.refuse(path+"provider", "provider: there is no preset %s: %s", quote(m.Provider),
				suggest(m.Provider, slices.Sorted(maps.Keys(c.presets))))
		}
	}
	known := !c.bad[path+"provider"]
	m.Replies, m.SentFolder = p.Replies, p.Sent
	c.server(&m.SMTP, p.SMTP, path+"smtp", known, defaultPorts{tls: 465, starttls: 587})

	in := &m.Incoming
	if in.Protocol == "" {
		in.Protocol = "imap"
	}
	from, ports := p.IMAP, defaultPorts{tls: 993, starttls: 143}
	if in.Protocol == "pop3" {
		from, ports = p.POP3, defaultPorts{tls: 995, starttls: 110}
		if known && p.Name != "" && from.Host == "" && in.Host == "" {
			c.refuse(path+"incoming.protocol", "protocol: no POP3 server of %s is known: write its host too, or use imap", p.Name)
			known = false
		}
	}
	s := Server{Host: in.Host, Port: in.Port, Security: in.Security, Timeout: in.Timeout, CA: in.CA}
	c.server(&s, from, path+"incoming", known, ports)
	in.Host, in.Port, in.Security, in.Timeout, in.CA = s.Host, s.Port, s.Security, s.Timeout, s.CA
	if !c.written(path + "incoming.every") {
		in.Every = defaultEvery
	} else if in.Every < time.Second || in.Every > 24*time.Hour {
		c.wrong(path+"incoming.every", "needs 1s to 24h")
	}
	c.folders(in, path+"incoming.folders")
	c.limits(&m.Limits, p.Limits, path+"limits.")

	if m.Username == "" && !c.written(path+"username") {
		if p.Username == "own" {
			c.refuse(path+"username", "username is missing: at %s the login is a user id of its own, not the address", p.Name)
		}
		m.Username = m.Address
	}
	if len(m.Username) > 256 || strings.ContainsFunc(m.Username, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.refuse(path+"username", "username: needs at most 256 characters on one line")
	}
	if m.Active && in.Host != "" && m.Username != "" {
		account := fmt.Sprintf("%s\x00%d\x00%s", strings.ToLower(in.Host), in.Port, m.Username)
		if first, twice := c.servers[account]; twice {
			c.warn(c.where(path+"username"), "the mailbox at line %d uses the same login at the same server", c.line(fmt.Sprintf("mailboxes[%d]", first)))
		}
		c.servers[account] = i
	}
}

// maxIncomingFolders is how many folders of a provider are fetched besides the inbox.
const maxIncomingFolders = 50

// folders checks the names of a provider's folders.
func (c *policyCheck) folders(in *Incoming, path string) {
	if len(in.Folders) > 0 && in.Protocol == "pop3" {
		c.refuse(path, "folders: pop3 shows the inbox only: use protocol imap, or leave them out")
	}
	if len(in.Folders) > maxIncomingFolders {
		c.refuse(path, "folders: %d, at most %d", len(in.Folders), maxIncomingFolders)
	}
	seen := map[string]bool{}
	for i, name := range in.Folders {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case strings.EqualFold(name, "INBOX"):
			c.refuse(at, "folders: INBOX is fetched always: leave it out")
		case name == "" || len(name) > 255 || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
			c.refuse(at, "folders: needs a folder's name of 1 to 255 bytes on one line, as the provider has it")
		case seen[name]:
			c.refuse(at, "folders: %s stands there twice", quote(name))
		}
		seen[name] = true
	}
}

type defaultPorts struct{ tls, starttls int }

// server completes one server. needHost is false where the lack of a host follows from another fault.
func (c *policyCheck) server(s *Server, p presetServer, path string, needHost bool, ports defaultPorts) {
	if s.Host == "" && !c.written(path+".host") {
		s.Host = p.Host
		if s.Host == "" && needHost {
			c.refuse(path, "%s.host is missing: name a provider, or write the host", label(path))
		}
	}
	if s.Host != "" && !isHost(s.Host, true) {
		c.refuse(path+".host", "host: needs a host name, not %s", quote(s.Host))
	}
	if s.Security == "" {
		s.Security = "tls"
		if p.Security != "" && !c.written(path+".port") {
			s.Security = p.Security
		}
	}
	switch {
	case c.written(path + ".port"):
		if s.Port < 1 || s.Port > 65535 {
			c.wrong(path+".port", "needs 1 to 65535")
		}
	case p.Port != 0 && s.Security == p.Security:
		s.Port = p.Port
	case s.Security == "starttls":
		s.Port = ports.starttls
	default:
		s.Port = ports.tls
	}
	if !c.written(path + ".timeout") {
		s.Timeout = defaultTimeout
	} else if s.Timeout < time.Second || s.Timeout > 10*time.Minute {
		c.wrong(path+".timeout", "needs 1s to 10m")
	}
	if s.CA != "" && !c.apart {
		name := s.CA
		s.CA = c.appliance.Path(name)
		c.follow(s.CA)
		if err := c.keepers.readCAs(s.CA); err != nil {
			c.refuse(path+".ca", "ca: file %s: %v", shownName(name), err)
		}
	}
}

func (c *policyCheck) limits(l *Limits, p Limits, path string) {
	if !c.written(path + "recipients") {
		if l.Recipients = p.Recipients; l.Recipients == 0 {
			l.Recipients = defaultRecipients
		}
	} else if l.Recipients < 1 || l.Recipients > 1000 {
		c.wrong(path+"recipients", "needs 1 to 1000")
	}
	if !c.written(path + "product") {
		if l.Product = p.Product; l.Product == 0 {
			l.Product = defaultProduct
		}
	} else if l.Product < 1 {
		c.wrong(path+"product", "needs a size above 0")
	}
	if !c.written(path + "per_minute") {
		l.PerMinute = p.PerMinute
	}
	if !c.written(path + "connections") {
		if l.Connections = p.Connections; l.Connections == 0 {
			l.Connections = defaultConnections
		}
	} else if l.Connections < 1 || l.Connections > 1000 {
		c.wrong(path+"connections", "needs 1 to 1000")
	}
}

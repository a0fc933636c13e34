package configs

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// outgoingIMAP checks how the IMAP server for ordinary mail is spoken to.
func (f *findings) outgoingIMAP(d *decoder, a *Appliance) {
	const at = "outgoing.imap."
	s := &a.Outgoing.IMAP
	if s.Port < 1 || s.Port > 65535 {
		d.refuse(at+"port", "port: needs 1 to 65535, not %d", s.Port)
	}
	if s.CA != "" {
		name := s.CA
		s.CA = a.Path(name)
		if err := f.keepers.readCAs(s.CA); err != nil && !f.alone {
			d.refuse(at+"ca", "ca: file %s: %v", shownName(name), err)
		}
	}
	for _, secret := range []struct {
		key  string
		file *string
	}{{"password_file", &s.PasswordFile}, {"oauth2.client_secret_file", &s.OAuth2.ClientSecretFile}} {
		if *secret.file == "" {
			continue
		}
		name := *secret.file
		*secret.file = a.Path(name)
		if _, err := f.keepers.readPrivate(*secret.file, maxSecret); err != nil {
			d.refuse(at+secret.key, "%s: file %s: %v", secret.key, shownName(name), err)
		}
	}
	if s.Host == "" {
		return
	}
	if !isHost(s.Host, true) {
		d.refuse(at+"host", "host: needs a host name, not %s", quote(s.Host))
	}
	if len(s.Domains) == 0 {
		d.refuse(at+"host", "domains: needs the domains of the ordinary addresses that take mail by IMAP, like [example.org]")
	}
	for i, name := range s.Domains {
		if !isHost(name, false) || !strings.Contains(name, ".") {
			d.refuse(fmt.Sprintf("%sdomains[%d]", at, i), "domains: needs a domain like example.org, not %s", quote(name))
		}
	}
	if strings.TrimSpace(s.Folder) == "" || len(s.Folder) > 250 || strings.ContainsFunc(s.Folder, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		d.refuse(at+"folder", "folder: needs the name of a folder, like INBOX")
	}
	if s.Username == "" || strings.ContainsFunc(s.Username, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		d.refuse(at+"username", "username: needs a name without spaces, like {email}")
	}
	f.outgoingOAuth2(d, s)
}

// outgoingOAuth2 checks how tokens are got.
func (f *findings) outgoingOAuth2(d *decoder, s *OutgoingIMAP) {
	const at = "outgoing.imap."
	o := s.OAuth2
	if o.TokenURL == "" {
		if o.ClientID != "" || o.ClientSecretFile != "" {
			d.refuse(at+"oauth2", "oauth2: needs token_url, the address that gives tokens")
		} else if s.PasswordFile == "" {
			d.refuse(at+"host", "imap: needs password_file or oauth2")
		}
		return
	}
	u, err := url.Parse(o.TokenURL)
	local := err == nil && u.Scheme == "http" && net.ParseIP(u.Hostname()) != nil && net.ParseIP(u.Hostname()).IsLoopback()
	if err != nil || u.Host == "" || u.Scheme != "https" && !local || u.User != nil {
		d.refuse(at+"oauth2.token_url", "token_url: needs an https address, not %s", quote(o.TokenURL))
	}
	if o.ClientID == "" || o.ClientSecretFile == "" {
		d.refuse(at+"oauth2.token_url", "oauth2: client_id and client_secret_file belong to token_url")
	}
}

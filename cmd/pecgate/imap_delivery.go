package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"pecgate/configs"
	"pecgate/relay"
)

// imapDeliveryOf is the way to ordinary mailboxes by IMAP; nil: there is none.
func imapDeliveryOf(l *configs.Loaded) (*relay.IMAPDelivery, error) {
	h := l.Appliance.Outgoing.IMAP
	if h.Host == "" {
		return nil, nil
	}
	out := &relay.IMAPDelivery{
		Endpoint: relay.Endpoint{Host: h.Host, Port: h.Port, Security: h.Security, Timeout: time.Minute},
		Domains:  h.Domains, Username: h.Username, Folder: h.Folder, Move: h.Rule == "move",
	}
	if h.OAuth2.TokenURL != "" {
		source := newTokens(h.OAuth2)
		out.Token, out.TokenRefused = source.token, source.refused
	} else {
		out.Password = h.Password
	}
	if h.CA == "" {
		return out, nil
	}
	b, err := os.ReadFile(h.CA)
	if err != nil {
		return nil, fmt.Errorf("outgoing.imap.ca: %w", err)
	}
	out.Roots = x509.NewCertPool()
	if !out.Roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("outgoing.imap.ca: %s holds no certificate", h.CA)
	}
	return out, nil
}

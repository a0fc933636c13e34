package relay

import (
	"crypto/x509"
	"slices"
	"time"
)

// Endpoint is a server of the provider.
type Endpoint struct {
	Host     string
	Port     int
	Security string         // "tls" (implicit) or "starttls"
	Roots    *x509.CertPool // nil: the system's
	Timeout  time.Duration  // per command
}

// Account is one PEC mailbox as the provider knows it.
type Account struct {
	Box            string // address, lower case
	Active         bool   // false: neither fetched nor sent
	Admin          string // login
	Username       string
	Password       func() (string, error) `json:"-"` // read at each use, kept nowhere
	SMTP, IMAP     Endpoint
	Folders        []string      // of the provider, polled; nil: INBOX
	Every          time.Duration // between polls
	UncertainAfter time.Duration // how long receipts are waited for
	MaxMessage     int64         // bytes, of one that is fetched
}

// same tells whether a worker can go on with the other's settings. The
// password is read anew at each use and does not matter.
func (a Account) same(b Account) bool {
	return a.Box == b.Box && a.Active == b.Active && a.Admin == b.Admin && a.Username == b.Username &&
		a.SMTP.same(b.SMTP) && a.IMAP.same(b.IMAP) && slices.Equal(a.Folders, b.Folders) &&
		a.Every == b.Every && a.UncertainAfter == b.UncertainAfter && a.MaxMessage == b.MaxMessage
}

func (e Endpoint) same(o Endpoint) bool {
	roots := e.Roots == o.Roots || (e.Roots != nil && o.Roots != nil && e.Roots.Equal(o.Roots))
	return roots && e.Host == o.Host && e.Port == o.Port && e.Security == o.Security && e.Timeout == o.Timeout
}

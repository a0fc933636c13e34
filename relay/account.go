package relay

import (
	"crypto/x509"
	"slices"
	"time"

	"pecgate/relay/submit"
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
	PasswordFile   string                 // that holds Password; "": it stands in the policy itself
	Expires        time.Time              // the first instant at which the password is none any more; zero: never
	SMTPLogin      Login                  // where it differs
	FetchLogin     Login                  // the same, for IMAP or POP3
	XOAuth2        bool                   // Password is an OAuth 2.0 access token
	SMTP, IMAP     Endpoint
	POP3           Endpoint      // with a Host: fetched from there in place of IMAP
	Folders        []string      // of the provider, polled; nil: INBOX
	Every          time.Duration // between polls
	Hours          Hours         // when it is polled and sends; zero: always
	UncertainAfter time.Duration // how long receipts are waited for
	Resend         bool          // then it is handed over once more, where the mailbox was readable throughout; false: held
	MaxMessage     int64         // bytes, of one that is fetched
	PerMinute      int           // most hand-overs a minute; 0: no limit
	Connections    int           // most connections at once to one host of the provider, over all mailboxes; 0: no limit
	Receipt        string        // of a delivery, as is asked for: complete (or empty), brief, synthetic
	ProviderQuota  int64         // bytes that the mailbox has at the provider; 0: only the provider says
	WhenFullSend   bool          // what has no room for its receipts is sent all the same
	QuotaWarnings  []int         // per cent of the room that are told
	Copy           CopyRule      // what becomes of the provider's copy of a message
	CopyReceipts   CopyRule      // the same of a receipt
	OrdinaryTo     string        // address that gets what ordinary mail arrives; "": none. Read at each message
	Watch          Watch         // whose silence is told; read at each round
	HistoryUnseen  bool          // what stood at the provider before us looks new
	SharedSeen     bool          // \Seen is common to its members

	// Ways of this provider.
	Replies    []submit.ReplyRule // what it means by replies of its own
	SentCopy   bool               // what was sent is put into its folder for that
	SentFolder string             // the name of that, where it does not say which it is
}

// CopyRule says what becomes of the provider's copy of a message that is ours:
// the zero value keeps it.
type CopyRule struct {
	Delete bool
	After  time.Duration // this long after our copy came to be; 0: at once
}

func (r CopyRule) String() string {
	switch {
	case !r.Delete:
		return "keep"
	case r.After <= 0:
		return "delete"
	}
	return r.After.String()
}

// same tells whether a worker can go on with the other's settings. The
// password is read anew at each use and does not matter.
func (a Account) same(b Account) bool {
	return a.Box == b.Box && a.Active == b.Active && a.Admin == b.Admin && a.Username == b.Username &&
		a.Expires.Equal(b.Expires) && a.SMTPLogin.Expires.Equal(b.SMTPLogin.Expires) && a.FetchLogin.Expires.Equal(b.FetchLogin.Expires) &&
		a.Receipt == b.Receipt && a.ProviderQuota == b.ProviderQuota && a.WhenFullSend == b.WhenFullSend && slices.Equal(a.QuotaWarnings, b.QuotaWarnings) &&
		a.SMTPLogin.Username == b.SMTPLogin.Username && a.FetchLogin.Username == b.FetchLogin.Username &&
		a.SMTP.same(b.SMTP) && a.IMAP.same(b.IMAP) && a.POP3.same(b.POP3) && a.Copy == b.Copy && a.CopyReceipts == b.CopyReceipts && slices.Equal(a.Folders, b.Folders) &&
		a.Every == b.Every && a.Hours == b.Hours && a.UncertainAfter == b.UncertainAfter && a.Resend == b.Resend && a.XOAuth2 == b.XOAuth2 &&
		a.SentCopy == b.SentCopy && a.SentFolder == b.SentFolder && slices.EqualFunc(a.Replies, b.Replies, submit.ReplyRule.Same) && a.MaxMessage == b.MaxMessage && a.PerMinute == b.PerMinute && a.Connections == b.Connections && a.HistoryUnseen == b.HistoryUnseen
}

func (e Endpoint) same(o Endpoint) bool {
	roots := e.Roots == o.Roots || (e.Roots != nil && o.Roots != nil && e.Roots.Equal(o.Roots))
	return roots && e.Host == o.Host && e.Port == o.Port && e.Security == o.Security && e.Timeout == o.Timeout
}

// secrets gives what the password file holds as what it is.
func (a Account) secrets(held string) (password, token string) {
	if a.XOAuth2 {
		return "", held
	}
	return held, ""
}

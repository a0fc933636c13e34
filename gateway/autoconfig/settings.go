package autoconfig

import (
	"strings"

	"pecgate/policy"
)

// Settings are what clients are told.
type Settings struct {
	Hostname string // of the gateway, under which its certificate is good
	Language string // of the few words in the answers: it or en

	// Ports of the listeners; 0: there is none. There must be one for IMAP and one
	// for submission.
	IMAPS       int // implicit TLS
	Submissions int // implicit TLS (RFC 8314)
	Submission  int // STARTTLS
}

// words are the texts that people may see, in one language.
type words struct {
	login       string // stands for the login where a client wants a whole user name
	account     string // followed by the mailbox's address
	generic     string // followed by the gateway's name
	description string
}

func (s Settings) words() words {
	if s.Language == "en" {
		return words{
			login:   "[login]",
			account: "PEC ",
			generic: "PEC by ",
			description: "Account for a PEC mailbox. The user name is your login, a slash and the address of the mailbox; " +
				"the password is your own of pecgate.",
		}
	}
	return words{
		login:   "[utente]",
		account: "PEC ",
		generic: "PEC tramite ",
		description: "Account per una casella PEC. Il nome utente è il proprio utente, una barra e l'indirizzo della casella; " +
			"la password è quella personale di pecgate.",
	}
}

// port is where mail is submitted, and whether TLS begins by STARTTLS there.
func (s Settings) port() (port int, startTLS bool) {
	if s.Submissions != 0 {
		return s.Submissions, false
	}
	return s.Submission, true
}

// Account is for whom a profile is. All that is empty the device asks for.
type Account struct {
	Address string // of the PEC mailbox
	Login   string // of the user
}

// UserName is what to log in with: for one mailbox, so that a client has one
// account for each. Empty where it is not known whole.
func (a Account) UserName() string {
	switch {
	case a.Login == "":
		return ""
	case a.Address == "":
		return a.Login
	}
	return a.Login + "/" + a.Address
}

// maxLogin is the longest login that policy.yaml may hold, in octets.
const maxLogin = 64

// isLogin tells whether a text has the form of a login of policy.yaml.
func isLogin(s string) bool {
	return s != "" && len(s) <= maxLogin && s[0] != '-' &&
		strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789._-+@") == ""
}

// domainOf is the domain of an address, in lower case; "" where the text is no
// plain address.
func domainOf(address string) string {
	plain, err := policy.ParseAddress(address)
	if err != nil {
		return ""
	}
	return plain[strings.LastIndexByte(plain, '@')+1:]
}

// askedOf is the domain that a client means by the host name it asks: clients
// put autoconfig or autodiscover before the domain of the address. "" where the
// text is no host name.
func askedOf(host string) string {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	for _, prefix := range []string{"autoconfig.", "autodiscover."} {
		if d := domainOf("x@" + strings.TrimPrefix(host, prefix)); d != "" && strings.HasPrefix(host, prefix) {
			return d
		}
	}
	return domainOf("x@" + host)
}

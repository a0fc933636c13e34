package configs

import (
	"net/netip"
	"path/filepath"
	"slices"
	"time"
	_ "time/tzdata" // time zones on a machine that has no zone files (a container, a minimal system)
)

// Appliance is pecgate.yaml. Every key can be set from the environment: PECGATE_ and the path in capitals with _ for
// each dot, lists separated by commas. File names are relative to the folder of pecgate.yaml and absolute after loading.
type Appliance struct {
	// Name of this machine in greetings, EHLO and Message-ID. A host name; required.
	Hostname string `yaml:"hostname"`
	// Folder names and notices: it (default) or en.
	Language string `yaml:"language" default:"it" oneof:"it,en"`
	// Zone for archive days, register years, PIN days and the end of the day of `expires`. Default Europe/Rome.
	Timezone string `yaml:"timezone" default:"Europe/Rome"`
	// From of notices. Default pecgate@ and the hostname.
	Address string `yaml:"address"`
	// Folder of the store and of control.sock. Default /var/lib/pecgate.
	DataDir string `yaml:"data_dir" default:"/var/lib/pecgate"`
	// Free space below which nothing new is accepted. Default 1GiB.
	MinFree Size `yaml:"min_free" default:"1GiB"`
	// What goes to standard error.
	Log Log `yaml:"log"`
	// Name of the policy file. Default policy.yaml.
	PolicyFile string `yaml:"policy_file" default:"policy.yaml"`
	// Key of what is sealed in the policy file; `pecgate seal` makes it. A credential of systemd by the name of seal.key goes
	// before it. Default seal.key.
	SealKey string `yaml:"seal_key" default:"seal.key"`
	// Certificate of the gateway's own listeners.
	TLS TLS `yaml:"tls"`
	// Listeners for clients that send.
	SMTP SMTP `yaml:"smtp"`
	// Listeners for clients that read.
	IMAP IMAP `yaml:"imap"`
	// Load balancers that name the client to all these listeners.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
	// HTTPS service for applications (applications in policy.yaml), with the certificate of the key `tls`.
	API API `yaml:"api"`
	// Tells mail programs their settings.
	Autoconfig Autoconfig `yaml:"autoconfig"`
	// PEM files of CAs accepted for PEC signatures besides the built-in ones. Default none.
	ProviderTrust []string `yaml:"provider_trust"`
	// Ask the authorities, by plain HTTP at public addresses, whether the certificates of providers are good when their
	// messages arrive, and keep the answers for evidence: once a day for each certificate, delaying no message.
	Revocation bool `yaml:"revocation" default:"true"`
	// How notices and forwarded messages reach ordinary mailboxes.
	Outgoing Outgoing `yaml:"outgoing"`

	dir string
	loc *time.Location
}

// Log says what is logged and how.
type Log struct {
	// Least level: debug, info (default), warn, error.
	Level string `yaml:"level" default:"info" oneof:"debug,info,warn,error"`
	// One event one line: json (default) or text.
	Format string `yaml:"format" default:"json" oneof:"json,text"`
}

// TLS names the certificate of the listeners, PEM.
type TLS struct {
	// Certificate and its intermediates. Required.
	Certificate string `yaml:"certificate"`
	// Its private key; must not be readable by others. Required.
	Key string `yaml:"key"`
}

// SMTP are the listeners for submission and relay. Addresses are IP:port; an empty list switches a listener off.
type SMTP struct {
	// Implicit TLS (RFC 8314). Default 0.0.0.0:465.
	Submissions []string `yaml:"submissions" default:"0.0.0.0:465"`
	// STARTTLS required before AUTH and MAIL. Default 0.0.0.0:587.
	Submission []string `yaml:"submission" default:"0.0.0.0:587"`
	// Groupware servers only; used only where policy.yaml has relays. Default 0.0.0.0:25.
	Relay []string `yaml:"relay" default:"0.0.0.0:25"`
	// Largest message taken from a client, in octets as sent. 64KiB to 1GiB, default 100MiB.
	MaxMessageSize Size `yaml:"max_message_size" default:"100MiB"`
}

// IMAP are the listeners for reading. Addresses are IP:port.
type IMAP struct {
	// Implicit TLS. Default 0.0.0.0:993.
	IMAPS []string `yaml:"imaps" default:"0.0.0.0:993"`
}

// ProxyProtocol names the load balancers in front of the listeners. Their connections must begin with a PROXY header,
// version 1 or 2; the address in it is the client's, for limits, throttling and the audit log.
type ProxyProtocol struct {
	// Their networks or addresses, and of nobody else: from there any address is believed. Default none.
	From []string `yaml:"from"`

	networks []netip.Prefix
}

// Networks are those of the key `from`.
func (p ProxyProtocol) Networks() []netip.Prefix { return slices.Clone(p.networks) }

// API is the HTTP service.
type API struct {
	// IP:port. Default empty: off. From the machine itself /healthz, /readyz and /metrics are answered without a token.
	Listen string `yaml:"listen"`
}

// Autoconfig is the HTTPS service that tells Thunderbird, Outlook and Apple's devices which servers to use. It works only
// for domains in whose DNS autoconfig.DOMAIN and autodiscover.DOMAIN can be pointed at this machine.
type Autoconfig struct {
	// IP:port, as 0.0.0.0:443; TLS with the certificate above. Default empty: off.
	Listen string `yaml:"listen"`
}

// Outgoing is the way to ordinary mailboxes.
type Outgoing struct {
	// Server that takes ordinary mail. Default none.
	Smarthost Smarthost `yaml:"smarthost"`
	// IMAP server that takes it for the mailboxes of some domains, in place of the smarthost. Default none.
	IMAP OutgoingIMAP `yaml:"imap"`
}

// OutgoingIMAP is an IMAP server for ordinary mail: copies are put into a folder of the mailbox, and ours stay in the store. Its certificate
// is always checked.
type OutgoingIMAP struct {
	// Host name, like outlook.office365.com. Empty: none.
	Host string `yaml:"host"`
	// Default 993.
	Port int `yaml:"port" default:"993"`
	// tls (default) or starttls.
	Security string `yaml:"security" default:"tls" oneof:"tls,starttls"`
	// PEM file of CAs in place of the system's roots. Default none.
	CA string `yaml:"ca"`
	// Domains of ordinary addresses that take mail this way; all others go by the smarthost. Required.
	Domains []string `yaml:"domains"`
	// Name of the login to a mailbox. {email} is its address, {local} what is before the @. Default {email}; for a master user
	// of Dovecot {email}*gateway.
	Username string `yaml:"username" default:"{email}"`
	// File that holds the password of all these logins, one line; mode 0600 or 0640. This or oauth2 is required.
	PasswordFile string `yaml:"password_file"`
	// Access tokens (XOAUTH2) in place of a password: one application that may open all the mailboxes. Default none.
	OAuth2 OAuth2 `yaml:"oauth2"`
	// Folder of the mailbox, made where it is not there. Default INBOX.
	Folder string `yaml:"folder" default:"INBOX"`
	// copy (default), or move: what arrived and was found again in the mailbox stands for that person in Archivio alone here.
	Rule string `yaml:"rule" default:"copy" oneof:"copy,move"`
}

// Password reads the password of the logins.
func (s OutgoingIMAP) Password() (string, error) { return Secret{File: s.PasswordFile}.Resolve() }

// OAuth2 is how access tokens are got: by client credentials (RFC 6749 section 4.4).
type OAuth2 struct {
	// https address that gives tokens, like https://login.microsoftonline.com/TENANT/oauth2/v2.0/token. Empty: no tokens.
	TokenURL string `yaml:"token_url"`
	// The application's id.
	ClientID string `yaml:"client_id"`
	// File that holds its secret, one line; mode 0600 or 0640.
	ClientSecretFile string `yaml:"client_secret_file"`
	// What is asked for, like https://outlook.office365.com/.default. Default none.
	Scope string `yaml:"scope"`
}

// ClientSecret reads the secret of the application.
func (o OAuth2) ClientSecret() (string, error) { return Secret{File: o.ClientSecretFile}.Resolve() }

// Smarthost is an SMTP server for ordinary mail. Its certificate is always checked.
type Smarthost struct {
	// Host name. Empty: none.
	Host string `yaml:"host"`
	// Default 25.
	Port int `yaml:"port" default:"25"`
	// starttls (default), tls, or none where host is a loopback address like 127.0.0.1.
	Security string `yaml:"security" default:"starttls" oneof:"tls,starttls,none"`
	// PEM file of CAs in place of the system's roots. Default none.
	CA string `yaml:"ca"`
	// Login, if the server asks for one; not with security none. Default none.
	Username string `yaml:"username"`
	// File that holds its password, one line; mode 0600 or 0640. Required with username.
	PasswordFile string `yaml:"password_file"`
}

// Password reads the password of the login.
func (s Smarthost) Password() (string, error) { return Secret{File: s.PasswordFile}.Resolve() }

// Location is the time zone of the key `timezone`.
func (a *Appliance) Location() *time.Location {
	if a.loc == nil {
		return time.UTC
	}
	return a.loc
}

// Dir is the folder of pecgate.yaml, to which file names are relative.
func (a *Appliance) Dir() string { return a.dir }

// Path makes a file name of one of the two files absolute. An empty name stays empty.
func (a *Appliance) Path(name string) string { return under(a.dir, name) }

func under(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

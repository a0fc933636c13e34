package main

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"pecgate/configs"
	"pecgate/gateway/smtpd"
	"pecgate/policy"
)

// setupFacts is what setup knows of the policy, for one relay. Its JSON keys are stable.
type setupFacts struct {
	Product  string `json:"product"`
	Relay    string `json:"relay"`
	Hostname string `json:"hostname"` // of the gateway, as its certificate names it
	Port     int    `json:"port"`     // of the relay listener
	// Addresses from which the gateway connects to the groupware server.
	Addresses []string `json:"addresses"`
	Networks  []string `json:"networks"` // from which the groupware server may connect
	MaxSize   int64    `json:"max_message_size"`
	Login     string   `json:"login"` // AUTH that the relay demands; empty: none
	// ClientCertificate: the relay demands one; it bears one of ClientNames where there are any.
	ClientCertificate bool     `json:"client_certificate"`
	ClientNames       []string `json:"client_names"`
	// SecretHeader is the field in which the relay demands its secret; empty: none.
	SecretHeader string `json:"secret_header"`

	Users          string          `json:"users"`           // by_email, header:NAME, user:LOGIN
	IdentityHeader string          `json:"identity_header"` // empty: none
	Identities     []setupIdentity `json:"identities"`      // who may write a PEC, with an ordinary mailbox

	Marks     []string `json:"marks"`
	Trigger   string   `json:"trigger"`
	Suffix    string   `json:"suffix"`
	Domains   []string `json:"domains"`
	Senders   []string `json:"senders"`
	Mailboxes []string `json:"mailboxes"` // PEC mailboxes that are active
	Smarthost bool     `json:"unmarked_to_smarthost"`
	PIN       []string `json:"pin"`
	// JournalAddress is where journal reports are to go; empty: none are taken.
	JournalAddress string `json:"journal_address"`

	// The way back: where the gateway hands over what people get.
	BackHost     string `json:"back_host"` // empty: there is none
	BackPort     int    `json:"back_port"`
	BackSecurity string `json:"back_security"`
	Notices      string `json:"notices"` // From of what the gateway writes; replies with a PIN go to its domain
	// PeopleDomains are those of the ordinary mailboxes.
	PeopleDomains []string `json:"people_domains"`

	Warnings []string `json:"warnings"`
}

// setupIdentity is a user whom a rule names to the gateway.
type setupIdentity struct {
	Email string `json:"email"`
	Login string `json:"login"`
}

// setupFactsOf gathers what concerns one relay. Nothing is contacted.
func setupFactsOf(l *configs.Loaded, wish setupWish, now time.Time) (setupFacts, error) {
	conf, err := relayNamed(l.Policy.Relays, wish.relay)
	if err != nil {
		return setupFacts{}, err
	}
	a, p := l.Appliance, policyOf(l)
	r, ok := p.Relay(conf.Name)
	if !ok {
		return setupFacts{}, fmt.Errorf("relay %q is not in the policy once", conf.Name)
	}
	f := setupFacts{
		Product: wish.product, Relay: conf.Name, Hostname: a.Hostname, Networks: some(conf.Networks), MaxSize: int64(a.SMTP.MaxMessageSize),
		Login: conf.Login, ClientCertificate: conf.ClientCA != "", ClientNames: some(conf.ClientNames), SecretHeader: conf.SecretHeader.Name,
		Users: r.Users, IdentityHeader: r.IdentityField(), Identities: []setupIdentity{},
		Marks: some(r.Marks), Trigger: r.Trigger, Suffix: r.Suffix, Domains: some(r.Domains), Senders: some(r.Senders), Mailboxes: []string{},
		Smarthost: r.Smarthost, PIN: some(r.PINs),
		BackHost: a.Outgoing.Smarthost.Host, BackPort: a.Outgoing.Smarthost.Port, BackSecurity: a.Outgoing.Smarthost.Security,
		Notices: a.Address, PeopleDomains: []string{}, Warnings: []string{},
	}
	if r.Journal {
		f.JournalAddress = smtpd.JournalAddress(a.Hostname)
	}
	pinless := false
	for _, m := range p.Mailboxes {
		if m.Active {
			f.Mailboxes = append(f.Mailboxes, m.Address)
			pinless = pinless || !m.PINRequired
		}
	}
	for _, u := range p.Users {
		if d := domainOf(u.Email); d != "" && !slices.Contains(f.PeopleDomains, d) {
			f.PeopleDomains = append(f.PeopleDomains, d)
		}
		writes := slices.ContainsFunc(f.Mailboxes, func(box string) bool {
			rights := p.Rights(u.Login, box, now)
			return rights.Send || rights.Compose
		})
		if writes && u.Email != "" {
			f.Identities = append(f.Identities, setupIdentity{Email: u.Email, Login: u.Login})
		}
	}
	if err := f.where(a.SMTP.Relay, wish.addresses); err != nil {
		return f, err
	}
	if err := f.fits(); err != nil {
		return f, err
	}
	f.warn(pinless)
	return f, nil
}

// relayNamed is the relay of a name, or the only one.
func relayNamed(all []configs.Relay, name string) (configs.Relay, error) {
	var known []string
	for _, r := range all {
		if name != "" && strings.EqualFold(r.Name, name) || name == "" && len(all) == 1 {
			return r, nil
		}
		known = append(known, r.Name)
	}
	switch {
	case len(all) == 0:
		return configs.Relay{}, errors.New("policy.yaml has no relays: write one for the groupware server first, as in policy.example.yaml")
	case name == "":
		return configs.Relay{}, fmt.Errorf("there are several relays: choose one with --relay (%s)", strings.Join(known, ", "))
	}
	return configs.Relay{}, fmt.Errorf("there is no relay %q: --relay takes one of %s", name, strings.Join(known, ", "))
}

// where fills in port and addresses from the listeners, or the addresses from the command line.
func (f *setupFacts) where(listeners, given []string) error {
	f.Addresses = []string{}
	for _, x := range listeners {
		at, err := netip.ParseAddrPort(x)
		if err != nil {
			return fmt.Errorf("smtp.relay %q: %w", x, err)
		}
		if f.Port == 0 {
			f.Port = int(at.Port())
		}
		if len(given) == 0 && !at.Addr().IsUnspecified() && !slices.Contains(f.Addresses, at.Addr().String()) {
			f.Addresses = append(f.Addresses, at.Addr().String())
		}
	}
	if f.Port == 0 {
		return errors.New("smtp.relay of pecgate.yaml has no address: the groupware server has nowhere to connect to")
	}
	for _, x := range given {
		at, err := netip.ParseAddr(x)
		if err != nil || at.Zone() != "" || at.IsUnspecified() {
			return fmt.Errorf("--address %q is not the IP address of a machine", x)
		}
		if !slices.Contains(f.Addresses, at.String()) {
			f.Addresses = append(f.Addresses, at.String())
		}
	}
	if len(f.Addresses) == 0 {
		return errors.New("smtp.relay listens on all addresses, so it is not known from which the gateway connects: say it with --address IP")
	}
	return nil
}

// fits refuses what a product cannot do, so that no script is printed that would not work.
func (f *setupFacts) fits() error {
	if f.SecretHeader != "" && f.Product != "exchange" && f.Product != "m365" {
		return fmt.Errorf("relay %q demands the field %s (secret_header), which only rules of Exchange and Microsoft 365 set: for %s write login: and password: in its place", f.Relay, f.SecretHeader, f.title())
	}
	switch f.Product {
	case "m365":
		if f.Login != "" {
			return fmt.Errorf("relay %q demands a login, and the connectors of Microsoft 365 cannot log in: take login: and password: away", f.Relay)
		}
		if f.Port != 25 {
			return fmt.Errorf("the connectors of Microsoft 365 deliver to port 25 only, and smtp.relay listens on %d", f.Port)
		}
		for _, a := range f.Addresses {
			at := netip.MustParseAddr(a)
			if !at.Is4() || at.IsPrivate() || at.IsLoopback() || at.IsLinkLocalUnicast() {
				return fmt.Errorf("Microsoft 365 cannot see the gateway at %s: give the public IPv4 address from which it connects with --address", a)
			}
		}
	case "postfix":
		if f.IdentityHeader != "" {
			return fmt.Errorf("relay %q finds the user by the field %s, which Postfix cannot set from the login of a person: write users: by_email", f.Relay, f.IdentityHeader)
		}
	case "mdaemon", "domino":
		if f.IdentityHeader != "" {
			return fmt.Errorf("relay %q finds the user by the field %s, which %s cannot set from the login of a person: write users: by_email", f.Relay, f.IdentityHeader, f.title())
		}
	}
	if f.Product == "mdaemon" && !f.Counts(policy.MarkDomains) && !f.Smarthost {
		return fmt.Errorf("MDaemon chooses the way by listed domains only: give relay %q domains:, or unmarked: smarthost, so that all that goes out can pass through the gateway", f.Relay)
	}
	if f.Product != "m365" && f.Product != "postfix" && !f.Counts(policy.MarkSuffix) && !f.Counts(policy.MarkDomains) && !f.Smarthost {
		return fmt.Errorf("%s chooses the way by the recipient's domain only: give relay %q a suffix: or domains:, or unmarked: smarthost, so that all that goes out can pass through the gateway", f.title(), f.Relay)
	}
	return nil
}

// warn gathers what works, but not as somebody may think.
func (f *setupFacts) warn(pinless bool) {
	add := func(format string, args ...any) { f.Warnings = append(f.Warnings, fmt.Sprintf(format, args...)) }
	if f.BackHost == "" {
		add("pecgate.yaml has no outgoing.smarthost: nothing goes back to the groupware server")
	}
	if f.OwnDomain() == "" && slices.Contains(f.PIN, "reply") {
		add("address: of pecgate.yaml is in a domain of people's ordinary mailboxes, so replies with a PIN stay in %s: give the gateway a domain of its own, as pecgate@%s", f.title(), f.Hostname)
	}
	if f.BackSecurity == "tls" && f.BackHost != "" && (f.Product == "exchange" || f.Product == "m365") {
		add("%s takes mail over STARTTLS only: write security: starttls for outgoing.smarthost", f.title())
	}
	if f.Product == "m365" && f.BackHost != "" && f.BackPort != 25 {
		add("Microsoft 365 takes mail on port 25 only, and outgoing.smarthost names %d", f.BackPort)
	}
	if f.Product == "m365" {
		if f.SecretHeader == "" {
			add("every customer of Microsoft 365 connects from the same addresses with the same certificate, so any of them could name your users: make a secret with pecgate password --secret and write it as secret_header: of the relay")
		}
		if pinless && f.SecretHeader == "" {
			add("at least one PEC mailbox sends without a PIN: with Microsoft 365 write pin_required: true and pin_methods: [reply]")
		}
		if len(f.Identities) > 250 && f.IdentityHeader != "" {
			add("%d users need a mail-flow rule each, and a tenant has room for 300", len(f.Identities))
		}
	}
	if f.SecretHeader != "" && f.Product == "exchange" && f.Smarthost {
		add("notices of failure that Exchange itself writes pass no mail-flow rule, have no secret_header and are refused: where all mail passes through the gateway, take login: and password: in its place")
	}
	if f.Product != "m365" && f.Product != "postfix" {
		var lost []string
		for _, m := range f.Marks {
			if m != policy.MarkSuffix && m != policy.MarkDomains {
				lost = append(lost, m)
			}
		}
		if len(lost) > 0 && !f.Smarthost {
			add("%s chooses the way by the recipient's domain only: what is marked by %s alone does not come to the gateway", f.title(), strings.Join(lost, ", "))
		}
	}
	if f.Product == "mdaemon" && f.Login != "" && !f.Smarthost {
		add("MDaemon logs in to the smart host for all outgoing mail only: take login: away, or let all mail pass with unmarked: smarthost")
	}
	if f.Product == "domino" && f.Login != "" && !f.Smarthost {
		add("Domino logs in to the relay host for all external mail only, not to one for chosen domains: take login: away, or let all mail pass with unmarked: smarthost")
	}
	if f.JournalAddress != "" && (f.Product == "exchange" || f.Product == "m365") {
		add("journal: true: reports go to %s and are believed; Exchange delivers the messages themselves all the same, so mark what it is not to deliver by suffix or domain too, or take a connector in place of reports", f.JournalAddress)
	}
	if slices.Contains(f.PIN, "subject") {
		add("pin: subject: the PIN stays in Sent Items, in the logs and in the journal of the groupware server; reply with one-time codes leaves nothing that works twice")
	}
}

// Counts reports whether a mark makes a message a PEC.
func (f *setupFacts) Counts(mark string) bool { return slices.Contains(f.Marks, mark) }

// OwnDomain is the domain to which people reply with a PIN; empty where it is one of their own mailboxes, which the groupware
// server keeps to itself.
func (f *setupFacts) OwnDomain() string {
	own := domainOf(f.Notices)
	if slices.Contains(f.PeopleDomains, own) {
		return ""
	}
	return own
}

func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

// title is how a product is called.
func (f *setupFacts) title() string {
	return map[string]string{"exchange": "Exchange", "m365": "Microsoft 365", "domino": "Domino", "postfix": "Postfix", "mdaemon": "MDaemon"}[f.Product]
}

// printable refuses values that no script or sheet can hold.
func (f *setupFacts) printable() error {
	check := map[string][]string{
		"relay name": {f.Relay}, "hostname": {f.Hostname}, "login": {f.Login}, "identity header": {f.IdentityHeader}, "secret header": {f.SecretHeader}, "trigger": {f.Trigger}, "suffix": {f.Suffix},
		"domain": slices.Concat(f.Domains, f.PeopleDomains), "sender": f.Senders, "mailbox": f.Mailboxes, "network": f.Networks, "address": {f.Notices}, "smarthost": {f.BackHost}, "client name": f.ClientNames,
	}
	for _, id := range f.Identities {
		check["email"], check["login"] = append(check["email"], id.Email), append(check["login"], id.Login)
	}
	for what, values := range check {
		for _, v := range values {
			if err := clean(what, v); err != nil {
				return err
			}
		}
	}
	host := regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	if !host.MatchString(f.Hostname) {
		return fmt.Errorf("hostname %q is no name of a host that a mail server can connect to", f.Hostname)
	}
	for _, d := range append(slices.Clone(f.Domains), f.Suffix, f.OwnDomain()) {
		if d != "" && !host.MatchString(d) {
			return fmt.Errorf("%q is no domain in ASCII; write it as mail carries it (xn--...)", d)
		}
	}
	for _, name := range []string{f.IdentityHeader, f.SecretHeader} {
		if name != "" && !regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`).MatchString(name) {
			return fmt.Errorf("header %q may have letters, digits and hyphens only, at most 64", name)
		}
	}
	return nil
}

// some is a list that is never null in JSON.
func some(list []string) []string {
	if list == nil {
		return []string{}
	}
	return slices.Clone(list)
}

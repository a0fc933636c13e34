package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pecgate/policy"
)

// relays checks the groupware servers, each alone and then beside the others.
func (c *policyCheck) relays() {
	first := map[string]int{}
	for i := range c.policy.Relays {
		r, path := &c.policy.Relays[i], fmt.Sprintf("relays[%d].", i)
		if c.hollow[fmt.Sprintf("relays[%d]", i)] {
			continue
		}
		if !c.missing(path+"name", r.Name) {
			if before, ok := first[strings.ToLower(r.Name)]; ok {
				c.refuse(path+"name", "name %s is already the name of the relay at line %d", quote(r.Name), c.line(fmt.Sprintf("relays[%d].name", before)))
			} else if !isLogin(r.Name) {
				c.refuse(path+"name", "name: %s may hold only letters, digits and . _ - + @, at most 64", quote(r.Name))
			}
			first[strings.ToLower(r.Name)] = i
		}
		c.networks(i, r, path)
		c.client(r, path)
		c.serverLogin(r, path)
		c.secretHeader(r, path+"secret_header")
		c.identity(r, path+"users")
		if !isTrigger(r.Trigger) && !c.bad[path+"trigger"] {
			c.refuse(path+"trigger", "trigger: needs a word in brackets, like [PEC], of letters, digits, - and _, and not [PIN], instead of %s", quote(r.Trigger))
		}
		c.marks(r, path)
		c.suffix(r, path+"suffix")
		c.relayDomains(r, path+"domains")
		c.senders(r, path+"senders")
		c.relayMailbox(r, path+"mailbox")
		c.relayPIN(r, path+"pin")
		c.journal(r, path+"journal")
		if r.Unmarked == "smarthost" && c.appliance.Outgoing.Smarthost.Host == "" && !c.apart {
			c.wrong(path+"unmarked", "smarthost, but pecgate.yaml has no outgoing.smarthost: write one there, or refuse here")
		}
		c.comesBack(r, path+"unmarked")
	}
	if len(c.policy.Relays) > 0 && !c.apart {
		c.relayListener()
	}
}

// journal says what journal reports rest on. Where a secret in each message has to prove from whom it is, none can: Exchange
// applies no mail-flow rule to reports, so that they come without one.
func (c *policyCheck) journal(r *Relay, at string) {
	switch {
	case !r.Journal:
	case r.SecretHeader.Name != "" || r.SecretHeader.Value != "" || c.written(strings.TrimSuffix(at, "journal")+"secret_header"):
		c.refuse(at, "journal: cannot go with secret_header, since Exchange applies no mail-flow rule to journal reports: let them come through a relay with a client certificate or networks of its own")
	default:
		address := "journal@ and the hostname"
		if !c.apart {
			address = "journal@" + c.appliance.Hostname
		}
		c.warn(c.where(at), "journal: whatever a report says of sender and recipients is believed, and Exchange still delivers the message itself: have a journal rule of scope External for PEC senders only, and let nobody but Exchange write to %s (pecgate setup exchange prints both)", address)
		if r.PIN == "subject" {
			c.warn(c.where(at), "journal: a PIN in the Subject stands in the message that Exchange has delivered already, to everybody who got it: only pin: reply makes sense here")
		}
	}
}

// comesBack warns of a smarthost that is the relay itself: what it sends here for others comes back to it. Exchange is often
// both, so it is no mistake where its connectors know what comes from here.
func (c *policyCheck) comesBack(r *Relay, at string) {
	host := c.appliance.Outgoing.Smarthost.Host
	if r.Unmarked != "smarthost" || host == "" || c.apart {
		return
	}
	ip, err := netip.ParseAddr(host)
	itself := err == nil && slices.ContainsFunc(r.Prefixes(), func(n netip.Prefix) bool { return n.Contains(ip.Unmap()) }) ||
		slices.ContainsFunc(r.ClientNames, func(n string) bool { return strings.EqualFold(n, host) })
	if itself {
		c.warn(c.where(at), "unmarked: outgoing.smarthost %s is this relay itself: what it passes on here comes back to it, and is refused when it comes here again", host)
	}
}

// Networks that hold so many addresses are nobody's own, by the bits of their length.
const (
	least4, least6 = 8, 16  // refused
	usual4, usual6 = 28, 64 // warned of, where nothing else is asked for
)

func (c *policyCheck) networks(i int, r *Relay, path string) {
	if len(r.Networks) == 0 {
		c.wrong(path+"networks", "name at least one network")
	}
	for j, n := range r.Networks {
		at := fmt.Sprintf("%snetworks[%d]", path, j)
		prefix, err := netip.ParsePrefix(n)
		least, usual := least4, usual4
		if err == nil && prefix.Addr().Is6() {
			least, usual = least6, usual6
		}
		switch {
		case n == "": // already told
		case err != nil || prefix.Addr().Is4In6():
			c.refuse(at, "networks: needs a network, like 192.0.2.10/32, not %s", quote(n))
		case prefix.Bits() == 0:
			c.refuse(at, "networks: %s is the whole internet", n)
		case prefix.Bits() < least:
			c.refuse(at, "networks: %s holds a large part of the internet: name the servers only", n)
		case prefix != prefix.Masked():
			c.refuse(at, "networks: %s has bits beyond its length: write %s", n, prefix.Masked())
		case r.Login != "" || r.SecretHeader.Name != "" || r.SecretHeader.Value != "" || c.written(path+"secret_header"):
		case sharedBy(prefix) != "":
			c.warn(c.where(at), "networks: from %s every customer of %s sends, with the same certificate: any of them could send PEC as your users; ask for a secret_header (docs/groupware.md)", n, sharedBy(prefix))
		case prefix.Bits() < usual && r.ClientCA == "":
			c.warn(c.where(at), "networks: everybody in %s could send as any user: name the servers only, or ask for a login, a client certificate or a secret_header", n)
		}
		if err == nil && !c.bad[at] {
			c.overlap(i, j, prefix, at)
		}
	}
}

// overlap refuses an address that would mean two relays: which of them it is must be certain.
func (c *policyCheck) overlap(i, j int, prefix netip.Prefix, at string) {
	r := &c.policy.Relays[i]
	if slices.Contains(r.Networks[:j], r.Networks[j]) {
		c.refuse(at, "networks: %s stands here twice", prefix)
		return
	}
	for k := range i {
		o := &c.policy.Relays[k]
		if r.Login != "" && o.Login != "" && !strings.EqualFold(r.Login, o.Login) {
			continue
		}
		for l, n := range o.Networks {
			other := fmt.Sprintf("relays[%d].networks[%d]", k, l)
			if p, err := netip.ParsePrefix(n); err == nil && p.Overlaps(prefix) && !c.bad[other] {
				c.refuse(at, "networks: %s overlaps %s of the relay at line %d: an address belongs to one relay, unless each asks for a login of its own",
					prefix, p, c.line(other))
				return
			}
		}
	}
}

// client checks the certificate that the server must show.
func (c *policyCheck) client(r *Relay, path string) {
	if len(r.ClientNames) > 0 && r.ClientCA == "" && !c.written(path+"client_ca") {
		c.wrong(path+"client_names", "needs client_ca, too: names count only in certificates that somebody signed")
	}
	if c.written(path + "client_names") {
		c.words(path+"client_names", r.ClientNames)
	}
	for j, n := range r.ClientNames {
		if n != "" && !isHost(n, false) {
			c.refuse(fmt.Sprintf("%sclient_names[%d]", path, j), "client_names: needs a host name, like mail.example.org, not %s", quote(n))
		}
	}
	if r.ClientCA == "" || c.apart {
		return
	}
	name := r.ClientCA
	r.ClientCA = c.appliance.Path(name)
	c.follow(r.ClientCA)
	all, err := c.keepers.certificates(r.ClientCA)
	if err != nil {
		c.refuse(path+"client_ca", "client_ca: file %s: %v", shownName(name), err)
		return
	}
	var last time.Time
	for _, one := range all {
		if one.NotAfter.After(last) {
			last = one.NotAfter
		}
	}
	if c.now.After(last) {
		c.warn(c.where(path+"client_ca"), "client_ca: the certificate expired on %s: the server is refused", last.UTC().Format(time.DateOnly))
	} else if last.Sub(c.now) < warnDays*24*time.Hour {
		c.warn(c.where(path+"client_ca"), "client_ca: the certificate expires on %s: after it the server is refused", last.UTC().Format(time.DateOnly))
	}
}

func (c *policyCheck) serverLogin(r *Relay, path string) {
	if r.Login != "" && !isLogin(r.Login) {
		c.refuse(path+"login", "login: %s may hold only letters, digits and . _ - + @, at most 64", quote(r.Login))
	}
	switch {
	case r.Login != "" && r.Password == "" && !c.written(path+"password"):
		c.wrong(path+"login", "needs a password, too: write what `pecgate password` prints")
	case r.Login == "" && c.written(path+"password") && !c.written(path+"login"):
		c.wrong(path+"password", "needs a login, too")
	}
	c.hash(path+"password", &r.Password)
}

func isTrigger(s string) bool {
	n := len(s)
	return n >= 3 && n <= 32 && s[0] == '[' && s[n-1] == ']' && !strings.EqualFold(s, "[PIN]") &&
		strings.Trim(strings.ToLower(s[1:n-1]), "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// marks settles which marks count: a list that does not count, and a mark without its list, are mistakes.
func (c *policyCheck) marks(r *Relay, path string) {
	at, said := path+"marks", c.written(path+"marks")
	if said {
		c.words(at, r.Marks)
	}
	for _, key := range []string{policy.MarkSuffix, policy.MarkDomains, policy.MarkSenders} {
		has, counts := c.written(path+key), slices.Contains(r.Marks, key)
		switch {
		case has && !said:
			r.Marks = append(r.Marks, key)
		case has && !counts && !c.bad[at]:
			c.wrong(path+key, "is written, but marks does not name it: add "+key+" to marks, or take this away")
		case counts && !has:
			c.wrong(at, key+" is named, but the key "+key+" is not written")
		}
	}
}

// suffix checks the domain that marks recipients.
func (c *policyCheck) suffix(r *Relay, at string) {
	if r.Suffix == "" {
		return
	}
	if !isHost(r.Suffix, false) || !strings.ContainsFunc(r.Suffix, func(x rune) bool { return x < '0' || x > '9' }) {
		c.refuse(at, "suffix: needs a word or domain without a dot before it, like pec, not %s", quote(r.Suffix))
		return
	}
	r.Suffix = strings.ToLower(r.Suffix)
	for i := range c.policy.Mailboxes {
		if m := &c.policy.Mailboxes[i]; strings.HasSuffix(m.Address, "."+r.Suffix) {
			c.refuse(at, "suffix: %s ends so without being marked: take a word that ends no domain, like pec", quote(m.Address))
			return
		}
	}
	if isTLD(r.Suffix) {
		c.warn(c.where(at), "suffix: domains in use end with .%s: every message to one of them is a PEC, and loses this part of its recipient; take a word that ends no domain, like pec", r.Suffix)
	}
}

func (c *policyCheck) relayDomains(r *Relay, at string) {
	if c.written(at) {
		c.words(at, r.Domains)
	}
	for j, d := range r.Domains {
		item := fmt.Sprintf("%s[%d]", at, j)
		if d == "" {
			continue
		}
		if _, err := policy.ParseAddress("x@" + d); err != nil {
			c.refuse(item, "domains: needs a domain, like pec.comune.example.it, not %s", quote(d))
			continue
		}
		r.Domains[j] = strings.ToLower(d)
		of := func(address string) bool { return strings.HasSuffix(strings.ToLower(address), "@"+r.Domains[j]) }
		if k := slices.IndexFunc(c.policy.Users, func(u User) bool { return of(u.Email) }); k >= 0 {
			c.warn(c.where(item), "domains: %s is the domain of the email of user %s: what colleagues write to each other is taken for PEC", r.Domains[j], quote(c.policy.Users[k].Login))
		} else if k := slices.IndexFunc(c.policy.Mailboxes, func(m Mailbox) bool { return of(m.Address) }); k >= 0 {
			c.warn(c.where(item), "domains: %s is the domain of our mailbox %s: what the server sends there goes as PEC, from one of our mailboxes to another", r.Domains[j], c.policy.Mailboxes[k].Address)
		}
	}
}

func (c *policyCheck) senders(r *Relay, at string) {
	if c.written(at) {
		c.words(at, r.Senders)
	}
	for j, s := range r.Senders {
		item := fmt.Sprintf("%s[%d]", at, j)
		address, err := policy.ParseAddress(s)
		box, isBox := c.boxes[strings.ToLower(address)]
		switch {
		case s == "": // already told
		case err != nil:
			c.refuse(item, "senders: %s is %v", quote(s), err)
		case isBox:
			c.refuse(item, "senders: %s is the PEC mailbox at line %d: needs an ordinary address; for mailboxes there is the mark from", quote(s),
				c.line(fmt.Sprintf("mailboxes[%d].address", box)))
		default:
			r.Senders[j] = strings.ToLower(address)
			if r.Users == policy.ByEmail && !c.lost && !slices.ContainsFunc(c.policy.Users, func(u User) bool { return strings.EqualFold(u.Email, address) }) {
				c.warn(c.where(item), "senders: %s is no user's email, and users is by_email: what it sends is refused", quote(s))
			}
		}
	}
}

func (c *policyCheck) relayMailbox(r *Relay, at string) {
	if r.Mailbox == "" {
		return
	}
	i, ok := c.boxes[strings.ToLower(r.Mailbox)]
	if !ok {
		if !c.bad["mailboxes"] {
			known := make([]string, 0, len(c.boxes))
			for b := range c.boxes {
				known = append(known, b)
			}
			slices.Sort(known)
			hint := suggest(r.Mailbox, known)
			if len(known) > 10 && !strings.HasPrefix(hint, "did") {
				hint = "add one under mailboxes"
			}
			c.refuse(at, "mailbox: there is no mailbox %s: %s", quote(r.Mailbox), hint)
		}
		return
	}
	m := &c.policy.Mailboxes[i]
	r.Mailbox = m.Address
	if !m.Active {
		c.warn(c.where(at), "mailbox: %s is not active: who names no mailbox cannot send", m.Address)
	}
}

// relayPIN warns of mailboxes from which nothing leaves on this way, because no method of theirs is allowed on it.
func (c *policyCheck) relayPIN(r *Relay, at string) {
	login, fixed := strings.CutPrefix(r.Users, "user:")
	for i := range c.policy.Mailboxes {
		m := &c.policy.Mailboxes[i]
		if fixed && !slices.ContainsFunc(m.Members, func(l Member) bool { return l.Group != "" || strings.EqualFold(l.User, login) }) {
			continue
		}
		if m.Active && m.PINRequired && !slices.Contains(m.PINMethods, "reply") && !(r.PIN == "subject" && slices.Contains(m.PINMethods, "subject")) {
			c.warn(c.where(at), "pin: %s needs a PIN, and none can come to it on this way, so nothing leaves from it: add reply to its pin_methods", m.Address)
		} else if m.Active && m.PINRequired && slices.Contains(m.PINMethods, "reply") && c.appliance.Outgoing.Smarthost.Host == "" && len(c.appliance.Outgoing.IMAP.Domains) == 0 && !c.apart {
			c.warn(c.where(at), "pin: %s needs a PIN, and without outgoing.smarthost in pecgate.yaml who sends on this way learns only by IMAP that the message is held: write one there", m.Address)
		}
	}
}

// relayListener warns of a listener that does not fit the relays.
func (c *policyCheck) relayListener() {
	if len(c.appliance.SMTP.Relay) == 0 {
		c.warn(c.where("relays"), "relays: smtp.relay of pecgate.yaml is empty, so no relay can connect")
	}
	for _, text := range c.appliance.SMTP.Relay {
		if ap, err := listenAddress(text); err == nil && ap.Addr().IsUnspecified() {
			c.warn(c.where("relays"), "relays: smtp.relay of pecgate.yaml listens on every address (%s): name the one that the groupware servers reach", text)
		}
	}
}

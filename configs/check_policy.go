package configs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"pecgate/configs/seal"
	"pecgate/policy"
)

// policyCheck judges policy.yaml as a whole, beside pecgate.yaml and the presets.
type policyCheck struct {
	*findings
	*decoder
	appliance *Appliance
	policy    *Policy
	presets   map[string]preset
	logins    map[string]int // lower case to index of users
	groups    map[string]int // lower case to index of groups
	boxes     map[string]int // lower case to index of mailboxes
	servers   map[string]int // login at a server to index of mailboxes
	lost      bool           // some user could not be read: a login that is not known may be theirs
	own       map[string]int // of mailboxes that take members of defaults, by path with its dot: how many are their own
	lostGroup bool           // the same of groups
	apart     bool           // the file is read for its rules alone: no secret and no other file is looked at
}

func (c *policyCheck) all() {
	c.logins, c.boxes, c.servers, c.own = map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	c.lost = c.bad["users"] && len(c.policy.Users) == 0
	c.users()
	c.allGroups()
	c.inheritAll()
	for i := range c.policy.Mailboxes {
		c.mailbox(i)
	}
	c.together()
	c.lists()
	c.relays()
	c.applications()
	if len(c.policy.Mailboxes) == 0 && !c.bad["mailboxes"] && !c.hollow[""] {
		c.refuse("mailboxes", "there are no mailboxes")
	}
	c.byMail()
	c.laterPolicy()
}

// missing refuses the lack of a key that has to be there.
func (c *policyCheck) missing(path, value string) bool {
	if value != "" {
		return false
	}
	if !c.written(path) {
		c.refuse(path, "%s is missing", label(path))
	}
	return true
}

// line tells where the other of two equal things stands.
func (c *policyCheck) line(path string) int { return c.where(path).Line }

func (c *policyCheck) users() {
	emails := map[string]int{}
	for i := range c.policy.Users {
		u, path := &c.policy.Users[i], fmt.Sprintf("users[%d].", i)
		if c.hollow[fmt.Sprintf("users[%d]", i)] {
			c.lost = true
			continue
		}
		if c.missing(path+"login", u.Login) {
			c.lost = true
		} else {
			login := strings.ToLower(u.Login)
			if !isLogin(u.Login) {
				c.lost = true
				c.refuse(path+"login", "login: %s may hold only letters, digits and . _ - + @, at most 64", quote(u.Login))
			} else if first, ok := c.logins[login]; ok {
				c.refuse(path+"login", "login %s is already the login of the user at line %d", quote(u.Login), c.line(fmt.Sprintf("users[%d].login", first)))
			} else {
				c.logins[login] = i
			}
		}
		if u.Email != "" {
			address, err := policy.ParseAddress(u.Email)
			email := strings.ToLower(address)
			first, twice := emails[email]
			switch {
			case err != nil:
				c.refuse(path+"email", "email: %s is %v", quote(u.Email), err)
			case twice:
				c.refuse(path+"email", "email %s is already the email of the user at line %d", quote(u.Email), c.line(fmt.Sprintf("users[%d].email", first)))
			default:
				u.Email, emails[email] = address, i
			}
		}
		c.hash(path+"password", &u.Password)
		c.hash(path+"pin", &u.PIN)
		c.code(u, path)
		if u.Password == "" && !c.written(path+"password") {
			c.warn(u.At, "user %s has no password: only an app password lets them log in", quote(u.Login))
		}
		c.words(path+"deliver", u.Deliver)
		if slices.Contains(u.Deliver, "forward") && u.Email == "" {
			c.refuse(path+"deliver", "deliver: forward needs an email")
		}
		if u.NotifyNew && u.Email == "" {
			c.refuse(path+"notify_new", "notify_new needs an email")
		}
	}
	for email, i := range emails {
		if other, ok := c.logins[email]; ok && other != i {
			c.refuse(fmt.Sprintf("users[%d].email", i), "email %s is the login of the user at line %d: a name must mean one person",
				quote(email), c.line(fmt.Sprintf("users[%d].login", other)))
		}
	}
}

func isLogin(s string) bool {
	return len(s) <= 64 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789._-+@") == "" && !strings.HasPrefix(s, "-")
}

func (c *policyCheck) hash(path string, s *string) {
	if *s == "" {
		return
	}
	weak, err := anyHash(*s)
	if err != nil {
		*s = "" // a plain text must not live on in a struct that somebody may print
		c.refuse(path, "%s: %v", label(path), err)
	} else if weak {
		c.warn(c.where(path), "%s: the hash is weaker than m=19456,t=2: make it anew with `pecgate %s`", label(path), label(path))
	}
}

// words refuses an empty list and a word that stands in it twice.
func (c *policyCheck) words(path string, list []string) {
	if len(list) == 0 {
		c.wrong(path, "the list is empty")
	}
	for i, w := range list {
		if w != "" && slices.Contains(list[:i], w) {
			c.refuse(fmt.Sprintf("%s[%d]", path, i), "%s: %s stands here twice", label(path), quote(w))
		}
	}
}

func (c *policyCheck) mailbox(i int) {
	m, path := &c.policy.Mailboxes[i], fmt.Sprintf("mailboxes[%d].", i)
	if c.hollow[fmt.Sprintf("mailboxes[%d]", i)] {
		return
	}
	if !c.missing(path+"address", m.Address) {
		address, err := policy.ParseAddress(m.Address)
		address = strings.ToLower(address)
		if err != nil {
			c.refuse(path+"address", "address: %s is %v", quote(m.Address), err)
		} else if first, ok := c.boxes[address]; ok {
			c.refuse(path+"address", "address %s is already the address of the mailbox at line %d", quote(m.Address), c.line(fmt.Sprintf("mailboxes[%d].address", first)))
		} else {
			m.Address, c.boxes[address] = address, i
		}
	}
	if m.ReplyTo != "" {
		if _, err := policy.ParseAddress(m.ReplyTo); err != nil {
			c.refuse(path+"reply_to", "reply_to: %s is %v", quote(m.ReplyTo), err)
		}
	}
	if to := m.Ordinary.ForwardTo; to != "" {
		if _, err := policy.ParseAddress(to); err != nil {
			c.refuse(path+"ordinary.forward_to", "forward_to: %s is %v", quote(to), err)
		} else if _, ok := c.boxes[strings.ToLower(to)]; ok {
			c.refuse(path+"ordinary.forward_to", "forward_to: %s is a PEC mailbox: needs an ordinary address", quote(to))
		}
	}
	if m.ProviderCopyReceipts.Mode == "" {
		m.ProviderCopyReceipts = m.ProviderCopy
	}
	c.copies(m, path)
	if m.UncertainAfter < time.Minute || m.UncertainAfter > 24*time.Hour {
		c.wrong(path+"uncertain_after", "needs 1m to 24h")
	}
	c.watch(&m.Watch, path+"watch.")
	c.words(path+"pin_methods", m.PINMethods)
	c.room(m, path)
	c.provider(i, m, path)
	c.secret(&m.Password, path+"password", m.Active && (m.SMTP.Password.IsZero() || m.Incoming.Password.IsZero()))
	c.secret(&m.SMTP.Password, path+"smtp.password", false)
	c.secret(&m.Incoming.Password, path+"incoming.password", false)
	c.members(m, path)
	if !c.missing(path+"admin", m.Admin) {
		c.admin(m, path)
	}
}

// watch checks the terms of the watchdogs.
func (c *policyCheck) watch(w *Watchdogs, path string) {
	for _, t := range []struct {
		key         string
		term        Patience
		least, most time.Duration
		words       string
	}{
		{"acceptance", w.Acceptance, 10 * time.Minute, 30 * 24 * time.Hour, "10m to 30d"},
		{"delivery_warning", w.DeliveryWarning, time.Hour, 30 * 24 * time.Hour, "1h to 30d"},
		{"delivery", w.Delivery, time.Hour, 30 * 24 * time.Hour, "1h to 30d"},
		{"unread", w.Unread, time.Hour, 365 * 24 * time.Hour, "1h to 365d"},
		{"fetch", w.Fetch, 10 * time.Minute, 30 * 24 * time.Hour, "10m to 30d"},
	} {
		if d := time.Duration(t.term); d != 0 && (d < t.least || d > t.most) {
			c.wrong(path+t.key, "needs off or "+t.words)
		}
	}
	if w.DeliveryWarning != 0 && w.Delivery != 0 && w.Delivery <= w.DeliveryWarning {
		c.wrong(path+"delivery", "needs to be longer than delivery_warning")
	}
}

// wrong refuses a value out of range, where nothing was said about it yet.
func (c *policyCheck) wrong(path, what string) {
	if !c.bad[path] {
		c.refuse(path, "%s: %s", label(path), what)
	}
}

func (c *policyCheck) admin(m *Mailbox, path string) {
	i, ok := c.logins[strings.ToLower(m.Admin)]
	if !ok {
		c.noUser(path+"admin", m.Admin)
		return
	}
	m.Admin = c.policy.Users[i].Login
}

func (c *policyCheck) noUser(path, name string) {
	if !c.lost {
		c.refuse(path, "%s: there is no user %s: %s", label(path), quote(name), c.nearUser(name))
	}
}

func (c *policyCheck) nearUser(name string) string {
	known := make([]string, 0, len(c.logins))
	for l := range c.logins {
		known = append(known, l)
	}
	slices.Sort(known)
	if s := suggest(name, known); len(known) > 0 && len(known) <= 10 || strings.HasPrefix(s, "did") {
		return s
	}
	return "add one under users"
}

// secret checks where a password is.
func (c *policyCheck) secret(s *Secret, at string, needed bool) {
	if c.apart {
		return
	}
	c.ends(s, at)
	forms := 0
	for _, text := range []string{s.File, s.Env, s.Sealed} {
		if text != "" {
			forms++
		}
	}
	switch {
	case forms > 1:
		c.refuse(at, "password: write only one of file, env and sealed")
		return
	case s.Sealed != "":
		s.keys = c.seal.Ring
		if secret := c.sealed(at+".sealed", seal.Password, s.Sealed, "pecgate seal"); secret != nil {
			if _, err := s.resolve(c.keepers); err != nil {
				c.refuse(at+".sealed", "%v", err)
			}
		}
		return
	case forms == 0 && !c.written(at) && needed:
		c.refuse(at, "password is missing: write {file: NAME} or {env: NAME}")
		return
	case forms == 0 && c.written(at) && !c.bad[at]:
		c.refuse(at, "password: write {file: NAME} or {env: NAME}")
		return
	}
	if s.File != "" {
		name := s.File
		s.File = c.appliance.Path(name)
		if _, err := s.resolve(c.keepers); err != nil {
			c.refuse(at+".file", "%v", err)
		}
	}
	if s.Env != "" && os.Getenv(s.Env) == "" {
		// No fault: the shell of an administrator is not the environment of the service.
		c.warn(c.where(at+".env"), "environment variable %s is not set here", quote(s.Env))
	}
}

// room checks what is said of the room at the provider.
// copies warns of rules for our copy and the provider's that do not mean together
// what they say.
func (c *policyCheck) copies(m *Mailbox, path string) {
	if m.Keep.Forever || m.Keep.After == 0 {
		return
	}
	for _, r := range []struct {
		key  string
		rule CopyRule
	}{{"provider_copy", m.ProviderCopy}, {"provider_copy_receipts", m.ProviderCopyReceipts}} {
		if r.rule.Mode == "after" && r.rule.After > m.Keep.After {
			c.warn(c.where(path+"keep"), "keep is shorter than %s: our messages stay until a week after the provider's copy is due to go, since it is compared with ours before", r.key)
			return
		}
	}
}

func (c *policyCheck) room(m *Mailbox, path string) {
	for i, share := range m.QuotaWarnings {
		if share < 1 || share > 100 {
			c.refuse(fmt.Sprintf("%squota_warnings[%d]", path, i), "quota_warnings: needs per cents from 1 to 100")
		}
	}
	if c.written(path+"provider_quota") && m.ProviderQuota < 1e6 {
		c.wrong(path+"provider_quota", "needs at least 1MB")
	}
}

// warnDays is how long before its last day a password is spoken of.
const warnDays = 14

// ends warns of a password whose last day is near, or over.
func (c *policyCheck) ends(s *Secret, at string) {
	if s.Expires.IsZero() {
		return
	}
	switch left := s.DaysLeft(c.now, c.appliance.Location()); {
	case left < 0:
		c.warn(c.where(at+".expires"), "expires: the last day of this password was %s: make a new one at the provider", s.Expires)
	case left <= warnDays:
		c.warn(c.where(at+".expires"), "expires: the last day of this password is %s, in %d days: make a new one at the provider", s.Expires, left)
	}
}

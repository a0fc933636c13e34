package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pecgate/policy"
)

// Application is a program that uses the HTTP service (api in pecgate.yaml) in the name of a user.
type Application struct {
	// For logs and the audit log: letters, digits and . _ - + @. Required, once, whatever its case.
	Name string `yaml:"name"`
	// Hash made by `pecgate token`. Required.
	Token string `yaml:"token" secret:"pecgate token"`
	// Login that it acts as: it never may more than that user. A user of its own, without password, is best. Required.
	User string `yaml:"user"`
	// Addresses of the mailboxes that it may use, and no others. Required.
	Mailboxes []string `yaml:"mailboxes"`
	// What it may do there: send, and read (outcomes, receipts, messages). Default both.
	Rights []string `yaml:"rights" default:"send,read" oneof:"send,read"`
	// Of mailboxes that ask for a PIN: required (default), it comes in the header X-Pecgate-PIN where pin_methods of the
	// mailbox has header; waived: it sends without.
	PIN string `yaml:"pin" default:"required" oneof:"required,waived"`
	// Most requests in a minute, 1 to 60000. Default 600.
	Rate int `yaml:"rate" default:"600"`
	// Networks it connects from, CIDR. Default any.
	Networks []string `yaml:"networks"`

	At Position `yaml:"-"`
}

// Rule is the application in the form that decides.
func (a Application) Rule() policy.Application {
	return policy.Application{
		Name: a.Name, User: a.User, Mailboxes: slices.Clone(a.Mailboxes), Send: slices.Contains(a.Rights, "send"),
		Read: slices.Contains(a.Rights, "read"), PINWaived: a.PIN == "waived", Line: a.At.FileLine(),
	}
}

// Prefixes are the networks; none: any.
func (a Application) Prefixes() (out []netip.Prefix) {
	for _, n := range a.Networks {
		if p, err := netip.ParsePrefix(n); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// mostRate bounds the requests of an application in a minute.
const mostRate = 60000

// applications checks the programs that use the HTTP service.
func (c *policyCheck) applications() {
	first, tokens := map[string]int{}, map[string]int{}
	for i := range c.policy.Applications {
		a, path := &c.policy.Applications[i], fmt.Sprintf("applications[%d].", i)
		if c.hollow[fmt.Sprintf("applications[%d]", i)] {
			continue
		}
		if !c.missing(path+"name", a.Name) {
			if before, ok := first[strings.ToLower(a.Name)]; ok {
				c.refuse(path+"name", "name %s is already the name of the application at line %d", quote(a.Name), c.line(fmt.Sprintf("applications[%d].name", before)))
			} else if !isLogin(a.Name) {
				c.refuse(path+"name", "name: %s may hold only letters, digits and . _ - + @, at most 64", quote(a.Name))
			}
			first[strings.ToLower(a.Name)] = i
		}
		if !c.missing(path+"token", a.Token) {
			if !isTokenHash(a.Token) {
				a.Token = "" // a plain text must not live on in a struct that somebody may print
				c.refuse(path+"token", "token: needs what `pecgate token` prints for policy.yaml ($token$...)")
			} else if before, ok := tokens[a.Token]; ok {
				c.refuse(path+"token", "token: is that of the application at line %d, too: make another by `pecgate token`", c.line(fmt.Sprintf("applications[%d].token", before)))
			}
			tokens[a.Token] = i
		}
		if !c.missing(path+"user", a.User) {
			if k, ok := c.logins[strings.ToLower(a.User)]; ok {
				a.User = c.policy.Users[k].Login
			} else {
				c.noUser(path+"user", a.User)
			}
		}
		c.applicationBoxes(a, path)
		if a.Rate < 1 || a.Rate > mostRate {
			c.refuse(path+"rate", "rate: needs 1 to %d requests in a minute, not %d", mostRate, a.Rate)
		}
		for j, n := range a.Networks {
			at := fmt.Sprintf("%snetworks[%d]", path, j)
			prefix, err := netip.ParsePrefix(n)
			switch {
			case n == "": // already told
			case err != nil || prefix.Addr().Is4In6():
				c.refuse(at, "networks: needs a network, like 192.0.2.10/32, not %s", quote(n))
			case prefix != prefix.Masked():
				c.refuse(at, "networks: %s has bits beyond its length: write %s", n, prefix.Masked())
			}
		}
	}
	if len(c.policy.Applications) > 0 && c.appliance.API.Listen == "" && !c.apart {
		c.warn(c.where("applications"), "applications: nobody listens for them: write api: {listen: \"0.0.0.0:8443\"} into pecgate.yaml")
	}
}

// applicationBoxes checks what an application may use.
func (c *policyCheck) applicationBoxes(a *Application, path string) {
	if len(a.Mailboxes) == 0 {
		c.wrong(path+"mailboxes", "name at least one mailbox")
	}
	for j, box := range a.Mailboxes {
		at := fmt.Sprintf("%smailboxes[%d]", path, j)
		k, ok := c.boxes[strings.ToLower(box)]
		switch {
		case box == "" || c.bad["mailboxes"]: // already told
		case !ok:
			c.refuse(at, "mailboxes: there is no mailbox %s", quote(box))
		default:
			a.Mailboxes[j] = c.policy.Mailboxes[k].Address
		}
	}
}

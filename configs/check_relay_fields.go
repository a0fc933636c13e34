package configs

import (
	"net/netip"
	"slices"
	"strings"

	"pecgate/policy"
)

// The fields by which a relay says who it is, and who its user.

// shared are networks from which many organisations send, who are kept apart by nothing that a connection shows: the
// outgoing servers of Microsoft 365 and of Google Workspace, as their pages for administrators list them ("Office 365 URLs
// and IP address ranges", Exchange Online; "Google IP address ranges for outbound mail servers").
const shared = `
Microsoft 365: 40.92.0.0/15 40.107.0.0/16 52.100.0.0/14 52.103.0.0/17 104.47.0.0/17 2a01:111:f400::/48 2a01:111:f403::/48
Google Workspace: 35.190.247.0/24 64.233.160.0/19 66.102.0.0/20 66.249.80.0/20 72.14.192.0/18 74.125.0.0/16 108.177.8.0/21 172.217.0.0/19 172.217.128.0/19 173.194.0.0/16 209.85.128.0/17 216.58.192.0/19 216.239.32.0/19 2404:6800:4000::/36 2607:f8b0:4000::/36 2a00:1450:4000::/36
`

// sharedBy names whose customers all send from some address of a network; empty: nobody known.
func sharedBy(n netip.Prefix) string {
	for line := range strings.Lines(strings.TrimSpace(shared)) {
		who, list, _ := strings.Cut(line, ":")
		for text := range strings.FieldsSeq(list) {
			if p, err := netip.ParsePrefix(text); err == nil && p.Overlaps(n) {
				return who
			}
		}
	}
	return ""
}

// secretHeader checks the field by which the server is known.
func (c *policyCheck) secretHeader(r *Relay, at string) {
	if !c.written(at) || c.bad[at] {
		return
	}
	name := r.SecretHeader.Name
	switch {
	case c.missing(at+".name", name):
	case !isFieldName(name):
		c.refuse(at+".name", "secret_header: needs the name of a header field, like X-Pecgate-Secret, not %s", quote(name))
	case isStandardField(name):
		c.refuse(at+".name", "secret_header: %s is written by every mail program: take a name that only the server sets, like X-Pecgate-Secret", name)
	case strings.EqualFold("header:"+name, r.Users):
		c.refuse(at+".name", "secret_header: %s is the field of users, too: take another name", name)
	}
	if !c.missing(at+".value", r.SecretHeader.Value) && !isSecretHash(r.SecretHeader.Value) {
		r.SecretHeader.Value = "" // a plain text must not live on in a struct that somebody may print
		c.refuse(at+".value", "secret_header: value needs what `pecgate password --secret` prints for policy.yaml ($sha256$...)")
	}
}

// identity checks how the user is found.
func (c *policyCheck) identity(r *Relay, at string) {
	if c.bad[at] {
		return
	}
	name, header := strings.CutPrefix(r.Users, "header:")
	login, fixed := strings.CutPrefix(r.Users, "user:")
	switch {
	case header:
		if !isFieldName(name) {
			c.refuse(at, "users: needs the name of a header field behind header:, like header:X-Pecgate-User, not %s", quote(name))
		} else if isStandardField(name) {
			c.refuse(at, "users: %s is written by every mail program: take a name that only the server sets, like X-Pecgate-User", name)
		}
	case fixed:
		if i, ok := c.logins[strings.ToLower(login)]; !ok {
			c.noUser(at, login)
		} else {
			r.Users = "user:" + c.policy.Users[i].Login
		}
	case r.Users != policy.ByEmail:
		c.refuse(at, "users: needs by_email, header:NAME or user:LOGIN, not %s", quote(r.Users))
	case !c.lost && !slices.ContainsFunc(c.policy.Users, func(u User) bool { return u.Email != "" }):
		c.warn(c.where(at), "users: by_email, but no user has an email: everything is refused")
	}
}

// isFieldName accepts what servers let a rule write: letters, digits and hyphens.
func isFieldName(s string) bool {
	return s != "" && len(s) <= 64 && s[0] != '-' && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// isStandardField tells whether others write a field: no rule of a server may say by it who somebody is.
func isStandardField(name string) bool {
	return slices.Contains([]string{"from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id", "received", "return-path",
		"references", "in-reply-to", "comments", "keywords", "thread-topic", "thread-index", "x-mailer", "user-agent", "content-type", "mime-version",
		"content-transfer-encoding", "content-disposition", "auto-submitted", "precedence", "x-pecgate-pin", "x-tiporicevuta"}, strings.ToLower(name))
}

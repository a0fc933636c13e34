package policy

import "strings"

// Inside reports whether an address is one of the organisation's own, by what the policy says of people: the email of a
// user, or one in the domain of such an email. A PEC mailbox is none, whatever its domain, and neither is what bears a
// relay's suffix, since that is another domain.
//
// The groupware server itself delivers to these, so that a message which its journal reports goes to all others by PEC and
// not to these.
func (p *Policy) Inside(address string) bool {
	if address == "" || p.anyMailbox(address) {
		return false
	}
	domain := address[strings.LastIndexByte(address, '@')+1:]
	for _, u := range p.Users {
		if at := strings.LastIndexByte(u.Email, '@'); at >= 0 && same(u.Email[at+1:], domain) {
			return true
		}
	}
	return false
}

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pecgate/policy"
)

// setupPage is what the templates see: the facts, and what is derived from them.
type setupPage struct {
	setupFacts
	CA string // postfix
}

// Name is how everything is called that a script makes.
func (p setupPage) Name() string { return objectName("pecgate " + p.setupFacts.Relay) }

// Marker stands in the comment of everything that a script makes and has a comment. What bears another is not ours.
func (p setupPage) Marker() string {
	return "Made by pecgate setup " + p.Product + " for relay " + p.setupFacts.Relay
}

// Slug names files and services of Postfix.
func (p setupPage) Slug() string { return "pecgate-" + slug(p.setupFacts.Relay) }

// Parameter begins the names of Postfix's parameters that are not of a service.
func (p setupPage) Parameter() string { return strings.ReplaceAll(p.Slug(), "-", "_") }

// Megabytes is the largest message, in the units of Exchange, rounded up. Exchange takes 2047 at most.
func (p setupPage) Megabytes() int64 { return min((p.MaxSize+1<<20-1)>>20, 2047) }

// All reports whether everything that goes out passes through the gateway.
func (p setupPage) All() bool {
	return p.Smarthost && (len(p.Marked()) == 0 || p.Product == "mdaemon" || p.Product == "domino" && p.Login != "")
}

// DominoDomain is the virtual domain that ties Domino's documents together.
func (p setupPage) DominoDomain() string { return strings.ToUpper(p.Slug()) }

// Spaces are the domains that go to the gateway, as Exchange's address spaces.
func (p setupPage) Spaces() []string {
	if p.All() {
		return []string{"SMTP:*;1"}
	}
	var out []string
	for _, d := range p.Remote() {
		out = append(out, "SMTP:"+d+";1")
	}
	return out
}

// Marked are the domains behind which only PEC recipients are: the suffix, with all that stands before it, and the listed.
func (p setupPage) Marked() []string {
	out := []string{}
	if p.Counts(policy.MarkSuffix) && p.Suffix != "" {
		out = append(out, "*."+p.Suffix)
	}
	if p.Counts(policy.MarkDomains) {
		out = append(out, p.setupFacts.Domains...)
	}
	return out
}

// Remote are all domains that lie behind the gateway: the marked ones, and its own, for replies to its notices.
func (p setupPage) Remote() []string {
	out := p.Marked()
	if own := p.OwnDomain(); own != "" && !slices.Contains(out, own) {
		out = append(out, own)
	}
	if p.JournalAddress != "" && !slices.Contains(out, p.Hostname) {
		out = append(out, p.Hostname)
	}
	return out
}

// Listed are those of them that have no asterisk.
func (p setupPage) Listed() []string {
	return slices.DeleteFunc(p.Remote(), func(d string) bool { return strings.HasPrefix(d, "*") })
}

// setupRoute is a way to recognise what is marked, as a condition of a mail-flow rule.
type setupRoute struct {
	Mark, Condition string
	Patterns        []string
}

// Routes are the marks that count, in their order, and replies to the gateway's notices.
func (p setupPage) Routes() []setupRoute {
	var out []setupRoute
	for _, mark := range p.Marks {
		r := setupRoute{Mark: mark}
		switch mark {
		case policy.MarkSuffix:
			r.Condition, r.Patterns = "RecipientAddressMatchesPatterns", []string{`\.` + regexp.QuoteMeta(p.Suffix) + "$"}
		case policy.MarkDomains:
			r.Condition = "RecipientAddressMatchesPatterns"
			for _, d := range p.setupFacts.Domains {
				r.Patterns = append(r.Patterns, "@"+regexp.QuoteMeta(d)+"$")
			}
		case policy.MarkSubject:
			r.Condition, r.Patterns = "SubjectMatchesPatterns", []string{tagPattern(p.Trigger)}
		case policy.MarkFrom:
			r.Condition, r.Patterns = "FromAddressMatchesPatterns", exactly(p.setupFacts.Mailboxes)
		case policy.MarkSenders:
			r.Condition, r.Patterns = "FromAddressMatchesPatterns", exactly(p.setupFacts.Senders)
		}
		if len(r.Patterns) > 0 {
			out = append(out, r)
		}
	}
	if own := p.OwnDomain(); own != "" {
		out = append(out, setupRoute{Mark: "replies", Condition: "RecipientAddressMatchesPatterns", Patterns: []string{"@" + regexp.QuoteMeta(own) + "$"}})
	}
	return out
}

// RuleName is the name of a mail-flow rule.
func (p setupPage) RuleName(what string) string {
	return objectName("pecgate " + p.setupFacts.Relay + " " + what)
}

// ByRecipient are the routes that look at the recipient.
func (p setupPage) ByRecipient() []setupRoute {
	return slices.DeleteFunc(p.Routes(), func(r setupRoute) bool { return r.Condition != "RecipientAddressMatchesPatterns" })
}

// RecipientPatterns are the patterns of all of them.
func (p setupPage) RecipientPatterns() []string {
	var out []string
	for _, r := range p.ByRecipient() {
		out = append(out, r.Patterns...)
	}
	return out
}

// NextHop is the gateway, as Postfix writes it: in brackets, so that no MX is looked up.
func (p setupPage) NextHop() string { return fmt.Sprintf("[%s]:%d", p.Hostname, p.Port) }

// Transport are the lines of Postfix's transport table.
func (p setupPage) Transport() []string {
	var out []string
	if p.Counts(policy.MarkSuffix) && p.Suffix != "" {
		out = append(out, "."+p.Suffix)
	}
	if p.Counts(policy.MarkDomains) {
		out = append(out, p.setupFacts.Domains...)
	}
	if own := p.OwnDomain(); own != "" && !slices.Contains(out, own) {
		out = append(out, own)
	}
	return out
}

// PECSenders are the addresses whose every message goes to the gateway: keys of a Postfix table.
func (p setupPage) PECSenders() ([]string, error) {
	var out []string
	if p.Counts(policy.MarkFrom) {
		out = append(out, p.setupFacts.Mailboxes...)
	}
	if p.Counts(policy.MarkSenders) {
		out = append(out, p.setupFacts.Senders...)
	}
	key := regexp.MustCompile("^[A-Za-z0-9.!$%&'*+/=?^_`{|}~-][A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]*@[A-Za-z0-9.-]+$")
	for i, a := range out {
		if !key.MatchString(a) {
			return nil, fmt.Errorf("%q cannot be the key of a Postfix table", a)
		}
		out[i] = strings.ToLower(a)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// HeaderChecks are the regular expressions, of Postfix's header checks, that find a PEC mailbox in From and the tag in a
// Subject that is not decoded. A mail program that shows a mailbox in From may well keep the person's address as reverse
// path.
func (p setupPage) HeaderChecks() ([]string, error) {
	var out []string
	if p.Counts(policy.MarkFrom) {
		for _, box := range p.setupFacts.Mailboxes {
			var quoted strings.Builder
			for i := range len(box) {
				quoted.WriteString(strings.ReplaceAll(posixQuote(box[i:i+1]), "/", `\/`))
			}
			out = append(out, `/^From:(.*[<,;[:space:]])?`+quoted.String()+`([]>,;([:space:]]|$)/`)
		}
	}
	if !p.Counts(policy.MarkSubject) {
		return out, nil
	}
	subject, err := subjectChecks(tagWord(p.Trigger))
	return append(out, subject...), err
}

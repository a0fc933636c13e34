package policy

import (
	"slices"
	"time"
)

// relayBox finds the mailbox of a marked message: the one that From and tags name, else the only one from which the user
// may send, else the relay's. Its address is empty where that is not certain. Whether the user may send from a named one is
// for the caller to judge.
func (p *Policy) relayBox(r *Relay, f RelayFacts, login, from string) (string, Verdict) {
	mine := p.sendsFrom(login, f.Now)
	var named []string
	note := func(address string) {
		if address = lower(address); !slices.Contains(named, address) {
			named = append(named, address)
		}
	}
	if p.anyMailbox(from) {
		note(from)
	}
	if r.Counts(MarkSubject) {
		for _, word := range f.Tags {
			if word == "" {
				continue
			}
			address, refused := p.boxOf(word, login, mine)
			if address == "" {
				return "", refused
			}
			note(address)
		}
	}
	switch {
	case len(named) > 1:
		return "", refuseMarksDiffer(named)
	case len(named) == 1:
		return named[0], Verdict{}
	case len(mine) == 0:
		return "", refuseNoMailbox()
	case len(mine) == 1:
		return mine[0], Verdict{}
	}
	if slices.ContainsFunc(mine, func(a string) bool { return same(a, r.Mailbox) }) {
		return lower(r.Mailbox), Verdict{}
	}
	return "", refuseNameOne(r, mine, r.Line)
}

// sendsFrom are the mailboxes from which a user sends, directly or for approval, sorted. One that is not active is among
// them: what was meant for it must not go from another.
func (p *Policy) sendsFrom(login string, now time.Time) (out []string) {
	for _, m := range p.Boxes(login, now) {
		if p.Rights(login, m.Address, now).Writes() {
			out = append(out, lower(m.Address))
		}
	}
	return out
}

// boxOf finds the mailbox that a tag names, by its address or its local part. Of several with that local part it is the
// only one that has a line for the user, over or not: a line that has ended must not turn the word into another mailbox.
func (p *Policy) boxOf(word, login string, mine []string) (string, Verdict) {
	if address, err := ParseAddress(word); err == nil {
		if _, ok := p.Mailbox(address); !ok {
			return "", refuseUnknownMailbox(lower(address))
		}
		return lower(address), Verdict{}
	}
	var all, lined []string
	for i := range p.Mailboxes {
		m := &p.Mailboxes[i]
		at := len(m.Address) - len(word) - 1
		if at <= 0 || m.Address[len(word)] != '@' || !same(m.Address[:len(word)], word) {
			continue
		}
		all = append(all, lower(m.Address))
		if _, ok := m.member(login); ok {
			lined = append(lined, lower(m.Address))
		}
	}
	switch {
	case len(all) == 0:
		return "", refuseNoSuchWord(mine)
	case len(all) == 1:
		return all[0], Verdict{}
	case len(lined) == 1:
		return lined[0], Verdict{}
	}
	// Only of their own is anything told.
	shared := slices.DeleteFunc(lined, func(a string) bool { return !slices.Contains(mine, a) })
	if len(shared) == 0 {
		return "", refuseNoSuchWord(mine)
	}
	return "", refuseAmbiguousWord(shared)
}

// recipients are those of the envelope without the suffix, each once; nil where one is not plain or there are none.
func (r *Relay) recipients(envelope []string) ([]string, Verdict) {
	out, seen := make([]string, 0, len(envelope)), make(map[string]bool, len(envelope))
	for _, a := range envelope {
		bare, _ := r.WithoutSuffix(a)
		address, err := ParseAddress(bare)
		if err != nil {
			return nil, refuseRecipient()
		}
		if key := lower(address); !seen[key] {
			seen[key] = true
			out = append(out, address)
		}
	}
	if len(out) == 0 {
		return nil, refuseNoRecipient()
	}
	return out, Verdict{}
}

// internal are the addresses of To and Cc that are no recipients, each once: the server gives them the message itself, as
// ordinary mail. One that cannot be read stands there as an empty text.
func (r *Relay) internal(visible, recipients []string) (out []string) {
	known := make(map[string]bool, len(recipients))
	for _, a := range recipients {
		known[lower(a)] = true
	}
	for _, a := range visible {
		bare, _ := r.WithoutSuffix(a)
		address, err := ParseAddress(bare)
		if err != nil {
			address = ""
		}
		if address = lower(address); !known[address] {
			known[address] = true
			out = append(out, address)
		}
	}
	return out
}

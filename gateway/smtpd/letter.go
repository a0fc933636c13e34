package smtpd

import (
	"slices"
	"strings"
)

// letter is the header of a submission.
type letter struct {
	header    []byte // the whole block with its blank line
	from      string // the one address of From, domain in lower case
	messageID string // with angle brackets
	clientID  string // the same as it came; empty where there was none
	dated     bool
	edits     []string

	leaves   split  // as what: see split.go
	pin      string // as given in the Subject; may be empty
	fieldPIN string // the same of X-Pecgate-PIN
}

// readLetter judges a header block against the envelope and takes the PIN out.
// Its errors are refusals.
// split is the mailbox's rule: see splitOf.
func readLetter(header []byte, recipients []string, split string) (letter, error) {
	var l letter
	seen, err := readFields(header)
	if err != nil {
		return l, err
	}
	for _, check := range []func(fields) error{l.sender, forbidden, l.identifier, answers,
		func(s fields) error { return l.visible(s, recipients, split) }} {
		if err := check(seen); err != nil {
			return l, err
		}
	}
	l.dated = len(seen["date"]) > 0
	return l, l.cutPIN(header)
}

// sender wants one plain address in From, and nothing that names another
// sender (RFC 5322 sections 3.6.2 and 3.6.6; On-Behalf-Of is of no standard).
func (l *letter) sender(seen fields) error {
	f := seen["from"]
	if len(f) != 1 {
		return badFrom()
	}
	var err error
	if l.from, err = plainAddress(value(f[0])); err != nil {
		return badFrom()
	}
	for _, name := range []string{"Sender", "Resent-From", "Resent-Sender", "On-Behalf-Of", "X-On-Behalf-Of"} {
		for _, f := range seen[strings.ToLower(name)] {
			if a, err := plainAddress(value(f)); err != nil || !strings.EqualFold(a, l.from) {
				return anotherSender(name)
			}
		}
	}
	return nil
}

// answers wants plain addresses where answers and notices would go: what one
// reader sends to one person, another must not send to somebody else.
func answers(seen fields) error {
	for _, name := range []string{"Reply-To", "Disposition-Notification-To", "Return-Receipt-To", "Errors-To", "Resent-To", "Resent-Cc", "Resent-Reply-To"} {
		for _, f := range seen[strings.ToLower(name)] {
			if _, err := addresses(value(f)); err != nil {
				return notPlain(name)
			}
		}
	}
	return nil
}

// control are the provider's own words (RFC 6109 section 4.4), and the path that
// only a final delivery writes (RFC 5321 section 4.4). X-TipoRicevuta alone is
// the client's; see edit.
var control = []string{"X-Ricevuta", "X-Trasporto", "X-Riferimento-Message-ID", "X-VerificaSicurezza", "X-Mittente", "X-REM-Subject", "Return-Path"}

// forbidden refuses fields that a client must not set.
func forbidden(seen fields) error {
	if len(seen["resent-bcc"]) > 0 {
		return blind()
	}
	for _, name := range control {
		if len(seen[strings.ToLower(name)]) > 0 {
			return reserved(name)
		}
	}
	return nil
}

// visible wants somebody in To, and every recipient of the envelope in To or
// Cc, but for a mailbox that splits what is submitted.
func (l *letter) visible(seen fields, recipients []string, split string) (err error) {
	var shown []string
	hasTo := false
	if len(seen["bcc"]) > 0 && !mayBeBlind(split) {
		return blind()
	}
	for _, name := range []string{"To", "Cc"} {
		for _, f := range seen[strings.ToLower(name)] {
			list, err := addresses(value(f))
			if err != nil {
				return notPlain(name)
			}
			shown = append(shown, list...)
		}
		if name == "To" {
			hasTo = len(shown) > 0
		}
		if !hasTo && !mayBeBlind(split) {
			return nobodyInTo()
		}
	}
	if mayBeBlind(split) {
		l.leaves, err = splitOf(seen, recipients, shown, hasTo, split)
		return err
	}
	set := make(map[string]bool, len(shown))
	for _, a := range shown {
		set[strings.ToLower(a)] = true
	}
	if slices.ContainsFunc(recipients, func(r string) bool { return !set[strings.ToLower(r)] }) {
		return blind()
	}
	return nil
}

// identifier reads Message-ID. Receipts quote it and nothing else, so it must be
// one that survives quoting.
func (l *letter) identifier(seen fields) error {
	f := seen["message-id"]
	if len(f) == 0 {
		return nil
	}
	v := value(f[0])
	inner := strings.TrimSuffix(strings.TrimPrefix(v, "<"), ">")
	if len(v) != len(inner)+2 || inner == "" || len(inner) > 250 ||
		strings.ContainsFunc(inner, func(r rune) bool { return r <= ' ' || r > '~' || r == '<' || r == '>' }) {
		return badMessageID()
	}
	l.messageID, l.clientID = v, v
	return nil
}

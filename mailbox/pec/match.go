package pec

import "time"

// AddressKey is the form in which addresses are compared: two have the same key
// exactly if SameAddress. Empty for an empty address.
func AddressKey(a string) string { return asciiLower(trimAddress(a)) }

// IDKey is the form in which ids are looked up: two that are not empty and have
// the same key are SameID. One with percent escapes has another key than the
// same without; see Report.MsgIDs.
func IDKey(id string) string { return asciiLower(NormalizeID(id)) }

func asciiLower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; 'A' <= c && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// Sent is what a receipt is compared with: one submission.
type Sent struct {
	Box        string    // the mailbox that sent it
	MsgID      string    // its Message-ID on the wire
	Identifier string    // identificativo, once a receipt told it; empty before
	Recipients []string  // of the envelope
	At         time.Time // when it was submitted; zero is not compared
}

// maxEarly is how much older than its submission a receipt may say it is: two
// clocks that are wrong, and one of them by a time zone or a date. A receipt that
// is older is about another message that had the same Message-ID.
const maxEarly = 24 * time.Hour

// MsgIDs are the Message-IDs by which the submission of a believed receipt can
// be looked up, the likeliest first: the one in daticert.xml, the same with its
// percent signs undone (some provider writes it so), and, where daticert.xml
// names none, the one that the signed original bears beside the identificativo.
// Empty where only the Identifier is left to look by.
func (r *Report) MsgIDs() []string {
	id := NormalizeID(r.MsgID)
	if id == "" {
		if r.Kind == Delivery && r.Inner != nil && SameID(r.Inner.MessageID, r.Identifier) {
			id = NormalizeID(r.Inner.ClientID)
		}
		if id == "" {
			return nil
		}
	}
	if plain, ok := UnescapeID(id); ok {
		return []string{id, plain}
	}
	return []string{id}
}

// About reports whether this is a believed receipt for a submission. Any PEC
// user can choose a Message-ID, so a genuine receipt of somebody else's mail can
// quote ours: mittente must be the mailbox, the recipient spoken of must be
// among those we sent to, and the receipt must not be a day older than the
// submission. The id must be the Message-ID, or the identificativo that the
// acceptance told: some provider may mangle a long Message-ID. recipient is the
// one spoken of, as spelt in Recipients; it is empty for receipts that speak of all of them
// (Acceptance, NonAcceptance).
//
// Ids are compared by SameID. A caller with two submissions whose ids differ
// only in case looks for the exact one first.
func (r *Report) About(s Sent) (recipient string, ok bool) {
	if !r.Believed() || !r.Kind.receipt() || !SameAddress(r.Sender, s.Box) || !r.names(s) {
		return "", false
	}
	if at := r.When(); !s.At.IsZero() && !at.IsZero() && at.Before(s.At.Add(-maxEarly)) {
		return "", false
	}
	if r.Kind.perRecipient() {
		for _, a := range s.Recipients {
			if SameAddress(a, r.Recipient) {
				return a, true
			}
		}
		return "", false
	}
	// The acceptance lists every recipient: one list that shares nobody with ours
	// is a receipt of another message.
	ours := make(map[string]bool, len(s.Recipients))
	for _, a := range s.Recipients {
		ours[AddressKey(a)] = true
	}
	for _, b := range r.Recipients {
		if ours[AddressKey(b.Address)] {
			return "", true
		}
	}
	return "", false
}

// names reports whether the receipt bears an id of the submission.
func (r *Report) names(s Sent) bool {
	for _, id := range r.MsgIDs() {
		if SameID(id, s.MsgID) {
			return true
		}
	}
	return SameID(r.Identifier, s.Identifier)
}

// When is the time that the message says it was made: that of its signature, or
// where that bears none the date in daticert.xml. Zero where neither is known.
func (r *Report) When() time.Time {
	if r.SignedAt.IsZero() {
		return r.At
	}
	return r.SignedAt
}

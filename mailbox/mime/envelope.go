package mime

import "strings"

// Shares of one ENVELOPE, in bytes on the wire; together with the marks between
// them below maxWire. An ENVELOPE inside a BODYSTRUCTURE gets an eighth, and
// less where many messages are nested.
const (
	shareDate     = 200
	shareSubject  = 8 << 10
	shareID       = 1000
	shareRefs     = 4 << 10
	shareFrom     = 4 << 10
	shareTo       = 16 << 10
	shareCc       = 12 << 10
	shareBcc      = 4 << 10
	maxPhrase     = 800
	maxLocal      = 400
	nestedDivisor = 8
	smallDivisor  = 32
)

// headings are the fields of one header that ENVELOPE shows, as written.
type headings struct {
	date, subject, inReplyTo, messageID *string
	from, sender, replyTo, to, cc, bcc  []string
}

// set takes one field by its lower-case name. The first of a repeated field
// counts, except for recipients, where all do.
func (h *headings) set(name, body string) {
	one := func(p **string) {
		if *p == nil {
			v := body
			*p = &v
		}
	}
	first := func(p *[]string) {
		if len(*p) == 0 {
			*p = []string{body}
		}
	}
	switch name {
	case "date":
		one(&h.date)
	case "subject":
		one(&h.subject)
	case "in-reply-to":
		one(&h.inReplyTo)
	case "message-id":
		one(&h.messageID)
	case "from":
		first(&h.from)
	case "sender":
		first(&h.sender)
	case "reply-to":
		first(&h.replyTo)
	case "to":
		h.to = append(h.to, body)
	case "cc":
		h.cc = append(h.cc, body)
	case "bcc":
		h.bcc = append(h.bcc, body)
	}
}

// envelope gives the wire bytes of RFC 9051 section 7.5.2, ENVELOPE. Texts stay
// as the sender spelled them; long ones and long lists are cut to their share.
func (h *headings) envelope(divisor int) []byte {
	w := make([]byte, 0, 512)
	text := func(s *string, share int) {
		if s != nil && len(*s) > share/divisor {
			v := cut(*s, share/divisor)
			s = &v
		}
		w = appendNString(w, s)
		w = append(w, ' ')
	}
	w = append(w, '(')
	text(h.date, shareDate*divisor) // a date is short in any envelope
	text(h.subject, shareSubject)
	from := addresses(h.from, shareFrom/divisor)
	w = append(w, from...)
	// RFC 9051: absent or empty Sender and Reply-To are the same as From.
	for _, list := range [][]string{h.sender, h.replyTo} {
		w = append(w, ' ')
		a := addresses(list, shareFrom/divisor)
		if string(a) == "NIL" {
			a = from
		}
		w = append(w, a...)
	}
	w = append(w, ' ')
	w = append(w, addresses(h.to, shareTo/divisor)...)
	w = append(w, ' ')
	w = append(w, addresses(h.cc, shareCc/divisor)...)
	w = append(w, ' ')
	w = append(w, addresses(h.bcc, shareBcc/divisor)...)
	w = append(w, ' ')
	text(h.inReplyTo, shareRefs)
	text(h.messageID, shareID*divisor)
	w[len(w)-1] = ')'
	return w
}

const groupEnd = "(NIL NIL NIL NIL)"

// addresses gives an address list of at most share bytes, NIL where it is
// empty. Groups keep their marks (RFC 9051: host NIL opens and closes).
func addresses(values []string, share int) []byte {
	w := []byte{'('}
	open, full := false, false
	for _, v := range values {
		if full {
			break
		}
		eachAddress(v, func(it addressItem) bool {
			before := len(w)
			switch it.kind {
			case itemAddress:
				w = append(w, '(')
				w = appendName(w, it.name, maxPhrase)
				w = append(w, ' ')
				w = appendName(w, it.route, maxLocal)
				w = append(w, ' ')
				w = appendString(w, oneLine(it.local, maxLocal))
				w = append(w, ' ')
				// Never NIL, which would open a group.
				w = appendString(w, oneLine(it.domain, maxLocal))
				w = append(w, ')')
			case itemGroup:
				w = append(w, "(NIL NIL "...)
				w = appendString(w, oneLine(it.name, maxPhrase))
				w = append(w, " NIL)"...)
			case itemEnd:
				if open {
					w = append(w, groupEnd...)
					open = false
				}
				return !full
			}
			if len(w)+len(groupEnd)+1 > share {
				w = w[:before]
				full = true
				return false
			}
			open = open || it.kind == itemGroup
			return true
		})
	}
	if len(w) == 1 {
		return []byte("NIL")
	}
	return append(w, ')')
}

func appendName(w []byte, name string, limit int) []byte {
	if name == "" {
		return append(w, "NIL"...)
	}
	return appendString(w, oneLine(name, limit))
}

// oneLine cuts s and drops line ends that a quoted pair brought in.
func oneLine(s string, limit int) string {
	if strings.ContainsAny(s, "\r\n") {
		s = strings.NewReplacer("\r", "", "\n", "").Replace(s)
	}
	return cut(s, limit)
}

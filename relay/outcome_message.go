package relay

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"pecgate/mailbox/pec"
)

// outcomeReport is all that a report is written from: the same makes the same
// bytes.
type outcomeReport struct {
	sub      *Submission
	deciding map[int]lastReceipt // by recipient, -1 for the whole
	subject  string              // of what was sent, decoded
	answer   string              // the provider's words about the whole
	again    map[int]string      // recipients of a batch whose message was handed over twice, and what is said of it
	at       time.Time           // when what it tells changed
	from     string
	zone     *time.Location
	words    reportWords
}

// maxLines bounds the recipients that a report lists.
const maxLines = 1000

// outcomeLine is one recipient in a report.
type outcomeLine struct {
	state   RecipientState
	words   string
	address string
	at      string
	note    string
}

// lines returns the recipients that are listed, and how many are not: where not
// all are, those that something went wrong with come first.
func (o *outcomeReport) lines() (out []outcomeLine, more int) {
	first := map[string]int{} // receipts stand under the first of equal addresses
	order := make([]int, 0, len(o.sub.Recipients))
	for i, r := range o.sub.Recipients {
		if k := pec.AddressKey(r.Address); first[k] == 0 {
			first[k] = i + 1
		}
		order = append(order, i)
	}
	if len(order) > maxLines {
		bad := func(i int) int {
			r := o.sub.Recipients[i]
			switch {
			case r.State == Failed, o.sub.batch() && o.sub.whereOfLine(r) == whereFailed:
				return 0
			case r.State == Late, o.again[i] != "":
				return 1
			}
			return 2
		}
		slices.SortStableFunc(order, func(a, b int) int { return bad(a) - bad(b) })
		more = len(order) - maxLines
		order = order[:maxLines]
	}
	for _, i := range order {
		r := o.sub.Recipients[i]
		l := outcomeLine{state: r.State, words: o.words.to[r.State], address: plain(r.Address, maxAddress)}
		if o.sub.batch() {
			p := o.sub.whereOfLine(r)
			l.words = o.words.places[p]
			if p == whereFailed {
				l.state = Failed
			}
		}
		at := first[pec.AddressKey(r.Address)] - 1
		if o.sub.batch() { // of which each message has its own
			at = i
		}
		if d, ok := o.deciding[at]; ok {
			l.at, l.note = o.time(d.At), plain(d.Error, maxWords)
		}
		if r.State == Uncertified {
			l.note = o.words.ordinary
		}
		if again := o.again[i]; again != "" {
			l.note = strings.TrimPrefix(l.note+", "+again, ", ")
		}
		out = append(out, l)
	}
	return out, more
}

func (o *outcomeReport) time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(o.zone).Format("02/01/2006 15:04:05 (-0700)")
}

// fact is one line about the whole.
type fact struct{ name, value string }

func (o *outcomeReport) facts() []fact {
	w, s := o.words, o.sub
	all := []fact{
		{w.subject, o.title()}, {w.box, s.Box}, {w.user, s.User}, {w.at, o.time(s.SubmittedAt)},
		{w.id, s.MsgID}, {w.identifier, s.Identifier}, {"pecgate", s.ID},
	}
	if d, ok := o.deciding[-1]; ok && s.State == Accepted {
		all = slices.Insert(all, 4, fact{w.accepted, o.time(d.At)})
	}
	if o.answer != "" {
		all = append(all, fact{w.answer, o.answer})
	}
	if s.batch() {
		all = append(all, fact{w.messages, fmt.Sprint(s.Tally.Messages)}, fact{w.recipients, o.placesText()})
	}
	for i := range all {
		all[i].value = plain(all[i].value, maxID)
	}
	return slices.DeleteFunc(all, func(f fact) bool { return f.value == "" })
}

func (o *outcomeReport) title() string {
	if t := plain(o.subject, maxSubject); t != "" {
		return t
	}
	return o.words.none
}

func (c Counts) String() string { return fmt.Sprintf("D=%d A=%d C=%d E=%d", c.D, c.A, c.C, c.E) }

// text is the report as plain text.
func (o *outcomeReport) text() string {
	var b strings.Builder
	w := o.words
	fmt.Fprintf(&b, "%s: %s\n%s\n(%s)\n", w.title, o.sub.headline(w), o.sub.counts(), w.counts)
	for _, line := range o.warnings() {
		b.WriteString("\n" + line + "\n")
	}
	fmt.Fprintf(&b, "\n%s:\n", w.recipients)
	lines, more := o.lines()
	for _, l := range lines {
		fmt.Fprintf(&b, "  %s: %s", l.address, l.words)
		if l.at != "" {
			b.WriteString(", " + l.at)
		}
		if l.note != "" {
			b.WriteString(", " + l.note)
		}
		b.WriteByte('\n')
	}
	if more > 0 {
		fmt.Fprintf(&b, "  + %d %s\n", more, w.more)
	}
	b.WriteByte('\n')
	for _, f := range o.facts() {
		fmt.Fprintf(&b, "%s: %s\n", f.name, f.value)
	}
	return b.String() + "\n" + w.provider + "\n"
}

// warnings are the sentences that stand above all else.
func (o *outcomeReport) warnings() (out []string) {
	if o.sub.lost() {
		out = append(out, o.words.doubt)
	}
	switch {
	case o.sub.Twice != "":
		out = append(out, o.words.twice)
	case !o.sub.Resent.IsZero():
		out = append(out, o.words.resent)
	case len(o.again) > 0:
		out = append(out, o.words.someAgain)
	}
	return out
}

// html is the report as HTML. It refers to nothing outside itself.
func (o *outcomeReport) html() string {
	var b strings.Builder
	w, esc := o.words, html.EscapeString
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"%s\"><head><meta charset=\"utf-8\"><title>%s</title></head>\n", w.lang, esc(w.title))
	b.WriteString("<body style=\"font-family:sans-serif\">\n")
	fmt.Fprintf(&b, "<h2>%s: %s</h2>\n<p><b>%s</b><br>%s</p>\n", esc(w.title), esc(o.sub.headline(w)), o.sub.counts(), esc(w.counts))
	for _, line := range o.warnings() {
		fmt.Fprintf(&b, "<p><b>%s</b></p>\n", esc(line))
	}
	fmt.Fprintf(&b, "<h3>%s</h3>\n<table cellpadding=\"4\">\n", esc(w.recipients))
	lines, more := o.lines()
	for _, l := range lines {
		fmt.Fprintf(&b, "<tr><td>%s</td><td style=\"color:%s\"><b>%s</b></td><td>%s</td><td>%s</td></tr>\n",
			esc(l.address), colour(l.state), esc(l.words), esc(l.at), esc(l.note))
	}
	b.WriteString("</table>\n")
	if more > 0 {
		fmt.Fprintf(&b, "<p>+ %d %s</p>\n", more, esc(w.more))
	}
	b.WriteString("<table cellpadding=\"4\">\n")
	for _, f := range o.facts() {
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%s</td></tr>\n", esc(f.name), esc(f.value))
	}
	return b.String() + "</table>\n<p>" + esc(w.provider) + "</p>\n</body></html>\n"
}

func colour(s RecipientState) string {
	switch s {
	case Delivered:
		return "#006400"
	case Failed:
		return "#b00000"
	case Late:
		return "#b35900"
	}
	return "#404040"
}

// bytes is the report as a message (RFC 5322): both forms in base64, so that no
// word of a stranger can be anything but text.
func (o *outcomeReport) bytes() []byte {
	s, w := o.sub, o.words
	text, page := inBase64(o.text()), inBase64(o.html())
	c := s.counts()
	subject := fmt.Sprintf("%s: %s [%s] %s", w.title, s.headline(w), c, o.title())
	refs := o.references()
	date := o.at.In(o.zone).Format(time.RFC1123Z)
	sum := sha256.Sum256([]byte(strings.Join([]string{subject, refs, date, text, page}, "\x00")))
	boundary := "=_esito_" + hex.EncodeToString(sum[16:]) // no line of base64 holds "=_"

	var b strings.Builder
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("From", o.from)
	header("To", s.Box)
	header("Subject", encodeWords(subject))
	header("Date", date)
	header("Message-ID", fmt.Sprintf("<esito.%s.%s@%s>", s.ID, hex.EncodeToString(sum[:8]), domainOf(o.from)))
	if refs != "" {
		header("References", refs)
	}
	header("Auto-Submitted", "auto-generated") // RFC 3834
	header("X-PEC-Esito", c.String())
	header("MIME-Version", "1.0")
	header("Content-Type", "multipart/alternative;\r\n boundary=\""+boundary+"\"")
	for _, part := range []struct{ kind, body string }{{"plain", text}, {"html", page}} {
		fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Language: %s\r\n", boundary, part.kind, w.lang)
		b.WriteString("Content-Transfer-Encoding: base64\r\n\r\n" + part.body)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return []byte(b.String())
}

// references names the sender's own Message-ID, the one that went out where that
// was another, and the provider's identifier: a reply of the recipient quotes
// only the last.
func (o *outcomeReport) references() string {
	var out []string
	for _, id := range []string{o.sub.Alias, o.sub.MsgID, o.sub.Identifier} {
		id = pec.NormalizeID(id)
		strange := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '<' || r == '>' }
		if id == "" || len(id) > maxID || strings.ContainsFunc(id, strange) || slices.Contains(out, "<"+id+">") {
			continue
		}
		out = append(out, "<"+id+">")
	}
	return strings.Join(out, "\r\n ")
}

// inBase64 is text in lines of base64, with the line ends of mail.
func inBase64(text string) string {
	enc := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	var b strings.Builder
	b.Grow(len(enc) + len(enc)/38 + 4)
	for len(enc) > 76 {
		b.WriteString(enc[:76] + "\r\n")
		enc = enc[76:]
	}
	b.WriteString(enc + "\r\n")
	return b.String()
}

// encodeWords is a subject for the header (RFC 2047), folded. What looks like an
// encoded word already is encoded too: no client shall decode it.
func encodeWords(s string) string {
	strange := func(r rune) bool { return r < ' ' || r > '~' }
	if len(s) < 60 && !strings.ContainsFunc(s, strange) && !strings.Contains(s, "=?") {
		return s
	}
	var words []string
	for len(s) > 0 {
		n := min(len(s), 39) // a line of 76 characters holds one, the first with its name
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, "\r\n ")
}

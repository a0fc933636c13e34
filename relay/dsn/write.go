package dsn

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Bytes is the report as a message. The same report makes the same bytes.
func (r *Report) Bytes() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	text, status := base64Lines(r.text()), r.status()
	returned, kind := headersOnly(r.Headers), "text/rfc822-headers"
	if r.Full != nil {
		if bytes.ContainsFunc(r.Full, func(c rune) bool { return c >= 0x80 }) {
			return nil, broken("a message to return that is not ASCII")
		}
		returned, kind = r.Full, "message/rfc822"
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n%s", text, status, returned)
	boundary := "=_report_" + hex.EncodeToString(sum.Sum(nil)[:16])

	field(&b, "From", from(r.FromName, r.From))
	field(&b, "To", plain(r.To))
	subject := r.Subject
	if subject == "" {
		subject = r.title()
	}
	field(&b, "Subject", words(oneLine(subject)))
	field(&b, "Date", r.Date.Format(time.RFC1123Z))
	field(&b, "Message-ID", "<"+plain(r.MessageID)+">")
	var refs []string
	for _, id := range r.Refers {
		if id != "" && len(id) < maxValue && !strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '<' || c == '>' }) {
			refs = append(refs, "<"+id+">")
		}
	}
	if len(refs) > 0 {
		field(&b, "In-Reply-To", refs[0])
		field(&b, "References", strings.Join(refs, " "))
	}
	field(&b, "Auto-Submitted", "auto-replied") // RFC 3834 section 5
	if r.Loop != "" {
		field(&b, "X-Loop", plain(r.Loop))
	}
	field(&b, "MIME-Version", "1.0")
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"%s\"\r\n\r\n", boundary)

	part := func(header string, body []byte) {
		fmt.Fprintf(&b, "--%s\r\n%s\r\n\r\n", boundary, header)
		b.Write(body)
		if !bytes.HasSuffix(body, []byte("\r\n")) {
			b.WriteString("\r\n")
		}
		b.WriteString("\r\n")
	}
	part("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64", []byte(text))
	part("Content-Type: message/delivery-status", status)
	if len(returned) > 0 {
		part("Content-Type: "+kind, returned)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes(), nil
}

// status is message/delivery-status.
func (r *Report) status() []byte {
	var b bytes.Buffer
	if r.EnvID != "" { // RFC 3464 section 2.2.1: as it was given, decoded
		field(&b, "Original-Envelope-Id", plain(r.EnvID))
	}
	field(&b, "Reporting-MTA", "dns; "+plain(r.Reporter))
	if !r.Arrived.IsZero() {
		field(&b, "Arrival-Date", r.Arrived.Format(time.RFC1123Z))
	}
	for i := range r.Recipients {
		to := &r.Recipients[i]
		b.WriteString("\r\n")
		if to.Original.Addr != "" {
			field(&b, "Original-Recipient", to.Original.String())
		}
		field(&b, "Final-Recipient", to.Final.String())
		field(&b, "Action", string(to.Action))
		field(&b, "Status", to.Status)
		if to.Remote != "" {
			field(&b, "Remote-MTA", "dns; "+plain(to.Remote))
		}
		if to.Diagnostic != "" {
			kind := to.DiagType
			if !atom(kind) {
				kind = "smtp"
			}
			field(&b, "Diagnostic-Code", kind+"; "+plain(to.Diagnostic))
		}
		if !to.At.IsZero() {
			field(&b, "Last-Attempt-Date", to.At.Format(time.RFC1123Z))
		}
		if to.LogID != "" {
			field(&b, "Final-Log-ID", plain(to.LogID))
		}
		if to.Action == Delayed && !to.Until.IsZero() {
			field(&b, "Will-Retry-Until", to.Until.Format(time.RFC1123Z))
		}
	}
	return b.Bytes()
}

// field writes one field, folded at spaces.
func field(b *bytes.Buffer, name, value string) {
	line := name + ":"
	for _, w := range strings.Fields(cut(value, maxValue)) {
		if len(line)+1+len(w) > 76 && strings.TrimSpace(line) != "" && line != name+":" {
			b.WriteString(line + "\r\n")
			line = ""
		}
		line += " " + w
	}
	b.WriteString(line + "\r\n")
}

// plain is text in ASCII without control characters. Letters of Italian lose their
// accents, what else is beyond becomes a question mark.
func plain(s string) string {
	r := strings.NewReplacer("à", "a", "á", "a", "è", "e", "é", "e", "ì", "i", "í", "i", "ò", "o", "ó", "o", "ù", "u", "ú", "u",
		"À", "A", "È", "E", "É", "E", "Ì", "I", "Ò", "O", "Ù", "U", "’", "'", "‘", "'", "“", `"`, "”", `"`, "–", "-", "—", "-", "…", "...")
	return strings.Map(func(c rune) rune {
		switch {
		case control(c):
			return ' '
		case c > '~':
			return '?'
		}
		return c
	}, r.Replace(s))
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// words is a text as encoded words where it needs them (RFC 2047).
func words(s string) string {
	if ascii(s) && !strings.Contains(s, "=?") {
		return s
	}
	var out []string
	for len(s) > 0 {
		n := min(len(s), 39)
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		out = append(out, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(out, " ")
}

func from(name, address string) string {
	if name = plain(name); name == "" {
		return plain(address)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <` + plain(address) + ">"
}

func base64Lines(text string) string {
	enc := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	var b strings.Builder
	for len(enc) > 76 {
		b.WriteString(enc[:76] + "\r\n")
		enc = enc[76:]
	}
	return b.String() + enc + "\r\n"
}

// headersOnly is a header that can be returned: whole fields, ASCII, bounded.
func headersOnly(h []byte) []byte {
	var b bytes.Buffer
	open := false
	for line := range bytes.Lines(h) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		more := line[0] == ' ' || line[0] == '\t'
		if b.Len()+len(line)+2 > MaxHeaders {
			break
		}
		if !more {
			name, _, ok := bytes.Cut(line, []byte(":"))
			open = ok && len(line) < 998 && atomField(name)
		}
		if !open {
			continue
		}
		b.WriteString(strings.TrimRight(plainLine(line), " \t") + "\r\n")
	}
	return b.Bytes()
}

// atomField tells a name of a field (RFC 5322 section 2.2).
func atomField(name []byte) bool {
	return len(name) > 0 && len(name) < 77 && !bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func plainLine(line []byte) string {
	out := make([]byte, 0, min(len(line), 998))
	for _, c := range line[:min(len(line), 998)] {
		switch {
		case c >= 0x7f:
			c = '?'
		case c < ' ' && c != '\t':
			c = ' '
		}
		out = append(out, c)
	}
	return string(out)
}

package api

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"
	"unicode/utf8"

	"pecgate/policy"
)

// Letter is a message given as its parts.
type Letter struct {
	Mailbox     string       `json:"mailbox" maxLength:"320" doc:"PEC mailbox to send from." example:"protocollo@pec.example.org"`
	To          []string     `json:"to,omitempty" maxItems:"1000" doc:"Addresses. These or a list are required."`
	Cc          []string     `json:"cc,omitempty" maxItems:"1000" doc:"Addresses."`
	List        string       `json:"list,omitempty" maxLength:"1000000" doc:"In place of to and cc: the text of a list or CSV file with an address in the first column of each line, at most 1000. Each gets a letter of their own. Where a line is wrong, nothing is sent and all wrong lines are told."`
	Each        bool         `json:"each,omitempty" doc:"Each recipient gets a message of their own, and sees no other."`
	Subject     string       `json:"subject" maxLength:"10000"`
	Text        string       `json:"text" doc:"Text of the message."`
	HTML        string       `json:"html,omitempty" doc:"The same as HTML, beside the text."`
	ReplyTo     string       `json:"reply_to,omitempty" maxLength:"320" doc:"Address for answers."`
	InReplyTo   string       `json:"in_reply_to,omitempty" maxLength:"998" doc:"Message-ID that this answers, with angle brackets."`
	Attachments []Attachment `json:"attachments,omitempty" maxItems:"500"`
}

// Attachment is a file of a Letter.
type Attachment struct {
	Name    string `json:"name" minLength:"1" maxLength:"255" doc:"File name, without folders."`
	Type    string `json:"type,omitempty" maxLength:"200" doc:"Media type; default application/octet-stream." example:"application/pdf"`
	Content []byte `json:"content" doc:"The file, in base64."`
}

// sum is the digest of all that is asked.
func (l Letter) sum() string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(l) // of strings and bytes: cannot fail
	return hex.EncodeToString(h.Sum(nil))
}

func (l Letter) recipients() []string { return append(append([]string{}, l.To...), l.Cc...) }

// wrong is what is wrong with a Letter, in both languages.
type wrong struct{ italian, english string }

// compose makes the message, with CRLF. What the judge of submissions adds (Message-ID,
// the kind of receipt) is not there.
func (l Letter) compose(now time.Time) ([]byte, *wrong) {
	for _, a := range append(append([]string{l.Mailbox}, l.recipients()...), optional(l.ReplyTo)...) {
		if _, err := policy.ParseAddress(a); err != nil {
			return nil, &wrong{"Un indirizzo non e' semplice come nome@example.it: correggerlo.", "An address is not plain like name@example.it: correct it."}
		}
	}
	for _, s := range []string{l.Subject, l.InReplyTo} {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) || !utf8.ValidString(s) {
			return nil, &wrong{"L'oggetto e in_reply_to stanno su una riga sola, senza caratteri di controllo.", "The subject and in_reply_to are one line without control characters."}
		}
	}
	if strings.ContainsRune(l.Text, 0) || strings.ContainsRune(l.HTML, 0) {
		return nil, &wrong{"Il testo contiene un carattere nullo.", "The text holds a null character."}
	}
	var b bytes.Buffer
	field := func(name, value string) { b.WriteString(name + ": " + value + "\r\n") }
	field("From", l.Mailbox)
	if !l.Each {
		field("To", strings.Join(l.To, ",\r\n "))
		if len(l.Cc) > 0 {
			field("Cc", strings.Join(l.Cc, ",\r\n "))
		}
	}
	field("Subject", subject(l.Subject))
	field("Date", now.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	if l.ReplyTo != "" {
		field("Reply-To", l.ReplyTo)
	}
	if l.InReplyTo != "" {
		field("In-Reply-To", l.InReplyTo)
	}
	field("MIME-Version", "1.0")
	if len(l.Attachments) == 0 {
		l.body(&b)
		return b.Bytes(), nil
	}
	boundary := "pg-" + rand.Text()
	field("Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
	b.WriteString("\r\n--" + boundary + "\r\n")
	l.body(&b)
	for _, a := range l.Attachments {
		b.WriteString("--" + boundary + "\r\n")
		if no := a.write(&b); no != nil {
			return nil, no
		}
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.Bytes(), nil
}

func optional(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// subject is a Subject in encoded words, folded.
func subject(s string) string {
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", s), "?= =?", "?=\r\n =?")
}

func (l Letter) body(b *bytes.Buffer) {
	if l.HTML == "" {
		text(b, "text/plain", l.Text)
		return
	}
	boundary := "pg-" + rand.Text()
	b.WriteString(`Content-Type: multipart/alternative; boundary="` + boundary + "\"\r\n\r\n--" + boundary + "\r\n")
	text(b, "text/plain", l.Text)
	b.WriteString("--" + boundary + "\r\n")
	text(b, "text/html", l.HTML)
	b.WriteString("--" + boundary + "--\r\n")
}

// text writes a part with a text, whose lines may end in any way.
func text(b *bytes.Buffer, kind, s string) {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	s = strings.ReplaceAll(s, "\n", "\r\n")
	if !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	b.WriteString("Content-Type: " + kind + "; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(b)
	_, _ = w.Write([]byte(s)) // into memory
	_ = w.Close()
}

func (a Attachment) write(b *bytes.Buffer) *wrong {
	kind := a.Type
	if kind == "" {
		kind = "application/octet-stream"
	}
	kind, params, err := mime.ParseMediaType(kind)
	if err != nil || strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "message/") && kind != "message/rfc822" || !strings.Contains(kind, "/") {
		return &wrong{"Il tipo di un allegato non e' valido: scrivere per esempio application/pdf.", "The type of an attachment is not one: write for example application/pdf."}
	}
	if strings.ContainsFunc(a.Name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' || r == '\\' }) || !utf8.ValidString(a.Name) {
		return &wrong{"Il nome di un allegato contiene caratteri non ammessi.", "The name of an attachment holds characters that it must not."}
	}
	if kind == "message/rfc822" {
		kind = "application/octet-stream" // base64 is not for messages (RFC 2046 section 5.2.1)
	}
	delete(params, "name")
	b.WriteString("Content-Type: " + folded(mime.FormatMediaType(kind, params)) + "\r\n")
	b.WriteString("Content-Disposition: " + folded(mime.FormatMediaType("attachment", map[string]string{"filename": a.Name})) + "\r\n")
	b.WriteString("Content-Transfer-Encoding: base64\r\n\r\n")
	for rest := a.Content; len(rest) > 0; {
		n := min(len(rest), 57) // 76 characters
		b.WriteString(base64.StdEncoding.EncodeToString(rest[:n]) + "\r\n")
		rest = rest[n:]
	}
	return nil
}

func folded(s string) string { return strings.ReplaceAll(s, "; ", ";\r\n ") }

package smtpd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"pecgate/mailbox/mime"
	"pecgate/policy"
)

// Journal is what a journal report of Exchange says of a message: who really sent it to whom, with the message itself
// inside. Exchange writes one for each message that a journal rule matches, and sends it from the null sender to the journal
// mailbox (Microsoft, "Understanding Journal Reports", and the grammar in "Journal report format" of the Exchange Server
// SDK).
type Journal struct {
	Sender     string // reverse path of the message, as the report writes it; empty: it had none
	OnBehalfOf string // whose mailbox the sender used; empty: not said
	Subject    string // decoded
	MessageID  string // with its angle brackets, the same as in the message
	Recipients []JournalRecipient
	// The message as Exchange had it is this range of the report. Nothing in it was altered on the way.
	Offset, Length int64
}

// JournalRecipient is one recipient of the envelope.
type JournalRecipient struct {
	Field   string // to, cc or bcc as the writer addressed it; recipient: Exchange does not vouch for how
	Address string
	// Expanded is the distribution group, and Forwarded the mailbox, in whose place the address got the message; empty: none.
	Expanded, Forwarded string
}

// Bounds of a report. Exchange splits what has more recipients.
const (
	maxJournalText       = 1 << 20 // octets of its text part, before and after decoding
	maxJournalRecipients = 5000
)

// Errors of ReadJournal.
var (
	ErrNoJournal  = errors.New("not a journal report")
	ErrBadJournal = errors.New("a journal report that cannot be read for certain")
)

// To are the addresses of the recipients, each once, in the order of the report.
func (j *Journal) To() []string {
	out, seen := make([]string, 0, len(j.Recipients)), make(map[string]bool, len(j.Recipients))
	for _, r := range j.Recipients {
		if key := strings.ToLower(r.Address); !seen[key] {
			seen[key] = true
			out = append(out, r.Address)
		}
	}
	return out
}

// ReadJournal reads a journal report of size octets. It reads strictly: a report decides who gets a message, so whatever
// two readers could understand differently is ErrBadJournal, and so is a text in which a line break in the Subject of the
// message could have made lines of its own. What has no field X-MS-Journal-Report is ErrNoJournal. Other errors are those
// of r.
//
// The caller must know that it comes from Exchange, by a null sender on a relay that allows it: anybody can write one.
func ReadJournal(r io.ReaderAt, size int64) (*Journal, error) {
	ix, err := mime.Parse(r, size, mime.Limits{})
	if err != nil {
		return nil, err
	}
	header, err := mime.ReadHeader(r, &ix.Root)
	if err != nil {
		return nil, err
	}
	switch marks := valuesOf(header, "X-MS-Journal-Report"); {
	case len(marks) == 0:
		return nil, ErrNoJournal
	case len(marks) > 1 || ix.HeaderCut:
		return nil, bad("its header is not that of one report")
	}
	root := &ix.Root
	if root.Type != "multipart" || root.Subtype != "mixed" || len(root.Children) != 2 {
		return nil, bad("it has not exactly a text and a message")
	}
	text, inside := &root.Children[0], &root.Children[1]
	if text.Type != "text" || text.Subtype != "plain" || !journalCharset(text.Params["charset"]) || text.BodyLen > maxJournalText {
		return nil, bad("its first part is not the text of a report")
	}
	if inside.Message == nil || !slices.Contains([]string{"7bit", "8bit", "binary"}, inside.Encoding) || inside.BodyLen == 0 {
		return nil, bad("its second part is not a message")
	}
	body, err := io.ReadAll(io.LimitReader(mime.Content(r, text), maxJournalText+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxJournalText {
		return nil, bad("its text is too long")
	}
	j := &Journal{Offset: inside.BodyOff, Length: inside.BodyLen}
	if err := j.read(body, text.Params["charset"]); err != nil {
		return nil, err
	}
	inner, err := mime.ReadHeader(r, inside.Message)
	if err != nil {
		return nil, err
	}
	if ids := valuesOf(inner, "Message-ID"); len(ids) != 1 || ids[0] != j.MessageID {
		return nil, bad("its text speaks of another message than the one inside")
	}
	return j, nil
}

func bad(why string) error { return fmt.Errorf("%w: %s", ErrBadJournal, why) }

// valuesOf are the values of all fields of a name.
func valuesOf(header []byte, name string) (out []string) {
	for _, f := range mime.Fields(header) {
		if strings.EqualFold(f.Name, name) {
			out = append(out, f.Body())
		}
	}
	return out
}

// journalCharset takes those in which every octet of ASCII is itself.
func journalCharset(label string) bool {
	label = strings.ToLower(label)
	return slices.Contains([]string{"", "us-ascii", "utf-8"}, label) || strings.HasPrefix(label, "iso-8859-") || strings.HasPrefix(label, "windows-125")
}

// read takes the lines of the text: Sender, Subject and Message-ID once each and in this order, then the recipients.
// On-Behalf-Of stands behind Sender or Message-ID. A Subject with line breaks inside cannot make a recipient: whatever it
// looks like stands before the Message-ID that Exchange writes, and two of those are not read.
func (j *Journal) read(text []byte, charset string) error {
	const first, afterSender, afterSubject, afterID = 0, 1, 2, 3
	state, behalf := first, false
	text = bytes.TrimRight(text, "\r\n \t")
	for i, raw := range bytes.Split(text, []byte("\n")) {
		line := bytes.TrimSuffix(raw, []byte("\r"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || bytes.IndexFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) >= 0 {
			return bad(fmt.Sprintf("line %d of its text is none of a report", i+1))
		}
		key, said := strings.ToLower(string(name)), strings.Trim(string(value), " \t")
		var err error
		switch {
		case key == "sender" && state == first:
			j.Sender, err = journalSender(said)
			state = afterSender
		case key == "subject" && state == afterSender:
			j.Subject, state = mime.DecodeCharset(charset, []byte(said)), afterSubject
		case key == "message-id" && state == afterSubject:
			j.MessageID, state = said, afterID
			if len(said) < 3 || said[0] != '<' || said[len(said)-1] != '>' || len(said) > 998 || strings.ContainsAny(said[1:len(said)-1], "<> \t") {
				err = errAddress
			}
		case key == "on-behalf-of" && (state == afterSender || state == afterID && len(j.Recipients) == 0) && !behalf:
			j.OnBehalfOf, err = policy.ParseAddress(said)
			behalf = true
		case state == afterID && slices.Contains([]string{"to", "cc", "bcc", "recipient"}, key):
			err = j.recipient(key, said)
		default:
			err = errAddress
		}
		if err != nil {
			return bad(fmt.Sprintf("line %d of its text is none of a report", i+1))
		}
	}
	if len(j.Recipients) == 0 {
		return bad("it names no recipient")
	}
	return nil
}

// journalSender reads a reverse path: an address, or <> of a message that had none.
func journalSender(s string) (string, error) {
	if s == "" || s == "<>" {
		return "", nil
	}
	return policy.ParseAddress(s)
}

// recipient reads an address, and behind a comma why it stands there.
func (j *Journal) recipient(field, s string) (err error) {
	if len(j.Recipients) == maxJournalRecipients {
		return errAddress
	}
	r := JournalRecipient{Field: field}
	address, why, redirected := strings.Cut(s, ",")
	if r.Address, err = policy.ParseAddress(strings.Trim(address, " \t")); err != nil {
		return err
	}
	if redirected {
		word, of, _ := strings.Cut(strings.Trim(why, " \t"), ":")
		source, err := policy.ParseAddress(strings.Trim(of, " \t"))
		switch {
		case err != nil:
			return err
		case strings.EqualFold(word, "Expanded"):
			r.Expanded = source
		case strings.EqualFold(word, "Forwarded"):
			r.Forwarded = source
		default:
			return errAddress
		}
	}
	j.Recipients = append(j.Recipients, r)
	return nil
}

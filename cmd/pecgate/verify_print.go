package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pecgate/mailbox/archive/bundle"
	"pecgate/mailbox/pec"
)

// verifyPrinter prints what was found, for people or for scripts.
type verifyPrinter struct {
	out  io.Writer
	json bool
	// originals tells that --originals was given.
	originals bool
	bar       *bar
	good      bool // all so far; false before the first
	total     int
	count     map[string]int // by verdict
}

func (p *verifyPrinter) print(m verified) error {
	if p.total++; p.total == 1 {
		p.good, p.count = true, map[string]int{}
	}
	p.count[m.Verdict]++
	p.good = p.good && (proven(m.Report) || m.expected) && m.original.err == nil
	line := []byte(sentence(m) + "\n" + originalLine(m))
	if m.bundle != nil {
		line = []byte(bundleLines(m))
	}
	if p.json {
		var err error
		if line, err = jsonLine(m, p.originals); err != nil {
			return err
		}
	}
	p.bar.clear()
	_, err := p.out.Write(line)
	return err
}

// end prints the sum for people, if there were several.
func (p *verifyPrinter) end(leftAside int) error {
	p.bar.clear()
	if p.json || p.total < 2 && leftAside == 0 {
		return nil
	}
	var each []string
	for _, v := range []string{pec.Valid, pec.ValidHistoric, pec.Invalid, pec.Unverifiable, pec.NotSigned} {
		if n := p.count[v]; n > 0 {
			each = append(each, fmt.Sprintf("%d %s", n, v))
		}
	}
	text := count(p.total, "message", "messages") + ": " + strings.Join(each, ", ")
	if leftAside > 0 {
		text += "; " + count(leftAside, "file that holds", "files that hold") + " no message left aside"
	}
	_, err := fmt.Fprintln(p.out, text)
	return err
}

// verifyLine is one line of `verify --json`: all keys of the report, and
// signed_at also where there is none.
type verifyLine struct {
	File string `json:"file"`
	*pec.Report
	SignedAt *time.Time `json:"signed_at"`
	// Bundle is what was checked of an evidence bundle; its messages have lines of
	// their own.
	Bundle *bundle.Checked `json:"bundle,omitempty"`
}

// originalsLine is one line of `verify --json --originals`.
type originalsLine struct {
	verifyLine
	Recovered  *recovered `json:"recovered"`
	NoOriginal string     `json:"no_original,omitempty"` // why there is none, where there might be one
}

func jsonLine(m verified, originals bool) ([]byte, error) {
	l := originalsLine{verifyLine: verifyLine{File: m.file, Report: m.Report, Bundle: m.bundle}, Recovered: m.original.recovered, NoOriginal: m.original.why()}
	if !m.SignedAt.IsZero() {
		l.SignedAt = &m.SignedAt
	}
	var v any = l
	if !originals {
		v = l.verifyLine
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return asciiControls(b.Bytes()), nil
}

// asciiControls escapes the characters of JSON text that move a terminal's
// cursor or turn its direction and that JSON allows as they are.
func asciiControls(text []byte) []byte {
	if bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && dangerous(r) }) < 0 {
		return text
	}
	var b bytes.Buffer
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r != '\n' && dangerous(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.Write(text[:n])
		}
		text = text[n:]
	}
	return b.Bytes()
}

// dangerous reports whether a character does more than stand in its line.
func dangerous(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

// plain makes a stranger's words fit for a terminal: one line, at most most
// characters, nothing that the terminal obeys.
func plain(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if dangerous(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if n := utf8.RuneCountInString(s); n > most {
		s = string([]rune(s)[:most]) + "..."
	}
	return s
}

const (
	maxShownName  = 4096 // characters of a file's name
	maxShownWords = 2000 // of a reason
	maxShownValue = 200  // of anything else
)

// sentence is the line for people: the file, what it is, the verdict and why,
// who signed it and when, and what it is about.
func sentence(m verified) string {
	r := m.Report
	var b strings.Builder
	b.WriteString(plain(m.file, maxShownName) + ": ")
	if strings.HasPrefix(r.Reason, fileNote) {
		b.WriteString(r.Verdict + ": " + plain(r.Reason, maxShownWords) + ".")
		return b.String()
	}
	ok := proven(r)
	if !ok && r.Kind != pec.Ordinary {
		b.WriteString("says it is: ") // nothing proves it
	}
	b.WriteString(kindText(r) + ": " + r.Verdict)
	if r.Reason != "" {
		b.WriteString(": " + plain(r.Reason, maxShownWords))
	}
	b.WriteString(".")
	if r.Issuer != "" {
		by, on := " Signed by ", " on "
		if !ok {
			by, on = " Bears the certificate of ", ", time claimed "
		}
		b.WriteString(by + plain(r.Issuer, maxShownValue))
		if !r.SignedAt.IsZero() {
			b.WriteString(on + r.SignedAt.UTC().Format(time.DateTime) + " UTC")
		}
		b.WriteString(".")
	}
	b.WriteString(aboutText(r))
	if ok && r.Inner != nil && r.Inner.Agrees {
		b.WriteString(" The message inside agrees with it.")
	}
	return b.String()
}

// originalLine is the line below it that says what became of the original.
func originalLine(m verified) string {
	o := m.original
	text := ""
	switch {
	case o.err != nil:
		text = o.why()
	case o.none != "":
		text = "no original: " + o.none
	case o.recovered != nil:
		text = "original recovered as " + plain(o.File, maxShownName) + "; assumed: " + strings.Join(o.Assumed, "; ")
		if len(o.Added) > 0 {
			text += "; left inside, though providers are known to add it: " + plain(strings.Join(o.Added, ", "), maxShownValue)
		}
	default:
		return ""
	}
	return plain(m.file, maxShownName) + ": " + text + ".\n"
}

// why says why there is no original, "" where there is one or none is expected.
func (o original) why() string {
	if o.err != nil {
		return "the original cannot be written: " + plain(oneLine(o.err.Error()), maxShownWords)
	}
	return o.none
}

// aboutText says which message and recipient a report speaks of.
func aboutText(r *pec.Report) string {
	var b strings.Builder
	switch {
	case r.Recipient != "":
		b.WriteString(" Recipient " + plain(r.Recipient, maxShownValue) + ".")
	case len(r.Recipients) > 0:
		var to []string
		for i, a := range r.Recipients {
			if i == 3 {
				to = append(to, fmt.Sprintf("and %d more", len(r.Recipients)-i))
				break
			}
			text := plain(a.Address, maxShownValue)
			if a.Type == pec.External {
				text += " (no PEC)"
			}
			to = append(to, text)
		}
		b.WriteString(" To " + strings.Join(to, ", ") + ".")
	}
	if r.Error != "" || r.ErrorText != "" {
		b.WriteString(" Error " + strings.TrimSpace(plain(r.Error+" "+r.ErrorText, maxShownValue)) + ".")
	}
	about := ""
	if r.Subject != "" {
		about += ` "` + plain(r.Subject, maxShownValue) + `"`
	}
	if r.Sender != "" {
		about += " from " + plain(r.Sender, maxShownValue)
	}
	if id := pec.NormalizeID(r.MsgID); id != "" {
		about += " <" + plain(id, maxShownValue) + ">"
	}
	if about != "" {
		b.WriteString(" Message" + about + ".")
	}
	return b.String()
}

// kindText is the kind in plain words.
func kindText(r *pec.Report) string {
	virus := r.Error == "virus"
	switch r.Kind {
	case pec.Transport:
		return "certified message"
	case pec.Acceptance:
		return "acceptance receipt"
	case pec.NonAcceptance:
		if virus {
			return "notice that a message was not accepted, for a virus"
		}
		return "notice that a message was not accepted"
	case pec.TakenInCharge:
		return "receipt between providers (taken in charge)"
	case pec.Anomaly:
		return "anomaly envelope (mail that is not certified, wrapped by the provider)"
	case pec.VirusDetected:
		return "notice between providers of a virus"
	case pec.Delivery:
		if r.Receipt != "" {
			return "delivery receipt (" + r.Receipt + ")"
		}
		return "delivery receipt"
	case pec.DeliveryError:
		if virus {
			return "notice of failed delivery, for a virus"
		}
		return "notice of failed delivery"
	case pec.DeliveryWarning:
		if r.Final {
			return "notice of no delivery in 24 hours (final)"
		}
		return "notice of late delivery (not final)"
	case pec.Ordinary:
		return "ordinary mail"
	case pec.Inconsistent:
		return "PEC message that contradicts itself"
	}
	return "PEC message of a kind that is not known"
}

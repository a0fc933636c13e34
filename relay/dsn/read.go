package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"pecgate/mailbox/mime"
)

// Read reads a report of size octets. What is none is ErrNoReport; one that is not
// by the RFC is ErrBroken with the reason. Other errors are those of r. The texts
// for people are left out.
func Read(r io.ReaderAt, size int64) (*Report, error) {
	ix, err := mime.Parse(r, size, mime.Limits{Parts: 32, Depth: 8})
	if err != nil {
		return nil, fmt.Errorf("dsn: read the message: %w", err)
	}
	p := &ix.Root
	if p.Type != "multipart" || p.Subtype != "report" || !strings.EqualFold(p.Params["report-type"], "delivery-status") {
		return nil, ErrNoReport
	}
	if ix.HeaderCut || len(p.Children) < 2 || len(p.Children) > 3 { // RFC 6522 section 3
		return nil, broken("%d parts, where 2 or 3 are", len(p.Children))
	}
	out, err := readStatus(r, &p.Children[1])
	if err != nil {
		return nil, err
	}
	if len(p.Children) == 3 {
		if err := out.readReturned(r, &p.Children[2]); err != nil {
			return nil, err
		}
	}
	header, err := mime.ReadHeader(r, p)
	if err != nil {
		return nil, fmt.Errorf("dsn: read the header: %w", err)
	}
	for _, f := range mime.Fields(header) {
		switch strings.ToLower(f.Name) {
		case "from":
			out.From, out.FromName = oneAddress(f.Body())
		case "to":
			out.To, _ = oneAddress(f.Body())
		case "x-loop":
			out.Loop = f.Body()
		case "references":
			for _, id := range strings.Fields(f.Body()) {
				out.Refers = append(out.Refers, strings.Trim(id, "<>"))
			}
		}
	}
	out.MessageID, out.Subject, out.Date = strings.Trim(ix.MessageID, "<>"), ix.Subject, ix.Date
	return out, nil
}

func oneAddress(s string) (address, name string) {
	all := mime.AddressList(s)
	if len(all) != 1 {
		return "", ""
	}
	return all[0].Local + "@" + all[0].Domain, all[0].Name
}

// whole reads the content of a part, at most most octets of it.
func whole(r io.ReaderAt, p *mime.Part, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(mime.Content(r, p), most+1))
	if err != nil {
		return nil, fmt.Errorf("dsn: read a part: %w", err)
	}
	if int64(len(b)) > most {
		return nil, broken("a part of more than %d octets", most)
	}
	return b, nil
}

// groups cuts fields at blank lines.
func groups(b []byte) (out [][]byte) {
	start, at := 0, 0
	for line := range bytes.Lines(b) {
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			if at > start {
				out = append(out, b[start:at])
			}
			start = at + len(line)
		}
		at += len(line)
	}
	if at > start {
		out = append(out, b[start:at])
	}
	return out
}

// values are the fields of a group, each at most once (RFC 3464 section 2.1).
func values(group []byte) (map[string]string, error) {
	out := map[string]string{}
	for _, f := range mime.Fields(group) {
		name := strings.ToLower(f.Name)
		if name == "" {
			return nil, broken("a line that is no field")
		}
		if _, twice := out[name]; twice && !strings.HasPrefix(name, "x-") {
			return nil, broken("%.40s stands twice", f.Name)
		}
		if len(out) >= 100 {
			return nil, broken("more than 100 fields in a group")
		}
		out[name] = f.Body()
	}
	return out, nil
}

func readStatus(r io.ReaderAt, p *mime.Part) (*Report, error) {
	if p.Type != "message" || p.Subtype != "delivery-status" && p.Subtype != "global-delivery-status" {
		return nil, broken("the second part is %s/%s", p.Type, p.Subtype)
	}
	b, err := whole(r, p, MaxStatus)
	if err != nil {
		return nil, err
	}
	all := groups(b)
	if len(all) < 2 || len(all) > MaxRecipients+1 {
		return nil, broken("%d groups of fields", len(all))
	}
	out := &Report{}
	v, err := values(all[0])
	if err != nil {
		return nil, err
	}
	if out.Reporter, err = typed(v["reporting-mta"]); err != nil {
		return nil, err
	}
	out.EnvID = v["original-envelope-id"]
	if len(out.EnvID) > maxValue || !ascii(out.EnvID) {
		return nil, broken("an Original-Envelope-Id that is none")
	}
	out.Arrived = mime.ParseDate(v["arrival-date"])
	for _, g := range all[1:] {
		to, err := readRecipient(g)
		if err != nil {
			return nil, err
		}
		out.Recipients = append(out.Recipients, to)
	}
	return out, out.check()
}

func readRecipient(group []byte) (to Recipient, err error) {
	v, err := values(group)
	if err != nil {
		return to, err
	}
	if to.Final, err = parseAddress(v["final-recipient"]); err != nil {
		return to, err
	}
	if o, ok := v["original-recipient"]; ok {
		if to.Original, err = parseAddress(o); err != nil {
			return to, err
		}
	}
	to.Action = Action(strings.ToLower(word(v["action"])))
	to.Status = word(v["status"])
	if m, ok := v["remote-mta"]; ok {
		if to.Remote, err = typed(m); err != nil {
			return to, err
		}
	}
	if d, ok := v["diagnostic-code"]; ok {
		kind, text, cut := strings.Cut(d, ";")
		if kind = strings.ToLower(strings.TrimSpace(kind)); !cut || !atom(kind) {
			return to, broken("Diagnostic-Code %.40q", d)
		}
		to.DiagType, to.Diagnostic = kind, strings.TrimSpace(text)
	}
	to.At = mime.ParseDate(v["last-attempt-date"])
	to.Until = mime.ParseDate(v["will-retry-until"])
	to.LogID = v["final-log-id"]
	return to, nil
}

// typed reads the name of a server: a type, a semicolon and the name.
func typed(s string) (string, error) {
	kind, name, ok := strings.Cut(s, ";")
	if name = strings.TrimSpace(name); !ok || !atom(strings.TrimSpace(kind)) || name == "" || len(name) > maxValue {
		return "", broken("the name of a server %.40q", s)
	}
	return name, nil
}

// word is a value without the comment that may follow it (RFC 5322 section 3.2.2).
func word(s string) string {
	w, _, _ := strings.Cut(s, "(")
	return strings.TrimSpace(w)
}

func (r *Report) readReturned(at io.ReaderAt, p *mime.Part) error {
	switch {
	case p.Type == "text" && p.Subtype == "rfc822-headers", p.Type == "message" && p.Subtype == "global-headers":
		b, err := whole(at, p, MaxStatus)
		if errors.Is(err, ErrBroken) {
			return nil // a header too long to look at says nothing of the delivery
		}
		r.Headers = b
		return err
	case p.Message != nil && p.Message.HeaderLen <= MaxStatus:
		b, err := mime.ReadHeader(at, p.Message)
		r.Headers = b
		if err != nil {
			return fmt.Errorf("dsn: read the returned header: %w", err)
		}
	}
	return nil
}

// Returned is the Message-ID of the message that is reported on, without brackets;
// "" where the report does not return it.
func (r *Report) Returned() string {
	for _, f := range mime.Fields(r.Headers) {
		if strings.EqualFold(f.Name, "Message-ID") {
			return strings.Trim(f.Body(), "<> ")
		}
	}
	return ""
}

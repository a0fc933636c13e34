package providersim

import (
	"bytes"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"            // types of the session interface
	"github.com/emersion/go-imap/v2/imapserver" // as above
)

func (s *imapSession) Search(kind imapserver.NumKind, c *imap.SearchCriteria, _ *imap.SearchOptions) (*imap.SearchData, error) {
	data := &imap.SearchData{}
	seqs, uids := imap.SeqSet{}, imap.UIDSet{}
	for _, m := range s.choose(imap.SeqSet{{Start: 1, Stop: 0}}) {
		if !s.matches(m, c) {
			continue
		}
		n := m.seq
		if kind == imapserver.NumKindUID {
			n = m.UID
		}
		seqs.AddNum(m.seq)
		uids.AddNum(imap.UID(m.UID))
		if data.Count == 0 {
			data.Min = n
		}
		data.Max = n
		data.Count++
	}
	// Always a typed set: the library panics on none.
	data.All = seqs
	if kind == imapserver.NumKindUID {
		data.All = uids
	}
	return data, nil
}

func (s *imapSession) matches(m chosen, c *imap.SearchCriteria) bool {
	for _, set := range c.SeqNum {
		if !s.matcher(set)(m.seq, m.UID) {
			return false
		}
	}
	for _, set := range c.UID {
		if !s.matcher(set)(m.seq, m.UID) {
			return false
		}
	}
	for _, f := range c.Flag {
		if !hasFlag(m.Flags, string(f)) {
			return false
		}
	}
	for _, f := range c.NotFlag {
		if hasFlag(m.Flags, string(f)) {
			return false
		}
	}
	size := int64(len(m.Raw))
	if c.Larger > 0 && size <= c.Larger || c.Smaller > 0 && size >= c.Smaller {
		return false
	}
	if !within(m.At, c.Since, c.Before) || !matchesText(m.Raw, c) {
		return false
	}
	for i := range c.Not {
		if s.matches(m, &c.Not[i]) {
			return false
		}
	}
	for i := range c.Or {
		if !s.matches(m, &c.Or[i][0]) && !s.matches(m, &c.Or[i][1]) {
			return false
		}
	}
	return true
}

// within compares days without zone (RFC 9051 6.4.4).
func within(t, since, before time.Time) bool {
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	utc := func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) }
	return (since.IsZero() || !day.Before(utc(since))) && (before.IsZero() || day.Before(utc(before)))
}

func matchesText(raw []byte, c *imap.SearchCriteria) bool {
	fields, _, body := split(raw)
	for _, h := range c.Header {
		if !slices.ContainsFunc(fields, func(f field) bool { return f.is(h.Key) && contains(decodeText(f.value()), h.Value) }) {
			return false
		}
	}
	for _, text := range c.Body {
		if !bytes.Contains(bytes.ToLower(raw[body:]), []byte(strings.ToLower(text))) {
			return false
		}
	}
	for _, text := range c.Text {
		if !bytes.Contains(bytes.ToLower(raw), []byte(strings.ToLower(text))) {
			return false
		}
	}
	if !c.SentSince.IsZero() || !c.SentBefore.IsZero() {
		sent, err := mail.ParseDate(firstValue(fields, "Date"))
		return err == nil && within(sent, c.SentSince, c.SentBefore)
	}
	return true
}

func contains(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

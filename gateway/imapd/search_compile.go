package imapd

import (
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2" // the parsed criteria

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
)

// Limits of one SEARCH.
const (
	maxTerms  = 1000    // criteria, nested ones included
	maxNeedle = 1000    // bytes of a string that is looked for
	maxRead   = 8 << 30 // bytes of messages that are read
	compared  = 8       // bytes that are compared count as one that is read
)

// term is a search criterion made ready: everything in it must hold.
type term struct {
	sets                [][]span  // places in the view
	since, before       int       // INTERNALDATE as day numbers; 0: none
	sentSince, sentTill int       // Date field, likewise
	younger, older      time.Time // INTERNALDATE is after, or not after; zero: any
	larger, smaller     int64
	flags, notFlags     []string
	headers             []headerTerm
	body, text          []needle
	not                 []*term
	or                  [][2]*term
}

// sized tells whether the size of a message matters.
func (t *term) sized() bool {
	return t.larger > 0 || t.smaller > 0 || slices.ContainsFunc(t.not, (*term).sized) ||
		slices.ContainsFunc(t.or, func(pair [2]*term) bool { return pair[0].sized() || pair[1].sized() })
}

// needle is a string that is looked for, folded.
type needle struct {
	folded string
	grams  mailbox.Grams
}

func newNeedle(s string) needle {
	n := needle{folded: mime.Fold(s)}
	n.grams = mailbox.GramsOf(n.folded)
	return n
}

type headerTerm struct {
	name string // lower case
	needle
	summary bool // ENVELOPE shows the field
	marked  bool // but not the needle as it stands in a header
}

func newHeaderTerm(name, value string) headerTerm {
	h := headerTerm{name: strings.ToLower(name), needle: newNeedle(value)}
	switch h.name {
	case "subject":
		h.summary = true
	case "from", "to", "cc", "bcc":
		h.summary = true
		h.marked = strings.ContainsAny(h.folded, mime.SummaryMarks)
	}
	return h
}

// maybe tells whether a message of this signature may fit. What must not be in
// it says nothing: a signature never knows that something is there.
func (t *term) maybe(words mailbox.Signature) bool {
	for i := range t.headers {
		if !words.MayHold(t.headers[i].grams) {
			return false
		}
	}
	for _, list := range [][]needle{t.body, t.text} {
		for i := range list {
			if !words.MayHold(list[i].grams) {
				return false
			}
		}
	}
	for _, pair := range t.or {
		if !pair[0].maybe(words) && !pair[1].maybe(words) {
			return false
		}
	}
	return true
}

// looks is what the criteria of a search need to be judged.
type looks struct {
	flags   bool
	needles int // in headers and texts
	texts   int // in texts
	summary bool
}

type compiler struct {
	v     *view
	saved func() []span
	left  int
	now   time.Time
	looks looks
}

func (c *compiler) term(in *imap.SearchCriteria) (*term, error) {
	t := &term{
		since: dayOf(in.Since), before: dayOf(in.Before), sentSince: dayOf(in.SentSince), sentTill: dayOf(in.SentBefore),
		larger: in.Larger, smaller: in.Smaller,
	}
	c.left -= 1 + len(in.SeqNum) + len(in.UID) + len(in.Header) + len(in.Body) + len(in.Text) + len(in.Flag) + len(in.NotFlag)
	if c.left < 0 {
		return nil, errLimit("This search is too long")
	}
	if in.ModSeq != nil {
		return nil, badCommand("CONDSTORE is not supported")
	}
	for _, set := range in.SeqNum {
		if err := c.set(t, set); err != nil {
			return nil, err
		}
	}
	for _, set := range in.UID {
		if err := c.set(t, set); err != nil {
			return nil, err
		}
	}
	for _, f := range in.Flag {
		switch word, age, ok := within(string(f)); {
		case !ok:
			t.flags = append(t.flags, string(f))
		case word == "YOUNGER":
			if from := c.now.Add(-age); from.After(t.younger) {
				t.younger = from
			}
		default:
			if till := c.now.Add(-age); t.older.IsZero() || till.Before(t.older) {
				t.older = till
			}
		}
	}
	for _, f := range in.NotFlag {
		t.notFlags = append(t.notFlags, string(f))
	}
	for _, h := range in.Header {
		if len(h.Key)+len(h.Value) > maxNeedle {
			return nil, errLimit("A string of this search is too long")
		}
		t.headers = append(t.headers, newHeaderTerm(h.Key, h.Value))
		c.looks.summary = c.looks.summary || t.headers[len(t.headers)-1].summary
	}
	var err error
	if t.body, err = needles(in.Body); err != nil {
		return nil, err
	}
	if t.text, err = needles(in.Text); err != nil {
		return nil, err
	}
	c.looks.flags = c.looks.flags || len(t.flags)+len(t.notFlags) > 0
	c.looks.summary = c.looks.summary || t.sentSince > 0 || t.sentTill > 0
	c.looks.texts += len(t.body) + len(t.text)
	c.looks.needles += len(t.headers) + len(t.body) + len(t.text)
	for i := range in.Not {
		n, err := c.term(&in.Not[i])
		if err != nil {
			return nil, err
		}
		t.not = append(t.not, n)
	}
	for i := range in.Or {
		var pair [2]*term
		for k := range pair {
			if pair[k], err = c.term(&in.Or[i][k]); err != nil {
				return nil, err
			}
		}
		t.or = append(t.or, pair)
	}
	return t, nil
}

func (c *compiler) set(t *term, set imap.NumSet) error {
	if seq, ok := set.(imap.SeqSet); ok {
		set = there(seq, uint32(len(c.v.uids)))
	}
	spans, err := c.v.spans(set, nil)
	if u, ok := set.(imap.UIDSet); ok && imap.IsSearchRes(u) {
		spans = c.saved()
	}
	t.sets = append(t.sets, spans)
	return err
}

// there is the part of a set that n messages have. A number beyond them is no
// fault in a search: it says which messages fit, and none does.
func there(set imap.SeqSet, n uint32) imap.SeqSet {
	out := make(imap.SeqSet, 0, len(set))
	for _, r := range set {
		if r.Start != 0 && r.Stop != 0 {
			if r.Start > n && r.Stop > n {
				continue
			}
			r.Start, r.Stop = min(r.Start, n), min(r.Stop, n)
		}
		out = append(out, r)
	}
	return out
}

func needles(in []string) ([]needle, error) {
	var out []needle
	for _, s := range in {
		if len(s) > maxNeedle {
			return nil, errLimit("A string of this search is too long")
		}
		if s != "" { // the empty string is in every text
			out = append(out, newNeedle(s))
		}
	}
	return out, nil
}

// dayOf turns a date into a number that sorts like it; the time of day and its
// zone do not count (RFC 9051 section 6.4.4).
func dayOf(t time.Time) int {
	if t.IsZero() {
		return 0
	}
	y, m, d := t.Date()
	return (y*16+int(m))*32 + d
}

package imapd

import (
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2" // the parsed criteria
)

// Limits of one SEARCH.
const (
	maxTerms  = 1000    // criteria, nested ones included
	maxNeedle = 1000    // bytes of a string that is looked for
	maxRead   = 1 << 30 // bytes of messages that are read
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
	body, text          []string // lower case
	not                 []*term
	or                  [][2]*term
}

// sized tells whether the size of a message matters.
func (t *term) sized() bool {
	return t.larger > 0 || t.smaller > 0 || slices.ContainsFunc(t.not, (*term).sized) ||
		slices.ContainsFunc(t.or, func(pair [2]*term) bool { return pair[0].sized() || pair[1].sized() })
}

type headerTerm struct {
	name   string
	needle string // lower case; "": the field is there
}

type compiler struct {
	v     *view
	saved func() []span
	left  int
	now   time.Time
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
		t.headers = append(t.headers, headerTerm{strings.ToLower(h.Key), strings.ToLower(h.Value)})
	}
	var err error
	if t.body, err = needles(in.Body); err != nil {
		return nil, err
	}
	if t.text, err = needles(in.Text); err != nil {
		return nil, err
	}
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
	spans, err := c.v.spans(set, nil)
	if u, ok := set.(imap.UIDSet); ok && imap.IsSearchRes(u) {
		spans = c.saved()
	}
	t.sets = append(t.sets, spans)
	return err
}

func needles(in []string) ([]string, error) {
	var out []string
	for _, s := range in {
		if len(s) > maxNeedle {
			return nil, errLimit("A string of this search is too long")
		}
		if s != "" { // the empty string is in every text
			out = append(out, strings.ToLower(s))
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

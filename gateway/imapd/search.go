package imapd

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"            // criteria, options and results
	"github.com/emersion/go-imap/v2/imapserver" // sequence numbers or UIDs

	"pecgate/mailbox"
)

// searchRows is how many messages are looked at in one transaction.
const searchRows = 500

// Search finds messages (RFC 9051 section 6.4.4). Flags, dates and sizes come
// from the records; a message is opened only when the rest of the criteria
// needs it.
func (s *session) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, o *imap.SearchOptions) (*imap.SearchData, error) {
	v, err := s.selected()
	if err != nil {
		return nil, err
	}
	saved := s.saved
	if o.ReturnSave {
		s.saved = nil // what fails saves nothing
	}
	c := compiler{v: v, left: maxTerms, now: s.srv.now(), saved: func() []span { return v.places(saved) }}
	t, err := c.term(criteria)
	if err != nil {
		return nil, err
	}
	all := []span{{0, len(v.uids)}}
	for _, set := range t.sets {
		all = meet(all, set)
	}
	t.sets = nil
	sr := searcher{s: s, v: v, left: maxRead}
	var found []mailbox.UID
	for _, sp := range all {
		for part := range slices.Chunk(v.uids[sp.from:sp.to], searchRows) {
			if found, err = sr.some(found, part, t); err != nil {
				return nil, s.reply("SEARCH", err)
			}
		}
	}
	if then := s.f.cur.then; then != nil {
		if !strings.HasPrefix(s.f.cur.name, "UID ") {
			kind = imapserver.NumKindSeq
		}
		if err := s.arranged(v, kind, found, then); err != nil {
			return nil, s.reply("SEARCH", err)
		}
		s.f.drop("* SEARCH", "* ESEARCH")
		return nothing(kind), nil
	}
	if o.ReturnSave {
		s.saved = save(found, o)
	}
	return result(v, kind, found), nil
}

// save is what "$" will stand for (RFC 9051 section 6.4.4.1).
func save(found []mailbox.UID, o *imap.SearchOptions) []mailbox.UID {
	if o.ReturnAll || o.ReturnCount || !o.ReturnMin && !o.ReturnMax || len(found) == 0 {
		return found
	}
	var out []mailbox.UID
	if o.ReturnMin {
		out = append(out, found[0])
	}
	if last := found[len(found)-1]; o.ReturnMax && !slices.Contains(out, last) {
		out = append(out, last)
	}
	return out
}

func result(v *view, kind imapserver.NumKind, found []mailbox.UID) *imap.SearchData {
	data := &imap.SearchData{Count: uint32(len(found))}
	number := func(uid mailbox.UID) uint32 {
		if kind == imapserver.NumKindUID {
			return uint32(uid)
		}
		return v.seq(uid)
	}
	if len(found) > 0 {
		data.Min, data.Max = number(found[0]), number(found[len(found)-1])
	}
	// The set is never nil: the library asks for its type.
	seqs, uids := imap.SeqSet{}, imap.UIDSet{}
	for i := 0; i < len(found); {
		first := number(found[i])
		last := first
		for i++; i < len(found) && number(found[i]) == last+1; i++ {
			last++
		}
		if kind == imapserver.NumKindUID {
			uids = append(uids, imap.UIDRange{Start: imap.UID(first), Stop: imap.UID(last)})
		} else {
			seqs = append(seqs, imap.SeqRange{Start: first, Stop: last})
		}
	}
	if data.All = seqs; kind == imapserver.NumKindUID {
		data.All = uids
	}
	return data
}

// searcher is a search under way.
type searcher struct {
	s    *session
	v    *view
	left int64 // bytes that may still be read
}

var errSearchLimit = errors.New("imapd: search reads too much")

// some appends those of uids that t fits.
func (sr *searcher) some(found, uids []mailbox.UID, t *term) ([]mailbox.UID, error) {
	rows := make([]candidate, 0, len(uids))
	err := sr.s.srv.opt.Store.Entries(sr.s.ctx, sr.v.folder, sr.v.viewer, uids, mailbox.Want{Flags: true}, func(e *mailbox.Entry) error {
		if t.sized() {
			if err := sr.s.shown(sr.v, e, mailbox.Want{}); err != nil {
				return err
			}
		}
		rows = append(rows, candidate{
			sr: sr, place: int(sr.v.seq(e.UID)) - 1, uid: e.UID, message: e.Message,
			size: e.Size, date: e.Date, day: dayOf(e.Date.In(sr.s.srv.opt.Location)), flags: e.Flags,
		})
		return nil
	})
	if err != nil {
		return found, err
	}
	for i := range rows {
		if err := sr.s.ctx.Err(); err != nil {
			return found, err
		}
		m := &rows[i]
		fits := m.fits(t)
		m.close()
		switch {
		case errors.Is(m.err, errSearchLimit):
			return found, errLimit("This search would read too much; narrow it by date or flags")
		case m.err != nil:
			return found, m.err
		case fits:
			found = append(found, m.uid)
		}
	}
	return found, nil
}

// candidate is one message under search.
type candidate struct {
	sr      *searcher
	place   int
	uid     mailbox.UID
	message mailbox.MessageID
	size    int64
	date    time.Time // INTERNALDATE
	day     int       // of date
	flags   []string

	c      *content // once opened
	header []byte
	err    error
}

func (m *candidate) has(flag string) bool {
	return slices.ContainsFunc(m.flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

// fits tries the cheap criteria first. After an error its answer is nothing.
func (m *candidate) fits(t *term) bool {
	for _, set := range t.sets {
		if !slices.ContainsFunc(set, func(s span) bool { return s.from <= m.place && m.place < s.to }) {
			return false
		}
	}
	if t.larger > 0 && m.size <= t.larger || t.smaller > 0 && m.size >= t.smaller ||
		t.since > 0 && m.day < t.since || t.before > 0 && m.day >= t.before ||
		!t.younger.IsZero() && m.date.Before(t.younger) || !t.older.IsZero() && m.date.After(t.older) {
		return false
	}
	if slices.ContainsFunc(t.flags, func(f string) bool { return !m.has(f) }) || slices.ContainsFunc(t.notFlags, m.has) {
		return false
	}
	for _, n := range t.not {
		if m.fits(n) || m.err != nil {
			return false
		}
	}
	for _, pair := range t.or {
		if !m.fits(pair[0]) && !m.fits(pair[1]) || m.err != nil {
			return false
		}
	}
	return m.sent(t) && m.fields(t) && m.texts(t)
}

// sent compares the Date field; a message without a readable one has no day.
func (m *candidate) sent(t *term) bool {
	if t.sentSince == 0 && t.sentTill == 0 {
		return true
	}
	if !m.open() {
		return false
	}
	day := dayOf(m.c.ix.Date)
	return day > 0 && (t.sentSince == 0 || day >= t.sentSince) && (t.sentTill == 0 || day < t.sentTill)
}

func (m *candidate) open() bool {
	if m.c == nil && m.err == nil {
		m.c, m.err = m.sr.s.openIn(m.sr.v, m.message)
	}
	return m.err == nil
}

func (m *candidate) close() {
	if m.c != nil {
		m.c.close()
	}
}

// spend counts bytes that are about to be read.
func (m *candidate) spend(n int64) bool {
	if m.sr.left -= n; m.sr.left < 0 {
		m.err = errSearchLimit
	}
	return m.err == nil
}

package imapd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"            // criteria, options and results
	"github.com/emersion/go-imap/v2/imapserver" // sequence numbers or UIDs

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
)

// searchRows is how many messages are looked at in one transaction.
const searchRows = 500

// Search finds messages (RFC 9051 section 6.4.4). Flags, dates and sizes come
// from the records; a message is opened only when the rest of the criteria
// needs it.
//
// A message that another session has removed fits nothing, even while its number
// stands: there is nothing left to judge it by. A client that asked by numbers,
// and so is not told EXPUNGE yet, learns it from EXPUNGEISSUED (RFC 5530
// section 3).
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
	sr := searcher{s: s, v: v, looks: c.looks, left: s.srv.searchBytes, sign: time.Now().Add(s.srv.searchSign)}
	var found []mailbox.UID
	for _, sp := range all {
		for part := range slices.Chunk(v.uids[sp.from:sp.to], searchRows) {
			if found, err = sr.some(found, part, t); err != nil {
				return nil, s.reply("SEARCH", err)
			}
		}
	}
	name, byUID := strings.CutPrefix(s.f.cur.name, "UID ")
	library := name // what its OK names
	then := s.f.cur.then
	if then != nil {
		library = "UID SEARCH"
		if !byUID {
			kind = imapserver.NumKindSeq
		}
		missed, err := s.arranged(v, kind, found, then)
		if err != nil {
			return nil, s.reply("SEARCH", err)
		}
		sr.missed = sr.missed || missed
	}
	switch {
	case sr.missed && !byUID:
		s.f.retell("OK "+library+" completed", "OK [EXPUNGEISSUED] "+both(someGone))
	case then != nil:
		s.f.retell("OK "+library, "OK "+s.f.cur.name)
	}
	if then != nil {
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
	s      *session
	v      *view
	looks  looks
	left   int64     // bytes that may still be read
	sign   time.Time // when the client is told next that the search goes on
	near   window    // of the message that is read
	missed bool      // a message was gone
}

var errSearchLimit = errors.New("imapd: search reads too much")

// searchSign is how often a client is told that its search goes on. It shows
// whether the client is still there, too.
const searchSign = 5 * time.Second

// some appends those of uids that t fits.
func (sr *searcher) some(found, uids []mailbox.UID, t *term) ([]mailbox.UID, error) {
	rows, err := sr.rows(uids, t)
	if err != nil {
		return found, err
	}
	var fresh []mailbox.Signed
	for i := range rows {
		if err := sr.goOn(); err != nil {
			return found, err
		}
		m := &rows[i]
		fits := false
		func() {
			defer m.close() // also where what a stranger wrote brings a reader down
			if fits = m.fits(t); m.err == nil {
				fresh = m.signature(fresh)
			}
		}()
		switch {
		case errors.Is(m.err, errSearchLimit):
			return found, errLimit("This search would read too much; narrow it by date or flags")
		case m.err != nil:
			return found, m.err
		case fits:
			found = append(found, m.uid)
		}
	}
	if len(fresh) > 0 {
		// The answer does not need it; a store that fails for good tells by itself.
		_ = sr.s.srv.opt.Store.Sign(sr.s.ctx, fresh)
	}
	return found, nil
}

// goOn ends a search that nobody waits for any more.
func (sr *searcher) goOn() error {
	if err := sr.s.ctx.Err(); err != nil {
		return err
	}
	if sr.s.f.byeText() != "" {
		return context.Canceled
	}
	if now := time.Now(); now.After(sr.sign) {
		sr.sign = now.Add(sr.s.srv.searchSign)
		return sr.s.f.tell("* OK The search goes on")
	}
	return nil
}

// tell sends a line at once.
func (f *filter) tell(line string) error {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	f.put([]byte(line + "\r\n"))
	f.flush()
	return f.werr
}

// rows are the messages among uids that t may fit, with what the records say of
// them.
func (sr *searcher) rows(uids []mailbox.UID, t *term) ([]candidate, error) {
	store, ctx := sr.s.srv.opt.Store, sr.s.ctx
	known := map[mailbox.UID]bool{} // those with a signature; whether it says that ENVELOPE is whole
	if sr.looks.needles > 0 {
		out := make([]bool, len(uids))
		err := store.Signatures(ctx, sr.places(uids), func(i int, words mailbox.Signature) {
			if out[i] = !t.maybe(words); !out[i] {
				known[uids[i]] = words.Summarised()
			}
		})
		if err != nil {
			return nil, err
		}
		all := uids
		uids = make([]mailbox.UID, 0, len(all))
		for i, uid := range all {
			if !out[i] {
				uids = append(uids, uid)
			}
		}
	}
	rows := make([]candidate, 0, len(uids))
	err := sr.s.entries(sr.v, uids, mailbox.Want{Flags: sr.looks.flags}, func(e *mailbox.Entry) error {
		if t.sized() {
			if err := sr.s.shown(sr.v, e, mailbox.Want{}); err != nil {
				return err
			}
		}
		whole, signed := known[e.UID]
		rows = append(rows, candidate{
			sr: sr, place: int(sr.v.seq(e.UID)) - 1, uid: e.UID, message: e.Message, whole: whole, signed: signed,
			size: e.Size, date: e.Date, day: dayOf(e.Date.In(sr.s.srv.opt.Location)), flags: e.Flags,
		})
		return nil
	})
	sr.missed = sr.missed || len(rows) < len(uids)
	unsigned := sr.looks.needles > 0 && slices.ContainsFunc(rows, func(m candidate) bool { return !m.signed })
	if err != nil || sr.v.inner || !sr.looks.summary && !unsigned {
		return rows, err
	}
	uids = make([]mailbox.UID, 0, len(rows)) // what came in belongs to the view
	for i := range rows {
		uids = append(uids, rows[i].uid)
	}
	err = store.Envelopes(ctx, sr.places(uids), func(i int, b []byte) { rows[i].envelope = bytes.Clone(b) })
	return rows, err
}

// places are where the entries of a view stand in the store.
func (sr *searcher) places(uids []mailbox.UID) []mailbox.Place {
	out := make([]mailbox.Place, len(uids))
	if sr.v.archive == nil {
		for i, uid := range uids {
			out[i] = mailbox.Place{Folder: sr.v.folder, UID: uid}
		}
		return out
	}
	lines := sr.v.archive.some(uids)
	for i, uid := range uids {
		if len(lines) > 0 && lines[0].UID == uid {
			out[i], lines = lines[0].Place, lines[1:]
		}
	}
	return out
}

// candidate is one message under search.
type candidate struct {
	sr       *searcher
	place    int
	uid      mailbox.UID
	message  mailbox.MessageID
	size     int64
	date     time.Time // INTERNALDATE
	day      int       // of date
	flags    []string
	signed   bool   // it has a signature
	whole    bool   // envelope shows all that its fields say
	envelope []byte // nil: not known, or not that of what the view shows

	c          *content // once opened
	fields     []foldedField
	head, body []string // once read, if more than one string is looked for
	large      bool     // too large to keep them
	err        error
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
	return m.sent(t) && m.holds(t)
}

// sent compares the Date field; a message without a readable one has no day.
func (m *candidate) sent(t *term) bool {
	if t.sentSince == 0 && t.sentTill == 0 {
		return true
	}
	var date time.Time
	if m.envelope != nil {
		date = mime.EnvelopeDate(m.envelope)
	} else if m.open() {
		date = m.c.ix.Date
	}
	day := dayOf(date)
	return day > 0 && (t.sentSince == 0 || day >= t.sentSince) && (t.sentTill == 0 || day < t.sentTill)
}

// holds looks for the strings.
func (m *candidate) holds(t *term) bool {
	for i := range t.headers {
		if !m.field(&t.headers[i]) {
			return false
		}
	}
	for i := range t.body {
		if !m.inMessage(t.body[i].folded, false) {
			return false
		}
	}
	for i := range t.text {
		if !m.inMessage(t.text[i].folded, true) {
			return false
		}
	}
	return m.err == nil
}

// open opens the message, when it is this search's turn to read one: few do so
// at a time, whatever many clients ask for.
func (m *candidate) open() bool {
	if m.c != nil || m.err != nil {
		return m.err == nil
	}
	if m.err = m.sr.turn(); m.err != nil {
		return false
	}
	if m.c, m.err = m.sr.s.openIn(m.sr.v, m.message); m.err != nil {
		<-m.sr.s.srv.searches
		return false
	}
	m.sr.near = window{r: m.c.r, b: m.sr.near.b[:0]}
	m.c.r = &m.sr.near
	return true
}

// turn waits for a place among the searches that read.
func (sr *searcher) turn() error {
	for {
		select {
		case sr.s.srv.searches <- struct{}{}:
			return nil
		default:
		}
		wait := time.NewTimer(max(time.Until(sr.sign), 0))
		select {
		case sr.s.srv.searches <- struct{}{}:
			wait.Stop()
			return nil
		case <-sr.s.ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
		if err := sr.goOn(); err != nil {
			return err
		}
	}
}

func (m *candidate) close() {
	if m.c != nil {
		m.c.close()
		<-m.sr.s.srv.searches
		m.c, m.fields, m.head, m.body = nil, nil, nil, nil
	}
}

// signature makes the signature of a message that had to be read for want of
// one.
func (m *candidate) signature(fresh []mailbox.Signed) []mailbox.Signed {
	if m.c == nil || m.signed || m.envelope == nil || m.sr.looks.needles == 0 {
		return fresh
	}
	m.c.ix.Envelope = m.envelope
	words, err := mailbox.MakeSignature(m.c.r, m.c.ix)
	if err != nil {
		return fresh // it was read just now; a later search meets the fault
	}
	return append(fresh, mailbox.Signed{Place: m.sr.places([]mailbox.UID{m.uid})[0], Message: m.message, Words: words})
}

// window reads a message in large pieces: what a search looks at are many small
// ones that stand close together.
type window struct {
	r   io.ReaderAt
	off int64 // of b
	b   []byte
}

const windowSize = 32 << 10

func (w *window) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > windowSize {
		return w.r.ReadAt(p, off)
	}
	if from := off - w.off; from < 0 || from+int64(len(p)) > int64(len(w.b)) {
		if w.b == nil {
			w.b = make([]byte, 0, windowSize)
		}
		n, err := w.r.ReadAt(w.b[:windowSize], off)
		w.off, w.b = off, w.b[:n]
		if n < len(p) {
			return copy(p, w.b), err
		}
	}
	return copy(p, w.b[off-w.off:]), nil
}

// spend counts bytes that are about to be read.
func (m *candidate) spend(n int64) bool {
	if m.sr.left -= n; m.sr.left < 0 && m.err == nil {
		m.err = errSearchLimit
	}
	return m.err == nil
}

package imapd

import (
	"errors"
	"slices"

	"github.com/emersion/go-imap/v2"            // what FETCH asks for
	"github.com/emersion/go-imap/v2/imapserver" // the interface of the session

	"pecgate/mailbox"
)

// Limits of one FETCH.
const (
	maxSections = 200      // body sections of one message
	fetchBlock  = 64 << 10 // bytes of answers made in one transaction of the store
	fetchRows   = 64       // messages read ahead when their bytes are wanted
	listRows    = 128      // messages answered in one transaction from the records
	listBlock   = 256 << 10
)

// plan is a FETCH as it will be answered.
type plan struct {
	o        *imap.FetchOptions
	body     bool     // BODY without a section
	full     bool     // BODYSTRUCTURE
	labels   []string // obsolete names of body sections, "" for those that are not
	see      bool     // something is read without .PEEK
	contents bool     // the message's bytes are wanted
	fields   bool     // of them only header fields that are stored with the entry
	reads    bool     // more than its outermost header is
}

// Fetch answers FETCH (RFC 9051 section 6.4.5). Everything goes past the
// library into the connection's output: FETCH runs on the connection's only
// goroutine, and the library's buffer is empty between answers.
func (s *session) Fetch(_ *imapserver.FetchWriter, set imap.NumSet, o *imap.FetchOptions) error {
	v, err := s.selected()
	if err != nil {
		return err
	}
	p, err := s.plan(v, o)
	if err != nil {
		return err
	}
	spans, err := v.spans(set, s.saved)
	if err != nil {
		return err
	}
	f := fetcher{s: s, v: v, plan: p}
	defer f.release()
	for _, sp := range spans {
		if err := f.span(v.uids[sp.from:sp.to], sp.from); err != nil {
			return s.reply("FETCH", err)
		}
	}
	_, byUID := set.(imap.UIDSet)
	switch {
	case f.failed != nil:
		return s.reply("FETCH", f.failed)
	case f.refused:
		return errNUL()
	case f.missed && !byUID:
		return errSomeGone(false)
	}
	return nil
}

func (s *session) plan(v *view, o *imap.FetchOptions) (plan, error) {
	p := plan{o: o}
	if len(o.BodySection)+len(o.BinarySection)+len(o.BinarySectionSize) > maxSections {
		return p, errLimit("Too many parts at once")
	}
	if o.ModSeq || o.ChangedSince != 0 {
		return p, badCommand("CONDSTORE is not supported")
	}
	words := fetchWords(s.f.cur.text)
	p.body, p.full = words.body, words.full
	if o.BodyStructure != nil && !p.body && !p.full {
		p.full, p.body = o.BodyStructure.Extended, !o.BodyStructure.Extended
	}
	if p.labels = words.sections; len(p.labels) != len(o.BodySection) {
		p.labels = make([]string, len(o.BodySection))
	}
	for _, b := range o.BodySection {
		p.see = p.see || !b.Peek
	}
	for _, b := range o.BinarySection {
		p.see = p.see || !b.Peek
	}
	p.see = p.see && !v.readOnly
	p.reads = len(o.BinarySection) > 0 || slices.ContainsFunc(o.BodySection, readsMore)
	p.contents = len(o.BodySection)+len(o.BinarySection)+len(o.BinarySectionSize) > 0
	if p.contents && len(o.BinarySection)+len(o.BinarySectionSize) == 0 && !p.see && !v.inner && !slices.ContainsFunc(o.BodySection, otherThanFields) {
		p.contents, p.fields = false, true
	}
	return p, nil
}

// readsMore tells whether a section shows more of a message than its own
// header, as clients read it to list a folder.
func readsMore(b *imap.FetchItemBodySection) bool {
	return len(b.Part) > 0 || b.Specifier != imap.PartSpecifierHeader
}

// otherThanFields tells whether a section needs the message itself.
func otherThanFields(b *imap.FetchItemBodySection) bool {
	return len(b.Part) > 0 || b.Specifier != imap.PartSpecifierHeader || !mailbox.ListsFields(b.HeaderFields)
}

// fetcher is a FETCH under way.
type fetcher struct {
	s *session
	v *view
	plan
	out      []byte
	block    []byte        // for what is read of a message
	missed   bool          // a message was gone
	failed   error         // a message could not be read; the others are answered
	refused  bool          // a section was left out; see nul.go
	withheld []mailbox.UID // of them, those that were marked as seen
}

// errBlock ends a transaction of the store when enough has been made.
var errBlock = errors.New("imapd: enough for now")

// span answers for consecutive messages. from is the place of the first.
func (f *fetcher) span(uids []mailbox.UID, from int) error {
	if done, err := f.listed(uids, from); done || err != nil {
		return err
	}
	for len(uids) > 0 {
		var done int
		var err error
		if f.contents {
			done, err = f.withContents(uids)
		} else {
			done, err = f.withoutContents(uids)
		}
		if err != nil {
			return err
		}
		uids = uids[done:]
	}
	return nil
}

func (f *fetcher) want() mailbox.Want {
	return mailbox.Want{Flags: f.o.Flags || f.see, Envelope: f.o.Envelope, BodyStructure: f.full, Body: f.body, Fields: f.fields}
}

// shown puts into e what the view shows, where the answer holds any of it.
func (f *fetcher) shown(e *mailbox.Entry) error {
	if !f.o.RFC822Size && !f.o.Envelope && !f.full && !f.body {
		return nil
	}
	return f.s.shown(f.v, e, f.want())
}

// withoutContents answers from the records only, some messages in one
// transaction, and returns how many of uids are done.
func (f *fetcher) withoutContents(uids []mailbox.UID) (int, error) {
	f.out = f.out[:0]
	next := 0  // place in uids
	bare := -1 // place of a message whose fields are not stored
	uids = uids[:min(len(uids), listRows)]
	err := f.s.entries(f.v, uids, f.want(), func(e *mailbox.Entry) error {
		if len(f.out) >= listBlock {
			return errBlock
		}
		if f.fields && e.Fields == nil {
			bare, _ = slices.BinarySearch(uids, e.UID)
			return errBlock
		}
		next = f.reach(uids, next, e.UID)
		if err := f.shown(e); err != nil {
			return err
		}
		if f.o.Flags {
			f.out = f.v.introduce(f.out, e.Flags)
		}
		f.out = openFetch(f.out, f.v.seq(e.UID))
		f.out = f.items(f.out, e, f.o.Flags)
		if f.fields {
			f.appendFields(e)
		}
		f.out = closeFetch(f.out)
		return nil
	})
	if errors.Is(err, errBlock) {
		err = nil
	} else if err == nil {
		f.missed = f.missed || next < len(uids)
		next = len(uids)
	}
	if err != nil {
		return 0, err
	}
	if err := f.s.f.append(f.out); err != nil || bare < 0 {
		return next, err
	}
	done, err := f.withContents(uids[next : bare+1])
	return next + done, err
}

// reach steps behind uid in uids and notes those that were passed over.
func (f *fetcher) reach(uids []mailbox.UID, from int, uid mailbox.UID) int {
	for ; from < len(uids) && uids[from] != uid; from++ {
		f.missed = true
	}
	return from + 1
}

// items appends what comes from the records.
func (f *fetcher) items(b []byte, e *mailbox.Entry, flags bool) []byte {
	if f.o.UID {
		b = appendUID(b, e.UID)
	}
	if flags {
		b = appendFlagList(b, e.Flags)
	}
	if f.o.InternalDate {
		b = appendDate(b, e.Date.In(f.s.srv.opt.Location))
	}
	if f.o.RFC822Size {
		b = append(separate(b), "RFC822.SIZE "...)
		b = appendNumber(b, uint32(min(e.Size, 1<<32-1)))
	}
	if f.o.Envelope {
		b = appendItem(b, "ENVELOPE", e.Envelope)
	}
	if f.body {
		b = appendItem(b, "BODY", e.Body)
	}
	if f.full {
		b = appendItem(b, "BODYSTRUCTURE", e.BodyStructure)
	}
	return b
}

// row is a message whose bytes are wanted.
type row struct {
	uid     mailbox.UID
	message mailbox.MessageID
	unseen  bool
	flags   []string
	head    []byte // the answer up to the first section, flags apart
}

// withContents answers messages whose bytes are wanted, and returns how many of
// uids are done.
func (f *fetcher) withContents(uids []mailbox.UID) (int, error) {
	rows, done, err := f.rows(uids[:min(len(uids), fetchRows)])
	if err != nil {
		return 0, err
	}
	if f.see {
		if err := f.markSeen(rows); err != nil {
			return 0, err
		}
	}
	if f.reads {
		f.noteReading(rows)
	}
	for _, r := range rows {
		if err := f.one(r); err != nil {
			return 0, err
		}
	}
	return done, f.markUnseen()
}

func (f *fetcher) rows(uids []mailbox.UID) ([]row, int, error) {
	var rows []row
	next, size := 0, 0
	err := f.s.entries(f.v, uids, f.want(), func(e *mailbox.Entry) error {
		if size >= fetchBlock {
			return errBlock
		}
		next = f.reach(uids, next, e.UID)
		if err := f.shown(e); err != nil {
			return err
		}
		r := row{uid: e.UID, message: e.Message, flags: e.Flags}
		r.unseen = f.see && !slices.Contains(e.Flags, string(imap.FlagSeen))
		if f.o.Flags || r.unseen {
			r.head = f.v.introduce(nil, e.Flags)
		}
		r.head = f.items(openFetch(r.head, f.v.seq(e.UID)), e, false)
		size += len(r.head)
		rows = append(rows, r)
		return nil
	})
	if err == nil {
		f.missed = f.missed || next < len(uids)
		next = len(uids)
	} else if errors.Is(err, errBlock) {
		err = nil
	}
	return rows, next, err
}

// markSeen sets \Seen for the person before the bytes are sent: what was read
// must not come back as new.
func (f *fetcher) markSeen(rows []row) error {
	var uids []mailbox.UID
	for _, r := range rows {
		if r.unseen {
			uids = append(uids, r.uid)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	after, err := f.s.srv.opt.Store.SetFlags(f.s.ctx, f.v.folder, f.v.viewer, uids, mailbox.FlagsAdd, []string{string(imap.FlagSeen)})
	if err != nil {
		return err
	}
	for _, e := range after {
		f.v.told[e.UID] = e.ModSeq
		for i := range rows {
			if rows[i].uid == e.UID {
				rows[i].flags = e.Flags
			}
		}
	}
	return nil
}

// noteReading has the audit log tell who reads, before the bytes are sent.
// Reading goes on where nothing can be written.
func (f *fetcher) noteReading(rows []row) {
	ids := make([]mailbox.MessageID, len(rows))
	for i, r := range rows {
		ids[i] = r.message
	}
	err := f.s.srv.opt.Store.NoteReading(f.s.ctx, f.s.person, ids)
	if err != nil && f.s.ctx.Err() == nil {
		f.s.srv.opt.Events.Unaudited("reading", f.s.id.User, f.v.key.Box, f.s.f.remote(), "first", "", len(ids), err)
	}
}

// one answers one message with its sections.
func (f *fetcher) one(r row) error {
	b := r.head
	if f.o.Flags || r.unseen {
		b = appendFlagList(b, r.flags)
	}
	c, err := f.s.openIn(f.v, r.message)
	if err != nil {
		if f.s.ctx.Err() != nil {
			return err
		}
		f.failed = err // the other messages stay readable
		return nil
	}
	defer c.close()
	begun := false // part of the answer is out
	given := 0     // sections
	for i := range f.sections() {
		p, err := f.piece(c, i)
		if err != nil {
			f.failed = err
			if begun {
				f.s.f.cut() // half an answer is out; only cutting the line tells the client
				return err
			}
			return nil
		}
		if p.nul {
			f.refused = true
			if r.unseen {
				f.withheld = append(f.withheld, r.uid)
			}
			continue
		}
		if given++; given == 1 {
			b = separate(b)
		} else {
			b = append(b, ' ') // the last byte may be a stranger's
		}
		b = append(b, p.label...)
		switch {
		case p.none:
			b = append(b, " NIL"...)
		case p.number:
			b = append(b, ' ')
			b = appendNumber(b, uint32(min(p.size, 1<<32-1)))
		case p.send == nil:
			b = append(appendLiteralHead(b, p.size, p.eight), p.data...)
		default:
			if err := f.s.f.append(appendLiteralHead(b, p.size, p.eight)); err != nil {
				return err
			}
			begun, b = true, b[:0]
			if err := p.send(f.s.f); err != nil {
				f.s.f.cut()
				return err
			}
		}
		if len(b) >= fetchBlock {
			if err := f.s.f.append(b); err != nil {
				return err
			}
			begun, b = true, b[:0]
		}
	}
	if given == 0 && b[len(b)-1] == '(' {
		return nil // nothing else was asked for
	}
	return f.s.f.append(closeFetch(b))
}

package relay

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
)

// The message log: what was sent through the mailboxes and what came in, as lists,
// searches and exports ask for it. It is read from the archive's index, by day, so a
// page costs what the days cost that it touches, not what the store holds. What it
// shows of a message besides its record are mailbox.Facts: written when a message
// comes in, and made of the bytes, once, where they are missing.
//
// It knows nothing of people's rights: who asks passes the mailboxes that may be
// asked for.

// Limits of a page.
const (
	MaxMessagePage     = 1000
	defaultMessagePage = 100
	lookedPerPage      = 5000 // lines that a page looks at; one that finds little is short
	walkedAtOnce       = 500  // lines of one look into the store
)

// MessageQuery asks for messages. What is empty selects all.
type MessageQuery struct {
	Mailboxes  []string          `json:"mailboxes,omitempty"`
	From       time.Time         `json:"from,omitzero"` // included
	To         time.Time         `json:"to,omitzero"`   // not included
	Direction  mailbox.Direction `json:"direction,omitempty"`
	Kinds      []string          `json:"kinds,omitempty"`      // as ExportKinds has them, and other words of pec
	Party      string            `json:"party,omitempty"`      // part of a sender or recipient
	Subject    string            `json:"subject,omitempty"`    // part of the subject
	MsgID      string            `json:"msgid,omitempty"`      // whole
	Identifier string            `json:"identifier,omitempty"` // whole
	Register   string            `json:"register,omitempty"`   // year/number
	SHA256     string            `json:"sha256,omitempty"`
	State      State             `json:"state,omitempty"`  // of submissions
	Oldest     bool              `json:"oldest,omitempty"` // oldest first; else newest
	Limit      int               `json:"limit,omitempty"`  // rows of a page; 0: 100, at most MaxMessagePage
	Cursor     string            `json:"cursor,omitempty"` // MessagePage.Next of the page before
}

// MessageRow is one message of the log. The keys are a contract with scripts.
type MessageRow struct {
	ID         string            `json:"id"` // of the submission; of what came in m and its number
	Direction  mailbox.Direction `json:"direction"`
	Kind       string            `json:"kind"`
	Mailbox    string            `json:"mailbox"`
	At         time.Time         `json:"at"` // of what came in the provider's time
	Sender     string            `json:"sender"`
	Recipients []string          `json:"recipients"`
	Subject    string            `json:"subject"`
	MsgID      string            `json:"msgid"`
	Identifier string            `json:"identifier"`
	Register   string            `json:"register"` // year/number, empty where it has none
	State      State             `json:"state"`    // of a submission; of a receipt that of its submission
	SHA256     string            `json:"sha256"`

	Verdict    string            `json:"verdict,omitempty"`
	Submission string            `json:"submission,omitempty"` // that a receipt is about
	Size       int64             `json:"size"`                 // bytes
	Message    mailbox.MessageID `json:"-"`
}

// MessagePage is a part of an answer. It may have fewer rows than were asked for, and
// none, though there is more: Next is empty only at the end.
type MessagePage struct {
	Rows []MessageRow `json:"rows"`
	Next string       `json:"next,omitempty"`
}

// Messages answers a query by pages, by day and in a day by mailbox and arrival. Its
// errors are *Refusal for a query that cannot be answered, or those of the store.
func (s *Service) Messages(ctx context.Context, q MessageQuery) (*MessagePage, error) {
	return Messages(ctx, s.opt.Store, s.reader(), q)
}

// Messages is Service.Messages on a store that nothing serves.
func Messages(ctx context.Context, store *mailbox.Store, reader *pec.Reader, q MessageQuery) (*MessagePage, error) {
	l := &messageLog{store: store, reader: reader, q: q, limit: q.Limit, page: &MessagePage{Rows: []MessageRow{}}}
	if l.limit == 0 {
		l.limit = defaultMessagePage
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	if l.named() {
		return l.page, l.byName(ctx)
	}
	return l.page, l.byDay(ctx)
}

// messageLog makes one page.
type messageLog struct {
	store    *mailbox.Store
	reader   *pec.Reader
	q        MessageQuery
	limit    int
	boxes    []string // lower case, sorted
	register mailbox.RegisterNumber
	sum      []byte
	party    string
	subject  string
	page     *MessagePage
}

func (l *messageLog) check() error {
	q := &l.q
	if l.limit < 1 || l.limit > MaxMessagePage {
		return refuse("a page has 1 to %d messages", MaxMessagePage)
	}
	if q.Direction != "" && q.Direction != mailbox.In && q.Direction != mailbox.Out {
		return refuse("the direction is in or out, not %s", strconv.Quote(clipped(string(q.Direction))))
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		return refuse("the end of the time lies before its beginning")
	}
	if q.Register != "" {
		year, number, ok := strings.Cut(q.Register, "/")
		y, err := strconv.Atoi(year)
		n, err2 := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || err2 != nil || y < 1 || y > 9999 || n == 0 {
			return refuse("a register number is written year/number, as 2026/17, not %s", strconv.Quote(clipped(q.Register)))
		}
		l.register = mailbox.RegisterNumber{Year: y, Number: n}
	}
	if q.SHA256 != "" {
		var err error
		if l.sum, err = hex.DecodeString(q.SHA256); err != nil || len(l.sum) != 32 {
			return refuse("a SHA-256 has 64 hexadecimal digits")
		}
	}
	l.party, l.subject = mime.Fold(q.Party), mime.Fold(q.Subject)
	return nil
}

// named tells whether the query names messages, which are then looked up.
func (l *messageLog) named() bool {
	return l.q.MsgID != "" || l.q.Identifier != "" || l.q.Register != "" || l.sum != nil
}

// lookBoxes sets the mailboxes that are asked for: all that ever held something where
// none is named.
func (l *messageLog) lookBoxes(ctx context.Context) error {
	if l.q.Mailboxes == nil {
		all, err := l.store.Usages(ctx)
		if err != nil {
			return err
		}
		for box := range all {
			l.boxes = append(l.boxes, strings.ToLower(box))
		}
	}
	for _, box := range l.q.Mailboxes {
		l.boxes = append(l.boxes, strings.ToLower(box))
	}
	slices.Sort(l.boxes)
	l.boxes = slices.Compact(l.boxes)
	return nil
}

// candidate is a message that may be a row.
type candidate struct {
	m     *mailbox.Message
	at    time.Time
	sub   *Submission // that it is, or is about; nil: none
	facts *mailbox.Facts
	after string // cursor behind it
}

// candidate reads a message; nil where it is none of the log, or surely not asked for.
func (l *messageLog) candidate(tx *mailbox.Tx, id mailbox.MessageID) (*candidate, error) {
	m, err := tx.Message(id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &candidate{m: m, at: tx.TimeOf(m)}
	switch {
	case m.Direction != mailbox.In && m.Direction != mailbox.Out || m.Generated || m.Transit,
		m.Direction == mailbox.Out && m.Submission == "",
		l.q.Direction != "" && l.q.Direction != m.Direction,
		len(l.q.Kinds) > 0 && !slices.ContainsFunc(l.q.Kinds, func(k string) bool { return k == kindOf(m) || ofKind(k, exportKind(m)) }),
		!l.q.From.IsZero() && c.at.Before(l.q.From), !l.q.To.IsZero() && !c.at.Before(l.q.To):
		return nil, nil
	}
	if m.Submission != "" {
		if c.sub, err = load(tx, m.Submission); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	if l.q.State != "" && (m.Direction != mailbox.Out || c.sub == nil || c.sub.State != l.q.State) {
		return nil, nil
	}
	if c.facts, err = tx.Facts(id); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return nil, err
	}
	return c, nil
}

func kindOf(m *mailbox.Message) string {
	if m.Direction == mailbox.Out {
		return KindSent
	}
	return string(m.Kind)
}

// take makes rows of candidates until the page is full; all is false if it was.
func (l *messageLog) take(ctx context.Context, list []*candidate) (all bool, err error) {
	if err := l.learn(ctx, list); err != nil {
		return false, err
	}
	for _, c := range list {
		row := c.row()
		if !l.wants(&row) {
			continue
		}
		l.page.Rows = append(l.page.Rows, row)
		if len(l.page.Rows) == l.limit {
			l.page.Next = c.after
			return false, nil
		}
	}
	return true, nil
}

// wants tells whether a row has the words that are asked for.
func (l *messageLog) wants(r *MessageRow) bool {
	if l.subject != "" && !strings.Contains(mime.Fold(r.Subject), l.subject) {
		return false
	}
	has := func(a string) bool { return strings.Contains(mime.Fold(a), l.party) }
	return l.party == "" || has(r.Sender) || slices.ContainsFunc(r.Recipients, has)
}

func (c *candidate) row() MessageRow {
	m, f := c.m, c.facts
	r := MessageRow{
		ID: "m" + strconv.FormatUint(uint64(m.ID), 10), Direction: m.Direction, Kind: kindOf(m), Mailbox: m.Box, At: c.at.UTC(), SHA256: m.SHA256(),
		Verdict: m.Verdict, Size: m.Size(), Message: m.ID,
		Sender: f.Sender, Recipients: f.Recipients, Subject: f.Subject, MsgID: f.MsgID, Identifier: f.Identifier,
	}
	if m.Register != nil {
		r.Register = fmt.Sprintf("%d/%d", m.Register.Year, m.Register.Number)
	}
	if c.sub != nil {
		r.State = c.sub.State
	}
	switch {
	case m.Direction == mailbox.In:
		r.Submission = m.Submission
	case c.sub != nil:
		r.ID, r.At, r.Sender, r.MsgID, r.Identifier = c.sub.ID, c.sub.SubmittedAt.UTC(), c.sub.Box, c.sub.MsgID, c.sub.Identifier
		r.Recipients = make([]string, len(c.sub.Recipients))
		for i := range c.sub.Recipients {
			r.Recipients[i] = c.sub.Recipients[i].Address
		}
	default:
		r.ID = m.Submission
	}
	if r.Recipients == nil {
		r.Recipients = []string{}
	}
	return r
}

// byName looks up what the query names.
func (l *messageLog) byName(ctx context.Context) error {
	if err := l.lookBoxes(ctx); err != nil {
		return err
	}
	var list []*candidate
	err := l.store.View(ctx, func(tx *mailbox.Tx) error {
		list = nil
		ids, err := l.lookUp(tx)
		if err != nil {
			return err
		}
		for _, id := range ids {
			c, err := l.candidate(tx, id)
			if err != nil {
				return err
			}
			if c != nil && slices.Contains(l.boxes, strings.ToLower(c.m.Box)) {
				list = append(list, c)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b *candidate) int {
		by := cmp.Or(a.at.Compare(b.at), cmp.Compare(a.m.ID, b.m.ID))
		if !l.q.Oldest {
			by = -by
		}
		return by
	})
	// A name has few messages: those of one page are all that is given.
	_, err = l.take(ctx, list)
	l.page.Next = ""
	return err
}

// lookUp returns the messages that have each name of the query.
func (l *messageLog) lookUp(tx *mailbox.Tx) (ids []mailbox.MessageID, err error) {
	var sets [][]mailbox.MessageID
	for _, name := range []string{l.q.MsgID, l.q.Identifier} {
		if id := pec.NormalizeID(strings.TrimSpace(name)); id != "" {
			set, err := l.lookUpID(tx, id)
			if err != nil {
				return nil, err
			}
			sets = append(sets, set)
		} else if name != "" {
			return nil, refuse("%s is no Message-ID and no PEC identifier", strconv.Quote(clipped(name)))
		}
	}
	if l.sum != nil {
		set, err := tx.ByContent([32]byte(l.sum))
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	if l.q.Register != "" {
		var set []mailbox.MessageID
		for _, box := range l.boxes {
			for _, d := range []mailbox.Direction{mailbox.In, mailbox.Out} {
				switch r, err := tx.RegisteredAs(box, d, l.register); {
				case err == nil:
					set = append(set, r.Message)
				case !errors.Is(err, mailbox.ErrNotFound):
					return nil, err
				}
			}
		}
		sets = append(sets, set)
	}
	for i, set := range sets {
		slices.Sort(set)
		if set = slices.Compact(set); i == 0 {
			ids = set
			continue
		}
		ids = slices.DeleteFunc(ids, func(id mailbox.MessageID) bool { _, ok := slices.BinarySearch(set, id); return !ok })
	}
	return ids, nil
}

// lookUpID returns the messages of a Message-ID or PEC identifier: what was sent or
// came with it, and the receipts about it.
func (l *messageLog) lookUpID(tx *mailbox.Tx, id string) (set []mailbox.MessageID, err error) {
	for _, box := range l.boxes {
		of, err := tx.ByMessageID(box, id)
		if err != nil {
			return nil, err
		}
		set = append(set, of...)
		for _, find := range []func() (*Submission, error){
			func() (*Submission, error) { return byMsgID(tx, box, id) },
			func() (*Submission, error) { return byIdentifier(tx, box, idKey(id)) },
		} {
			s, err := find()
			if errors.Is(err, ErrNotFound) || err == nil && s.Box != box {
				continue
			}
			if err != nil {
				return nil, err
			}
			set = append(set, s.Message)
			if s.batch() {
				continue // its messages have receipts of their own
			}
			for n := -1; n < len(s.Recipients); n++ {
				refs, err := receipts(tx, s.ID, n)
				if err != nil {
					return nil, err
				}
				for _, r := range refs {
					set = append(set, r.Message)
				}
			}
		}
	}
	return set, nil
}

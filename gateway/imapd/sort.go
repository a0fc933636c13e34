package imapd

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"            // response codes
	"github.com/emersion/go-imap/v2/imapserver" // sequence numbers or UIDs

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
)

// SORT and THREAD (RFC 5256) are searches whose result is put in order. The
// library parses the search; the filter takes off what stands before it and the
// library's own answer.

// arrange is what is to be done with the result of a search.
type arrange struct {
	keys   []sortKey // SORT
	thread string    // THREAD: the algorithm
}

type sortKey struct {
	by      string
	reverse bool
}

// maxSort bounds the messages of one SORT or THREAD, and so its memory.
const maxSort = 200_000

// asSearch rewrites a SORT or THREAD as the search in it. why is the answer to
// one that cannot be done.
func asSearch(tag, name string, text []byte) (search []byte, a *arrange, why string) {
	const syntax = "BAD [CLIENTBUG] Syntax error"
	t := tokens{b: text}
	for range 2 + strings.Count(name, " ") {
		t.next()
	}
	rest := bytes.TrimLeft(text[t.pos:], " ")
	a = &arrange{}
	if strings.HasSuffix(name, "SORT") {
		end := bytes.IndexByte(rest, ')')
		if len(rest) == 0 || rest[0] != '(' || end < 0 {
			return nil, nil, syntax
		}
		if a.keys = sortKeys(string(rest[1:end])); a.keys == nil {
			return nil, nil, syntax
		}
		rest = rest[end+1:]
	} else {
		var algorithm string
		algorithm, rest = word(rest)
		switch a.thread = upper(algorithm); a.thread {
		case "REFERENCES", "ORDEREDSUBJECT":
		default:
			return nil, nil, syntax
		}
	}
	rest = bytes.TrimLeft(rest, " ")
	charset := tokens{b: rest}
	c := charset.next()
	if c == nil || len(bytes.TrimSpace(rest[charset.pos:])) == 0 {
		return nil, nil, syntax
	}
	out := tag + " UID SEARCH CHARSET "
	return append([]byte(out), rest...), a, ""
}

// sortKeys reads the criteria between the parentheses; nil when they are none.
func sortKeys(s string) []sortKey {
	var out []sortKey
	reverse := false
	for _, w := range strings.Fields(strings.ToUpper(s)) {
		switch w {
		case "REVERSE":
			if reverse {
				return nil
			}
			reverse = true
			continue
		case "ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO":
		default:
			return nil
		}
		if out = append(out, sortKey{by: w, reverse: reverse}); len(out) > 20 {
			return nil
		}
		reverse = false
	}
	if reverse {
		return nil
	}
	return out
}

// sorted is a message and what it is compared by.
type sorted struct {
	uid                   mailbox.UID
	message               mailbox.MessageID
	size                  int64
	arrival, date         time.Time
	from, to, cc, subject string
	isReply               bool
	id, inReplyTo         string
}

// arranged writes the answer to a SORT or THREAD over what a search found. missed
// tells that some of it was removed meanwhile.
func (s *session) arranged(v *view, kind imapserver.NumKind, found []mailbox.UID, a *arrange) (missed bool, err error) {
	if len(found) > maxSort {
		return false, errLimit("These are too many messages to sort; narrow the search")
	}
	list := make([]sorted, 0, len(found))
	err = s.entries(v, found, mailbox.Want{Envelope: true}, func(e *mailbox.Entry) error {
		if err := s.shown(v, e, mailbox.Want{Envelope: true}); err != nil {
			return err
		}
		list = append(list, sortable(e))
		return nil
	})
	if err != nil {
		return false, err
	}
	missed = len(list) < len(found)
	number := func(uid mailbox.UID) uint32 {
		if kind == imapserver.NumKindUID {
			return uint32(uid)
		}
		return v.seq(uid)
	}
	if a.thread != "" {
		return missed, s.threaded(v, list, a.thread, number)
	}
	slices.SortStableFunc(list, func(x, y sorted) int { return compare(&x, &y, a.keys) })
	out := []byte("* SORT")
	for i := range list {
		out = append(out, ' ')
		out = strconv.AppendUint(out, uint64(number(list[i].uid)), 10)
	}
	return missed, s.f.append(append(out, "\r\n"...))
}

func sortable(e *mailbox.Entry) sorted {
	sum := mime.ReadSummary(e.Envelope)
	m := sorted{uid: e.UID, message: e.Message, size: e.Size, arrival: e.Date, date: sum.Date,
		from: casemap(sum.From), to: casemap(sum.To), cc: casemap(sum.Cc), id: sum.MessageID, inReplyTo: sum.InReplyTo}
	if m.date.IsZero() {
		m.date = e.Date // RFC 5256 section 2.2
	}
	m.subject, m.isReply = mime.BaseSubject(sum.Subject)
	m.subject = casemap(m.subject)
	return m
}

// casemap makes letters of both cases equal (i;unicode-casemap, RFC 5051,
// without its decomposition).
func casemap(s string) string { return strings.ToTitle(s) }

// compare orders by the keys; equal ones stay as they stand in the folder.
func compare(x, y *sorted, keys []sortKey) int {
	for _, k := range keys {
		c := 0
		switch k.by {
		case "ARRIVAL":
			c = x.arrival.Compare(y.arrival)
		case "DATE":
			c = x.date.Compare(y.date)
		case "SIZE":
			c = cmp.Compare(x.size, y.size)
		case "FROM":
			c = strings.Compare(x.from, y.from)
		case "TO":
			c = strings.Compare(x.to, y.to)
		case "CC":
			c = strings.Compare(x.cc, y.cc)
		case "SUBJECT":
			c = strings.Compare(x.subject, y.subject)
		}
		if k.reverse {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// nothing is the result that the library gets of a search whose answer has been
// written.
func nothing(kind imapserver.NumKind) *imap.SearchData {
	if kind == imapserver.NumKindUID {
		return &imap.SearchData{All: imap.UIDSet{}}
	}
	return &imap.SearchData{All: imap.SeqSet{}}
}

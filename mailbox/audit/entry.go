package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog" // the Merkle tree of RFC 6962 and its proofs, as small as it can be
)

const (
	version = 1

	timeLayout = "2006-01-02T15:04:05.000000Z"

	maxValue = 1024 // bytes of one value as written in the text; what is longer is cut
	maxName  = 64   // bytes of a key of Entry.More
	maxMore  = 16   // keys of Entry.More
	maxText  = 32 << 10

	// removal is the event of the entry that says which texts went.
	removal = "audit-removal"
)

// ErrEntry: an entry that cannot be written, or a text that is none.
var ErrEntry = errors.New("audit: not an entry")

// Entry is who did what, when, from where, on what and with which result. No
// content of a message, no secret.
//
// Each string is cut to 1,024 bytes as written (a control character takes six),
// and bytes that are not UTF-8 become U+FFFD. At is kept to the microsecond.
type Entry struct {
	At      time.Time         `json:"at"`
	Actor   string            `json:"actor,omitempty"` // login, or the room that acted
	Event   string            `json:"event"`           // required
	Box     string            `json:"mailbox,omitempty"`
	Subject string            `json:"subject,omitempty"` // the submission or message it is about
	Result  string            `json:"result,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	From    string            `json:"from,omitempty"` // address of the peer
	More    map[string]string `json:"more,omitempty"` // at most 16 keys of at most 64 bytes
}

// tidy bounds an entry so that its text is always written.
func tidy(e Entry) (Entry, error) {
	if e.Event == "" {
		return e, fmt.Errorf("no event: %w", ErrEntry)
	}
	if len(e.More) > maxMore {
		return e, fmt.Errorf("%d further facts: %w", len(e.More), ErrEntry)
	}
	e.At = e.At.UTC().Truncate(time.Microsecond)
	if y := e.At.Year(); y < 0 || y > 9999 {
		return e, fmt.Errorf("the year %d: %w", y, ErrEntry)
	}
	for _, s := range []*string{&e.Actor, &e.Event, &e.Box, &e.Subject, &e.Result, &e.Reason, &e.From} {
		*s = clip(*s)
	}
	if len(e.More) == 0 {
		e.More = nil
		return e, nil
	}
	more := make(map[string]string, len(e.More))
	for k, v := range e.More {
		if k == "" || len(k) > maxName || !plain(k) {
			return e, fmt.Errorf("the name of a further fact: %w", ErrEntry)
		}
		more[k] = clip(v)
	}
	e.More = more
	return e, nil
}

// plain tells whether s is printable ASCII. The names of further facts are: the
// program chooses them, and their order is then the same in every alphabet.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// clip cuts s where its written form would grow over maxValue.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxValue/6 { // no escape is longer
		return s
	}
	sum := 0
	for i, r := range s {
		sum += width(r)
		if sum > maxValue {
			return s[:i] + "..."
		}
	}
	return s
}

// text writes the canonical text of an entry.
func text(n int64, prev string, e Entry) []byte {
	w := object{b: make([]byte, 0, 512)}
	w.optional("actor", e.Actor)
	w.str("at", e.At.Format(timeLayout))
	w.str("event", e.Event)
	w.optional("from", e.From)
	w.optional("mailbox", e.Box)
	if len(e.More) > 0 {
		w.strs("more", e.More)
	}
	w.number("n", n)
	w.str("prev", prev)
	w.optional("reason", e.Reason)
	w.optional("result", e.Result)
	w.optional("subject", e.Subject)
	w.number("v", version)
	return w.end()
}

// written is the entry as its text says it.
type written struct {
	Entry
	At   string `json:"at"` // in the place of Entry.At
	N    int64  `json:"n"`
	Prev string `json:"prev"`
	V    int    `json:"v"`
}

// parse reads a text and refuses all but the one form that text writes, so
// that no two programs can read it differently.
func parse(b []byte) (*written, error) {
	if len(b) > maxText {
		return nil, fmt.Errorf("a text of %d bytes: %w", len(b), ErrEntry)
	}
	w := new(written)
	if err := json.Unmarshal(b, w); err != nil {
		return nil, fmt.Errorf("the text is not JSON of an entry: %w", ErrEntry) // the cause would show bytes of it
	}
	if w.V != version {
		return nil, fmt.Errorf("version %d is not known: %w", w.V, ErrEntry)
	}
	at, err := time.Parse(timeLayout, w.At)
	if err != nil {
		return nil, fmt.Errorf("its time is malformed: %w", ErrEntry)
	}
	w.Entry.At = at
	if string(text(w.N, w.Prev, w.Entry)) != string(b) {
		return nil, fmt.Errorf("the text is not in canonical form: %w", ErrEntry)
	}
	return w, nil
}

// leaf is the hash of an entry in the tree.
func leaf(salt, text []byte) tlog.Hash {
	return tlog.RecordHash(append(append(make([]byte, 0, len(salt)+len(text)), salt...), text...))
}

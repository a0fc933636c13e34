package mailbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Facts is what a list of messages shows of one besides its record: read once from
// its bytes, and kept so that lists and searches open no message. It may be missing
// (mail that was stored before there was any), and is then made by whoever lists.
type Facts struct {
	Sender     string   `json:"sender,omitempty"`
	Recipients []string `json:"recipients,omitempty"` // at most MaxFactRecipients
	More       int      `json:"more,omitempty"`       // recipients beyond those
	Subject    string   `json:"subject,omitempty"`    // at most MaxFactText bytes
	MsgID      string   `json:"msgid,omitempty"`      // of what was sent, without brackets; of a receipt, that which it is about
	Identifier string   `json:"identifier,omitempty"` // PEC identifier
}

// Limits of Facts.
const (
	MaxFactRecipients = 100
	MaxFactText       = 1000 // bytes
)

// Facts returns those of a message, or ErrNotFound.
func (tx *Tx) Facts(id MessageID) (*Facts, error) {
	f := new(Facts)
	if err := tx.getJSON(key("mf", id), f); err != nil {
		return nil, err
	}
	return f, nil
}

// PutFacts keeps the facts of a message, within their limits. The message has its
// record, or gets it in this transaction.
func (tx *Tx) PutFacts(id MessageID, f Facts) error {
	if n := len(f.Recipients); n > MaxFactRecipients {
		f.Recipients, f.More = f.Recipients[:MaxFactRecipients], f.More+n-MaxFactRecipients
	}
	f.Recipients = append([]string(nil), f.Recipients...)
	for i := range f.Recipients {
		f.Recipients[i] = clipFact(f.Recipients[i], 320)
	}
	f.Sender, f.Subject = clipFact(f.Sender, 320), clipFact(f.Subject, MaxFactText)
	f.MsgID, f.Identifier = clipFact(f.MsgID, MaxFactText), clipFact(f.Identifier, MaxFactText)
	return tx.putJSON(key("mf", id), f)
}

// DropFacts takes the facts of a message away; they are made anew when they are asked for.
func (tx *Tx) DropFacts(id MessageID) error { return tx.w.Delete(key("mf", id)) }

// clipFact cuts a text so that it stays UTF-8.
func clipFact(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xC0 == 0x80 {
		most--
	}
	return s[:most]
}

// messageFacts checks a record of facts.
func (x *fsck) messageFacts(k, rest, v []byte) error {
	id := MessageID(tailUint64(rest))
	x.at(uint64(id))
	switch has, err := x.tx.has(key("m", id)); {
	case err != nil:
		return err
	case !has:
		x.dangling(k, messageName(id))
		return nil
	}
	if err := json.Unmarshal(v, new(Facts)); err != nil {
		x.find(BadRecord, messageName(id), kindOf(k), gone(k)) // made anew when it is asked for
	}
	return nil
}

// ArchiveSpot is one line of a mailbox's archive for those who administer it: what
// any member may see there, and more.
type ArchiveSpot struct {
	UID     UID // in the archive
	Message MessageID
}

// ArchivedDays returns the days on which the archive of a mailbox has lines, from
// and to included, ascending.
func (tx *Tx) ArchivedDays(box string, from, to Day) (days []Day, err error) {
	box = strings.ToLower(box)
	prefix := key("ad", box)
	last := to.number()
	for at, found := from.number(), true; found; {
		found = false
		err := tx.r.Scan(prefix, key("ad", box, at), func(k, _ []byte) (bool, error) {
			d, err := archiveKeyDay(prefix, k)
			if err != nil || d > last {
				return false, err
			}
			days = append(days, Day{int(d / 10000), time.Month(d / 100 % 100), int(d % 100)})
			at, found = d+1, true // the rest of the day is passed over
			return false, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return days, nil
}

// DayOf is the date in Options.Zone under which a message of that time stands in
// the archive.
func (tx *Tx) DayOf(t time.Time) Day {
	d := dayOf(t, tx.s.opt.Zone)
	return Day{int(d / 10000), time.Month(d / 100 % 100), int(d % 100)}
}

// TimeOf is the time of a message that its day in the archive comes from: its
// INTERNALDATE, or that of its arrival where a provider gave one that cannot be meant.
func (tx *Tx) TimeOf(m *Message) time.Time {
	if y := m.Date.In(tx.s.opt.Zone).Year(); y < 1990 || y > 9999 {
		return m.Arrived
	}
	return m.Date
}

// ArchivedSpan returns the first and the last day on which the archive of a mailbox
// has lines; ok is false where it has none.
func (tx *Tx) ArchivedSpan(box string) (first, last Day, ok bool, err error) {
	prefix := key("ad", strings.ToLower(box))
	edge := func(into *Day) func(k, _ []byte) (bool, error) {
		return func(k, _ []byte) (bool, error) {
			d, err := archiveKeyDay(prefix, k)
			*into, ok = Day{int(d / 10000), time.Month(d / 100 % 100), int(d % 100)}, err == nil
			return false, err
		}
	}
	if err = tx.r.Scan(prefix, nil, edge(&first)); err == nil {
		err = tx.r.ScanBack(prefix, edge(&last))
	}
	return first, last, ok, err
}

// ArchivedOn calls fn for the lines of one day of a mailbox's archive behind a UID,
// ascending, until it returns false.
func (tx *Tx) ArchivedOn(box string, on Day, after UID, fn func(ArchiveSpot) bool) error {
	if after == ^UID(0) {
		return nil
	}
	box = strings.ToLower(box)
	return tx.r.Scan(key("ad", box, on.number()), key("ad", box, on.number(), after+1), func(k, v []byte) (bool, error) {
		l, err := readArchiveLine(v)
		if err != nil {
			return false, err
		}
		return fn(ArchiveSpot{UID: UID(tailUint32(k)), Message: l.Message}), nil
	})
}

// ArchivedFirst tells whether a line is the first that the archive has of a message:
// one that stands in several folders has several.
func (tx *Tx) ArchivedFirst(s ArchiveSpot) (bool, error) {
	all, err := tx.allPlaces(s.Message, math.MaxInt)
	if err != nil || len(all) < 2 {
		return err == nil, err
	}
	for _, p := range all {
		e, err := tx.entry(p.Folder, p.UID)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil || e.Archived != 0 && e.Archived < s.UID {
			return false, err
		}
	}
	return true, nil
}

// RegisteredAs returns what has a register number, or ErrNotFound.
func (tx *Tx) RegisteredAs(box string, d Direction, r RegisterNumber) (*Registered, error) {
	got := new(Registered)
	err := tx.getJSON(append(registerKey("rn", box, d, r.Year), key("", r.Number)[1:]...), got)
	if err != nil {
		return nil, err
	}
	return got, nil
}

func (d Day) number() day { return day(d.Year*10000 + int(d.Month)*100 + d.Day) }

var errArchiveKey = errors.New("mailbox: a key of an archive has the wrong length")

func archiveKeyDay(prefix, k []byte) (day, error) {
	if len(k) != len(prefix)+8 {
		return 0, fmt.Errorf("%w: %d bytes", errArchiveKey, len(k))
	}
	return day(tailUint32(k[:len(k)-4])), nil
}

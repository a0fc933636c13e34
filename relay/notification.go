package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/dsn"
)

// Delivery status notifications (RFC 3464) of what came through a groupware server,
// for the ordinary mailbox that it came from. Of each recipient each end is told at
// most once:
//
//   - that a submission does not leave after it was accepted: in any case, unless the
//     sender asked for something else by NOTIFY;
//   - what its receipts say: where the relay has it so and the sender asked for it.
//
// As with the reports of outcomes, a change of state notes in its own transaction that
// something may be to tell (noteNotification); the keeper writes it from the state a
// moment later, and records in one transaction what was told, that it is queued for
// the ordinary mailbox, and the audit line. So no crash loses or doubles one.
//
// Of a submission that is made anew from its bytes nobody knows what was told: what the
// receipts in the store say of it counts as told (historyTold), what comes later is told.
//
//	dn/<id>/<number>  what the sender asked, for a hundred recipients
//	ds/<id>           notified
//	dd/<time>/<id>    nothing: when it is to be looked at; milliseconds since 1970, 16
//	                  hexadecimal digits
//	bell-dsn          written to wake the keeper
const (
	notifyDue  = "dd/"
	notifyBell = "bell-dsn"
)

// Times of notifications.
const (
	notifySettle = 5 * time.Second // so that receipts that come together are told together
	notifyEvery  = time.Minute     // between two of one submission
	notifyAgain  = time.Minute     // after one that could not be written
	notifyMost   = 5 * time.Minute // nothing is put off for longer: it would be a clock that jumped
)

// wanted is what the sender asked to be told about a recipient (NotifyOf); empty:
// nothing.
type wanted struct {
	Notify   string `json:"n,omitempty"` // NEVER, or some of SUCCESS, FAILURE, DELAY
	Original string `json:"o,omitempty"` // ORCPT, decoded
}

// maxOriginal bounds an ORCPT that is kept, so that a hundred fit a record; RFC 3461
// allows 500 octets, which no address needs.
const maxOriginal = 320

// maxEnvID bounds an ENVID, decoded (RFC 3461 section 4.4).
const maxEnvID = 100

// bounded is a value that is not longer than it may be, else nothing.
func bounded(s string, most int) string {
	if len(s) > most {
		return ""
	}
	return s
}

// notified is what was told of a submission.
type notified struct {
	// Told has a hexadecimal digit for each recipient: the sum of what was decided
	// about it, see bitOf.
	Told string    `json:"told,omitempty"`
	Made int       `json:"made,omitempty"` // notifications
	Last time.Time `json:"last,omitzero"`
	Due  time.Time `json:"due,omitzero"` // zero: nothing is
}

// bitOf is what stands for an action in notified.Told.
func bitOf(a dsn.Action) int {
	switch a {
	case dsn.Failed:
		return 1
	case dsn.Delayed:
		return 2
	case dsn.Relayed:
		return 4
	case dsn.Delivered:
		return 8
	}
	return 0
}

const hexDigits = "0123456789abcdef"

func (n *notified) has(i int, a dsn.Action) bool {
	got := 0
	if i < len(n.Told) {
		got = strings.IndexByte(hexDigits, n.Told[i])
	}
	if a == dsn.Delayed && got != 0 {
		return true // it was told already, or more than that
	}
	return got&bitOf(a) != 0
}

func (n *notified) add(i int, a dsn.Action) {
	b := []byte(n.Told)
	for len(b) <= i {
		b = append(b, '0')
	}
	b[i] = hexDigits[strings.IndexByte(hexDigits, b[i])|bitOf(a)]
	n.Told = string(b)
}

func notifiedKey(id string) string { return "ds/" + id }

func askedKey(id string, n int) string { return fmt.Sprintf("dn/%s/%04d", id, n) }

func notifyKey(at time.Time, id string) string {
	return fmt.Sprintf("%s%016x/%s", notifyDue, max(at.UnixMilli(), 0), id)
}

// asked is what the sender asked of each recipient, as far as it is kept; nil: nothing.
func (t Ticket) asked() []wanted {
	if len(t.Notify) == 0 {
		return nil
	}
	by := make(map[string]wanted, len(t.Notify))
	for _, n := range t.Notify {
		w := wanted{Notify: n.Notify, Original: n.ORCPT}
		if raw, err := json.Marshal(w.Original); err != nil || len(raw) > maxOriginal {
			w.Original = ""
		}
		if _, err := dsn.ParseNotify(w.Notify); err != nil {
			w.Notify = ""
		}
		by[pec.AddressKey(n.Recipient)] = w
	}
	all := make([]wanted, len(t.To))
	for i, a := range t.To {
		all[i] = by[pec.AddressKey(a)]
	}
	return all
}

// maxOriginals bounds the ORCPTs beside the bytes of a message, together: a sidecar is
// at most 1 MiB, and no message is refused for them.
const maxOriginals = 256 << 10

// Relayed is what is kept beside the bytes of a message that came through a groupware
// server, from which its submission is made anew; nil for any other.
func (t Ticket) Relayed() *mailbox.Relayed {
	if t.Relay == "" {
		return nil
	}
	r := &mailbox.Relayed{Relay: t.Relay, ReturnTo: bounded(t.ReturnTo, maxAddress), EnvID: bounded(t.EnvID, maxEnvID), Return: t.Return}
	size := 0
	for i, w := range t.asked() {
		if size += len(w.Original); size > maxOriginals {
			w.Original = ""
		}
		if w != (wanted{}) {
			r.Notify = append(r.Notify, mailbox.NotifyFor{To: i, Notify: w.Notify, ORCPT: w.Original})
		}
	}
	return r
}

// relayedAnew fills a ticket from what Relayed kept.
func (t *Ticket) relayedAnew(r *mailbox.Relayed) {
	if r == nil {
		return
	}
	t.Relay, t.ReturnTo, t.EnvID, t.Return = r.Relay, r.ReturnTo, r.EnvID, r.Return
	for _, n := range r.Notify {
		if n.To >= 0 && n.To < len(t.To) {
			t.Notify = append(t.Notify, NotifyOf{Recipient: t.To[n.To], Notify: n.Notify, ORCPT: n.ORCPT})
		}
	}
}

// putAsked keeps what the sender asked.
func putAsked(tx *mailbox.Tx, t Ticket) error {
	n := 0
	for part := range slices.Chunk(t.asked(), chunk) {
		if err := tx.Space(room).Put(askedKey(t.ID, n), part); err != nil {
			return err
		}
		n++
	}
	return nil
}

// asked is what the sender asked, for as many recipients as they said something of.
func asked(tx *mailbox.Tx, id string) (all []wanted, err error) {
	err = tx.Space(room).Scan("dn/"+id+"/", func(_ string, raw []byte) (bool, error) {
		var part []wanted
		if err := json.Unmarshal(raw, &part); err != nil {
			return false, fmt.Errorf("record of what a sender asked: %w", err)
		}
		all = append(all, part...)
		return true, nil
	})
	return all, err
}

func readNotified(tx *mailbox.Tx, id string) (n notified, err error) {
	err = tx.Space(room).Get(notifiedKey(id), &n)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return n, err
}

// end is what a sender can be told of recipient i by now: "" nothing yet. whole tells
// that it follows from the submission, which left for nobody.
func (s *Submission) end(i int) (a dsn.Action, whole bool) {
	r, state := s.Recipients[i], s.State
	if s.batch() {
		if state = r.Of; state == "" {
			state = s.Rest
		}
	}
	switch {
	case state == NotAccepted || state == Cancelled:
		return dsn.Failed, true
	case r.State == Delivered:
		return dsn.Delivered, false
	case r.State == Failed:
		return dsn.Failed, false
	case r.State == Late:
		return dsn.Delayed, false
	case r.State == Uncertified && state == Accepted:
		return dsn.Relayed, false
	}
	return "", false
}

// noteNotification notes that somebody may be to be told, where what can be told has
// changed. save calls it.
func noteNotification(tx *mailbox.Tx, s *Submission) error {
	if s.Relay == "" || s.Recovered != "" {
		return nil
	}
	n, err := readNotified(tx, s.ID)
	if err != nil || !n.Due.IsZero() {
		return err
	}
	something := s.batch() // of which the recipients are not at hand
	for i := 0; i < len(s.Recipients) && !something; i++ {
		a, _ := s.end(i)
		something = a != "" && !n.has(i, a)
	}
	if !something {
		return nil
	}
	now := tx.Now().UTC()
	due := now.Add(notifySettle)
	if next := n.Last.Add(notifyEvery); !n.Last.IsZero() && !n.Last.After(now) && next.After(due) {
		due = next
	}
	return n.put(tx, s.ID, due)
}

// put writes the record with another time to be due; zero: nothing is.
func (n *notified) put(tx *mailbox.Tx, id string, due time.Time) error {
	sp := tx.Space(room)
	if !n.Due.IsZero() {
		if err := sp.Delete(notifyKey(n.Due, id)); err != nil {
			return err
		}
	}
	n.Due = due.Truncate(time.Millisecond)
	if due.IsZero() {
		return sp.Put(notifiedKey(id), n)
	}
	return errors.Join(sp.Put(notifiedKey(id), n), sp.Put(notifyKey(n.Due, id), nil), sp.Put(notifyBell, id))
}

// Package forward brings stored messages to ordinary mailboxes, by the smarthost of
// the appliance or by what the caller has for some of them (Options.Direct), and by
// nothing else: never by a PEC provider.
//
// It owns the queue of what goes there (an item is one stored message for one
// address), its schedule, and the one field that is put above a message. Who gets
// what is decided in relay.
//
// Invariants:
//   - The stored bytes follow the trace field unaltered (relay/submit writes them).
//   - The return path is null: nothing that fails comes back as mail. Ordinary mail that
//     only passes through (Item.Envelope) keeps its own, and its sender is told of what
//     fails (Options.Undelivered).
//   - An item goes when the smarthost said 2xx to the dot, or when it is given up;
//     then the administrator is told, once for an address. What passes through goes for
//     each recipient by itself, and its bytes with the last of them. A line that broke after the
//     dot is tried again, so a copy may arrive twice, never less than once.
//   - What bears our mark is not taken again (Marked).
//   - The queue holds at most MaxItems; what comes on top is counted and not kept. Of what
//     passes through it holds MaxPassing and MaxPassingBytes, and refuses the rest.
//   - While the smarthost itself is away one message asks for it, and none waits longer
//     for that: all goes when it is back. The same holds for what goes past it, and what
//     passes through, each by itself: none waits for another way.
//   - A clock that jumps gives nothing up: that takes attempts on several days too.
//   - Where an item goes is asked before each attempt (Options.To): who has left or
//     lost the right gets nothing any more.
//   - One service at a time has an item: the lease of another opening of the store is
//     void.
//
// It must not import relay, gateway or configs.
package forward

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// Records of the queue, in a space of its own:
//
//	i/<id>            Item
//	d<way>/<due>/<id> nothing: when it is due; milliseconds since 1970, 16 hexadecimal digits
//	b/<id>            the bytes of one that is no stored message
//	m/<message>/<to>  id: so that a message goes to an address once
//	n                 count
//	u                 unset: since when there is no smarthost
//	h<way>            true: a person asked to have one tried now
//	w<way>            time before that a way that fails is left alone
//	bell              written to wake the sender
const space = "forward"

// MaxItems bounds the queue.
const MaxItems = 100_000

// Item is one message for one address.
type Item struct {
	ID       string            `json:"id"`
	Message  mailbox.MessageID `json:"message"` // 0: it has its bytes with it
	To       string            `json:"to"`
	Kind     string            `json:"kind"` // notice, copy, ordinary, dsn, passing, bounce
	Box      string            `json:"mailbox,omitempty"`
	Person   mailbox.Person    `json:"person,omitempty"` // whose address it is
	Queued   time.Time         `json:"queued"`
	Due      time.Time         `json:"due"`
	Attempts int               `json:"attempts"`
	Answered int               `json:"answered,omitempty"` // of them, in so many the smarthost put this message off
	Days     int               `json:"days,omitempty"`     // different days on which the smarthost answered
	Reached  time.Time         `json:"reached,omitzero"`   // the last of them
	Last     time.Time         `json:"last,omitzero"`      // attempt
	Error    string            `json:"error,omitempty"`
	Way      string            `json:"way,omitempty"`    // on which it is tried, see way.go
	Holder   string            `json:"holder,omitempty"` // who works on it
	Lease    time.Time         `json:"lease,omitzero"`   // until then
	// Envelope is that of ordinary mail that only passes through: it keeps its return path, and To is the first of those
	// who have not got it yet.
	Envelope *Envelope `json:"envelope,omitempty"`
}

// count is how many items there are.
type count struct {
	Items   int `json:"items"`
	Dropped int `json:"dropped,omitempty"` // not kept, since the queue was full
	// Of them, those that pass through.
	Passing int   `json:"passing,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"` // of their messages
}

// ErrNotFound says that there is no such item.
var ErrNotFound = errors.New("forward: no such item")

func itemKey(id string) string { return "i/" + id }

func dueKey(it *Item) string {
	return fmt.Sprintf("d%s/%016x/%s", it.Way, max(it.Due.UnixMilli(), 0), it.ID)
}

func textKey(id string) string { return "b/" + id }

func onceKey(it *Item) string {
	if it.Message == 0 || it.Envelope != nil {
		return "m/" + it.ID
	}
	return fmt.Sprintf("m/%016x/%s", uint64(it.Message), strings.ToLower(it.To))
}

// Add queues a message for an address, in the caller's transaction. ID is made
// from the message and a number. It does nothing for a message that waits for that
// address already, and counts only what is above MaxItems. isPEC tells the
// addresses of PEC mailboxes, to which nothing may go; nil: there is none.
func Add(tx *mailbox.Tx, it Item, isPEC func(address string) bool) error {
	if strings.EqualFold(it.To, it.Box) || isPEC != nil && isPEC(it.To) {
		return fmt.Errorf("forward: %s is a PEC mailbox", it.To)
	}
	sp := tx.Space(space)
	var old string
	switch err := sp.Get(onceKey(&it), &old); {
	case err == nil:
		return nil
	case !errors.Is(err, mailbox.ErrNotFound):
		return err
	}
	if room, err := another(sp); err != nil || !room {
		return err
	}
	it.Queued = tx.Now().UTC()
	it.Due = it.Queued
	for i := 0; ; i++ {
		it.ID = fmt.Sprintf("f%x-%d", uint64(it.Message), i)
		var other Item
		err := sp.Get(itemKey(it.ID), &other)
		if errors.Is(err, mailbox.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
	}
	return it.begin(sp)
}

// maxText bounds what AddText takes, by what a record may hold.
const maxText = 44 << 10

// AddText queues bytes that are no stored message, in the caller's transaction; they
// go with the item. The ID is the caller's, and of one ID there is one item. As with
// Add, what is above MaxItems is only counted.
func AddText(tx *mailbox.Tx, it Item, text []byte, isPEC func(address string) bool) error {
	if it.ID == "" || strings.Contains(it.ID, "/") || it.Message != 0 || len(text) > maxText {
		return fmt.Errorf("forward: no item of its own: %q, %d bytes", it.ID, len(text))
	}
	if strings.EqualFold(it.To, it.Box) || isPEC != nil && isPEC(it.To) {
		return fmt.Errorf("forward: %s is a PEC mailbox", it.To)
	}
	sp := tx.Space(space)
	if _, err := load(tx, it.ID); !errors.Is(err, ErrNotFound) {
		return err
	}
	room, err := another(sp)
	if err != nil || !room {
		return err
	}
	it.Queued = tx.Now().UTC()
	it.Due = it.Queued
	return errors.Join(sp.Put(textKey(it.ID), text), it.begin(sp))
}

// begin writes a new item and wakes the sender.
func (it *Item) begin(sp mailbox.Space) error {
	it.Way = wayNew
	return errors.Join(sp.Put(itemKey(it.ID), it), sp.Put(dueKey(it), true), sp.Put(onceKey(it), it.ID), sp.Put("bell", it.ID))
}

// another counts one more item, if there is room for it.
func another(sp mailbox.Space) (bool, error) {
	var n count
	if err := sp.Get("n", &n); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return false, err
	}
	room := n.Items < MaxItems
	if room {
		n.Items++
	} else {
		n.Dropped++
	}
	return room, sp.Put("n", n)
}

// Waiting tells how many items wait.
func Waiting(tx *mailbox.Tx) (int, error) {
	var n count
	err := tx.Space(space).Get("n", &n)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return n.Items, err
}

// List returns at most most items, by message.
func List(tx *mailbox.Tx, most int) ([]Item, error) {
	out := []Item{}
	err := tx.Space(space).Scan("i/", func(_ string, raw []byte) (bool, error) {
		var it Item
		if err := json.Unmarshal(raw, &it); err != nil {
			return false, fmt.Errorf("record of what is forwarded: %w", err)
		}
		out = append(out, it)
		return len(out) < most, nil
	})
	return out, err
}

// Shown is List for who asks when each is tried: Due is that, also while a smarthost
// that fails is left alone.
func Shown(tx *mailbox.Tx, most int) ([]Item, error) {
	out, err := List(tx, most)
	if err != nil {
		return out, err
	}
	for _, way := range ways() {
		held, err := heldUntil(tx, way)
		if err != nil {
			return out, err
		}
		for i := range out {
			if out[i].Way == way && out[i].Due.Before(held) {
				out[i].Due = held
			}
		}
	}
	return out, nil
}

// heldUntil is until when a way that fails is left alone; zero: it is not.
func heldUntil(tx *mailbox.Tx, way string) (at time.Time, err error) {
	err = tx.Space(space).Get("w"+way, &at)
	if errors.Is(err, mailbox.ErrNotFound) {
		return time.Time{}, nil
	}
	if left := at.Sub(tx.Now()); err != nil || left <= 0 || left > hostMost { // the clock was put back
		return time.Time{}, err
	}
	return at, nil
}

func load(tx *mailbox.Tx, id string) (*Item, error) {
	it := new(Item)
	err := tx.Space(space).Get(itemKey(id), it)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, ErrNotFound
	}
	return it, err
}

// put writes an item with another time to be due.
func (it *Item) put(tx *mailbox.Tx, due time.Time) error {
	sp := tx.Space(space)
	err := sp.Delete(dueKey(it))
	it.Due = due.UTC()
	return errors.Join(err, sp.Put(itemKey(it.ID), it), sp.Put(dueKey(it), true))
}

// remove takes an item off the queue.
func (it *Item) remove(tx *mailbox.Tx) error {
	sp := tx.Space(space)
	var n count
	if err := sp.Get("n", &n); err != nil {
		return err
	}
	n.Items = max(n.Items-1, 0)
	if e := it.Envelope; e != nil {
		n.Passing, n.Bytes = max(n.Passing-1, 0), max(n.Bytes-e.Size, 0)
		if err := tx.RemoveTransit(it.Message); err != nil {
			return err
		}
	}
	return errors.Join(sp.Delete(itemKey(it.ID)), sp.Delete(dueKey(it)), sp.Delete(onceKey(it)), sp.Delete(textKey(it.ID)), sp.Put("n", n))
}

// Retry has an item tried now, also where the smarthost would be left alone for a
// while yet.
func Retry(tx *mailbox.Tx, id string) (*Item, error) {
	it, err := load(tx, id)
	if err != nil {
		return nil, err
	}
	return it, errors.Join(it.put(tx, tx.Now()), tx.Space(space).Put("h"+it.Way, true), tx.Space(space).Put("bell", id))
}

// Drop takes an item off the queue: it is not sent.
func Drop(tx *mailbox.Tx, id string) (*Item, error) {
	it, err := load(tx, id)
	if err != nil {
		return nil, err
	}
	return it, it.remove(tx)
}

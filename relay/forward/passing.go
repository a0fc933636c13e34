package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/relay/submit"
)

// Bounds of what passes through and waits.
const (
	MaxPassing      = 20_000
	MaxPassingBytes = 8 << 30
)

// KindPassing is the kind of an item that passes through.
const KindPassing = "passing"

// ErrFull says that so much waits that nothing more can pass through.
var ErrFull = errors.New("forward: too much ordinary mail waits for the smarthost")

// Envelope is that of a message that passes through.
type Envelope struct {
	From    string      `json:"from"`              // reverse path; empty: the null one
	EnvID   string      `json:"envid,omitempty"`   // decoded
	Return  string      `json:"ret,omitempty"`     // FULL or HDRS
	To      []Addressee `json:"to"`                // who have not got it yet
	Relay   string      `json:"relay"`             // where it came from, as the policy names it
	Remote  string      `json:"remote"`            // address of that server
	Size    int64       `json:"size"`              // of the message
	Reports int         `json:"reports,omitempty"` // how often Undelivered was told
	Delayed []string    `json:"delayed,omitempty"` // of To, those of whom Undelivered was told that it takes long
}

// Addressee is one recipient of it.
type Addressee struct {
	Address  string `json:"address"`
	Notify   string `json:"notify,omitempty"`   // as in submit.Recipient
	Original string `json:"original,omitempty"` // as in submit.Recipient
}

// Undelivered is what is told of some recipients of an item that passes through.
type Undelivered struct {
	Item   Item   // Envelope.Reports is a number of its own for each of them
	Header []byte // of the message, at most so much as a report shows
	Ends   []End
}

// End is what became of a message for one recipient.
type End struct {
	Addressee
	Relayed  bool // the smarthost took it and reports nothing itself; else it failed
	Code     int  // of the smarthost's reply; 0: none
	Enhanced string
	Text     string // its words, or why
	Late     bool   // it was tried for too long
	Delayed  bool   // it is tried for long already, and further
}

// Asks tells whether the sender is told of an end (RFC 3461 section 4.1).
func (e End) Asks() bool {
	said := strings.Split(e.Notify, ",")
	switch {
	case e.Relayed:
		return slices.Contains(said, "SUCCESS")
	case e.Delayed:
		return slices.Contains(said, "DELAY")
	}
	return e.Notify == "" || slices.Contains(said, "FAILURE")
}

// AddPassing queues a message that passes through, in the transaction that records
// it: its record must say Transit. It fails with ErrFull where too much waits.
func AddPassing(tx *mailbox.Tx, m *mailbox.Message, e Envelope, isPEC func(address string) bool) (*Item, error) {
	if !m.Transit || len(e.To) == 0 {
		return nil, errors.New("forward: a message that does not pass through")
	}
	for _, a := range e.To {
		if isPEC != nil && isPEC(a.Address) {
			return nil, fmt.Errorf("forward: %s is a PEC mailbox", a.Address)
		}
	}
	e.Size = m.Size()
	sp := tx.Space(space)
	var n count
	if err := sp.Get("n", &n); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return nil, err
	}
	if n.Items >= MaxItems || n.Passing >= MaxPassing || n.Bytes+e.Size > MaxPassingBytes {
		return nil, ErrFull
	}
	n.Items, n.Passing, n.Bytes = n.Items+1, n.Passing+1, n.Bytes+e.Size
	it := &Item{ID: fmt.Sprintf("p%x", uint64(m.ID)), Message: m.ID, To: e.To[0].Address, Kind: KindPassing, Envelope: &e, Queued: tx.Now().UTC()}
	it.Due = it.Queued
	return it, errors.Join(sp.Put("n", n), it.begin(sp))
}

// PassingFull tells whether nothing more can pass through.
func PassingFull(tx *mailbox.Tx) (bool, error) {
	var n count
	err := tx.Space(space).Get("n", &n)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return n.Items >= MaxItems || n.Passing >= MaxPassing || n.Bytes >= MaxPassingBytes, err
}

// maxPassingHops is how many Received fields a message may have that passes through:
// groupware servers write several themselves (RFC 5321 section 6.3).
const maxPassingHops = 50

// Wandered tells by its header why a message must not pass through, or nothing: it
// did before, or it goes in a circle.
func Wandered(hostname string, header []byte) string {
	hops := 0
	for _, f := range mime.Fields(header) {
		if !strings.EqualFold(f.Name, "Received") {
			continue
		}
		if hops++; strings.Contains(strings.ToLower(strings.Join(strings.Fields(f.Body()), " ")), strings.ToLower(mark(hostname))) {
			return "it was forwarded from here before"
		}
	}
	if hops > maxPassingHops {
		return fmt.Sprintf("it has %d Received fields", hops)
	}
	return ""
}

// traceOf is the field above a message that passes through.
func traceOf(hostname string, it *Item) string {
	from := ""
	if a, err := netip.ParseAddr(it.Envelope.Remote); err == nil && a.Unmap().Is4() {
		from = "from [" + a.Unmap().String() + "] "
	} else if err == nil {
		from = "from [IPv6:" + a.WithZone("").String() + "] "
	}
	return fmt.Sprintf("Received: %s%s id %s;\r\n\t%s\r\n", from, mark(hostname), it.ID, it.Queued.Format(time.RFC1123Z))
}

// maxShown bounds the header that Undelivered shows.
const maxShown = 32 << 10

// pass makes one attempt at a message that passes through.
func (s *Sender) pass(ctx context.Context, w *turn, srv submit.Server, it *Item, body content, size int64) error {
	header := make([]byte, min(size, maxShown))
	n, err := body.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return errors.Join(err, body.Close())
	}
	header = header[:n]
	e := it.Envelope
	out := submit.Envelope{From: e.From, EnvID: e.EnvID, Return: e.Return, Partial: true}
	for _, a := range e.To {
		out.To = append(out.To, submit.Recipient{Address: a.Address, Notify: a.Notify, Original: a.Original})
	}
	r := submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: errors.New("no smarthost is set")}
	_, set, err := s.opt.Server()
	if set && err == nil {
		r = submit.SendEnvelope(ctx, srv, out, &traced{field: traceOf(s.opt.Hostname, it), body: body, size: size}, submit.Hooks{})
	}
	if err := body.Close(); err != nil {
		return err
	}
	s.opt.Log(*it, r)
	// The end is recorded also when the gateway is stopping meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var host error
	if ofHost(r) && (r.Stage != submit.StageMail || r.Code == 530) { // another return path may do
		host = r.Err
	}
	if set {
		if err := s.host(ctx, w, host); err != nil {
			return err
		}
	}
	it.Error = ""
	if r.Err != nil {
		it.Error = r.Words()
	}
	if host == nil && set {
		it.reached()
	}
	left, ends, denied := endsOf(e.To, r, host != nil)
	if denied != "" {
		if it.Error == "" {
			it.Error = denied
		}
		if err := s.opt.Denied(ctx, *it, denied); err != nil {
			return err
		}
	}
	if len(left) > 0 && it.Days >= giveUpDay && s.opt.Store.Now().Sub(it.Queued) > GiveUp {
		for _, a := range left {
			ends = append(ends, End{Addressee: a, Text: it.Error, Late: true})
		}
		left = nil
	}
	if host == nil && set {
		ends = append(ends, s.delayed(it, left, r)...)
	}
	return s.passed(ctx, it, header, left, ends, host != nil)
}

// When somebody who asked for it is told that a message takes long: it was put off so
// many times, too, so that no clock that jumps tells of a delay.
const (
	delayAfter = 4 * time.Hour
	delayTries = 6
)

// delayed are those of who is left for whom that is to be told now, once. A smarthost
// that cannot be reached is none: what tells of it would take the same way.
func (s *Sender) delayed(it *Item, left []Addressee, r submit.Result) (ends []End) {
	if it.Answered < delayTries || s.opt.Store.Now().Sub(it.Queued) < delayAfter {
		return nil
	}
	for _, a := range left {
		e := End{Addressee: a, Delayed: true, Text: it.Error}
		if !e.Asks() || slices.Contains(it.Envelope.Delayed, a.Address) {
			continue
		}
		if i := slices.IndexFunc(r.Refused, func(f submit.Refusal) bool { return f.Recipient == a.Address }); i >= 0 {
			e.Code, e.Enhanced, e.Text = r.Refused[i].Code, r.Refused[i].Enhanced, r.Refused[i].Text
		}
		ends = append(ends, e)
	}
	return ends
}

// endsOf are what an attempt came to by recipient: who is left for another one, and
// who is not. denied are the words of a smarthost that does not relay; that is a fault
// of its rules, and is tried again.
func endsOf(to []Addressee, r submit.Result, host bool) (left []Addressee, ends []End, denied string) {
	for _, a := range to {
		i := slices.IndexFunc(r.Refused, func(f submit.Refusal) bool { return f.Recipient == a.Address })
		switch {
		case i >= 0 && r.Refused[i].Class == submit.Permanent:
			f := r.Refused[i]
			words := strings.TrimSpace(fmt.Sprintf("%d %s %s", f.Code, f.Enhanced, f.Text))
			if f.Code == 530 || strings.Contains(strings.ToLower(f.Text), "relay") {
				denied = words
				left = append(left, a)
				continue
			}
			ends = append(ends, End{Addressee: a, Code: f.Code, Enhanced: f.Enhanced, Text: f.Text})
		case i >= 0:
			left = append(left, a)
		case r.Class == submit.HandedOver:
			ends = append(ends, End{Addressee: a, Relayed: true, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text})
		case r.Class == submit.Permanent && !host && r.Stage != submit.StageRcpt:
			text := r.Text
			if r.Code == 0 && r.Err != nil {
				text = r.Err.Error()
			}
			ends = append(ends, End{Addressee: a, Code: r.Code, Enhanced: r.Enhanced, Text: text})
		default:
			left = append(left, a)
		}
	}
	if r.Class == submit.HandedOver && r.DSN { // it reports by itself
		ends = slices.DeleteFunc(ends, func(e End) bool { return e.Relayed })
	}
	return left, ends, denied
}

// passed records what an attempt came to. Who got it, and who is told that it failed,
// leaves the envelope in the transaction that queues the report.
func (s *Sender) passed(ctx context.Context, it *Item, header []byte, left []Addressee, ends []End, held bool) error {
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		now, err := load(tx, it.ID)
		if errors.Is(err, ErrNotFound) {
			return nil // dropped by a person
		}
		if err != nil || now.Holder != s.holder {
			return err
		}
		now.Error = it.Error
		if len(ends) > 0 {
			now.Envelope.Reports++
			for _, e := range ends {
				if e.Delayed {
					now.Envelope.Delayed = append(now.Envelope.Delayed, e.Address)
				}
			}
			if err := s.opt.Undelivered(tx, Undelivered{Item: *now, Header: header, Ends: ends}); err != nil {
				return err
			}
		}
		if len(left) == 0 {
			return now.remove(tx)
		}
		now.Envelope.To, now.To = left, left[0].Address
		now.Lease, now.Days, now.Reached = time.Time{}, it.Days, it.Reached
		if held {
			return now.put(tx, tx.Now())
		}
		now.Answered++
		return now.put(tx, tx.Now().Add(wait(first, most, now.Answered)))
	})
}

// unsent is told of an item that goes off the queue with nobody having got it.
func (s *Sender) unsent(tx *mailbox.Tx, it *Item, why string) error {
	if it.Envelope == nil {
		return s.opt.Dropped(tx, *it, why)
	}
	it.Envelope.Reports++
	u := Undelivered{Item: *it}
	for _, a := range it.Envelope.To {
		u.Ends = append(u.Ends, End{Addressee: a, Text: why, Late: true})
	}
	return s.opt.Undelivered(tx, u)
}

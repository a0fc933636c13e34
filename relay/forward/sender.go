package forward

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// Schedule of the queue.
const (
	first     = time.Minute        // after the first failure; doubled each time
	most      = 2 * time.Hour      // longest wait
	GiveUp    = 5 * 24 * time.Hour // RFC 5321 section 4.5.4.1
	giveUpDay = 4                  // and tried on so many different days
	hostFirst = 30 * time.Second   // after the smarthost itself failed; doubled each time
	hostMost  = 15 * time.Minute
	idle      = 10 * time.Minute
	lease     = 20 * time.Minute // longer than an attempt
	atOnce    = 4                // connections
	inGo      = 64
	noteAgain = 10 * time.Second // after a fault of the store
)

// Failure is an item that was given up.
type Failure struct {
	Item   Item
	Reason string // the smarthost's words
	Final  bool   // refused for good; else tried for too long
	// The message is refused and not the address; Ours: by the gateway, before the
	// smarthost saw it.
	Content, Ours bool
	Direct        bool // it goes past the smarthost
}

// Options is what the sender needs.
type Options struct {
	Store    *mailbox.Store
	Hostname string // ours, in the trace field
	// Server is the smarthost by now, with its password; ok is false where there is none.
	Server func() (srv submit.Server, ok bool, err error)
	// Direct brings an item to its mailbox itself, in place of the smarthost, where Takes
	// says so of its address; ok is false where that has changed. again tells that an
	// earlier attempt may have brought it. nil: all goes by the smarthost.
	Takes  func(address string) bool
	Direct func(ctx context.Context, it Item, again bool, body io.ReaderAt, size int64) (b Brought, ok bool)
	// Failed is told of what was given up, after it is off the queue; Sent of what went.
	Failed func(ctx context.Context, f Failure) error
	Sent   func(ctx context.Context, it Item) error
	// To is where an item goes by now, asked in the transaction that takes it before
	// each attempt: "" and why: nowhere any more, and it is dropped.
	To func(tx *mailbox.Tx, it Item) (to, why string, err error)
	// Dropped is told, in the transaction, of what goes off the queue unsent.
	Dropped func(tx *mailbox.Tx, it Item, why string) error
	// Undelivered is told, in the transaction, of recipients of what passes through who are
	// done with: that it failed, or that the smarthost took it and reports nothing itself.
	Undelivered func(tx *mailbox.Tx, u Undelivered) error
	// Down is told when the smarthost cannot be used, and with nil when it can again.
	Down func(ctx context.Context, why error) error
	// DirectDown is the same about Direct.
	DirectDown func(ctx context.Context, why error) error
	// Denied is told that the smarthost does not relay to an address; it is tried again.
	Denied func(ctx context.Context, it Item, why string) error
	// Full is told how many items were not kept.
	Full func(ctx context.Context, dropped int) error
	Log  func(it Item, r submit.Result)
	// Fault is told of errors of the gateway itself.
	Fault func(error)
}

// Brought is what Options.Direct came to.
type Brought struct {
	submit.Result
	// Taken, if any, is called in the transaction that takes the item off the queue,
	// where the result is submit.HandedOver.
	Taken func(tx *mailbox.Tx, it Item) error
	// Away: nothing that goes so can be brought now, whatever its address.
	Away bool
}

// Sender sends what is queued.
type Sender struct {
	opt    Options
	holder string

	mu   sync.Mutex
	ways [3]*turn // as ways
}

// NewSender returns a sender that does nothing before Run.
func NewSender(o Options) *Sender {
	s := &Sender{opt: o, holder: o.Store.Opened() + "/" + rand.Text()}
	for i, name := range ways() {
		s.ways[i] = &turn{name: name}
	}
	return s
}

// Run sends until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	if err := s.begin(ctx); err != nil && ctx.Err() == nil {
		s.opt.Fault(err) // what was under way is due when its lease is over
	}
	var all sync.WaitGroup
	for _, w := range s.ways {
		all.Go(func() { s.run(ctx, w) })
	}
	all.Wait()
}

// run sends what goes one way until ctx ends.
func (s *Sender) run(ctx context.Context, w *turn) {
	wake, stop := s.opt.Store.WatchSpace(space, "bell")
	defer stop()
	for {
		wait, err := s.round(ctx, w)
		if err != nil && ctx.Err() == nil {
			s.opt.Fault(err)
			wait = max(wait, noteAgain)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-wake:
			t.Stop()
		}
	}
}

// Round sends what is due, one way after the other, and returns how long nothing more
// is.
func (s *Sender) Round(ctx context.Context) (time.Duration, error) {
	least, errs := time.Duration(0), []error{}
	for _, w := range slices.Backward(s.ways[:]) { // what passes through first: its reports go by the smarthost
		wait, err := s.round(ctx, w)
		errs = append(errs, err)
		if wait != idle && (least == 0 || wait < least) {
			least = wait
		}
	}
	if least == 0 {
		least = idle
	}
	return least, errors.Join(errs...)
}

// round is Round for one way.
func (s *Sender) round(ctx context.Context, w *turn) (time.Duration, error) {
	srv, ok, err := s.opt.Server()
	if err != nil && w.name != wayDirect {
		return time.Minute, errors.Join(err, s.opt.Down(ctx, err))
	}
	if !ok && err == nil && s.opt.Direct == nil {
		if w.name != waySmarthost {
			return idle, nil
		}
		return idle, s.without(ctx)
	}
	if w.name == waySmarthost {
		if err := errors.Join(s.there(ctx), s.full(ctx)); err != nil {
			return noteAgain, err
		}
	}
	for {
		if err := s.sort(ctx); err != nil {
			return noteAgain, err
		}
		now := s.opt.Store.Now()
		s.mu.Lock()
		hostAt := w.retryAt
		s.mu.Unlock()
		asked, err := s.asked(ctx, w)
		if err != nil {
			return noteAgain, err
		}
		if left := hostAt.Sub(now); left > 0 && left <= hostMost && !asked { // a clock that was put back does not count
			return left, nil
		}
		items, next, err := s.due(ctx, w.name)
		if err != nil {
			return noteAgain, err
		}
		if len(items) == 0 {
			if next.IsZero() {
				return idle, nil
			}
			return min(max(next.Sub(now), time.Millisecond), idle), nil
		}
		if s.failing(w) > 0 {
			items = items[:1] // one asks whether it is there again
		}
		if err := s.some(ctx, w, srv, items); err != nil {
			return noteAgain, err
		}
		if ctx.Err() != nil {
			return idle, ctx.Err()
		}
	}
}

func (s *Sender) failing(w *turn) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.fails
}

// asked tells whether a person has asked since the last time to have something tried
// now.
func (s *Sender) asked(ctx context.Context, w *turn) (asked bool, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error { return tx.Space(space).Get("h"+w.name, &asked) })
	if errors.Is(err, mailbox.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(space).Delete("h" + w.name) })
}

// full tells of what was not kept.
func (s *Sender) full(ctx context.Context) error {
	var n count
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		err := tx.Space(space).Get("n", &n)
		if errors.Is(err, mailbox.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil || n.Dropped == 0 {
		return err
	}
	if err := s.opt.Full(ctx, n.Dropped); err != nil {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if err := tx.Space(space).Get("n", &n); err != nil {
			return err
		}
		n.Dropped = 0
		return tx.Space(space).Put("n", n)
	})
}

// unset is since when there is no smarthost.
type unset struct {
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	Days  int       `json:"days"` // different days on which it was looked
}

// without drops what waits while no smarthost is set, as late as what one does not
// take: nothing waits for ever, and a clock that jumps drops nothing.
func (s *Sender) without(ctx context.Context) error {
	for more := true; more && ctx.Err() == nil; {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			more = false
			n, err := Waiting(tx)
			if err != nil || n == 0 {
				return err
			}
			var u unset
			if err := tx.Space(space).Get("u", &u); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
				return err
			}
			now := tx.Now().UTC()
			if u.Since.IsZero() {
				u.Since = now
			}
			if now.Format(time.DateOnly) != u.Last.Format(time.DateOnly) {
				u.Days, u.Last = u.Days+1, now
				if err := tx.Space(space).Put("u", u); err != nil {
					return err
				}
			}
			if u.Days < giveUpDay || now.Sub(u.Since) <= GiveUp {
				return nil
			}
			all, err := List(tx, inGo)
			for i := range all {
				err = errors.Join(err, all[i].remove(tx), s.unsent(tx, &all[i], "no smarthost is set for 5 days"))
			}
			more = len(all) == inGo
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// there forgets that there was no smarthost.
func (s *Sender) there(ctx context.Context) error {
	var u unset
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error { return tx.Space(space).Get("u", &u) })
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(space).Delete("u") })
}

// due returns ids that are due on a way, and when the next of the others is.
func (s *Sender) due(ctx context.Context, way string) (ids []string, next time.Time, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		ids, next = nil, time.Time{}
		now := tx.Now()
		return tx.Space(space).Scan("d"+way+"/", func(k string, _ []byte) (bool, error) {
			at, id, _ := strings.Cut(strings.TrimPrefix(k, "d"+way+"/"), "/")
			var ms int64
			if _, err := fmt.Sscanf(at, "%x", &ms); err != nil {
				return false, fmt.Errorf("record of what is forwarded: %q", k)
			}
			if due := time.UnixMilli(ms); due.After(now) && due.Sub(now) <= most+lease {
				next = due
				return false, nil
			} // what is further off than any wait was put there by a clock that jumped
			ids = append(ids, id)
			return len(ids) < inGo, nil
		})
	})
	return ids, next, err
}

// some sends some items, a few at once.
func (s *Sender) some(ctx context.Context, w *turn, srv submit.Server, ids []string) error {
	errs := make([]error, len(ids))
	s.mu.Lock()
	w.failed = false
	s.mu.Unlock()
	var wg sync.WaitGroup
	turn := make(chan struct{}, atOnce)
	for i, id := range ids {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			errs[i] = s.one(ctx, w, srv, id)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// take gets an item for this sender; nil: somebody else has it, or it is gone.
func (s *Sender) take(ctx context.Context, w *turn, id string) (it *Item, err error) {
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if it, err = load(tx, id); errors.Is(err, ErrNotFound) {
			it = nil
			return nil
		} else if err != nil {
			return err
		}
		now := tx.Now().UTC()
		opened, _, _ := strings.Cut(it.Holder, "/")
		if left := it.Lease.Sub(now); it.Holder != s.holder && opened == s.opt.Store.Opened() && left > 0 && left <= lease {
			it = nil
			return nil
		}
		to, why, err := s.opt.To(tx, *it)
		if err != nil {
			return err
		}
		if to == "" {
			err := errors.Join(it.remove(tx), s.unsent(tx, it, why))
			it = nil
			return err
		}
		if !strings.EqualFold(to, it.To) {
			if err := tx.Space(space).Delete(onceKey(it)); err != nil {
				return err
			}
			it.To = to
			if err := tx.Space(space).Put(onceKey(it), it.ID); err != nil {
				return err
			}
		}
		if way := s.wayOf(it); way != w.name {
			err := it.change(tx, way)
			it = nil
			return err
		}
		it.Attempts++
		it.Last, it.Holder, it.Lease = now, s.holder, now.Add(lease)
		return it.put(tx, now.Add(lease))
	})
	return it, err
}

// one makes one attempt at one item.
func (s *Sender) one(ctx context.Context, w *turn, srv submit.Server, id string) error {
	s.mu.Lock()
	failed := w.failed
	s.mu.Unlock()
	if failed {
		return nil
	}
	it, err := s.take(ctx, w, id)
	if err != nil || it == nil {
		return err
	}
	body, size, err := s.content(ctx, it)
	if errors.Is(err, mailbox.ErrNotFound) {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return it.remove(tx) }) // removed meanwhile
	}
	if err != nil {
		return err
	}
	if it.Envelope != nil {
		return s.pass(ctx, w, srv, it, body, size)
	}
	if w.name == wayDirect {
		return s.bring(ctx, w, it, body, size)
	}
	if r, none := s.noSmarthost(); none { // as long as for one that does not answer
		if err := body.Close(); err != nil {
			return err
		}
		s.opt.Log(*it, r.Result)
		it.reached()
		return s.record(ctx, it, r, false, false)
	}
	msg := &traced{field: trace(s.opt.Hostname, it.ID, it.To, it.Last), body: body, size: size}
	r := submit.Send(ctx, srv, "", []string{it.To}, msg, submit.Hooks{})
	if err := body.Close(); err != nil {
		return err
	}
	s.opt.Log(*it, r)
	// The end is recorded also when the gateway is stopping meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return s.conclude(ctx, w, it, r)
}

// content is what goes under the trace field.
type content interface {
	io.ReaderAt
	io.Closer
}

// text is the bytes of an item that is no stored message.
type text struct{ *bytes.Reader }

func (text) Close() error { return nil }

// content opens what an item brings; mailbox.ErrNotFound: it is there no more.
func (s *Sender) content(ctx context.Context, it *Item) (content, int64, error) {
	if it.Message == 0 {
		var raw []byte
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error { return tx.Space(space).Get(textKey(it.ID), &raw) })
		return text{bytes.NewReader(raw)}, int64(len(raw)), err
	}
	m, err := s.opt.Store.Message(ctx, it.Message)
	if err != nil {
		return nil, 0, err
	}
	body, err := s.opt.Store.Open(m)
	if err != nil {
		return nil, 0, err
	}
	return body, m.Size(), nil
}

// noSmarthost is what becomes of an item while none is set.
func (s *Sender) noSmarthost() (Brought, bool) {
	if _, set, err := s.opt.Server(); set || err != nil {
		return Brought{}, false
	}
	return Brought{Result: submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: errors.New("no smarthost is set")}}, true
}

// ofHost tells whether a result is about the smarthost and not about the message.
func ofHost(r submit.Result) bool {
	switch r.Stage {
	case submit.StageConnect, submit.StageTLS, submit.StageGreeting, submit.StageHello, submit.StageAuth:
		return r.Err != nil
	case submit.StageMail: // the return path is the same for all; but 552, and what we see ourselves, is about the message (RFC 1870 section 6.1)
		return r.Class == submit.Permanent && r.Code != 552 && r.Code != 0
	}
	return false
}

// relayDenied tells whether the smarthost does not take mail of ours for an address:
// its rules are wrong, not the address.
func relayDenied(r submit.Result) bool {
	if r.Stage != submit.StageRcpt || r.Class != submit.Permanent {
		return false
	}
	words := strings.ToLower(r.Text)
	for _, f := range r.Refused {
		words += " " + strings.ToLower(f.Text)
	}
	return r.Code == 530 || strings.Contains(words, "relay")
}

// conclude records what an attempt came to.
func (s *Sender) conclude(ctx context.Context, w *turn, it *Item, r submit.Result) error {
	var host error
	if ofHost(r) {
		host = r.Err
	}
	if err := s.host(ctx, w, host); err != nil {
		return err
	}
	it.Error = ""
	if r.Err != nil {
		it.Error = r.Words()
	}
	denied := relayDenied(r)
	if denied {
		if err := s.opt.Denied(ctx, *it, it.Error); err != nil {
			return err
		}
	}
	final := r.Class == submit.Permanent && host == nil && !denied
	if host == nil || r.Stage == submit.StageMail { // days on which it answered count, and no others
		it.reached()
	}
	return s.record(ctx, it, Brought{Result: r}, final, host != nil)
}

// reached counts the day of the last attempt.
func (it *Item) reached() {
	if it.Reached.IsZero() || it.Last.Format(time.DateOnly) != it.Reached.Format(time.DateOnly) {
		it.Days, it.Reached = it.Days+1, it.Last
	}
}

// record writes down what an attempt came to; final: it is given up; held: the
// smarthost holds all.
func (s *Sender) record(ctx context.Context, it *Item, r Brought, final, held bool) error {
	it.Error = ""
	if r.Err != nil {
		it.Error = r.Words()
	}
	over := final
	if r.Class != submit.HandedOver && !final {
		over = it.Days >= giveUpDay && s.opt.Store.Now().Sub(it.Queued) > GiveUp
	}
	if over { // told before it goes, so that a crash between the two leaves nobody in the dark
		if err := s.opt.Failed(ctx, Failure{Item: *it, Reason: it.Error, Final: final, Content: r.Stage != submit.StageRcpt, Ours: final && r.Code == 0, Direct: it.Way == wayDirect}); err != nil {
			return err
		}
	}
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		now, err := load(tx, it.ID)
		if errors.Is(err, ErrNotFound) {
			return nil // dropped by a person
		}
		if err != nil || now.Holder != s.holder {
			return err
		}
		if r.Class == submit.HandedOver && r.Taken != nil {
			if err := r.Taken(tx, *now); err != nil {
				return err
			}
		}
		if over || r.Class == submit.HandedOver {
			return now.remove(tx)
		}
		now.Lease, now.Error, now.Days, now.Reached = time.Time{}, it.Error, it.Days, it.Reached
		if held { // due at once, behind the others: the smarthost's own wait holds all
			return now.put(tx, tx.Now())
		}
		now.Answered++
		return now.put(tx, tx.Now().Add(wait(first, most, now.Answered)))
	})
	if err == nil && r.Class == submit.HandedOver {
		return s.opt.Sent(ctx, *it)
	}
	return err
}

// wait is doubled with each failure.
func wait(first, most time.Duration, fails int) time.Duration {
	d := first
	for i := 1; i < fails && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

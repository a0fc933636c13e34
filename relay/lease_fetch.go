package relay

import (
	"context"
	"errors"
	"strings"
	"time"

	"pecgate/mailbox"
)

// fetchLease is how long a mailbox is a fetcher's, from the last message that it
// took in. It is kept from round to round, so that a round that finds nothing
// writes nothing.
const fetchLease = 10 * time.Minute

// boxLease is the record of who fetches a mailbox.
type boxLease struct {
	Holder string    `json:"holder,omitempty"`
	Fence  uint64    `json:"fence"`
	Until  time.Time `json:"until,omitzero"`
	Set    time.Time `json:"set,omitzero"` // when it was given, by the clock of then
	// Busy: a message is being read, or was in this round. Crashes is how many such
	// rounds in a row the gateway did not live to end. As long as there are any, each
	// message is noted in Reading before it is looked at.
	Busy    bool   `json:"busy,omitempty"`
	Crashes int    `json:"crashes,omitempty"`
	Reading string `json:"reading,omitempty"` // asideKey of the message
	Blamed  string `json:"blamed,omitempty"`  // the one that was being read at the last crash
	Times   int    `json:"times,omitempty"`   // so often in a row
}

func boxLeaseKey(box string) string { return "l/" + strings.ToLower(box) }

// errOtherFetcher says that another service fetches the mailbox.
var errOtherFetcher = errors.New("relay: another gateway on this store fetches the mailbox")

// errPoison says that the gateway broke down each time when it read a message.
var errPoison = errors.New("the gateway broke down three times in a row while it read this message")

func readBoxLease(tx *mailbox.Tx, box string) (l boxLease, err error) {
	if err = tx.Space(room).Get(boxLeaseKey(box), &l); errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return l, err
}

// over tells whether a lease binds nobody by now.
func (l *boxLease) over(now time.Time) bool {
	return l.Holder == "" || !l.Until.After(now) || l.Set.After(now.Add(clockSlack))
}

// fresh tells whether a lease needs no renewal yet.
func (l *boxLease) fresh(now time.Time) bool {
	return l.Until.Sub(now) > fetchLease/2 && !l.Set.After(now.Add(clockSlack))
}

func (l *boxLease) renew(now time.Time) { l.Until, l.Set = now.UTC().Add(fetchLease), now.UTC() }

// died counts the end of a holder that was reading.
func (l *boxLease) died() {
	if !l.Busy {
		return
	}
	l.Crashes++
	switch {
	case l.Reading == "":
	case l.Reading == l.Blamed:
		l.Times++
	default:
		l.Blamed, l.Times = l.Reading, 1
	}
}

// takeBox takes a mailbox for a round of fetching, or finds that it is this service's
// still; errOtherFetcher where another has it.
func (s *Service) takeBox(ctx context.Context, w *worker) error {
	box, mine := w.acc.Box, s.fenceOf(w.acc.Box)
	var l boxLease
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { l, err = readBoxLease(tx, box); return err })
	if err != nil {
		return err
	}
	if mine == 0 || l.Holder != s.holder || l.Fence != mine || !l.fresh(s.opt.Store.Now()) {
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
			if l, err = readBoxLease(tx, box); err != nil {
				return err
			}
			gone := l.Holder != "" && s.dead(l.Holder)
			if !gone && l.Holder != s.holder && !l.over(tx.Now()) {
				return errOtherFetcher
			}
			if gone {
				l.died()
			}
			if l.Holder != s.holder || l.Fence != mine {
				l.Fence++
			}
			l.Holder, l.Reading, l.Busy = s.holder, "", false
			l.renew(tx.Now())
			return tx.Space(room).Put(boxLeaseKey(box), l)
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.fences, box); err == nil {
		s.fences[box], w.lease = l.Fence, l
	}
	return err
}

// endRound notes that no message is being read any more; whole tells that the round
// came to its end without an error, which clears every suspicion.
func (s *Service) endRound(ctx context.Context, w *worker, whole bool) error {
	if !w.lease.Busy && (w.lease.Crashes == 0 || !whole) {
		return nil
	}
	return s.changeBox(ctx, w, func(l *boxLease) {
		l.Busy, l.Reading = false, ""
		if whole {
			l.Crashes, l.Blamed, l.Times = 0, "", 0
		}
	})
}

// leaveBox ends the lease, when the fetcher stops.
func (s *Service) leaveBox(ctx context.Context, w *worker) error {
	if s.fenceOf(w.acc.Box) == 0 {
		return nil
	}
	err := s.changeBox(ctx, w, func(l *boxLease) { l.Holder, l.Until, l.Busy, l.Reading = "", time.Time{}, false, "" })
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.fences, w.acc.Box)
	return err
}

// changeBox changes the lease of a mailbox, if it is this service's; also when the
// gateway is stopping.
func (s *Service) changeBox(ctx context.Context, w *worker, change func(*boxLease)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	fence := s.fenceOf(w.acc.Box)
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		l, err := readBoxLease(tx, w.acc.Box)
		if err != nil || l.Holder != s.holder || l.Fence != fence {
			return err
		}
		change(&l)
		w.lease = l
		return tx.Space(room).Put(boxLeaseKey(w.acc.Box), l)
	})
}

func (s *Service) fenceOf(box string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fences[box]
}

// stillOurs fails with errOtherFetcher where a mailbox that was leased for this round
// is another's by now; else the lease goes on. It is called in the transaction that
// makes a message ours, or durable that a copy will be deleted.
func (s *Service) stillOurs(tx *mailbox.Tx, box string) error {
	fence := s.fenceOf(box)
	if fence == 0 {
		return nil // no round: one message is looked at
	}
	l, err := readBoxLease(tx, box)
	if err != nil {
		return err
	}
	if l.Holder != s.holder || l.Fence != fence {
		return errOtherFetcher
	}
	if l.fresh(tx.Now()) {
		return nil
	}
	l.renew(tx.Now()) // nobody has taken it meanwhile
	return tx.Space(room).Put(boxLeaseKey(box), l)
}

// errSuspect says that a message has its turn behind all others, since the gateway
// ended twice in a row while it read it.
var errSuspect = errors.New("the gateway ended twice in a row while it read this message: it is read behind the others")

// lookInTurn is look for a message among others. One that the gateway ended at twice
// in a row is left for the end of the round: most such ends come from elsewhere, a
// machine that is switched off and on, and then the message is read a moment later.
func (s *Service) lookInTurn(ctx context.Context, w *worker, at spot, fn func() error) error {
	l := &w.lease
	if l.Crashes >= maxCrashes-1 && l.Blamed == at.asideKey(w.acc.Box) {
		return errSuspect
	}
	return s.look(ctx, w, at, fn)
}

// look takes in a message by fn. What ended the gateway before is noted first, and a
// message that did so three times is not looked at again (errPoison). A panic is an
// error of the message.
func (s *Service) look(ctx context.Context, w *worker, at spot, fn func() error) error {
	k := at.asideKey(w.acc.Box)
	if w.lease.Crashes >= maxCrashes && w.lease.Blamed == k && w.lease.Times >= maxCrashes-1 {
		return errPoison
	}
	if w.lease.Holder != "" && (!w.lease.Busy || w.lease.Crashes > 0) {
		err := s.changeBox(ctx, w, func(l *boxLease) {
			l.Busy = true
			if l.Crashes > 0 {
				l.Reading = k
			}
		})
		if err != nil {
			return err
		}
	}
	return s.guarded("fetch", w.acc.Box, func() error {
		s.standBy(atRead, k)
		return fn()
	})
}

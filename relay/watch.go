package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// Watchdogs: whoever waits for something that does not come is told, once. Their
// deadlines are a list ordered by time, of which a round reads what is over and no
// more. What ends the wait takes the deadline away in its own transaction.
//
// Their time is not that of the clock, but how long the gateway ran (runClock):
// a clock that jumps, a machine that slept, or a gateway that was off for a week
// make nothing late that had no chance to come.
//
//	ws/<id>                   watch of a submission
//	wd/<due>/s/<id>           its deadline; milliseconds of runClock.Ran, 16 hexadecimal digits
//	wd/<due>/u/<message>      unreadWatch: a message that nobody may have read
//	wt/<mailbox>/<what>/<login>/<id>  watchLine: it is still to be told; see watch_tell.go
//	wm/<mailbox>/<what>/<login>/      lateBatch: what was told of a batch
//	wn/<mailbox>/<what>/<login>/      runClock.Ran when of these a notice was written
//	wf/<mailbox>              runClock.Ran when it was read at the provider the last time,
//	                          once that is a while ago

// Watch says after how long whose silence is told. 0: never.
type Watch struct {
	Acceptance time.Duration   // since the hand-over, without an acceptance
	Delivery   []time.Duration // since the acceptance, without delivery or error; rising
	Unread     time.Duration   // since an envelope arrived, and nobody has read it
	Fetch      time.Duration   // since the mailbox could be read at the provider
}

const (
	watchesInGo = 20   // submissions changed in one transaction
	watchesMost = 2000 // in one round
)

// awaited is what a submission waits for, and "" what needs no watch.
type awaited string

const (
	awaitAcceptance awaited = "acceptance"
	awaitDelivery   awaited = "delivery"
)

// awaits is what receipts are to tell of a submission.
func (s *Submission) awaits() awaited {
	if s.batch() || s.Recovered != "" {
		return "" // its messages do; and nobody here waits for what was sent on another way
	}
	switch s.State {
	case HandedOver:
		return awaitAcceptance
	case Accepted:
		for i := range s.Recipients {
			if s.open(&s.Recipients[i]) {
				return awaitDelivery
			}
		}
	}
	return ""
}

// open tells whether a receipt about a recipient is still to come.
func (s *Submission) open(r *Recipient) bool {
	return r.Told == "" && !r.External && s.late(r) != Failed
}

// watch is the wait of one submission.
type watch struct {
	For   awaited       `json:"for"`
	Start time.Duration `json:"start"`          // of runClock.Ran
	Step  int           `json:"step,omitempty"` // so many terms are over and told
	Due   time.Duration `json:"due,omitempty"`  // the deadline on the list; 0: none
	// Unseen: it was told that nobody can know whether it came (watch_unseen.go).
	Unseen bool `json:"unseen,omitempty"`
}

// firstLook is when a round takes up a new wait: terms are longer.
const firstLook = 5 * time.Minute

func deadline(due time.Duration, rest string) string {
	return fmt.Sprintf("wd/%016x/%s", max(due.Milliseconds(), 0), rest)
}

func readWatch(tx *mailbox.Tx, id string) (w watch, err error) {
	err = tx.Space(room).Get("ws/"+id, &w)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return w, err
}

// put writes the wait of a submission, and its deadline in place of the one before.
func (w *watch) put(tx *mailbox.Tx, id string, due time.Duration) error {
	sp := tx.Space(room)
	if w.Due != 0 {
		if err := sp.Delete(deadline(w.Due, "s/"+id)); err != nil {
			return err
		}
	}
	if w.Due = due; due != 0 {
		if err := sp.Put(deadline(due, "s/"+id), true); err != nil {
			return err
		}
	}
	if w.For == "" {
		return sp.Delete("ws/" + id)
	}
	return sp.Put("ws/"+id, w)
}

// noteWatch begins the wait of a submission, or ends it. save calls it.
func noteWatch(tx *mailbox.Tx, s *Submission) error {
	if s.batch() {
		return nil
	}
	w, err := readWatch(tx, s.ID)
	now := s.awaits()
	if err != nil || w.For == now {
		return err
	}
	if now != "" && w.For == "" {
		if old, err := madeAnew(tx, s); err != nil || old {
			return err // history: nobody knows since when
		}
	}
	clock, err := readRunClock(tx)
	if err != nil {
		return err
	}
	next := watch{For: now, Start: clock.Ran, Due: w.Due}
	if now == "" {
		return next.put(tx, s.ID, 0)
	}
	return next.put(tx, s.ID, clock.Ran+firstLook)
}

// terms are those of a wait, in order.
func (w Watch) terms(of awaited) []time.Duration {
	switch {
	case of == awaitDelivery:
		return w.Delivery
	case of == awaitAcceptance && w.Acceptance > 0:
		return []time.Duration{w.Acceptance}
	}
	return nil
}

// watchAll looks at all watchdogs until ctx ends.
func (s *Service) watchAll(ctx context.Context) {
	for {
		if err := s.watchRound(ctx); err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("watch", "", err)
		}
		if !pause(ctx, runEvery) {
			return
		}
	}
}

// watchRound does what is due. What fails in one part keeps no other from it.
func (s *Service) watchRound(ctx context.Context) error {
	clock, err := s.tick(ctx)
	if err != nil {
		return err
	}
	return errors.Join(s.watchDue(ctx, clock), s.tellWatches(ctx, clock), s.watchBoxes(ctx, clock), s.watchCertificates(ctx, clock), s.tellDigests(ctx), s.sweepAlarms(ctx), s.sweepRepeats(ctx, clock))
}

// watchDue takes what is over off the list, notes it, and what is to be told of it.
func (s *Service) watchDue(ctx context.Context, clock runClock) error {
	var failed []error
	read := s.lastReads() // before the transaction: no lock is taken within
	for range watchesMost / watchesInGo {
		var keys []string
		last := deadline(clock.Ran, "~")
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			keys = nil
			return tx.Space(room).Scan("wd/", func(k string, _ []byte) (bool, error) {
				if k < last {
					keys = append(keys, k)
				}
				return k < last && len(keys) < watchesInGo, nil
			})
		})
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		if len(keys) > 0 {
			if err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return s.takeWatches(tx, clock, read, keys) }); err != nil {
				return errors.Join(append(failed, err)...)
			}
		}
		if len(keys) < watchesInGo {
			break
		}
	}
	return errors.Join(failed...)
}

// takeWatches is watchDue for some.
func (s *Service) takeWatches(tx *mailbox.Tx, clock runClock, read map[string]time.Time, keys []string) error {
	for _, k := range keys {
		_, rest, _ := strings.Cut(strings.TrimPrefix(k, "wd/"), "/")
		kind, id, _ := strings.Cut(rest, "/")
		var err error
		if kind == "u" {
			err = s.unreadOver(tx, k)
		} else {
			err = s.watchOver(tx, clock, read, k, id)
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", rest, err)
		}
	}
	return nil
}

// watchOver looks at a submission whose deadline is over.
func (s *Service) watchOver(tx *mailbox.Tx, clock runClock, read map[string]time.Time, k, id string) error {
	w, err := readWatch(tx, id)
	if err != nil {
		return err
	}
	if k != deadline(w.Due, "s/"+id) {
		return tx.Space(room).Delete(k)
	}
	sub, err := load(tx, id)
	if errors.Is(err, ErrNotFound) {
		w.For = ""
		return w.put(tx, id, 0)
	}
	if err != nil {
		return err
	}
	acc := s.account(sub.Box)
	terms := acc.Watch.terms(w.For)
	if sub.awaits() != w.For || w.Step >= len(terms) {
		return w.put(tx, id, 0) // not watched; the next change begins anew
	}
	if due := w.Start + terms[w.Step]; due > clock.Ran {
		return w.put(tx, id, due)
	}
	term := terms[w.Step]
	unread := w.For == awaitAcceptance && notReadSince(read, sub.Box, tx.Now(), clock.Ran-w.Start-term)
	unseen := unread || !acc.Active
	l := watchLine{For: w.For, Term: duration(term), Unseen: unseen, Inactive: !acc.Active}
	why := fmt.Sprintf("no %s within %s", w.For.words(), l.Term)
	switch {
	case unseen && w.Unseen:
		return w.put(tx, id, clock.Ran+unseenAgain)
	case unseen && clock.Ran < w.Start+term+unseenMost(acc):
		return w.put(tx, id, clock.Ran+firstLook)
	case unseen: // what is known once it is read again is told as well
		w.Unseen = true
		err = w.put(tx, id, clock.Ran+unseenAgain)
		why = fmt.Sprintf("no %s seen within %s: %s", w.For.words(), l.Term, l.unseenWhy())
	default:
		if w.Step++; w.Step < len(terms) {
			err = w.put(tx, id, w.Start+terms[w.Step])
		} else {
			err = w.put(tx, id, 0)
		}
	}
	if err != nil {
		return err
	}
	sub.Overdue = w.For
	sub.derive()
	err = errors.Join(happened(tx, sub, "overdue", why), sub.show(tx), save(tx, sub, nil))
	if err != nil {
		return err
	}
	return s.noteLate(tx, sub, l, w.Step, acc.Admin)
}

func (a awaited) words() string {
	if a == awaitDelivery {
		return "receipt of delivery, or error, about some recipient"
	}
	return string(a)
}

// duration is a term as people write it: "72 h", "1 h 30 min".
func duration(d time.Duration) string {
	d = d.Round(time.Second)
	var part []string
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / u.of; n > 0 {
			part = append(part, fmt.Sprintf("%d %s", n, u.name))
			d -= n * u.of
		}
	}
	return cmp.Or(strings.Join(part, " "), "0 s")
}

// noteLate notes whom a submission's silence is to be told.
func (s *Service) noteLate(tx *mailbox.Tx, sub *Submission, l watchLine, step int, admin string) error {
	login, err := s.opt.senderNow(tx, sub)
	if err != nil {
		return err
	}
	var to []addressee
	if login != "" {
		to = []addressee{{user: login, person: sub.Person}}
	}
	if admin != "" {
		to = onceEach(append(to, addressee{user: admin}))
	}
	what, words := fmt.Sprintf("%s-%d", l.For, step), "no "+l.For.words()
	if l.Unseen { // a notice of its own: its text is another
		what, words = string(l.For)+unseenKind, words+" seen: "+l.unseenWhy()
	}
	if l.Inactive {
		what = string(l.For) + inactiveKind
	}
	if sub.child() {
		what += "." + sub.Batch // told of in its own way (watch_batch.go)
	}
	for _, a := range to {
		l.Person = a.person
		if err := tx.Space(room).Put(watchLines(sub.Box, what, a.user)+sub.ID, l); err != nil {
			return err
		}
	}
	return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "overdue", Box: sub.Box, Subject: sub.ID, Result: cmp.Or(string(l.For), "-"), Reason: words})
}

// watchLine is one thing that is to be told to one person.
type watchLine struct {
	Person  mailbox.Person    `json:"person,omitempty"` // 0: that of the login
	For     awaited           `json:"for"`
	Term    string            `json:"term"`
	Message mailbox.MessageID `json:"message,omitempty"` // that was not read
	From    string            `json:"from,omitempty"`    // who sent it
	Unseen  bool              `json:"unseen,omitempty"`  // the mailbox could not be read: it may have come
	// Inactive: of Unseen, the policy says that it is not read (active: false).
	Inactive bool `json:"inactive,omitempty"`
}

func (l watchLine) unseenWhy() string {
	if l.Inactive {
		return "the mailbox is not active in the policy, so nobody reads it at the provider"
	}
	return "the mailbox could not be read at the provider"
}

// watchLines is the prefix of what one person is to be told of one kind.
func watchLines(box, what, login string) string {
	return "wt/" + strings.ToLower(box) + "/" + what + "/" + strings.ToLower(login) + "/"
}

// scanLines calls fn for what is to be told, until it returns false.
func scanLines(tx *mailbox.Tx, prefix string, fn func(k string, l watchLine) bool) error {
	return tx.Space(room).Scan(prefix, func(k string, raw []byte) (bool, error) {
		var l watchLine
		if err := json.Unmarshal(raw, &l); err != nil {
			return false, fmt.Errorf("record of what is to be told: %w", err)
		}
		return fn(k, l), nil
	})
}

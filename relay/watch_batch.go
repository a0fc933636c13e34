package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
)

// Messages of one batch that are late are told twice, however many they are and
// however long the batch takes to leave: with the first of them, and in a summary
// when it has left and the last of them had its time. Their lines have a kind of
// their own, which names the batch, and stay until then.

// lateBatch is what is told of a batch to one person.
type lateBatch struct {
	Lines int           `json:"lines"`          // so many were told at first
	Left  time.Duration `json:"left,omitempty"` // of runClock.Ran: since then nothing of it is still to leave; 0: something is
	Over  bool          `json:"over,omitempty"` // all is told: the lines go
}

const lateBatches = "wm/"

// lateOf takes a prefix of watchLines apart; batch is empty where it is of none.
func lateOf(prefix string) (box string, of awaited, step int, batch, login string, err error) {
	part := strings.Split(strings.Trim(strings.TrimPrefix(prefix, "wt/"), "/"), "/") // a local part may have a slash
	if len(part) < 3 {
		return "", "", 0, "", "", fmt.Errorf("record of what is to be told: %q", prefix)
	}
	what := part[len(part)-2]
	what, batch, _ = strings.Cut(what, ".")
	kind, number, _ := strings.Cut(what, "-")
	step, err = strconv.Atoi(number)
	if err != nil {
		step = 1 // -unseen, -inactive; or none
	}
	return strings.Join(part[:len(part)-2], "/"), awaited(kind), step, batch, part[len(part)-1], nil
}

// lateBatchesTold are what is told of batches, by the prefix of their lines.
func (s *Service) lateBatchesTold(ctx context.Context) (map[string]lateBatch, error) {
	all := map[string]lateBatch{}
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		clear(all)
		return tx.Space(room).Scan(lateBatches, func(k string, raw []byte) (bool, error) {
			var b lateBatch
			if err := json.Unmarshal(raw, &b); err != nil {
				return false, fmt.Errorf("record of a batch that is late: %w", err)
			}
			all["wt/"+strings.TrimPrefix(k, lateBatches)] = b
			return true, nil
		})
	})
	return all, err
}

func lateBatchKey(prefix string) string { return lateBatches + strings.TrimPrefix(prefix, "wt/") }

// tellLateBatch writes the first notice about a batch, of the lines that stand.
func (s *Service) tellLateBatch(ctx context.Context, prefix string) error {
	l, err := s.lateLines(ctx, prefix, tellMost)
	if err != nil || len(l.keys) == 0 {
		return err
	}
	if l.many == 0 { // come meanwhile
		return s.opt.Store.Update(ctx, l.take)
	}
	l.alarm.firstOfBatch()
	return alarmNotice(l.alarm, s.opt).fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		var b lateBatch
		switch err := tx.Space(room).Get(lateBatchKey(prefix), &b); {
		case err == nil:
			return false, nil // told already
		case !errors.Is(err, mailbox.ErrNotFound):
			return false, err
		}
		return true, tx.Space(room).Put(lateBatchKey(prefix), lateBatch{Lines: len(l.keys)})
	})
}

// firstOfBatch makes the notice one about the first messages of a batch.
func (a *alarm) firstOfBatch() {
	a.it += " Degli altri messaggi dello stesso invio multiplo non si avvisa uno per uno: un riepilogo arriva quando è partito tutto."
	a.en += " Of the other messages of the same batch you are not told one by one: a summary comes when all has left."
}

// summaryOfBatch makes the notice one about a whole batch.
func (a *alarm) summaryOfBatch() {
	a.subjectIT = "Riepilogo dell'invio multiplo: " + strings.TrimPrefix(a.subjectIT, "PEC: ")
	a.subjectEN = "Summary of the batch: " + strings.TrimPrefix(a.subjectEN, "PEC: ")
	a.it += " È il riepilogo di tutto l'invio multiplo, compresi i messaggi già segnalati."
	a.en += " This is the summary of the whole batch, with the messages that were told before."
}

// lateBatchGoesOn looks at a batch of which the first late messages were told.
func (s *Service) lateBatchGoesOn(ctx context.Context, clock runClock, prefix string, b lateBatch) error {
	box, of, step, id, _, err := lateOf(prefix)
	if err != nil {
		return err
	}
	if b.Over {
		return s.dropLateLines(ctx, prefix)
	}
	put := func(tx *mailbox.Tx) error { return tx.Space(room).Put(lateBatchKey(prefix), b) }
	leaves := false
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		parent, err := headOf(tx, id)
		if err == nil {
			p := progressOf(parent)
			leaves = p.Queued+p.Uncertain > 0
		}
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return err
	})
	switch now := clock.Ran; {
	case err != nil || leaves && b.Left == 0:
		return err
	case leaves: // a person sends what was held
		b.Left = 0
		return s.opt.Store.Update(ctx, put)
	case b.Left == 0:
		b.Left = max(now, 1)
		return s.opt.Store.Update(ctx, put)
	case now < b.Left+s.lateAfter(box, prefix, of, step)+runEvery:
		return nil
	}
	return s.tellLateEnd(ctx, prefix, b)
}

// lateAfter is how long after its hand-over a message has its line under a prefix at
// the latest.
func (s *Service) lateAfter(box, prefix string, of awaited, step int) time.Duration {
	acc := s.account(box)
	d := acc.Watch.longest(of, step)
	if strings.Contains(prefix, unseenKind+".") || strings.Contains(prefix, inactiveKind+".") {
		d += unseenMost(acc) + firstLook
	}
	return d
}

// longest is how long after its hand-over a message is late at the latest, in a step
// of a wait.
func (w Watch) longest(of awaited, step int) time.Duration {
	terms := w.terms(of)
	if len(terms) == 0 {
		return 0 // not watched any more
	}
	d := terms[min(max(step, 1), len(terms))-1]
	if of == awaitDelivery {
		d += w.Acceptance
	}
	return d
}

// tellLateEnd writes the summary of a batch, where there is something to add to what
// was told at first.
func (s *Service) tellLateEnd(ctx context.Context, prefix string, b lateBatch) error {
	l, err := s.lateLines(ctx, prefix, 2*MaxBatch)
	if err != nil {
		return err
	}
	tell := len(l.keys) > b.Lines && l.many > 0
	end := func(tx *mailbox.Tx) (bool, error) {
		var now lateBatch
		if err := tx.Space(room).Get(lateBatchKey(prefix), &now); errors.Is(err, mailbox.ErrNotFound) || err == nil && now.Over {
			return false, nil
		} else if err != nil {
			return false, err
		}
		now.Over = true
		return tell, tx.Space(room).Put(lateBatchKey(prefix), now)
	}
	if !tell {
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := end(tx); return err })
	} else {
		l.alarm.summaryOfBatch()
		err = alarmNotice(l.alarm, s.opt).fileOnly(ctx, s.opt.Store, end)
	}
	if err != nil {
		return err
	}
	return s.dropLateLines(ctx, prefix)
}

// dropLateLines drops what was told of a batch, some in each transaction.
func (s *Service) dropLateLines(ctx context.Context, prefix string) error {
	for more := true; more && ctx.Err() == nil; {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			var keys []string
			err := tx.Space(room).Scan(prefix, func(k string, _ []byte) (bool, error) {
				keys = append(keys, k)
				return len(keys) < tellMost, nil
			})
			for _, k := range keys {
				err = errors.Join(err, tx.Space(room).Delete(k))
			}
			if more = len(keys) == tellMost; !more {
				err = errors.Join(err, tx.Space(room).Delete(lateBatchKey(prefix)))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// Who waits for a message to leave is told when it has been tried in vain for
// tellAfter (B5, B9): about a message that the provider puts off, its sender, once;
// where the provider cannot be reached, the administrator and each sender once for
// all that waits in the mailbox, however many that are.

// tellAfter is how long.
const tellAfter = 4 * time.Hour

// queueLate is the kind of the alarm about a mailbox of which nothing leaves.
const queueLate = "queue-late"

// lateNotice tells the sender that the provider goes on putting a message off.
func lateNotice(sub *Submission, r submit.Result, o Options) *notice {
	return makeNotice(sub, o,
		"PEC non ancora partita: il gestore chiede di riprovare", "PEC not sent yet: the provider puts it off",
		fmt.Sprintf("Da %d ore il gestore non accetta questo messaggio e chiede di riprovare più tardi. Il gateway riprova da solo, non occorre fare nulla: non inviarlo di nuovo. "+
			"Dopo %s senza esito il gateway rinuncia e avvisa.", int(tellAfter.Hours()), daysOf(o.Schedule.GiveUp, "giorni")),
		fmt.Sprintf("For %d hours the provider has not taken this message and says to try again. The gateway tries again by itself, nothing is to be done: do not send it again. "+
			"After %s without success the gateway gives up, and says so.", int(tellAfter.Hours()), daysOf(o.Schedule.GiveUp, "days")),
		quoted(answer(r)))
}

func daysOf(d time.Duration, word string) string {
	return fmt.Sprintf("%d %s", int(d.Round(24*time.Hour)/(24*time.Hour)), word)
}

// lateLook is how often it is looked at most whose messages wait for too long.
const lateLook = time.Hour

// lateSenders is how many people are told of a mailbox at most; the others are
// spoken for by the administrator.
const lateSenders = 200

// lateWalk is how far it was looked whose messages of a mailbox wait for too long: a
// long queue is not read again and again.
type lateWalk struct {
	at    time.Time // of the last look
	began time.Time // at the first line
	to    string    // line up to which it came
	end   bool      // there was none behind it that waited for long enough
}

// tellQueueLate tells of a mailbox whose provider cannot be reached, once its oldest
// message has waited for long enough. However long the queue is, everybody of whom it
// holds something is told in time: each look goes on where the one before stopped, and
// begins anew every tellAfter for what was released meanwhile.
func (s *Service) tellQueueLate(ctx context.Context, w *worker, why string) error {
	now := s.opt.Store.Now()
	if d := now.Sub(w.looked.at); d >= 0 && d < lateLook || s.openedLately(w.acc, tellAfter) {
		return nil // in the second case it waited for the hours of its mailbox
	}
	next := w.looked
	if d := now.Sub(next.began); next.end && (d < 0 || d >= tellAfter) {
		next = lateWalk{}
	}
	first := next.to == ""
	waiting, senders, err := s.lateIn(ctx, w.acc.Box, &next)
	if err != nil || waiting == 0 && first && next.end {
		return err
	}
	if next.at = now; first {
		next.began = now
	}
	if waiting == 0 {
		w.looked = next
		return nil
	}
	w.late = true
	a := s.queueLateAlarm(w.acc.Box, why)
	if err := s.raise(ctx, a); err != nil {
		return err
	}
	a.toSender()
	for _, to := range senders {
		a.about, a.to = to.user, []addressee{to}
		if err := s.raise(ctx, a); err != nil {
			return err
		}
	}
	w.looked = next // not before all of them were told
	return nil
}

// queueLateAlarm tells the administrator of a mailbox of which nothing leaves.
func (s *Service) queueLateAlarm(box, why string) alarm {
	hours := int(tellAfter.Hours())
	return alarm{
		box: box, kind: queueLate, to: s.adminOf(box), quiet: tellAfter,
		subjectIT: "PEC ferme: il gestore non risponde", subjectEN: "PEC wait: the provider does not answer",
		it: fmt.Sprintf("Da oltre %d ore da questa casella non parte nulla: il gestore non è raggiungibile. Il gateway riprova da solo e mantiene l'ordine; nessun messaggio scade nel frattempo. "+
			"Controllare la rete e lo stato del gestore; `pecgate queue list` mostra i messaggi in attesa.", hours),
		en: fmt.Sprintf("For more than %d hours nothing has left this mailbox: the provider cannot be reached. The gateway tries again by itself and keeps the order; no message expires meanwhile. "+
			"Look at the network and at the provider's state; `pecgate queue list` shows what waits.", hours),
		detail: plain(why, maxEventText),
	}
}

// toSender has the words for those who sent what waits.
func (a *alarm) toSender() {
	hours := int(tellAfter.Hours())
	a.it = fmt.Sprintf("Da oltre %d ore il gestore non è raggiungibile: i messaggi inviati da questa casella non sono ancora partiti. Il gateway riprova da solo: non inviarli di nuovo.", hours)
	a.en = fmt.Sprintf("For more than %d hours the provider cannot be reached: what was sent from this mailbox has not left yet. The gateway tries again by itself: do not send it again.", hours)
}

// lateIn returns how many messages of a mailbox have waited for too long, of those
// that are looked at in one go, and whose they are. It goes on where a walk stopped.
func (s *Service) lateIn(ctx context.Context, box string, walk *lateWalk) (n int, senders []addressee, err error) {
	from := walk.to
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		n, senders, walk.to, walk.end = 0, nil, from, true
		looked, seen := 0, map[mailbox.Person]bool{}
		return scanLate(tx, box, from, func(k string, sub *Submission, late bool) (bool, error) {
			looked++
			walk.to = k
			if late {
				n++
			}
			if late && !seen[sub.Person] {
				seen[sub.Person] = true
				if _, left, err := tx.Left(sub.Person); err == nil && !left {
					senders = append(senders, addressee{user: sub.User, person: sub.Person})
				}
			}
			walk.end = looked < inSight && len(senders) < lateSenders
			return walk.end, nil
		})
	})
	return n, senders, err
}

// anyLate tells whether a message of a mailbox has waited for too long.
func (s *Service) anyLate(ctx context.Context, box string) (any bool, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		any = false
		looked := 0
		return scanLate(tx, box, "", func(_ string, _ *Submission, late bool) (bool, error) {
			looked++
			any = late
			return !any && looked < inSight, nil
		})
	})
	return any, err
}

// scanLate calls fn for the lines of a mailbox's queue behind one of them, "" for all,
// and whether they have waited for too long, until it returns false or all that
// follow are too young.
func scanLate(tx *mailbox.Tx, box, behind string, fn func(k string, sub *Submission, late bool) (bool, error)) error {
	ran, err := hasRun(tx)
	if err != nil {
		return err
	}
	return tx.Space(room).ScanFrom(queueBox(box), max(behind, queueBox(box)), func(k string, _ []byte) (bool, error) {
		if k == behind {
			return true, nil
		}
		sub, err := headOf(tx, strings.TrimPrefix(k[strings.LastIndexByte(k, '/')+1:], "~"))
		if errors.Is(err, ErrNotFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		late := sub.State == Queued && ran-sub.Began >= tellAfter
		if !late && sub.State == Queued && sub.Released.IsZero() && !sub.child() {
			return false, nil // and so are those behind it
		}
		return fn(k, sub, late)
	})
}

// endQueueLate ends the alarms about a mailbox whose provider answers again, or where
// nothing is left that waited for too long.
func (s *Service) endQueueLate(ctx context.Context, w *worker) error {
	if !w.late {
		return nil
	}
	if !w.answers {
		if any, err := s.anyLate(ctx, w.acc.Box); err != nil || any {
			return err
		}
	}
	var all []string
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		all = nil
		return tx.Space(room).Scan(alarmsOf(w.acc.Box, queueLate), func(_ string, raw []byte) (bool, error) {
			var a standingAlarm
			if err := json.Unmarshal(raw, &a); err != nil {
				return false, err
			}
			all = append(all, a.About)
			return true, nil
		})
	})
	for _, about := range all {
		if err == nil {
			err = s.ended(ctx, w.acc.Box, queueLate, about)
		}
	}
	if err == nil {
		w.late, w.looked = false, lateWalk{at: w.looked.at} // one that comes and goes ends once in lateLook
	}
	return err
}

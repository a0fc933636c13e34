package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// A provider, or what stands before it, that cuts each connection at the dot must not
// make a whole queue uncertain: each of these needs a person in the end. So after
// doubtsInRow hand-overs in a row of which nobody knows the end, a mailbox tries one
// message at a time: the first after Schedule.First, then after twice as long, up to
// Schedule.Most, until one gets a clear answer. The administrator is told meanwhile.
// What is due without a hand-over goes on. A start of the gateway begins to count
// anew.

// doubtsInRow is how many.
const doubtsInRow = 3

const brakeKind = "uncertain-in-a-row"

// brake is what a sender keeps of it.
type brake struct {
	row   int       // hand-overs in a row without a clear answer
	clear bool      // the last one got its answer, and no alarm stands
	until time.Time // nothing is handed over before
	most  time.Duration
}

// left is how long nothing is to be handed over. A clock that was put back makes it
// no longer than it was to be.
func (b *brake) left(now time.Time) time.Duration {
	return min(max(b.until.Sub(now), 0), b.most)
}

// count counts the end of a hand-over.
func (s *Service) count(ctx context.Context, w *worker, r submit.Result) {
	var err error
	switch {
	case r.Class == submit.Uncertain:
		w.brake.clear = false
		w.brake.row++
		if w.brake.row < doubtsInRow {
			return
		}
		w.brake.most = s.opt.Schedule.after(w.brake.row - doubtsInRow + 1)
		w.brake.until = s.opt.Store.Now().Add(w.brake.most)
		if w.brake.row == doubtsInRow {
			err = s.raise(ctx, s.brakeAlarm(w.acc.Box, answer(r)))
		}
	case unreachable(r): // says nothing
	case !w.brake.clear:
		if err = s.ended(ctx, w.acc.Box, brakeKind, ""); err == nil {
			w.brake = brake{clear: true}
		}
	}
	if err != nil && ctx.Err() == nil {
		s.opt.Events.Fault("send", w.acc.Box, err) // the hand-over itself is recorded
	}
}

func (s *Service) brakeAlarm(box, why string) alarm {
	return alarm{
		box: box, kind: brakeKind, to: s.adminOf(box),
		subjectIT: "Il gestore interrompe ogni consegna: il gateway rallenta", subjectEN: "The provider breaks off each hand-over: the gateway slows down",
		it: fmt.Sprintf("%d consegne di seguito si sono interrotte senza risposta: nessuno sa se quei messaggi sono partiti. Perché non succeda a tutta la coda, il gateway ora ne prova uno alla volta, sempre più di rado, finché il gestore risponde. "+
			"Controllare la rete, i dispositivi che filtrano la posta e lo stato del gestore.", doubtsInRow),
		en: fmt.Sprintf("%d hand-overs in a row broke off without an answer: nobody knows whether those messages have left. So that this does not happen to the whole queue, the gateway now tries one at a time, more and more rarely, until the provider answers. "+
			"Look at the network, at devices that filter mail, and at the provider's state.", doubtsInRow),
		detail: plain(why, maxWords),
	}
}

// faultWait is how long a line of the queue is left alone at which the gateway met a
// fault of its own.
const faultWait = 10 * time.Minute

// leaveLine keeps a line of the queue that cannot be dealt with from stopping the
// others: one without a record goes, any other waits.
func (s *Service) leaveLine(ctx context.Context, box string, t task, why error) error {
	s.opt.Events.Fault("send", box, fmt.Errorf("line %s of the queue: %w", t.id, why))
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		k := queueKey(box, t.id)
		_, err := headOf(tx, t.id)
		if errors.Is(err, ErrNotFound) {
			return tx.Space(room).Delete(k)
		}
		if err != nil {
			return err
		}
		var line due
		if err := tx.Space(room).Get(k, &line); err != nil {
			if errors.Is(err, mailbox.ErrNotFound) {
				return nil
			}
			return err
		}
		line.Set = tx.Now().UTC()
		line.At = line.Set.Add(faultWait)
		return tx.Space(room).Put(k, line)
	})
}

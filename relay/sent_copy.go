package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// What was sent is put into the provider's own folder for that, where the mailbox
// says so (provider_sent_copy): providers do not, and a webmail then shows nothing
// of it. It is a courtesy: no failure changes an outcome or holds anything up.
//
//	sc/<mailbox>/<id>  sentCopy: its copy is to be put there
//
// Never twice: the folder is searched for the Message-ID first, each time.
type sentCopy struct {
	Tries int       `json:"tries,omitempty"`
	Next  time.Time `json:"next,omitzero"`
}

func sentCopyPrefix(box string) string { return "sc/" + strings.ToLower(box) + "/" }

// sentCopiesPerRound bounds how many one round puts there.
const sentCopiesPerRound = 50

// sentCopyWaits are the waits before the second and each later try.
func sentCopyWaits() []time.Duration {
	return []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour}
}

// wantSentCopy notes that a submission was taken by the provider.
func wantSentCopy(tx *mailbox.Tx, acc Account, s *Submission) error {
	if !acc.SentCopy || s.batch() || acc.IMAP.Host == "" {
		return nil
	}
	return tx.Space(room).Put(sentCopyPrefix(s.Box)+s.ID, sentCopy{})
}

// copySent puts there what is due. Its errors are told and change nothing.
func (s *Service) copySent(ctx context.Context, w *worker, session *fetch.Session) {
	if !w.acc.SentCopy {
		return
	}
	due, err := s.sentCopiesDue(ctx, w.acc.Box)
	if err != nil || len(due) == 0 {
		if err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("sent copy", w.acc.Box, err)
		}
		return
	}
	folder, err := session.SentFolder(ctx, w.acc.SentFolder)
	if err != nil && session.Over() != nil {
		if ctx.Err() == nil {
			s.opt.Events.Fault("sent copy", w.acc.Box, err) // the line, and no message: all are due still
		}
		return
	}
	for id, c := range due {
		failed := err
		if failed == nil {
			failed = s.copyOne(ctx, session, folder, id)
		}
		if ctx.Err() != nil {
			return
		}
		if err := s.copyTried(ctx, w.acc.Box, id, c, failed); err != nil {
			s.opt.Events.Fault("sent copy", w.acc.Box, err)
			return
		}
		if session.Over() != nil {
			return // at most one message broke it: the others lose no try
		}
	}
}

func (s *Service) sentCopiesDue(ctx context.Context, box string) (out map[string]sentCopy, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		out = map[string]sentCopy{}
		prefix, now := sentCopyPrefix(box), tx.Now()
		return tx.Space(room).Scan(prefix, func(k string, raw []byte) (bool, error) {
			var c sentCopy
			if err := json.Unmarshal(raw, &c); err != nil {
				return false, fmt.Errorf("record of a sent copy: %w", err)
			}
			// A clock that was put back keeps nothing waiting for long.
			if !c.Next.After(now) || c.Next.Sub(now) > 24*time.Hour {
				out[strings.TrimPrefix(k, prefix)] = c
			}
			return len(out) < sentCopiesPerRound, nil
		})
	})
	return out, err
}

// copyOne puts one message there, unless it is there.
func (s *Service) copyOne(ctx context.Context, session *fetch.Session, folder, id string) error {
	var sub *Submission
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { sub, err = load(tx, id); return err })
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	found, err := session.FindHeader(ctx, folder, "Message-ID", sub.MsgID)
	if err != nil || len(found) > 0 {
		return err
	}
	body, err := content(ctx, s.opt.Store, sub)
	if err != nil {
		return err
	}
	defer body.Close() // read-only handle: nothing to lose
	at := sub.HandedOver
	if at.IsZero() {
		at = sub.SubmittedAt
	}
	return session.Append(ctx, folder, at, body, body.Size())
}

// copyTried notes how a try ended. After the last one the administrator is told,
// once until one works again.
func (s *Service) copyTried(ctx context.Context, box, id string, c sentCopy, failed error) error {
	k, waits := sentCopyPrefix(box)+id, sentCopyWaits()
	over := failed == nil || c.Tries >= len(waits)
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if over {
			return tx.Space(room).Delete(k)
		}
		return tx.Space(room).Put(k, sentCopy{Tries: c.Tries + 1, Next: tx.Now().UTC().Add(waits[c.Tries])})
	})
	if err != nil {
		return err
	}
	if failed == nil {
		return s.ended(ctx, box, "sent-copy", "")
	}
	s.opt.Events.Fault("sent copy", box, failed)
	if !over {
		return nil
	}
	return s.raise(ctx, alarm{
		box: box, kind: "sent-copy", to: s.adminOf(box), quiet: 24 * time.Hour,
		subjectIT: "PEC: la copia nella cartella Inviata del gestore non riesce", subjectEN: "PEC: the copy in the provider's folder of what was sent fails",
		it: "Il gateway non riesce a mettere una copia di ciò che è stato inviato nella cartella del gestore (provider_sent_copy). I messaggi sono stati inviati regolarmente e la copia del gateway c'è. " +
			"Controllare la cartella e lo spazio presso il gestore.",
		en: "The gateway cannot put a copy of what was sent into the provider's own folder (provider_sent_copy). The messages were sent all the same, and the gateway keeps its copy. " +
			"Look at that folder, and at the room, at the provider.",
		detail: plain(failed.Error(), maxWords),
	})
}

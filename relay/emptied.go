package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// Another client that empties the same mailbox (C13): what it takes before we
// fetched it is lost to us, so that whoever looks after the mailbox must know. Each
// message that was there and went without our asking has its audit line; many of
// them within a day are an alarm to the administrator, which ends when a week
// brought none.
//
//	gb/<mailbox>  how many went lately

// goneBy counts messages that went without our asking.
type goneBy struct {
	Last   time.Time `json:"last"`
	Before int       `json:"before"` // not fetched yet
	After  int       `json:"after"`  // ours already
}

const (
	emptiedMany  = 10                 // so many are no accident
	emptiedApart = 24 * time.Hour     // without any between them: counted anew
	emptiedEnds  = 7 * 24 * time.Hour // without any: the alarm ends
	countEvery   = time.Hour          // a folder is counted
)

// emptied is the kind of the alarm.
const emptied = "another-client"

func goneByKey(box string) string { return "gb/" + box }

func readGoneBy(tx *mailbox.Tx, box string) (g goneBy, err error) {
	err = tx.Space(room).Get(goneByKey(box), &g)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return g, err
}

// countGone counts one that went without our asking.
func countGone(tx *mailbox.Tx, box string, fetched bool) error {
	g, err := readGoneBy(tx, box)
	if err != nil {
		return err
	}
	now := tx.Now().UTC()
	if now.Sub(g.Last) > emptiedApart {
		g = goneBy{}
	}
	if g.Last = now; fetched {
		g.After++
	} else {
		g.Before++
	}
	return tx.Space(room).Put(goneByKey(box), g)
}

// tellEmptied has the alarm stand or end.
func (s *Service) tellEmptied(ctx context.Context, box string) error {
	var g goneBy
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { g, err = readGoneBy(tx, box); return err })
	if err != nil || g.Last.IsZero() {
		return err
	}
	switch since := s.opt.Store.Now().Sub(g.Last); {
	case since > emptiedEnds:
		return s.ended(ctx, box, emptied, "")
	case g.Before+g.After < emptiedMany || since > emptiedApart:
		return nil
	}
	return s.raise(ctx, alarm{
		box: box, kind: emptied, to: s.adminOf(box),
		subjectIT: "Un altro programma svuota la casella PEC " + box, subjectEN: "Another client empties the PEC mailbox " + box,
		it: "Dalla casella presso il gestore spariscono messaggi che il gateway non ha cancellato: un altro programma di posta, la webmail o una regola li sposta o li elimina. " +
			"Ciò che sparisce prima di essere letto qui manca nell'archivio. Che cosa fare: trovare quel programma e impostarlo perché lasci i messaggi sul server; `pecgate reconcile " + box + "` mostra che cosa manca, `--bring-in` recupera ciò che c'è ancora.",
		en: "Messages that the gateway did not delete disappear from the mailbox at the provider: another mail program, the webmail or a rule moves or deletes them. " +
			"What goes before it was read here is missing in the store. What to do: find that program and have it leave the messages on the server; `pecgate reconcile " + box + "` shows what is missing, `--bring-in` takes in what is still there.",
		detail: fmt.Sprintf("before they were read / prima della lettura: %d\nafter they were read / dopo la lettura: %d", g.Before, g.After),
	})
}

// lookEmptied counts the fetched folders now and then: where fewer messages stand
// than we noted, it looks which ones went. By POP3 each round tells that by itself.
func (s *Service) lookEmptied(ctx context.Context, w *worker, session *fetch.Session) error {
	now := s.opt.Store.Now()
	for _, folder := range w.acc.folders() {
		if since := now.Sub(w.counted[folder]); since >= 0 && since < countEvery {
			continue
		}
		w.counted[folder] = now
		c, met, err := s.readCursor(ctx, w.acc.Box, folder)
		if err != nil {
			return err
		}
		if !met || c.Left > 0 {
			delete(w.counted, folder)
			continue
		}
		st, err := session.New(ctx, folder, fetch.Cursor{}, 0, nil)
		if err != nil {
			return err
		}
		if st.UIDValidity != c.UIDValidity {
			continue
		}
		prefix, noted := folderPrefix(w.acc.Box, folder, st.UIDValidity), 0
		err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			noted = 0
			return scanStanding(tx, prefix, "", func(_ string, st standing) (bool, error) { noted++; return true, nil })
		})
		if err != nil {
			return err
		}
		if noted <= int(st.Exists) {
			continue
		}
		if err := s.findGone(ctx, w, session, spot{folder: folder, validity: st.UIDValidity}); err != nil {
			return err
		}
	}
	return nil
}

// findGone notes what is noted in a folder and stands there no more.
func (s *Service) findGone(ctx context.Context, w *worker, session *fetch.Session, here spot) error {
	r := &reconciling{s: s, w: w, out: &Reconciled{}}
	prefix, last := folderPrefix(w.acc.Box, here.folder, here.validity), ""
	for after := uint32(0); ; {
		st, page, err := session.Standing(ctx, here.folder, after, reconcilePage)
		if err != nil {
			return err
		}
		if st.UIDValidity != here.validity {
			return nil // the next round begins anew
		}
		_, gone, next, err := r.page(ctx, here, prefix, last, page, st.More)
		if err == nil {
			err = s.went(ctx, w.acc.Box, gone)
		}
		if err == nil {
			err = s.takeBox(ctx, w)
		}
		if err != nil || !st.More || len(page) == 0 {
			return err
		}
		last, after = next, page[len(page)-1].UID
	}
}

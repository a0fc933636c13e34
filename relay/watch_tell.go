package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// What a notice of many waits names at most.
const (
	tellMost       = 400 // waits in one notice
	tellNamed      = 50  // of these with their recipients or senders
	tellRecipients = 10  // of each

	gatherFor = time.Hour // after a notice, before the next of its kind
)

// tellWatches writes the notices of what a round found: one for each person,
// mailbox and kind, however many messages it is about, and at most one in gatherFor
// (more only where one has not room for all); of a batch as watch_batch.go says. A
// line goes in the transaction of its notice, so each is told once.
func (s *Service) tellWatches(ctx context.Context, clock runClock) error {
	var failed []error
	told, err := s.toldLately(ctx, clock)
	batches, err1 := s.lateBatchesTold(ctx)
	if err := errors.Join(err, err1); err != nil {
		return err
	}
	for prefix, b := range batches {
		failed = append(failed, s.lateBatchGoesOn(ctx, clock, prefix, b))
	}
	for after := "wt/"; ; {
		prefix := ""
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			prefix = ""
			return tx.Space(room).ScanFrom("wt/", after, func(k string, _ []byte) (bool, error) {
				prefix = k[:strings.LastIndexByte(k, '/')+1]
				return false, nil
			})
		})
		if err != nil || prefix == "" {
			return errors.Join(append(failed, err)...)
		}
		after = prefix + "~"
		if _, _, _, batch, _, err := lateOf(prefix); err != nil || batch != "" {
			if _, told := batches[prefix]; err == nil && !told {
				err = s.tellLateBatch(ctx, prefix)
			}
			failed = append(failed, err)
			continue
		}
		if told[prefix] {
			continue // gathered
		}
		for more := true; more; {
			if more, err = s.tellWatch(ctx, prefix); err != nil {
				failed = append(failed, err)
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			return tx.Space(room).Put("wn/"+strings.TrimPrefix(prefix, "wt/"), clock.Ran)
		})
		if err != nil {
			failed = append(failed, err)
		}
	}
}

// toldLately are the prefixes of which a person was told so lately that what is new
// is gathered: a batch that leaves at a pace is late at the same pace. Older records
// are dropped.
func (s *Service) toldLately(ctx context.Context, clock runClock) (map[string]bool, error) {
	told := map[string]bool{}
	var old []string
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		clear(told)
		old = nil
		return tx.Space(room).Scan("wn/", func(k string, raw []byte) (bool, error) {
			var at time.Duration
			if err := json.Unmarshal(raw, &at); err != nil {
				return false, fmt.Errorf("record of what was told: %w", err)
			}
			if since := clock.Ran - at; since >= 0 && since < gatherFor {
				told["wt/"+strings.TrimPrefix(k, "wn/")] = true
			} else {
				old = append(old, k)
			}
			return true, nil
		})
	})
	if err != nil || len(old) == 0 {
		return told, err
	}
	return told, s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
		for _, k := range old {
			err = errors.Join(err, tx.Space(room).Delete(k))
		}
		return err
	})
}

// lateLines is what stands under a prefix of watchLines, and the notice of it.
type lateLines struct {
	keys  []string
	many  int // of them are still late
	alarm alarm
}

// take drops the lines.
func (l *lateLines) take(tx *mailbox.Tx) (err error) {
	for _, k := range l.keys {
		err = errors.Join(err, tx.Space(room).Delete(k))
	}
	return err
}

// lateLines reads at most most lines.
func (s *Service) lateLines(ctx context.Context, prefix string, most int) (out lateLines, err error) {
	box, _, _, _, login, err := lateOf(prefix)
	if err != nil {
		return out, err
	}
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		out = lateLines{alarm: alarm{box: box, kind: "overdue", about: prefix, to: []addressee{{user: login}}}}
		a := &out.alarm
		var first watchLine
		var list strings.Builder
		subs := 0
		err := scanLines(tx, prefix, func(k string, l watchLine) bool {
			out.keys = append(out.keys, k)
			text, sub, e := s.lateLine(tx, k[len(prefix):], l)
			if e != nil {
				text = "" // gone, or come meanwhile
			}
			if text != "" {
				if out.many++; out.many == 1 {
					first, a.to[0].person = l, l.Person
				}
				if a.sub = sub; sub != nil {
					subs++
				}
				if out.many <= tellNamed {
					list.WriteString(text)
				}
			}
			return len(out.keys) < most
		})
		if err != nil || out.many == 0 {
			return err
		}
		if out.many > 1 || subs == 0 {
			a.sub = nil
		}
		if out.many > tellNamed {
			fmt.Fprintf(&list, "... +%d\n", out.many-tellNamed)
		}
		a.words(first, out.many, strings.TrimSuffix(list.String(), "\n"))
		return nil
	})
	return out, err
}

// tellWatch writes one notice of what stands under a prefix of watchLines; more
// tells that something is left.
func (s *Service) tellWatch(ctx context.Context, prefix string) (more bool, err error) {
	l, err := s.lateLines(ctx, prefix, tellMost)
	if err != nil || len(l.keys) == 0 {
		return false, err
	}
	more = len(l.keys) == tellMost
	if l.many == 0 {
		return more, s.opt.Store.Update(ctx, l.take)
	}
	return more, alarmNotice(l.alarm, s.opt).fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		var line watchLine
		if err := tx.Space(room).Get(l.keys[0], &line); errors.Is(err, mailbox.ErrNotFound) {
			return false, nil // told already
		} else if err != nil {
			return false, err
		}
		return true, l.take(tx)
	})
}

// lateLine describes one thing that is late, and is "" where it is not any more.
func (s *Service) lateLine(tx *mailbox.Tx, id string, l watchLine) (string, *Submission, error) {
	zone := s.opt.Location
	if l.For == awaitReading {
		text, err := s.unreadLine(tx, l)
		return text, nil, err
	}
	sub, err := load(tx, id)
	if err != nil || sub.awaits() != l.For {
		return "", nil, err
	}
	text, n := fmt.Sprintf("- %s  %s\n", sub.ID, sub.SubmittedAt.In(zone).Format("02/01/2006 15:04")), 0
	for i := range sub.Recipients {
		r := &sub.Recipients[i]
		if l.For == awaitDelivery && !sub.open(r) {
			continue
		}
		if n++; n <= tellRecipients {
			text += "  " + plain(r.Address, maxAddress) + "\n"
		}
	}
	if n > tellRecipients {
		text += fmt.Sprintf("  ... +%d\n", n-tellRecipients)
	}
	return text, sub, nil
}

// words makes the text of the notice of some waits that are over.
func (a *alarm) words(l watchLine, many int, list string) {
	a.detail = list
	if l.Inactive {
		a.inactiveWords(l, many)
		return
	}
	switch l.For {
	case awaitAcceptance:
		a.subjectIT = fmt.Sprintf("PEC: nessuna accettazione entro %s (%d)", l.Term, many)
		a.subjectEN = fmt.Sprintf("PEC: no acceptance within %s (%d)", l.Term, many)
		a.it = "Il gestore ha preso i messaggi qui sotto, ma la ricevuta di accettazione non è arrivata. Senza di essa l'invio non è provato. " +
			"Non inviarli di nuovo: chiedere all'amministratore, che può guardare nella webmail del gestore. Quando la ricevuta arriva compare da sola nella cartella Ricevute."
		a.en = "The provider took the messages below, but no receipt of acceptance has come. Without it nothing proves that they were sent. " +
			"Do not send them again: ask the administrator, who can look into the provider's webmail. When the receipt comes it shows by itself in the folder of receipts."
		if l.Unseen {
			a.subjectIT = fmt.Sprintf("PEC: accettazione non vista entro %s, casella non letta presso il gestore (%d)", l.Term, many)
			a.subjectEN = fmt.Sprintf("PEC: acceptance not seen within %s, mailbox not read at the provider (%d)", l.Term, many)
			a.it = "Il gestore ha preso i messaggi qui sotto, ma la casella non si è potuta leggere presso il gestore: la ricevuta di accettazione può essere arrivata, e qui non si vede. " +
				"Non inviarli di nuovo: chiedere all'amministratore, che può guardare nella webmail del gestore. Quando la casella si legge di nuovo la ricevuta compare da sola nella cartella Ricevute."
			a.en = "The provider took the messages below, but the mailbox could not be read there: the receipt of acceptance may have come, and is not seen here. " +
				"Do not send them again: ask the administrator, who can look into the provider's webmail. When the mailbox can be read again the receipt shows by itself in the folder of receipts."
		}
	case awaitDelivery:
		a.subjectIT = fmt.Sprintf("PEC: nessuna ricevuta di consegna entro %s (%d)", l.Term, many)
		a.subjectEN = fmt.Sprintf("PEC: no receipt of delivery within %s (%d)", l.Term, many)
		a.it = "I messaggi qui sotto sono stati accettati, ma per i destinatari elencati non è arrivata né la consegna né un errore. " +
			"La consegna non è provata: se c'è un termine da rispettare, contattare il destinatario o usare un'altra via."
		a.en = "The messages below were accepted, but about the recipients listed neither a delivery nor an error has come. " +
			"Nothing proves the delivery: if there is a term to meet, contact the recipient or take another way."
	case awaitReading:
		a.subjectIT = fmt.Sprintf("PEC in arrivo non letta da %s (%d): %s", l.Term, many, a.box)
		a.subjectEN = fmt.Sprintf("Incoming PEC not read for %s (%d): %s", l.Term, many, a.box)
		a.it = "Nessuna delle persone che possono leggere la casella ha aperto i messaggi qui sotto. Per legge risultano consegnati dal momento in cui sono arrivati: i termini decorrono. Avvisare chi segue la casella, o aprirli."
		a.en = "Nobody who may read the mailbox has opened the messages below. By law they count as delivered since they arrived: terms are running. Tell whoever looks after the mailbox, or open them."
	}
}

// inactiveWords is words for a mailbox of which nobody reads the receipts.
func (a *alarm) inactiveWords(l watchLine, many int) {
	a.subjectIT = fmt.Sprintf("PEC: ricevute non viste entro %s, casella non attiva (%d)", l.Term, many)
	a.subjectEN = fmt.Sprintf("PEC: receipts not seen within %s, mailbox not active (%d)", l.Term, many)
	a.it = "Il gestore ha preso i messaggi qui sotto, ma la casella non è più attiva nella policy (active: false): il gateway non la legge, e le ricevute che il gestore ha rilasciato qui non si vedono. " +
		"Non inviarli di nuovo: le ricevute si trovano nella webmail del gestore. Se la casella torna attiva compaiono da sole nella cartella Ricevute."
	a.en = "The provider took the messages below, but the mailbox is not active in the policy any more (active: false): the gateway does not read it, and receipts that the provider has given are not seen here. " +
		"Do not send them again: the receipts are in the provider's webmail. Once the mailbox is active again they show by themselves in the folder of receipts."
}

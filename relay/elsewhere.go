package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/relay/fetch"
)

// lookAnew is how long after one look for receipts in other folders the next one
// comes.
const lookAnew = 24 * time.Hour

// kindElsewhere is the alarm about receipts in folders that are not fetched.
const kindElsewhere = "elsewhere"

// lookElsewhere looks once a day whether receipts stand in folders of the provider
// that nobody fetches: a rule or a hand in the provider's webmail has put them
// there (C14). Status, log and an alarm name the folders, until they are fetched
// (incoming.folders) or hold none any more.
func (s *Service) lookElsewhere(ctx context.Context, w *worker, session *fetch.Session) error {
	if !w.lookedAt.IsZero() && time.Since(w.lookedAt) < lookAnew {
		return nil
	}
	found, err := session.Elsewhere(ctx, w.acc.folders())
	if err != nil {
		return fmt.Errorf("look for receipts in other folders: %w", err)
	}
	w.lookedAt = time.Now()
	slices.Sort(found)
	w.elsewhere(found)
	if len(found) == 0 {
		return s.ended(ctx, w.acc.Box, kindElsewhere, "")
	}
	list := plain(strings.Join(found, ", "), maxWords)
	s.opt.Events.Elsewhere(w.acc.Box, list)
	return s.raise(ctx, s.elsewhereAlarm(w.acc.Box, list))
}

// elsewhereAlarm names the folders.
func (s *Service) elsewhereAlarm(box, list string) alarm {
	return alarm{
		box: box, kind: kindElsewhere, to: s.adminOf(box), quiet: 7 * 24 * time.Hour,
		subjectIT: "Ricevute in cartelle del gestore che non vengono lette",
		subjectEN: "Receipts in folders of the provider that are not fetched",
		it: "Presso il gestore ci sono ricevute in cartelle che il gateway non legge: qualcuno le ha spostate dalla webmail, o lo fa una regola. " +
			"Di quei messaggi l'esito può mancare. Aggiungere le cartelle a incoming.folders della casella, o togliere la regola e rimettere le ricevute nella posta in arrivo.",
		en: "At the provider there are receipts in folders that the gateway does not fetch: somebody has moved them by webmail, or a rule does. " +
			"What became of those messages may be missing. Add the folders to incoming.folders of the mailbox, or end the rule and put the receipts back into the inbox.",
		detail: list,
	}
}

// elsewhere keeps the folders that hold receipts and are not fetched.
func (w *worker) elsewhere(folders []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts.elsewhere = folders
}

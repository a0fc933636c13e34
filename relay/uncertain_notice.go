package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"pecgate/mailbox"
)

// What the sender of a submission and the administrator of its mailbox must both
// be told at once. That it is to be told is recorded with the change itself, so
// that no crash and no full disk between the two lets anybody stay in the dark;
// each line goes with its notice, in one transaction.
//
//	y/<mailbox>/<id>/<what>/<to>  nothing: to is sender or admin
const (
	toldHeld   = "held"   // nobody knows whether it left, and a person must decide
	toldResent = "resent" // it was handed over a second time
	toldTwice  = "twice"  // two acceptances: it went out twice
	// toldSettled: a receipt says what became of what was held; it follows toldHeld.
	toldSettled = "settled"

	toSender = "sender"
	toAdmin  = "admin"
)

func tellPrefix(box string) string { return "y/" + strings.ToLower(box) + "/" }

// perTelling bounds how many notices one call files; the rest wait for the next.
const perTelling = 100

// toTell records what sender and administrator must be told of a submission. Of
// a batch they get the first of each kind, and of the others its report tells.
func toTell(tx *mailbox.Tx, s *Submission, what string) error {
	if s.child() {
		b, err := headOf(tx, s.Batch)
		if err != nil {
			return err
		}
		b.Tally.Rev++ // its report names each
		told := &b.Tally.Told
		switch what {
		case toldResent:
			told = &b.Tally.ToldResent
		case toldTwice:
			told = &b.Tally.ToldTwice
		}
		known := *told
		*told = true
		if err := putHead(tx, b); err != nil || known {
			return err
		}
	}
	for _, to := range []string{toSender, toAdmin} {
		if err := tx.Space(room).Put(tellPrefix(s.Box)+s.ID+"/"+what+"/"+to, json.RawMessage("{}")); err != nil {
			return err
		}
	}
	return nil
}

// tellSettled records that those who were told that nobody knows what became of a
// submission must be told what did; whoever was not told yet is not told at all. Of a
// batch the report tells.
func tellSettled(tx *mailbox.Tx, s *Submission) error {
	if s.child() {
		return nil
	}
	for _, to := range []string{toSender, toAdmin} {
		prefix := tellPrefix(s.Box) + s.ID + "/"
		err := tx.Space(room).Get(prefix+toldHeld+"/"+to, new(json.RawMessage))
		if err == nil {
			err = tx.Space(room).Delete(prefix + toldHeld + "/" + to)
		} else if errors.Is(err, mailbox.ErrNotFound) {
			err = tx.Space(room).Put(prefix+toldSettled+"/"+to, json.RawMessage("{}"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tellWatched files the notices that are due of a mailbox.
func (s *Service) tellWatched(ctx context.Context, acc Account) error {
	var keys []string
	prefix := tellPrefix(acc.Box)
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		keys = nil
		return tx.Space(room).Scan(prefix, func(k string, _ []byte) (bool, error) {
			keys = append(keys, k)
			return len(keys) < perTelling, nil
		})
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := s.tellOne(ctx, acc, k); err != nil {
			return fmt.Errorf("notice about an uncertain submission: %w", err)
		}
	}
	return nil
}

// tellOne files the notice of one line and takes the line away.
func (s *Service) tellOne(ctx context.Context, acc Account, k string) error {
	part := strings.Split(strings.TrimPrefix(k, tellPrefix(acc.Box)), "/")
	done := func(tx *mailbox.Tx) (bool, error) {
		err := tx.Space(room).Get(k, new(json.RawMessage))
		if errors.Is(err, mailbox.ErrNotFound) {
			return false, nil
		}
		return err == nil, errors.Join(err, tx.Space(room).Delete(k))
	}
	var sub *Submission
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		if len(part) != 3 {
			return ErrNotFound
		}
		sub, err = load(tx, part[0])
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := done(tx); return err })
	}
	if err != nil {
		return err
	}
	n := watchedNotice(sub, part[1], s.opt)
	if part[2] == toAdmin {
		if acc.Admin == "" || acc.Admin == sub.User {
			return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := done(tx); return err })
		}
		n.user, n.person, n.name = acc.Admin, 0, n.name+".admin"
	}
	return n.fileOnly(ctx, s.opt.Store, done)
}

// watchedNotice is one of the notices of this file.
func watchedNotice(sub *Submission, what string, o Options) *notice {
	switch what {
	case toldResent:
		return makeNotice(sub, o,
			"PEC consegnata una seconda volta al gestore", "PEC handed over a second time",
			"Il collegamento con il gestore si era interrotto durante la consegna, nessuna ricevuta è arrivata e la casella è stata leggibile per tutto il tempo: "+
				"come stabilito per questa casella (uncertain: resend) il gateway consegna il messaggio ancora una volta, identico e con lo stesso Message-ID. "+
				"Se anche la prima consegna era riuscita, i destinatari lo ricevono due volte: le ricevute lo diranno. Il gateway non lo invierà una terza volta.",
			"The connection to the provider had broken at the hand-over, no receipt has come, and the mailbox was readable all the time: "+
				"as is set for this mailbox (uncertain: resend) the gateway hands the message over once more, the same bytes under the same Message-ID. "+
				"If the first hand-over had succeeded too, its recipients get it twice: the receipts will tell. The gateway will not send it a third time.",
			"")
	case toldSettled:
		if sub.State == NotAccepted {
			return makeNotice(sub, o,
				"PEC in sospeso: non è stata accettata", "PEC on hold: it was not accepted",
				"Il messaggio era in sospeso perché l'esito della consegna al gestore era ignoto. Ora è arrivata la ricevuta firmata: il gestore non lo ha accettato. Il messaggio non è partito.",
				"The message was on hold since nobody knew whether the provider had taken it. Now the signed receipt has come: the provider has not accepted it. The message has not left.",
				"")
		}
		return makeNotice(sub, o,
			"PEC in sospeso: era partita", "PEC on hold: it had left",
			"Il messaggio era in sospeso perché l'esito della consegna al gestore era ignoto. Ora è arrivata la ricevuta firmata: il gestore lo aveva preso in carico. Non occorre fare nulla, e non va inviato di nuovo.",
			"The message was on hold since nobody knew whether the provider had taken it. Now the signed receipt has come: the provider had taken it. There is nothing to do, and it must not be sent again.",
			sub.Identifier)
	case toldTwice:
		return makeNotice(sub, o,
			"PEC partita due volte: due accettazioni", "PEC went out twice: two acceptances",
			"Per questo messaggio sono arrivate due accettazioni con identificativi diversi: il gestore lo ha preso due volte e i destinatari possono averlo ricevuto due volte. "+
				"Tutte le ricevute sono conservate, ciascuna con il suo identificativo. Se serve, avvisare i destinatari.",
			"Two acceptances with different identifiers have come for this message: the provider took it twice, and its recipients may have got it twice. "+
				"All receipts are kept, each with its identifier. Tell the recipients where that matters.",
			fmt.Sprintf("%s\n%s", sub.Identifier, sub.Twice))
	}
	return makeNotice(sub, o,
		"PEC in sospeso: esito della consegna al gestore ignoto", "PEC on hold: hand-over without an answer",
		"Il collegamento con il gestore si è interrotto durante la consegna e nessuna ricevuta è arrivata. Il messaggio forse è partito: non inviarlo di nuovo prima che l'amministratore abbia controllato "+
			"nella webmail del gestore (`pecgate queue retry` lo invia ancora, `pecgate queue cancel --may-have-left` vi rinuncia).",
		"The connection to the provider broke at the hand-over and no receipt has come. The message may have left: do not send it again before the administrator has looked "+
			"into the provider's webmail (`pecgate queue retry` sends it again, `pecgate queue cancel --may-have-left` gives it up).",
		"")
}

// tellTwice notes that a message went out twice, the first time it shows.
func tellTwice(tx *mailbox.Tx, s *Submission) error {
	err := tx.Audit(mailbox.AuditLine{
		Actor: "relay", Event: "duplicate", Box: s.Box, Subject: s.ID, Result: "two acceptances", Reason: s.Identifier + " and " + s.Twice,
	})
	return errors.Join(err, toTell(tx, s, toldTwice))
}

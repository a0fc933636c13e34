package relay

import (
	"context"
	"errors"
	"fmt"

	"pecgate/mailbox"
)

// What needs more room for its receipts than the mailbox has in all would wait for
// ever. It is held instead, with an alarm about just this submission, until a person
// sends it all the same (queue retry) or cancels it. A batch is held as one.

// kindRoomHeld is the alarm about a submission that is held for this, by its id.
const kindRoomHeld = "room-held"

const anyRoomText = ", whatever room the provider has for its receipts"

// heldForRoom tells whether this is what a submission waits for.
func (s *Submission) heldForRoom() bool {
	if s.batch() {
		return s.unmade() > 0 && s.Rest == Held && s.RestReason == ReasonRoom
	}
	return s.State == Held && s.StateReason == ReasonRoom
}

// anyRoom tells whether a person said that a submission is sent all the same.
func anyRoom(tx *mailbox.Tx, s *Submission) (bool, error) {
	if s.AnyRoom || !s.child() {
		return s.AnyRoom, nil
	}
	b, err := headOf(tx, s.Batch)
	if err != nil {
		return false, err
	}
	return b.AnyRoom, nil
}

// holdForRoom holds what never has room, and tells its sender and the administrator:
// both in one transaction.
func (s *Service) holdForRoom(ctx context.Context, l *shortage) error {
	var head *Submission
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { head, err = headForRoom(tx, l.sub); return err })
	if err != nil {
		return err
	}
	sender, err := s.senderOf(ctx, head)
	if err != nil {
		return err
	}
	a := roomHeldAlarm(head, l)
	a.to = onceEach(append(sender, s.adminOf(head.Box)...))
	held := false
	err = alarmNotice(a, s.opt).fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		held = false
		now, err := load(tx, l.sub.ID)
		if err != nil || now.State != Queued {
			return false, err
		}
		if lack, err := s.noRoom(tx, now); err != nil || lack == nil || !lack.never {
			return false, err
		}
		if head, err = headForRoom(tx, l.sub); err != nil {
			return false, err
		}
		held, head.RoomAlarm = true, true
		if many, err := countAlarms(tx, head.Box, kindRoomHeld); err != nil {
			return false, err
		} else if many < maxAlarms {
			err = a.record(tx, alarmKey(a.box, a.kind, a.about), standingAlarm{}, false)
			if err != nil {
				return false, err
			}
		}
		if err := s.restForRoom(tx, head, l.text()); err != nil {
			return false, err
		}
		return len(a.to) > 0, save(tx, head, nil)
	})
	if err == nil && held {
		s.opt.Events.Alarm(a.box, a.kind, a.about, len(a.to) > 0)
	}
	return err
}

// headForRoom is what is held for a submission without room: itself, or its batch
// where it has no record yet.
func headForRoom(tx *mailbox.Tx, sub *Submission) (*Submission, error) {
	if sub.child() {
		if _, err := headOf(tx, sub.ID); errors.Is(err, ErrNotFound) {
			return load(tx, sub.Batch)
		} else if err != nil {
			return nil, err
		}
	}
	return load(tx, sub.ID)
}

// restForRoom moves it; the caller saves it.
func (s *Service) restForRoom(tx *mailbox.Tx, head *Submission, text string) error {
	if !head.batch() {
		return s.step(tx, head, Held, ReasonRoom, text)
	}
	head.rest(Held, ReasonRoom, tx.Now().UTC())
	err := tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "state", Box: head.Box, Subject: head.ID, Result: string(Held), Reason: string(ReasonRoom)})
	return errors.Join(err, happened(tx, head, string(Held), text), head.show(tx))
}

// endRoomAlarm ends the alarm of what is not held for want of room any more.
func endRoomAlarm(tx *mailbox.Tx, s *Submission) error {
	if !s.RoomAlarm || s.heldForRoom() {
		return nil
	}
	s.RoomAlarm = false
	_, err := endAlarm(tx, alarmKey(s.Box, kindRoomHeld, s.ID))
	return err
}

// roomAlarmOver tells whether the submission that an alarm is about is not held for
// want of room.
func roomAlarmOver(tx *mailbox.Tx, a Alarm) (bool, error) {
	s, err := headOf(tx, a.About)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return err == nil && !s.heldForRoom(), err
}

func roomHeldAlarm(sub *Submission, l *shortage) alarm {
	return alarm{
		box: sub.Box, kind: kindRoomHeld, about: sub.ID, sub: sub,
		detail:    fmt.Sprintf("servono / needed: %.1f MiB; in tutto / in all: %.1f MiB", mebi(l.need), mebi(l.limit)),
		subjectIT: "PEC trattenuta: le sue ricevute non possono entrare nella casella presso il gestore",
		subjectEN: "PEC held: its receipts can never fit the mailbox at the provider",
		it: "Le ricevute di questo messaggio prenderebbero più spazio di quello che la casella ha in tutto presso il gestore: anche con la casella vuota andrebbero perse. " +
			"Il messaggio è trattenuto e non parte da solo, nemmeno quando si libera spazio.\n\n" +
			"Cosa fare: scrivere un nuovo messaggio con allegati più piccoli o meno destinatari, o con ricevute brevi o sintetiche; oppure chiedere al gestore una casella più grande. " +
			"Per l'amministratore: `pecgate queue retry ID` lo invia comunque, con le ricevute che possono andare perse; `pecgate queue cancel ID` vi rinuncia; " +
			"se lo spazio indicato è sbagliato, correggere provider_quota e poi `pecgate queue retry ID`.",
		en: "The receipts of this message would take more room than the mailbox has in all at the provider: they would be lost even with an empty mailbox. " +
			"The message is held and does not leave by itself, not even when there is more room.\n\n" +
			"What to do: write a new message with smaller attachments or fewer recipients, or with brief or synthetic receipts; or ask the provider for a larger mailbox. " +
			"For the administrator: `pecgate queue retry ID` sends it all the same, with receipts that may be lost; `pecgate queue cancel ID` gives it up; " +
			"if the room that is named is wrong, correct provider_quota and then `pecgate queue retry ID`.",
	}
}

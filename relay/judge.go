package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// What is right but for its CA, which is not known here, is judged again when the
// trusted CAs have changed: each such message has a record (j/) until it is
// believed or found to be wrong.

// judged is which CAs were trusted when all such messages were judged last.
type judged struct {
	Anchors string    `json:"anchors"`
	At      time.Time `json:"at"`
}

const judgedKey = "judged"

func undecidedPrefix(box string) string { return "j/" + strings.ToLower(box) + "/" }

func undecidedKey(m *mailbox.Message) string {
	return fmt.Sprintf("%s%016x", undecidedPrefix(m.Box), uint64(m.ID))
}

// undecided tells whether other CAs could change what is thought of a message.
func undecided(r *pec.Report) bool { return r.Verdict == pec.Unverifiable && r.Check == "chain" }

// reader is what reads messages, by the CAs that are trusted now.
func (s *Service) reader() *pec.Reader {
	if r := s.retrusted.Load(); r != nil {
		return r
	}
	return s.opt.Reader
}

// Trust has messages read by another reader from now on. Where it trusts other CAs than
// the one before, what could not be verified is judged again; it tells whether it does.
func (s *Service) Trust(r *pec.Reader) (others bool) {
	if r.Anchors() == s.reader().Anchors() {
		return false
	}
	s.retrusted.Store(r)
	select {
	case s.rejudge <- struct{}{}:
	default:
	}
	return true
}

// judge judges again at the start and whenever other CAs are trusted, until ctx ends.
func (s *Service) judge(ctx context.Context) {
	for {
		if err := s.judgeAgain(ctx); err != nil && ctx.Err() == nil {
			s.faults("", err) // the next start or change tries again
		}
		select {
		case <-ctx.Done():
			return
		case <-s.rejudge:
		}
	}
}

// perJudge is how many messages are looked up at a time.
const perJudge = 50

// judgeAgain judges what could not be verified, if the trusted CAs are others than
// the last time. It may be cut off: what was decided has no record any more, and
// the next start begins anew with the rest.
func (s *Service) judgeAgain(ctx context.Context) error {
	now := s.reader().Anchors()
	var last judged
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error { last = judged{}; return tx.Space(room).Get(judgedKey, &last) })
	if err != nil && !errors.Is(err, mailbox.ErrNotFound) || err == nil && last.Anchors == now {
		return err
	}
	var failed []error
	looked, decided := 0, 0
	for from := "j/"; from != ""; {
		var keys []string
		next := ""
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			keys, next = nil, ""
			return tx.Space(room).ScanFrom("j/", from, func(k string, _ []byte) (bool, error) {
				if len(keys) == perJudge {
					next = k
					return false, nil
				}
				keys = append(keys, k)
				return true, nil
			})
		})
		if err != nil {
			return err
		}
		for _, k := range keys {
			looked++
			done, err := s.judgeOne(ctx, k)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("judge %s again: %w", k, err))
			} else if done {
				decided++
			}
		}
		from = next
	}
	if len(failed) > 0 {
		return errors.Join(failed[:min(len(failed), 10)]...)
	}
	if looked > 0 {
		s.opt.Events.JudgedAgain(looked, decided)
	}
	for _, a := range s.opt.Accounts() {
		if err := s.settled(ctx, strings.ToLower(a.Box)); err != nil {
			return err
		}
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		return tx.Space(room).Put(judgedKey, judged{Anchors: now, At: tx.Now().UTC()})
	})
}

// judgeOne reads one message again and applies what it now is; done tells that
// nothing is open about it.
func (s *Service) judgeOne(ctx context.Context, k string) (done bool, err error) {
	box, hex, _ := strings.Cut(strings.TrimPrefix(k, "j/"), "/")
	n, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return false, err
	}
	id := mailbox.MessageID(n)
	report, found, err := s.readAgain(ctx, box, id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return true, s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Delete(k) })
	}
	if err != nil || undecided(report) {
		return false, err
	}
	acc := s.account(box)
	var m *mailbox.Message
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
		if m, err = tx.Message(id); err != nil {
			return err
		}
		m.Kind, m.Verdict, m.Reason = report.Kind, report.Verdict, report.Reason
		if err := s.refileJudged(tx, acc, report, found, m); err != nil {
			return err
		}
		return errors.Join(tx.PutMessage(m), tx.Space(room).Delete(k))
	})
	if err != nil {
		return false, err
	}
	s.told(m, found)
	if m.Submission != "" {
		return true, s.claim(ctx, box, idKey(report.Identifier))
	}
	return true, nil
}

// refileJudged puts a message where it belongs by now, with all that follows from
// what it is. An envelope that stood in sight stays where it is.
func (s *Service) refileJudged(tx *mailbox.Tx, acc Account, r *pec.Report, found *finding, m *mailbox.Message) error {
	to, how := place(r)
	if to == mailbox.RoleInbox {
		at, err := tx.PlacesIn(m.ID, to, 1000)
		if err != nil {
			return err
		}
		if len(at) > 0 {
			return s.confirmEnvelope(tx, acc, r, m, at, how)
		}
	}
	before, err := tx.PlacesIn(m.ID, mailbox.RoleAnomalies, 1000)
	if err != nil {
		return err
	}
	if to != mailbox.RoleInbox {
		inbox, err := tx.PlacesIn(m.ID, mailbox.RoleInbox, 1000)
		if err != nil {
			return err
		}
		before = append(before, inbox...)
	}
	if len(before) == 0 {
		return nil // somebody removed it for all
	}
	var had []string
	if !m.History {
		if had, err = s.gotByMail(tx, m, acc.Box); err != nil {
			return err
		}
	}
	line, err := s.sortIn(tx, acc, r, found, m)
	if err != nil {
		return err
	}
	if len(had) > 0 {
		if err := noteForward(tx, routed{Message: m.ID, What: routeArrival, Box: acc.Box, Believed: saidByProvider(r), Had: had}); err != nil {
			return err
		}
	}
	for _, p := range before {
		if err := tx.Unfile(p); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return err
		}
	}
	return tx.Audit(judgedLine(line))
}

// confirmEnvelope takes the mark from an envelope that is believed now.
func (s *Service) confirmEnvelope(tx *mailbox.Tx, acc Account, r *pec.Report, m *mailbox.Message, at []mailbox.Place, how mailbox.Filing) error {
	if r.Believed() && late(r, m) {
		how.Keywords = []string{unverified}
	}
	if !slices.Contains(how.Keywords, unverified) {
		for _, p := range at {
			if err := tx.SetKeywords(p, nil, []string{unverified}); err != nil {
				return err
			}
		}
	}
	if r.Believed() && !m.History {
		if err := tx.EnterRegister(m, m.Arrived); err != nil {
			return err
		}
	}
	return tx.Audit(judgedLine(mailbox.AuditLine{
		Actor: "relay", Box: acc.Box, Result: string(r.Kind) + " " + r.Verdict, Reason: m.Reason,
		More: map[string]string{"folder": string(mailbox.RoleInbox), "sha256": m.SHA256()},
	}))
}

func judgedLine(l mailbox.AuditLine) mailbox.AuditLine {
	l.Event = "judged again"
	return l
}

// unverifiedKind is the alarm about messages whose CA is not known.
const unverifiedKind = "unverified"

// doubted raises the alarm of a mailbox that has a message whose CA is not known.
func (s *Service) doubted(ctx context.Context, box string, r *pec.Report) error {
	return s.raise(ctx, alarm{
		box: box, kind: unverifiedKind, to: s.adminOf(box), quiet: 24 * time.Hour,
		subjectIT: "PEC non verificabile: CA sconosciuta", subjectEN: "PEC that cannot be verified: unknown CA",
		it: "È arrivato un messaggio con una firma integra, ma di un'autorità di certificazione (CA) che il gateway non conosce. Le buste restano in Posta in arrivo con $PecUnverified, le ricevute in Anomalie e non cambiano alcun esito. " +
			"Se la CA è quella di un gestore PEC, aggiungerla a provider_trust e dare `systemctl reload pecgate`: tutto ciò che è in sospeso viene verificato di nuovo.",
		en: "A message has come whose signature is in order, but of a CA that is not known here. Envelopes stay in the inbox with $PecUnverified, receipts in Anomalies, and these change no outcome. " +
			"If the CA is that of a PEC provider, add it to provider_trust and run `systemctl reload pecgate`: all that is open is judged again.",
		detail: plain(r.Reason, maxWords),
	})
}

// settled ends the alarm of a mailbox in which nothing is open any more.
func (s *Service) settled(ctx context.Context, box string) error {
	open := false
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		open = false
		return tx.Space(room).Scan(undecidedPrefix(box), func(string, []byte) (bool, error) { open = true; return false, nil })
	})
	if err != nil || open {
		return err
	}
	return s.ended(ctx, box, unverifiedKind, "")
}

// noteUndecided keeps that a message is to be judged again.
func noteUndecided(tx *mailbox.Tx, r *pec.Report, m *mailbox.Message) error {
	if !undecided(r) {
		return nil
	}
	return tx.Space(room).Put(undecidedKey(m), json.RawMessage(`{}`))
}

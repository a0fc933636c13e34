package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
)

// text tells people what holds a service back.
func (r refusal) text(a Account) string {
	switch {
	case r.Tries > 0:
		return fmt.Sprintf("%s: %s; nobody knows whether the password is right: it is tried again an hour later", r.Service, r.Why)
	case r.Off:
		return fmt.Sprintf("%s is switched off at the provider: switch it on in its panel, then run `pecgate provider resume`; the provider said: %s", r.Service, r.Why)
	}
	return fmt.Sprintf("%s login refused: set the right password in %s; the provider said: %s", r.Service, a.passwordPlace(r.Service), r.Why)
}

// passwordPlace is where the password for a service is to be corrected.
func (a Account) passwordPlace(service string) string {
	own, file := a.FetchLogin, a.PasswordFile
	if service == serviceSMTP {
		own = a.SMTPLogin
	}
	if own.Password != nil {
		file = own.File
	}
	return cmp.Or(file, "policy.yaml")
}

// providerSaid takes our own words off a refusal, so that it is said once.
func providerSaid(words string) string {
	for _, ours := range []string{"login refused: ", "auth: ", "AUTH: ", "login: ", "the provider answered "} {
		words = strings.TrimPrefix(words, ours)
	}
	return words
}

// holding are those of the records of a mailbox that people are told of: all
// refusals, and the newest of the logins without an answer where these are too many.
func holding(all []refusal, now time.Time) (out []refusal) {
	tries, most, last := 0, 0, refusal{}
	for _, r := range all {
		switch {
		case r.Tries == 0:
			out = append(out, r)
		case r.open(now):
			tries, most = tries+r.Tries, max(most, r.most())
			if r.At.After(last.At) {
				last = r
			}
		}
	}
	if tries > 0 && tries >= most {
		out = append(out, last)
	}
	return out
}

// suspensions are the texts of what holds a mailbox back.
func (s *Service) suspensions(tx *mailbox.Tx, box string) (text string, err error) {
	all, err := refusalsOf(tx, box)
	var out []string
	for _, r := range holding(all, tx.Now()) {
		out = append(out, r.text(s.account(box)))
	}
	return strings.Join(out, "; "), err
}

// Resume lets a mailbox log in again whose login the provider refused, once, with
// the credential it has. Errors: *Refusal, and those of the store.
func (s *Service) Resume(ctx context.Context, box string, by Hand) error {
	box = strings.ToLower(box)
	if !slices.ContainsFunc(s.opt.Accounts(), func(a Account) bool { return strings.EqualFold(a.Box, box) }) {
		return refuse("%s is no mailbox of the policy", box)
	}
	s.mu.Lock()
	w := s.workers[box]
	s.mu.Unlock()
	forgotten := false
	if w != nil {
		w.mu.Lock()
		forgotten = len(w.logins.refused) > 0
		clear(w.logins.refused)
		clear(w.logins.proven)
		clear(w.logins.unclear)
		w.mu.Unlock()
	}
	var all []refusal
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
		if all, err = refusalsOf(tx, box); err != nil {
			return err
		}
		if len(holding(all, tx.Now())) == 0 && !forgotten {
			return refuse("%s is not suspended: no login of it was refused since the last one that was taken", box)
		}
		if err := tx.Space(room).Delete(haltKey(box)); err != nil {
			return err
		}
		var services []string
		for _, r := range all {
			services = append(services, r.Service)
			if err := tx.Space(room).Delete(refusalKey(box, r.Service)); err != nil {
				return err
			}
		}
		return tx.Audit(mailbox.AuditLine{Actor: by.Actor, From: by.From, Event: "provider resume", Box: box, Subject: strings.Join(services, ", "), Result: "resumed"})
	})
	if no := new(Refusal); errors.As(err, &no) {
		return no
	}
	if err != nil {
		return err
	}
	for _, r := range all {
		err = errors.Join(err, s.endedSuspension(ctx, box, r.Service))
	}
	if w != nil {
		w.hurryUp()
	}
	return err
}

// kindSuspended is the alarm of a refused login, about its service, or of logins
// without an answer.
const (
	kindSuspended   = "suspended"
	aboutUnanswered = "no answer"
)

// tellSuspended tells the administrator of what holds a mailbox back, once.
func (s *Service) tellSuspended(ctx context.Context, w *worker) {
	var all []refusal
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		all, err = refusalsOf(tx, w.acc.Box)
		return err
	})
	for _, r := range holding(all, s.opt.Store.Now()) {
		err = errors.Join(err, s.raise(ctx, s.suspendedAlarm(w.acc, &r)))
	}
	if err != nil && ctx.Err() == nil {
		s.opt.Events.Fault("login", w.acc.Box, err)
	}
}

func (s *Service) endedSuspension(ctx context.Context, box, service string) error {
	return errors.Join(s.ended(ctx, box, kindSuspended, service), s.ended(ctx, box, kindSuspended, aboutUnanswered))
}

func (s *Service) suspendedAlarm(acc Account, r *refusal) alarm {
	a := alarm{
		box: acc.Box, kind: kindSuspended, about: r.Service, to: s.adminOf(acc.Box), detail: quoted(plain(r.Why, maxEventText)),
		subjectIT: fmt.Sprintf("Casella sospesa: accesso %s rifiutato: %s", r.Service, acc.Box),
		subjectEN: fmt.Sprintf("Mailbox suspended: %s login refused: %s", r.Service, acc.Box),
		it: "Il gestore ha rifiutato l'accesso. Perché non blocchi la casella, il gateway non lo ripete con la stessa password: finché non cambia non invia e non scarica nulla con essa. " +
			"Quello che è in coda aspetta e non va perso.\n\nCosa fare: controllare la password nel pannello del gestore e scrivere quella nuova in " + acc.passwordPlace(r.Service) + ". " +
			"Se la password è giusta: `pecgate provider resume " + acc.Box + "` fa un nuovo tentativo.",
		en: "The provider has refused the login. So that it does not lock the mailbox, the gateway does not repeat it with the same password: until that changes it neither sends nor fetches with it. " +
			"What is queued waits and is not lost.\n\nWhat to do: check the password in the provider's panel and write the new one into " + acc.passwordPlace(r.Service) + ". " +
			"If the password is right: `pecgate provider resume " + acc.Box + "` makes one new attempt.",
	}
	switch {
	case r.Off:
		a.subjectIT = fmt.Sprintf("Casella sospesa: %s disattivato presso il gestore: %s", r.Service, acc.Box)
		a.subjectEN = fmt.Sprintf("Mailbox suspended: %s is switched off at the provider: %s", r.Service, acc.Box)
		a.it = "Il gestore risponde che questo protocollo è disattivato per la casella. Cosa fare: attivarlo nel pannello del gestore, poi `pecgate provider resume " + acc.Box + "`."
		a.en = "The provider says that this protocol is switched off for the mailbox. What to do: switch it on in the provider's panel, then `pecgate provider resume " + acc.Box + "`."
	case r.Tries > 0:
		a.about = aboutUnanswered
		a.subjectIT = fmt.Sprintf("Casella sospesa per un'ora: accesso %s interrotto più volte: %s", r.Service, acc.Box)
		a.subjectEN = fmt.Sprintf("Mailbox suspended for an hour: %s login interrupted more than once: %s", r.Service, acc.Box)
		a.it = "Il gateway è stato fermato più volte durante l'accesso e non sa se la password è giusta: riprova tra un'ora. `pecgate provider resume " + acc.Box + "` fa subito un nuovo tentativo."
		a.en = "The gateway was stopped more than once during the login and does not know whether the password is right: it tries again in an hour. `pecgate provider resume " + acc.Box + "` makes a new attempt at once."
	}
	return a
}

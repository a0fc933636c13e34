package relay

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
)

// refusal is a login that was refused, or of which nobody knows yet.
type refusal struct {
	Service string    `json:"service"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
	Salt    []byte    `json:"salt"`
	Hash    []byte    `json:"hash"` // of user name and password
	// Off: the provider says that the service is switched off, not that the
	// credential is wrong: it holds back that service alone.
	Off bool `json:"off,omitempty"`
	// Tries: so many logins were sent whose answer the gateway did not live to
	// see; 0: it was refused.
	Tries int `json:"tries,omitempty"`
	// Taken: of a credential that the provider took once.
	Taken bool `json:"taken,omitempty"`
}

const (
	// hashRounds of PBKDF2: some milliseconds, asked once for each credential.
	hashRounds = 60000
	// mostUnanswered logins end at a stop of the gateway before no other is sent.
	mostUnanswered = 2
	// unansweredFor is how long these hold a service back.
	unansweredFor = time.Hour
)

// errSuspended says that the provider refused this login before.
var errSuspended = errors.New("the provider has refused this login before, it is not sent again")

func refusalsPrefix(box string) string { return "login/" + strings.ToLower(box) + "/" }

func refusalKey(box, service string) string { return refusalsPrefix(box) + service }

// maxRefusals bounds what is read of one mailbox: there are three services.
const maxRefusals = 8

func refusalsOf(tx *mailbox.Tx, box string) (all []refusal, err error) {
	err = tx.Space(room).Scan(refusalsPrefix(box), func(_ string, raw []byte) (bool, error) {
		var r refusal
		if err := json.Unmarshal(raw, &r); err != nil {
			return false, fmt.Errorf("record of a refused login: %w", err)
		}
		all = append(all, r)
		return len(all) < maxRefusals, nil
	})
	return all, err
}

// of tells whether a refusal is of a credential.
func (w *worker) of(r *refusal, c credential) bool {
	k := sha256.Sum256(append(append(append([]byte{}, r.Salt...), r.Hash...), c[:]...))
	w.mu.Lock()
	same, known := w.logins.judged[k]
	w.mu.Unlock()
	if known {
		return same
	}
	same = len(r.Hash) > 0 && subtle.ConstantTimeCompare(slowHash(c, r.Salt), r.Hash) == 1
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.logins.judged) > 100 {
		clear(w.logins.judged)
	}
	w.logins.judged[k] = same
	return same
}

// open tells whether the logins of a record had no answer, lately.
func (r *refusal) open(now time.Time) bool {
	return r.Tries > 0 && !now.Before(r.At) && now.Sub(r.At) < unansweredFor
}

// suspended tells whether the login of a service would be one that was refused
// already. What was refused of another credential is over.
func (s *Service) suspended(ctx context.Context, w *worker, service string) bool {
	_, _, c, err := w.credential(service)
	if err != nil {
		return false // the attempt tells what is wrong with it
	}
	held, err := s.heldBack(ctx, w, service, c)
	if err != nil {
		return false // the attempt asks again, and is not made where nobody can tell
	}
	if service == w.acc.fetchService() {
		w.mu.Lock()
		if w.facts.Suspended = ""; held { // the words are on record
			w.facts.Suspended = service
		}
		w.mu.Unlock()
	}
	if held {
		s.tellSuspended(ctx, w)
	}
	return held
}

// heldBack is suspended for a credential.
func (s *Service) heldBack(ctx context.Context, w *worker, service string, c credential) (held bool, err error) {
	w.mu.Lock()
	_, held = w.logins.refused[c]
	w.mu.Unlock()
	if held {
		return true, nil
	}
	var all []refusal
	var now time.Time
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		now = tx.Now()
		all, err = refusalsOf(tx, w.acc.Box)
		return err
	})
	if err != nil {
		return false, err
	}
	unanswered, most := 0, 0
	for i := range all {
		switch r := &all[i]; {
		case r.Off && r.Service != service, r.Tries > 0 && !r.open(now):
		case w.of(r, c):
			unanswered += r.Tries
			most = max(most, r.most())
			held = held || r.Tries == 0
		case r.Tries == 0 && w.outdated(r):
			if err := s.endRefusal(ctx, w, r, "the credential is another one"); err != nil {
				return held, err
			}
		}
	}
	return held || unanswered > 0 && unanswered >= most, nil
}

// outdated tells whether the service that was refused has another credential by now, or
// the mailbox no such service.
func (w *worker) outdated(r *refusal) bool {
	if r.Service != serviceSMTP && r.Service != w.acc.fetchService() {
		return true
	}
	_, _, c, err := w.credential(r.Service)
	return err == nil && !w.of(r, c)
}

// endRefusal takes a refusal away that holds nothing back any more.
func (s *Service) endRefusal(ctx context.Context, w *worker, r *refusal, why string) error {
	err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if err := tx.Space(room).Delete(refusalKey(w.acc.Box, r.Service)); err != nil {
			return err
		}
		return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "provider login", Box: w.acc.Box, Subject: r.Service, Result: "resumed", Reason: why})
	})
	if err != nil {
		return err
	}
	return s.endedSuspension(ctx, w.acc.Box, r.Service)
}

// serviceOff tells whether a refusal says that the service is not switched on
// for the mailbox: providers have a switch for each in their panel.
func serviceOff(words string) bool {
	words = strings.ToLower(words)
	has := func(list ...string) bool {
		return slices.ContainsFunc(list, func(w string) bool { return strings.Contains(words, w) })
	}
	return has("disabled", "not enabled", "not permitted", "not allowed", "disabilitat", "non abilitat", "non attiv", "non consentit", "disattivat") &&
		has("imap", "pop3", "pop ", "smtp", "protocol", "service", "servizio", "access via", "accesso tramite") &&
		!has("account disabled", "account is disabled", "user disabled", "utente disabilitato", "casella disabilitata", "mailbox disabled")
}

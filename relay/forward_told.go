package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/forward"
	"pecgate/relay/submit"
)

// Correspondent is a person as ordinary mail reaches them.
type Correspondent struct {
	Email   string // "": not at all
	Forward bool   // copies of what they see go there
	// NoIMAP tells of a mailbox that the person sees nothing of it by IMAP.
	NoIMAP func(box string) bool
}

// SendOnly tells whether what concerns the person in a mailbox reaches them by
// ordinary mail alone.
func (c Correspondent) SendOnly(box string) bool { return c.NoIMAP != nil && c.NoIMAP(box) }

// Smarthost is an SMTP server that takes ordinary mail.
type Smarthost struct {
	Endpoint
	Username string
	Password func() (string, error) // read at each use; nil: no login
}

// smarthost is the way to ordinary mailboxes, if there is one.
func (s *Service) smarthost() (srv submit.Server, ok bool, err error) {
	h := s.opt.Smarthost
	if h == nil {
		return srv, false, nil
	}
	srv = submit.Server{
		Host: h.Host, Port: h.Port, Security: h.Security, Roots: h.Roots, Timeout: h.Timeout, Hello: s.opt.Hello,
		Username: h.Username, Ordinary: true,
	}
	if h.Password != nil {
		if srv.Password, err = h.Password(); err != nil {
			return srv, false, fmt.Errorf("password of the smarthost: %w", err)
		}
	}
	return srv, true, nil
}

// forwarder sends what is queued for ordinary mailboxes.
func (s *Service) forwarder() *forward.Sender {
	opt := forward.Options{
		Store: s.opt.Store, Hostname: s.opt.Hello, Server: s.smarthost,
		Failed: s.forwardFailed,
		Sent: func(ctx context.Context, it forward.Item) error {
			return errors.Join(s.ended(ctx, "", "forward-refused", it.To), s.ended(ctx, "", "forward-expired", it.To), s.forwardFree(ctx), s.ended(ctx, "", "smarthost-denies", ""))
		},
		To: s.stillGets,
		Dropped: func(tx *mailbox.Tx, it forward.Item, why string) error {
			return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "forward dropped", Box: it.Box, Subject: it.ID, Result: it.To, Reason: why})
		},
		Undelivered: s.undelivered,
		Down:        s.smarthostDown, Denied: s.relayDenied, Full: s.forwardFull,
		Log: func(it forward.Item, r submit.Result) {
			s.opt.Events.Forwarded(it.ID, it.Kind, it.Box, string(r.Class), string(r.Stage), r.Code, it.Attempts, r.Err)
		},
		Fault: func(err error) { s.opt.Events.Fault("forward", "", err) },
	}
	if s.opt.IMAP != nil {
		d := &deliverer{s: s, way: s.opt.IMAP, rests: map[string]rest{}}
		opt.Takes, opt.Direct, opt.DirectDown = s.opt.IMAP.Takes, d.bring, d.down
	}
	return forward.NewSender(opt)
}

// forwardFull tells, once a day at most, that so many messages were not queued. It
// ends when half of the queue is free again.
func (s *Service) forwardFull(ctx context.Context, dropped int) error {
	return s.raise(ctx, alarm{
		kind: "forward-full", to: s.admins(), quiet: 24 * time.Hour,
		subjectIT: "Coda della posta ordinaria piena", subjectEN: "The queue of ordinary mail is full",
		it:     fmt.Sprintf("Più di %d messaggi attendono di essere portati nelle caselle ordinarie: gli altri non vengono inoltrati. Restano tutti leggibili con IMAP. Controllare outgoing in pecgate.yaml (pecgate status, pecgate queue forwards).", forward.MaxItems),
		en:     fmt.Sprintf("More than %d messages wait to be brought to ordinary mailboxes: the others are not forwarded. All can be read by IMAP. Look at outgoing in pecgate.yaml (pecgate status, pecgate queue forwards).", forward.MaxItems),
		detail: fmt.Sprintf("non inoltrati finora / not forwarded so far: %d", dropped),
	})
}

// forwardFree ends the alarm of forwardFull where there is room enough.
func (s *Service) forwardFree(ctx context.Context) error {
	waiting := 0
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { waiting, err = forward.Waiting(tx); return err })
	if err != nil || waiting > forward.MaxItems/2 {
		return err
	}
	return s.ended(ctx, "", "forward-full", "")
}

// forwardFailed tells the administrator of an address to which something was given
// up, once until something reaches it again. There is no bounce: nothing that is
// forwarded has a sender to tell.
func (s *Service) forwardFailed(ctx context.Context, f forward.Failure) error {
	it := f.Item
	if it.Kind == kindBounce { // its sender was nobody who could be told
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "forward given up", Subject: it.ID, Result: it.To, Reason: plain(f.Reason, maxWords)})
		})
	}
	to := s.adminOf(it.Box)
	if len(to) == 0 {
		to = s.admins()
	}
	a := alarm{
		kind: "forward-refused", about: it.To, to: to, refuses: it.To,
		subjectIT: "Posta ordinaria rifiutata per " + it.To, subjectEN: "Ordinary mail refused for " + it.To,
		it:     "Lo smarthost ha rifiutato un messaggio per questo indirizzo; non viene riprovato. Il messaggio resta leggibile con IMAP. Correggere l'indirizzo in policy.yaml o le regole dello smarthost. Questo avviso non si ripete finché un messaggio non arriva, e al massimo una volta al giorno.",
		en:     "The smarthost has refused a message for this address; it is not tried again. The message can be read by IMAP. Correct the address in policy.yaml, or the rules of the smarthost. This notice is not repeated until a message gets through, and at most once a day.",
		detail: fmt.Sprintf("%s %s: %s", it.ID, it.Kind, plain(f.Reason, maxWords)),
	}
	a.quiet = 24 * time.Hour
	if f.Final && f.Content {
		a.kind, a.about = "forward-content", ""
		a.subjectIT, a.subjectEN = "Un messaggio rifiutato come posta ordinaria", "A message refused as ordinary mail"
		a.it = "Lo smarthost ha rifiutato il contenuto di un messaggio, per esempio come spam o perché troppo grande; non viene riprovato. Il messaggio resta leggibile con IMAP. Al massimo un avviso al giorno: gli altri sono nel registro di audit (forward given up)."
		a.en = "The smarthost has refused what a message contains, for instance as spam or as too large; it is not tried again. The message can be read by IMAP. At most one notice a day: the others stand in the audit log (forward given up)."
		if f.Ours {
			a.it = "Un messaggio non può essere inoltrato così com'è: il motivo è qui sotto. Il gateway non ne cambia i byte e non lo riprova. Il messaggio resta leggibile con IMAP. Al massimo un avviso al giorno: gli altri sono nel registro di audit (forward given up)."
			a.en = "A message cannot be forwarded as it is: the reason stands below. The gateway changes none of its bytes and does not try it again. The message can be read by IMAP. At most one notice a day: the others stand in the audit log (forward given up)."
		}
	}
	if !f.Final {
		a.kind = "forward-expired"
		a.subjectIT, a.subjectEN = "Posta ordinaria non consegnata in 5 giorni a "+it.To, "Ordinary mail not delivered in 5 days to "+it.To
		a.it = "Per 5 giorni lo smarthost non ha preso un messaggio per questo indirizzo: non viene più riprovato. Il messaggio resta leggibile con IMAP. Controllare lo smarthost e l'indirizzo in policy.yaml; ciò che si inoltra da ora viene provato di nuovo."
		a.en = "For 5 days the smarthost has not taken a message for this address: it is not tried any more. The message can be read by IMAP. Look at the smarthost, and at the address in policy.yaml; what is forwarded from now on is tried again."
		if f.Direct {
			a.it = "Per 5 giorni il server IMAP delle caselle ordinarie non ha preso un messaggio per questo indirizzo: non viene più riprovato. Il messaggio resta leggibile nel gateway. Controllare la casella e i suoi permessi, outgoing.imap in pecgate.yaml e l'indirizzo in policy.yaml; ciò che si inoltra da ora viene provato di nuovo."
			a.en = "For 5 days the IMAP server of the ordinary mailboxes has not taken a message for this address: it is not tried any more. The message can be read in the gateway. Look at the mailbox and its permissions, at outgoing.imap in pecgate.yaml, and at the address in policy.yaml; what is forwarded from now on is tried again."
		}
	}
	raise := s.raise
	if a.kind == "forward-content" {
		raise = s.onceADay
	}
	return errors.Join(raise(ctx, a), s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "forward given up", Box: it.Box, Subject: it.ID, Result: it.To, Reason: plain(f.Reason, maxWords)})
	}))
}

// onceADay tells of what is over as soon as it is told, once within a.quiet.
func (s *Service) onceADay(ctx context.Context, a alarm) error {
	silent := false
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		before, stands, err := readAlarm(tx, alarmKey(a.box, a.kind, a.about))
		silent = !stands && before.silent(tx.Now())
		return err
	})
	if err != nil || silent {
		return err
	}
	if err := s.raise(ctx, a); err != nil {
		return err
	}
	return s.ended(ctx, a.box, a.kind, a.about)
}

// relayDenied tells that the smarthost does not relay, once until it does.
func (s *Service) relayDenied(ctx context.Context, it forward.Item, why string) error {
	return s.raise(ctx, alarm{
		kind: "smarthost-denies", to: s.admins(), quiet: 24 * time.Hour, refuses: it.To,
		subjectIT: "Lo smarthost non inoltra la posta ordinaria", subjectEN: "The smarthost does not relay ordinary mail",
		it:     "Lo smarthost rifiuta di inoltrare i messaggi del gateway. Avvisi e copie restano in coda e vengono riprovati per 5 giorni. Correggere le regole dello smarthost, o username e password in outgoing.smarthost di pecgate.yaml.",
		en:     "The smarthost refuses to relay what the gateway sends. Notices and copies stay in the queue and are tried for 5 days. Correct the rules of the smarthost, or username and password in outgoing.smarthost of pecgate.yaml.",
		detail: it.To + ": " + plain(why, maxWords),
	})
}

// smarthostDown tells that the smarthost cannot be used, once until it can again.
// It is told in the INBOX; by mail it comes when the smarthost is there again.
func (s *Service) smarthostDown(ctx context.Context, why error) error {
	if why == nil {
		return s.ended(ctx, "", "smarthost", "")
	}
	return s.raise(ctx, alarm{
		kind: "smarthost", to: s.admins(), quiet: fetchQuiet,
		subjectIT: "Smarthost della posta ordinaria non raggiungibile", subjectEN: "The smarthost for ordinary mail cannot be used",
		it:     "Avvisi e copie per le caselle ordinarie attendono in coda e partono da soli quando lo smarthost risponde. Le PEC non ne dipendono. Controllare outgoing.smarthost in pecgate.yaml.",
		en:     "Notices and copies for ordinary mailboxes wait in the queue and leave by themselves when the smarthost answers. PEC does not depend on it. Look at outgoing.smarthost in pecgate.yaml.",
		detail: plain(why.Error(), maxWords),
	})
}

// Forward is what waits for an ordinary mailbox.
type Forward = forward.Item

// Forwards returns what waits for the smarthost, at most most items.
func Forwards(ctx context.Context, store *mailbox.Store, most int) (out []Forward, err error) {
	err = store.View(ctx, func(tx *mailbox.Tx) error { out, err = forward.Shown(tx, most); return err })
	return out, err
}

// ForwardRetry has an item for an ordinary mailbox tried now.
func (s *Service) ForwardRetry(ctx context.Context, id string, by Hand) (*Forward, error) {
	return s.forwardHand(ctx, id, by, "forward retry", forward.Retry)
}

// ForwardDrop takes an item for an ordinary mailbox off the queue.
func (s *Service) ForwardDrop(ctx context.Context, id string, by Hand) (*Forward, error) {
	return s.forwardHand(ctx, id, by, "forward drop", forward.Drop)
}

func (s *Service) forwardHand(ctx context.Context, id string, by Hand, event string, do func(*mailbox.Tx, string) (*Forward, error)) (it *Forward, err error) {
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if it, err = do(tx, id); err != nil {
			return err
		}
		return tx.Audit(mailbox.AuditLine{Actor: by.Actor, From: by.From, Event: event, Box: it.Box, Subject: it.ID, Result: it.To})
	})
	if errors.Is(err, forward.ErrNotFound) {
		return nil, refuse("there is no %s in the queue for ordinary mailboxes; `pecgate queue forwards` lists it", id)
	}
	return it, err
}

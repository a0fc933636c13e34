package smtpd

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"

	"pecgate/gateway/auth"
	"pecgate/policy"
)

// Busy is the whole answer to a connection for which there is no room.
const Busy = "421 4.3.2 Troppe connessioni, riprovare piu' tardi / too many connections, try again later\r\n"

// refusal is an error that knows its reply.
type refusal struct {
	code             int
	enhanced         string // RFC 3463
	italian, english string // one ASCII sentence each
	reason           string // a stable word, for events
	where            string // file:line of the policy that decided
}

func (r *refusal) Error() string { return r.reason }

// line is the reply as one line without its end, for what the filter answers.
func (r *refusal) line() string {
	return fmt.Sprintf("%d %s %s / %s", r.code, r.enhanced, r.italian, r.english)
}

func refuse(code int, enhanced, italian, english, reason string) *refusal {
	return &refusal{code: code, enhanced: enhanced, italian: italian, english: english, reason: reason}
}

func verdict(v policy.Verdict) *refusal {
	return &refusal{code: v.Code, enhanced: v.Enhanced, italian: v.Italian, english: v.English, reason: v.Reason, where: v.Line}
}

func (s *Server) tooLarge() *refusal {
	mib := s.opt.MaxSize >> 20
	return refuse(552, "5.3.4",
		fmt.Sprintf("Il messaggio supera il limite di %d MiB: ridurre gli allegati.", mib),
		fmt.Sprintf("The message exceeds the limit of %d MiB: reduce the attachments.", mib), policy.TooBig)
}

// refusalOf is the reply to an error that is known here; nil: it is not.
func refusalOf(err error) (r *refusal) {
	switch {
	case errors.As(err, &r):
	case errors.Is(err, auth.ErrRefused):
		r = refuse(535, "5.7.8", "Nome utente o password non accettati.", "User name or password not accepted.", "login")
	case errors.Is(err, auth.ErrBusy):
		r = refuse(454, "4.7.0", "Troppi accessi insieme, riprovare tra poco.", "Too many logins at once, try again soon.", "busy")
	case errors.Is(err, auth.ErrClosed):
		r = refuse(454, "4.7.0", "Accesso non ancora possibile: rivolgersi all'amministratore di sistema o riprovare piu' tardi.", "Logging in is not possible yet: ask the system administrator or try again later.", "closed")
	case errors.Is(err, auth.ErrPINLocked):
		r = refuse(550, "5.7.1", "Troppi PIN errati oggi: il PIN e' bloccato fino a mezzanotte, rivolgersi all'amministratore.", "Too many wrong PINs today: the PIN is locked until midnight, ask the administrator.", "pin-locked")
	case errors.Is(err, auth.ErrCodeSpent):
		r = refuse(550, "5.7.1", "Il codice dell'app e' gia' stato usato: ognuno vale una volta sola; attendere il prossimo (30 secondi) e inviare di nuovo.", "The code of the app was used already: each is good once; wait for the next one (30 seconds) and send again.", "code-spent")
	case errors.Is(err, ErrNoSpace):
		r = refuse(452, "4.3.1", "Spazio insufficiente, riprovare piu' tardi.", "Not enough space, try again later.", "no-space")
	case errors.Is(err, ErrPassingFull):
		r = refuse(452, "4.3.1", "Troppa posta ordinaria attende lo smarthost, riprovare piu' tardi.", "Too much ordinary mail waits for the smarthost, try again later.", "passing-full")
	case errors.Is(err, ErrNoSmarthost):
		r = refuse(451, "4.3.5", "La posta ordinaria non ha una strada: scrivere outgoing.smarthost in pecgate.yaml o unmarked: refuse in policy.yaml.", "Ordinary mail has no way: write outgoing.smarthost in pecgate.yaml or unmarked: refuse in policy.yaml.", "no-smarthost")
	case errors.Is(err, ErrDraining), errors.Is(err, context.Canceled):
		r = refuse(421, "4.3.2", "Il server si sta fermando, riprovare tra poco.", "Shutting down, try again soon.", "draining")
	case errors.Is(err, ErrKeyUsed):
		r = refuse(554, "5.5.0", "La chiave Idempotency-Key e' gia' di un altro invio: usarne una nuova.", "The Idempotency-Key stands for another submission already: use a new one.", "key-used")
	case errors.Is(err, errLost):
		r = refuse(451, "4.4.2", "Connessione interrotta.", "Connection lost.", "lost")
	}
	return r
}

// refusalOf is the reply to any error. What is not known here is our fault and temporary:
// the client hears a number, the log holds the error under it.
func (s *Server) refusalOf(err error) *refusal {
	if r := refusalOf(err); r != nil {
		return r
	}
	id := rand.Text()[:10]
	s.opt.Events.SMTPFault(id, err)
	return refuse(451, "4.3.0", "Errore temporaneo, riprovare piu' tardi (codice "+id+").", "Temporary error, try again later (code "+id+").", "fault")
}

// reply is the only place where errors become replies. The library honours
// nothing but an *smtp.SMTPError itself, and would print any other error's
// text.
func (s *Server) reply(err error, ses *session) error {
	r := s.refusalOf(err)
	switch {
	case ses == nil || r.reason == "login": // auth has its own events
	case ses.sending && !errors.Is(err, errLost):
		s.opt.Events.SubmissionRefused(ses.who.User, cmp.Or(ses.from, ses.asked), ses.c.Remote(), r.code, r.enhanced, r.reason, r.where)
	default:
		s.opt.Events.SMTPRefused(ses.who.User, ses.from, ses.c.Remote(), r.code, r.enhanced, r.reason, r.where)
	}
	// The library writes the enhanced code on the last line only; RFC 2034
	// section 4 wants it on each.
	out := &smtp.SMTPError{Code: r.code, Message: r.enhanced + " " + r.italian + "\n" + r.english}
	if _, err := fmt.Sscanf(r.enhanced, "%d.%d.%d", &out.EnhancedCode[0], &out.EnhancedCode[1], &out.EnhancedCode[2]); err != nil {
		out.EnhancedCode = smtp.EnhancedCode{r.code / 100, 0, 0}
	}
	return out
}

// word makes an id safe for a reply, whatever a store calls its submissions.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s[:min(len(s), 128)])
}

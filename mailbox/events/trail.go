package events

import "strconv"

// Deed is what somebody did, as the audit log has it: no content, no secret.
// Login is empty for a name that is nobody's, which may be a password typed
// into the wrong field.
type Deed struct {
	Event   string // login, pin or submission
	Login   string
	Mailbox string
	From    string // address of the peer, without port
	Result  string // good, refused; of a PIN: right, wrong, locked
	Reason  string // a stable word
	Where   string // line of the policy that decided
	Code    int    // of the SMTP reply, 0 where there is none
	// Much says that a stranger can bring it about as often as he likes.
	Much bool
}

// AuditTo gives every deed that is logged from now on to take as well, until
// AuditTo(nil). take must not wait.
func (l *Log) AuditTo(take func(Deed)) {
	if take == nil {
		l.trail.Store(nil)
		return
	}
	l.trail.Store(&take)
}

func (l *Log) audit(d Deed) {
	if take := l.trail.Load(); take != nil {
		(*take)(d)
	}
}

// Unaudited is what somebody did times times while the audit log could not take
// it: this line stands in for it.
func (l *Log) Unaudited(event, login, mailbox, from, result, reason string, times int, err error) {
	l.out.Error("audit line not stored", "event", event, "user", Clip(login), "mailbox", Clip(mailbox), "remote", Clip(from),
		"result", result, "reason", Clip(reason), "times", strconv.Itoa(times), "error", Clip(err.Error()))
}

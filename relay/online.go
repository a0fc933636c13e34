package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
	"pecgate/relay/submit"
)

// Online is how a service of a provider answers for a mailbox.
type Online struct {
	Mailbox            string     `json:"mailbox"`
	Service            string     `json:"service"` // SMTP, IMAP or POP3
	Host               string     `json:"host"`    // with its port
	TLS                string     `json:"tls"`     // as "TLS 1.3"; empty: it did not come to that
	CertificateExpires *time.Time `json:"certificate_expires"`
	Login              string     `json:"login"` // taken, refused, suspended (not tried, since it was refused before), not tried
	Quota              string     `json:"quota"` // of IMAP, where the provider tells
	Error              string     `json:"error"`
}

// The words of Online.Login.
const (
	LoginTaken     = "taken"
	LoginRefused   = "refused"
	LoginSuspended = "suspended"
	LoginNotTried  = "not tried"
)

// errNobodyWaits: the look took too long, or who asked for it went.
var errNobodyWaits = errors.New("the provider did not answer in time")

// onlineTime bounds the look at one service.
const onlineTime = 2 * time.Minute

// TryOnline logs in at both services of a mailbox and tells how they answer;
// nothing is sent or fetched. A login that was refused before is not sent again,
// and one that is refused now holds the mailbox back as any does. Errors: *Refusal,
// and those of the store.
func (s *Service) TryOnline(ctx context.Context, box string) ([]Online, error) {
	box = strings.ToLower(box)
	if !slices.ContainsFunc(s.opt.Accounts(), func(a Account) bool { return strings.EqualFold(a.Box, box) && a.Active }) {
		return nil, refuse("%s is no active mailbox of the policy", box)
	}
	s.mu.Lock()
	w := s.workers[box]
	s.mu.Unlock()
	if w == nil { // nothing runs
		acc := s.account(box)
		w = &worker{acc: acc, logins: newLogins(acc), facts: BoxStatus{Address: box}}
	}
	outer := ctx
	ctx, end := context.WithCancelCause(context.WithoutCancel(outer))
	defer end(nil)
	defer context.AfterFunc(outer, func() { end(errNobodyWaits) })()
	var out []Online
	for _, try := range []func(context.Context, *worker) Online{s.trySMTP, s.tryFetch} {
		ctx, cancel := context.WithTimeoutCause(ctx, onlineTime, errNobodyWaits)
		out = append(out, try(ctx, w))
		cancel()
	}
	for i := range out {
		if out[i].Login != LoginSuspended {
			continue
		}
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { out[i].Error, err = suspensions(tx, box); return err })
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func onlineAt(box, service string, e Endpoint) Online {
	return Online{Mailbox: box, Service: service, Host: fmt.Sprintf("%s:%d", e.Host, e.Port), Login: LoginNotTried}
}

func (o *Online) certificate(version string, expires time.Time) {
	if o.TLS = version; !expires.IsZero() {
		expires = expires.UTC()
		o.CertificateExpires = &expires
	}
}

func (o *Online) failed(err error, refused bool) {
	switch {
	case errors.Is(err, errSuspended):
		o.Login = LoginSuspended
	case refused:
		o.Login = LoginRefused
	}
	o.Error = plain(err.Error(), maxEventText)
}

func (s *Service) trySMTP(ctx context.Context, w *worker) Online {
	e := w.acc.SMTP
	o := onlineAt(w.acc.Box, serviceSMTP, e)
	login, err := s.login(ctx, w, serviceSMTP)
	if err != nil {
		o.failed(err, false)
		return o
	}
	secret, token := w.acc.secrets(login.password)
	r := submit.Try(ctx, submit.Server{
		Host: e.Host, Port: e.Port, Security: e.Security, Roots: e.Roots, Timeout: e.Timeout,
		Username: login.username, Password: secret, Token: token, Hello: s.opt.Hello,
		BeforeLogin: login.before, LoggedIn: func() { login.taken(ctx) },
	})
	login.end(ctx, sentAs(r), answer(r))
	o.certificate(r.TLSVersion, r.CertificateExpires)
	if r.Err != nil {
		o.failed(r.Err, r.Class == submit.AuthRefused)
		return o
	}
	o.Login = LoginTaken
	return o
}

func (s *Service) tryFetch(ctx context.Context, w *worker) (o Online) {
	srv := w.server()
	e := w.acc.IMAP
	if w.acc.POP3.Host != "" {
		e = w.acc.POP3
	}
	o = onlineAt(w.acc.Box, w.acc.fetchService(), e)
	done := func(version string, expires time.Time, quota fetch.Quota, err error) {
		o.certificate(version, expires)
		if quota.Known {
			o.Quota = quotaText(quota)
		}
		if err != nil {
			o.failed(err, errors.Is(err, fetch.ErrAuthRefused))
			return
		}
		o.Login = LoginTaken
	}
	if w.acc.POP3.Host != "" {
		drop, err := loggedIn(ctx, s, w, srv, fetch.DialMaildrop)
		if err != nil {
			done("", time.Time{}, fetch.Quota{}, err)
			return o
		}
		done(drop.TLSVersion, drop.CertificateExpires, fetch.Quota{}, nil)
		o.closed(drop.Close())
		return o
	}
	session, err := loggedIn(ctx, s, w, srv, fetch.Dial)
	if err != nil {
		done("", time.Time{}, fetch.Quota{}, err)
		return o
	}
	quota, err := session.Quota(ctx, w.acc.folders()[0])
	done(session.TLSVersion, session.CertificateExpires, quota, nil)
	o.closed(errors.Join(err, session.Close()))
	return o
}

// closed notes what went wrong after the login.
func (o *Online) closed(err error) {
	if err != nil {
		o.Error = plain(err.Error(), maxEventText)
	}
}

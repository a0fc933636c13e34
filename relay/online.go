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

// ErrStopping is the cause of a context that ends because the gateway stops.
var ErrStopping = errors.New("the gateway stops")

// onlineTime bounds the look at one service.
const onlineTime = 2 * time.Minute

// TryOnline logs in at both services of a mailbox and tells how they answer;
// nothing is sent or fetched. A login that was refused before is not sent again,
// and one that is refused now holds the mailbox back as any does; what can be known
// without a login is told all the same. A ctx whose cause is ErrStopping ends it as a
// stop ends any login, else nobody waits for it any more. Errors: *Refusal, and those
// of the store.
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
	defer context.AfterFunc(outer, func() {
		if cause := context.Cause(outer); errors.Is(cause, ErrStopping) {
			end(cause) // the login counts, as that of any round does
			return
		}
		end(errNobodyWaits)
	})()
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
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { out[i].Error, err = s.suspensions(tx, box); return err })
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
	srv := submit.Server{Host: e.Host, Port: e.Port, Security: e.Security, Roots: e.Roots, Timeout: e.Timeout, Hello: s.opt.Hello}
	login, err := s.login(ctx, w, serviceSMTP)
	if err == nil {
		srv.Username, srv.BeforeLogin, srv.LoggedIn = login.username, login.before, func() { login.taken(ctx) }
		srv.Password, srv.Token = w.acc.secrets(login.password)
	} else {
		srv.BeforeLogin = func(context.Context) error { return err }
	}
	r := submit.Try(ctx, srv)
	if login != nil {
		login.end(ctx, sentAs(r), answer(r))
	} else {
		r.Err = besides(err, r.Err)
	}
	o.certificate(r.TLSVersion, r.CertificateExpires)
	if r.Err != nil {
		o.failed(r.Err, r.Class == submit.AuthRefused)
		return o
	}
	o.Login = LoginTaken
	return o
}

func (s *Service) tryFetch(ctx context.Context, w *worker) (o Online) {
	e, try := w.acc.IMAP, s.tryFolders
	if w.acc.POP3.Host != "" {
		e, try = w.acc.POP3, s.tryMaildrop
	}
	o = onlineAt(w.acc.Box, w.acc.fetchService(), e)
	srv := w.server()
	srv.Secured = o.certificate
	end, err := try(ctx, w, srv, &o)
	if err != nil {
		o.failed(err, errors.Is(err, fetch.ErrAuthRefused))
		return o
	}
	o.Login = LoginTaken
	if err := end(); err != nil { // after the login
		o.Error = plain(err.Error(), maxEventText)
	}
	return o
}

func (s *Service) tryMaildrop(ctx context.Context, w *worker, srv fetch.Server, _ *Online) (end func() error, err error) {
	drop, err := lookedAt(ctx, s, w, srv, fetch.DialMaildrop)
	if err != nil {
		return nil, err
	}
	return drop.Close, nil
}

func (s *Service) tryFolders(ctx context.Context, w *worker, srv fetch.Server, o *Online) (end func() error, err error) {
	session, err := lookedAt(ctx, s, w, srv, fetch.Dial)
	if err != nil {
		return nil, err
	}
	quota, err := session.Quota(ctx, w.acc.folders()[0])
	if quota.Known {
		o.Quota = quotaText(quota)
	}
	return func() error { return errors.Join(err, session.Close()) }, nil
}

// lookedAt is loggedIn, but for a login that must not be sent: then the server is
// looked at as far as it goes without one.
func lookedAt[T any](ctx context.Context, s *Service, w *worker, srv fetch.Server, dial func(context.Context, fetch.Server) (T, error)) (session T, err error) {
	asked := false
	session, err = loggedIn(ctx, s, w, srv, func(ctx context.Context, srv fetch.Server) (T, error) {
		asked = true
		return dial(ctx, srv)
	})
	if err == nil || asked {
		return session, err
	}
	why := err
	srv.BeforeLogin = func(context.Context) error { return why }
	session, err = dial(ctx, srv)
	return session, besides(why, err)
}

// besides is why a login was not sent, with what went wrong before it.
func besides(why, err error) error {
	if err == nil || errors.Is(err, why) {
		return why
	}
	return fmt.Errorf("%w; %w", why, err)
}

package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"pecgate/mailbox/mime"
	"pecgate/policy"
	"pecgate/relay/fetch"
	"pecgate/relay/forward"
	"pecgate/relay/submit"
)

// IMAPDelivery is an IMAP server that takes ordinary mail for the mailboxes of some
// domains: a copy is put into a folder there (APPEND), with the bytes that are stored
// and the date of its arrival. Ours stays always; with Move the person to whom the copy
// went sees it in Archivio alone from then on (see moved).
type IMAPDelivery struct {
	Endpoint
	Domains  []string // of addresses
	Username string   // {email} and {local} stand for the address and what is before its @
	Folder   string
	Password func() (string, error) // read at each use
	// Token gives an OAuth 2.0 access token for all mailboxes, in place of Password
	// (XOAUTH2: the mailbox is named beside it).
	Token func(ctx context.Context) (string, error)
	// TokenRefused says that the server did not take a token: Token gives another one
	// next, if another may help.
	TokenRefused func(token string)
	Move         bool
}

// Takes tells whether an address is of its domains.
func (d *IMAPDelivery) Takes(address string) bool {
	return slices.ContainsFunc(d.Domains, func(name string) bool { return strings.EqualFold(name, domainOf(address)) })
}

// user is the login for an address.
func (d *IMAPDelivery) user(address string) string {
	local, _, _ := strings.Cut(address, "@")
	return strings.NewReplacer("{email}", address, "{local}", local).Replace(d.Username)
}

const (
	deliverMost = 15 * time.Minute // of one attempt; the lease of an item is longer
	restFirst   = time.Minute      // of a login after it failed; doubled each time
	restMost    = time.Hour
	maxRests    = 10_000 // logins that are known to fail
	maxFront    = 256 << 10
)

// rest is how long a login is left alone.
type rest struct {
	fails int
	until time.Time
}

// deliverer brings items into mailboxes by IMAP.
type deliverer struct {
	s   *Service
	way *IMAPDelivery

	mu    sync.Mutex
	rests map[string]rest
}

// bring is forward.Options.Direct. Nothing here is for good: a mailbox that is not
// there may be made, and the queue gives up by itself.
func (d *deliverer) bring(ctx context.Context, it forward.Item, again bool, body io.ReaderAt, size int64) (forward.Brought, bool) {
	if !d.way.Takes(it.To) {
		return forward.Brought{}, false
	}
	user := d.way.user(it.To)
	if left := d.resting(user); left > 0 {
		return failed(fmt.Errorf("IMAP: %s failed before and is left alone for %s", user, policy.Term(left))), true
	}
	out, err := d.attempt(ctx, user, it, again, body, size)
	if ctx.Err() != nil && err != nil { // the gateway ends: that tells of nobody
		return failed(fmt.Errorf("IMAP: %w", err)), true
	}
	if told := d.note(ctx, user, out.login, err); told != nil {
		d.s.opt.Events.Fault("forward", "", told)
	}
	if err != nil {
		b := failed(fmt.Errorf("IMAP: %w", err))
		b.Away = ofServer(out.login, err)
		return b, true
	}
	b := forward.Brought{Result: submit.Result{Class: submit.HandedOver, Stage: imapStage}}
	if d.way.Move && out.found {
		b.Taken = d.s.moved
	}
	return b, true
}

// attempted is what is known of an attempt: that the login worked, and that the message
// was looked for and stands there.
type attempted struct{ login, found bool }

func (d *deliverer) attempt(ctx context.Context, user string, it forward.Item, again bool, body io.ReaderAt, size int64) (attempted, error) {
	ctx, cancel := context.WithTimeout(ctx, deliverMost)
	defer cancel()
	login, found, err := d.put(ctx, user, it, again, body, size)
	return attempted{login, found}, err
}

// ofServer tells whether an attempt failed for what holds for every mailbox: there is no
// password or token, the server is not there, or it is not the one it should be.
func ofServer(login bool, err error) bool {
	var network net.Error
	return !login && (errors.Is(err, errNoLogin) || errors.Is(err, fetch.ErrTLS) || errors.Is(err, io.EOF) || errors.As(err, &network))
}

const imapStage submit.Stage = "imap"

func failed(err error) forward.Brought {
	return forward.Brought{Result: submit.Result{Class: submit.Temporary, Stage: imapStage, Err: err}}
}

// resting is for how long a login is still left alone.
func (d *deliverer) resting(user string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := d.rests[user].until.Sub(d.s.opt.Store.Now())
	if left > restMost { // a clock that was put back
		return 0
	}
	return left
}

// note keeps how a login ended, and tells the administrator when it does not work,
// once until it does.
func (d *deliverer) note(ctx context.Context, user string, login bool, err error) error {
	if err != nil && ofServer(login, err) {
		return nil // see down
	}
	d.mu.Lock()
	now := d.s.opt.Store.Now()
	if err == nil || login {
		delete(d.rests, user)
	} else if r, known := d.rests[user]; (known || len(d.rests) < maxRests) && !r.until.After(now) { // else one beside it has failed, too
		wait := restFirst
		for range min(r.fails, 10) {
			wait = min(2*wait, restMost)
		}
		d.rests[user] = rest{fails: r.fails + 1, until: now.Add(wait)}
	}
	d.mu.Unlock()
	if err == nil {
		return d.s.ended(ctx, "", "imap-delivery", user)
	}
	if login || !errors.Is(err, fetch.ErrAuthRefused) {
		return nil
	}
	return d.s.raise(ctx, alarm{
		kind: "imap-delivery", about: user, to: d.s.admins(), quiet: 24 * time.Hour,
		subjectIT: "Consegna IMAP non possibile per " + user, subjectEN: "Delivery by IMAP does not work for " + user,
		it:     "Il server IMAP delle caselle ordinarie non accetta il gateway. Le copie restano in coda e vengono riprovate per 5 giorni; si leggono comunque nel gateway. Controllare outgoing.imap in pecgate.yaml e i permessi della casella.",
		en:     "The IMAP server of the ordinary mailboxes does not take the gateway. Copies stay in the queue and are tried for 5 days; they can be read in the gateway all the same. Look at outgoing.imap in pecgate.yaml, and at the permissions of the mailbox.",
		detail: plain(err.Error(), maxWords),
	})
}

// down tells that nothing can be brought by IMAP, once until it can again, however many
// mailboxes there are.
func (d *deliverer) down(ctx context.Context, why error) error {
	if why == nil {
		return d.s.ended(ctx, "", "imap-delivery", "")
	}
	return d.s.raise(ctx, alarm{
		kind: "imap-delivery", to: d.s.admins(), quiet: fetchQuiet,
		subjectIT: "Consegna IMAP non possibile", subjectEN: "Delivery by IMAP does not work",
		it:     "Il server IMAP delle caselle ordinarie non si può usare, o il gateway non ottiene la password o il token di accesso: nessuna copia viene consegnata per questa via. Le copie attendono in coda e partono da sole quando è di nuovo possibile; si leggono comunque nel gateway. Le PEC non ne dipendono. Controllare outgoing.imap in pecgate.yaml.",
		en:     "The IMAP server of the ordinary mailboxes cannot be used, or the gateway gets no password or access token: no copy is delivered this way. Copies wait in the queue and go by themselves when it can again; they can be read in the gateway all the same. PEC does not depend on it. Look at outgoing.imap in pecgate.yaml.",
		detail: plain(why.Error(), maxWords),
	})
}

var errNoLogin = errors.New("no password or access token is to be had") // read only

// put makes one attempt; login tells that the login worked, found that the message
// was looked for and stands there.
func (d *deliverer) put(ctx context.Context, user string, it forward.Item, again bool, body io.ReaderAt, size int64) (login, found bool, err error) {
	srv := fetch.Server{
		Host: d.way.Host, Port: d.way.Port, Security: d.way.Security, Roots: d.way.Roots, Timeout: d.way.Timeout, Username: user,
	}
	switch {
	case d.way.Token != nil:
		if srv.Token, err = d.token(ctx); err != nil {
			return false, false, err
		}
	case d.way.Password != nil:
		if srv.Password, err = d.way.Password(); err != nil {
			return false, false, fmt.Errorf("%w: password of outgoing.imap: %w", errNoLogin, err)
		}
	}
	at := it.Queued
	if it.Message != 0 {
		m, err := d.s.opt.Store.Message(ctx, it.Message)
		if err != nil {
			return true, false, err
		}
		if at = m.Date; at.IsZero() {
			at = m.Arrived
		}
	}
	id, err := messageIDOf(body, size)
	if err != nil {
		return true, false, err
	}
	session, err := d.dial(ctx, srv)
	if err != nil {
		return false, false, err
	}
	defer session.Close() // what it did is known by then
	got, err := session.Deliver(ctx, fetch.Parcel{Folder: d.way.Folder, At: at, MessageID: id, Body: body, Size: size, Again: again, Check: d.way.Move})
	return true, got.Found, err
}

// token gives an access token.
func (d *deliverer) token(ctx context.Context) (string, error) {
	token, err := d.way.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoLogin, err)
	}
	return token, nil
}

// dial logs in. A token that the server does not take may have been revoked before its
// end: another one is tried, once.
func (d *deliverer) dial(ctx context.Context, srv fetch.Server) (*fetch.Session, error) {
	session, err := fetch.Dial(ctx, srv)
	if srv.Token == "" || d.way.TokenRefused == nil || !errors.Is(err, fetch.ErrAuthRefused) {
		return session, err
	}
	d.way.TokenRefused(srv.Token)
	token, none := d.token(ctx)
	if none != nil || token == srv.Token {
		return nil, errors.Join(none, err)
	}
	srv.Token = token
	return fetch.Dial(ctx, srv)
}

// messageIDOf is the Message-ID of a message, as it stands there.
func messageIDOf(body io.ReaderAt, size int64) (string, error) {
	front := make([]byte, min(size, maxFront))
	if _, err := body.ReadAt(front, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	for _, f := range mime.Fields(front) {
		if strings.EqualFold(f.Name, "Message-ID") {
			if id := f.Body(); len(id) < 900 {
				return id, nil
			}
		}
	}
	return "", nil
}

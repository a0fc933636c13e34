package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2" // what a token endpoint answers, and how long a token is good
	"golang.org/x/oauth2/clientcredentials"

	"pecgate/configs"
)

const (
	tokenTimeout = 10 * time.Second // of one request
	tokenSpare   = 2 * time.Minute  // before its end a token is used no more, or a quarter of its life
	tokenLife    = 5 * time.Minute  // where the endpoint does not say (RFC 6749 section 5.1 recommends it)
	tokenMost    = 24 * time.Hour   // whatever the endpoint says
	tokenAnew    = 5 * time.Minute  // at most so often a token is given up because it was refused
	tokenFirst   = 15 * time.Second // after the endpoint failed; doubled each time
	tokenLast    = 15 * time.Minute
	maxToken     = 16 << 10
)

// tokens keeps the access token of an application (client credentials, RFC 6749
// section 4.4). One request at a time goes to the endpoint, and who asks meanwhile
// gets what it came to. An endpoint that fails is left alone for longer and longer. A
// token ends by the clock of the day and by the time that passed, whichever is first: a
// clock that is put back makes none live longer.
type tokens struct {
	of  configs.OAuth2
	now func() time.Time

	turn     chan struct{} // one element: who has taken it has what follows
	access   string        // "": none
	got      time.Time
	life     time.Duration
	replaced time.Time // when the last one was given up because it was refused
	why      error     // of the endpoint; nil: it answered
	fails    int       // one after the other
	failed   time.Time // the last
	leave    time.Duration
}

func newTokens(of configs.OAuth2) *tokens {
	return &tokens{of: of, now: time.Now, turn: make(chan struct{}, 1)}
}

// passed is how long something is ago: by the clock of the day, and by what passed.
func (t *tokens) passed(at time.Time) (day, real time.Duration) {
	now := t.now()
	return now.Round(0).Sub(at.Round(0)), now.Sub(at)
}

// token gives the one in hand, or a new one. No error holds a secret.
func (t *tokens) token(ctx context.Context) (string, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if day, real := t.passed(t.got); t.access != "" && day > -time.Minute && day < t.life && real < t.life {
		return t.access, nil
	}
	if day, real := t.passed(t.failed); t.why != nil && max(day, real) < t.leave {
		return "", t.why
	}
	t.access = ""
	token, life, err := t.fetch(ctx)
	switch {
	case err == nil:
		t.access, t.got, t.life, t.why, t.fails = token, t.now(), life, nil, 0
	case ctx.Err() == nil: // else nobody knows about the endpoint
		t.why, t.failed, t.leave = err, t.now(), tokenFirst
		for range min(t.fails, 10) {
			t.leave = min(2*t.leave, tokenLast)
		}
		t.fails++
	}
	return token, err
}

// refused gives up a token that a server did not take, though not so soon after another
// one: then a new one does not help.
func (t *tokens) refused(token string) {
	t.turn <- struct{}{} // whoever has it gives it back within tokenTimeout
	defer func() { <-t.turn }()
	if token != t.access { // somebody else did
		return
	}
	if day, real := t.passed(t.replaced); !t.replaced.IsZero() && max(day, real) < tokenAnew {
		return
	}
	t.access, t.replaced = "", t.now()
}

// inToken is what a bearer token is made of (RFC 6750 section 2.1), and inCode an error
// code that may be repeated: the others may hold what was sent.
var (
	inToken = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]+$`)
	inCode  = regexp.MustCompile(`^[a-z_]{1,40}$`)
)

// fetch asks the endpoint.
func (t *tokens) fetch(ctx context.Context) (token string, life time.Duration, err error) {
	secret, err := t.of.ClientSecret()
	if err != nil {
		return "", 0, fmt.Errorf("client secret of outgoing.imap.oauth2: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the token endpoint leads elsewhere") }}
	c := clientcredentials.Config{ClientID: t.of.ClientID, ClientSecret: secret, TokenURL: t.of.TokenURL, Scopes: strings.Fields(t.of.Scope), AuthStyle: oauth2.AuthStyleInParams}
	got, err := c.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if no := new(oauth2.RetrieveError); errors.As(err, &no) { // of its answer only the code: the rest may repeat what was sent
		code := no.ErrorCode
		switch {
		case no.Response != nil && no.Response.StatusCode >= 500:
			return "", 0, fmt.Errorf("the token endpoint does not work now (HTTP %d)", no.Response.StatusCode)
		case (!inCode.MatchString(code) || strings.Contains(code, secret)) && no.Response != nil:
			code = fmt.Sprint("HTTP ", no.Response.StatusCode)
		}
		return "", 0, fmt.Errorf("the token endpoint refuses (%s): look at client_id, client_secret_file and scope of outgoing.imap.oauth2", code)
	}
	if err != nil {
		return "", 0, fmt.Errorf("token endpoint: %s", strings.ReplaceAll(err.Error(), secret, "***"))
	}
	if len(got.AccessToken) > maxToken || !inToken.MatchString(got.AccessToken) {
		return "", 0, errors.New("token endpoint: what it gives is no access token")
	}
	life = tokenLife
	if !got.Expiry.IsZero() {
		life = min(time.Until(got.Expiry), tokenMost)
	}
	return got.AccessToken, life - min(tokenSpare, life/4), nil
}

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/configs"
)

// endpoint is one that gives token-1, token-2 ...
type endpoint struct {
	*tokens
	t     *testing.T
	asked atomic.Int32
	say   atomic.Pointer[func(w http.ResponseWriter, n int32)] // in place of a token
	clock atomic.Pointer[time.Time]
}

const clientSecret = "hunter2 è"

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{t: t}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := e.asked.Add(1)
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		for key, want := range map[string]string{"grant_type": "client_credentials", "client_id": "app", "client_secret": clientSecret, "scope": "https://outlook.example/.default"} {
			if got := r.PostForm.Get(key); got != want {
				t.Errorf("%s is %q", key, got)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if say := e.say.Load(); say != nil {
			(*say)(w, n)
			return
		}
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, n)
	}))
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(clientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.tokens = newTokens(configs.OAuth2{TokenURL: srv.URL, ClientID: "app", ClientSecretFile: file, Scope: "https://outlook.example/.default"})
	e.at(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	e.now = func() time.Time { return *e.clock.Load() }
	return e
}

func (e *endpoint) at(now time.Time)      { e.clock.Store(&now) }
func (e *endpoint) later(d time.Duration) { e.at(e.now().Add(d)) }

// says has it say something else than a token; "": a token again.
func (e *endpoint) says(status int, body string) {
	if body == "" {
		e.say.Store(nil)
		return
	}
	f := func(w http.ResponseWriter, _ int32) { w.WriteHeader(status); io.WriteString(w, body) }
	e.say.Store(&f)
}

func (e *endpoint) want(token string, requests int32) {
	e.t.Helper()
	got, err := e.token(e.t.Context())
	if err != nil || got != token || e.asked.Load() != requests {
		e.t.Fatalf("token %q after %d requests, %v; want %q after %d", got, e.asked.Load(), err, token, requests)
	}
}

// fails tells the error, which repeats nothing that was sent.
func (e *endpoint) fails(requests int32, says string) {
	e.t.Helper()
	_, err := e.token(e.t.Context())
	if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 {
		e.t.Fatalf("told is %v", err)
	}
	if e.asked.Load() != requests {
		e.t.Fatalf("%d requests, want %d", e.asked.Load(), requests)
	}
}

// A token is got by client credentials and kept until shortly before its end; a clock
// that jumps makes none live longer.
func TestTokensByClientCredentials(t *testing.T) {
	e := newEndpoint(t)
	e.want("token-1", 1)
	e.later(57 * time.Minute)
	e.want("token-1", 1)
	e.later(2 * time.Minute)
	e.want("token-2", 2)
	e.later(-48 * time.Hour) // it is not known how long it is held
	e.want("token-3", 3)
	e.later(365 * 24 * time.Hour)
	e.want("token-4", 4)
	for says, life := range map[string]time.Duration{
		`{"access_token":"x","token_type":"Bearer"}`:                         tokenLife,
		`{"access_token":"x","token_type":"Bearer","expires_in":60}`:         45 * time.Second,
		`{"access_token":"x","token_type":"Bearer","expires_in":2000000000}`: tokenMost - tokenSpare,
	} {
		e := newEndpoint(t)
		e.says(http.StatusOK, says)
		e.want("x", 1)
		e.later(life * 7 / 10)
		e.want("x", 1)
		e.later(life * 4 / 10)
		e.want("x", 2)
	}
}

// A token that the server refused is dropped, and one new one is fetched; not one for
// each refusal, nor for a refusal of one that is gone already.
func TestTokenThatWasRefused(t *testing.T) {
	e := newEndpoint(t)
	e.want("token-1", 1)
	e.refused("token-0")
	e.want("token-1", 1)
	for range 3 { // logins beside each other
		e.refused("token-1")
		e.want("token-2", 2)
	}
	e.refused("token-2") // the new one is as bad: not the token is at fault
	e.want("token-2", 2)
	e.later(tokenAnew)
	e.refused("token-2")
	e.want("token-3", 3)
}

// An endpoint that fails is asked less and less, whoever wants a token, and what it says
// is told without a secret.
func TestTokenEndpointThatFails(t *testing.T) {
	e := newEndpoint(t)
	e.says(http.StatusUnauthorized, `{"error":"invalid_client","error_description":"the secret hunter2 has ended"}`)
	e.fails(1, "invalid_client")
	n := int32(1)
	for _, wait := range []time.Duration{tokenFirst, 2 * tokenFirst, 4 * tokenFirst} {
		e.later(wait - time.Second)
		e.fails(n, "invalid_client")
		e.later(time.Second)
		n++
		e.fails(n, "invalid_client")
	}
	e.later(-48 * time.Hour) // nobody waits for two days more
	e.fails(n, "invalid_client")
	e.later(48*time.Hour + tokenLast)
	e.says(0, "")
	e.want("token-5", 5)
	for says, c := range map[string]struct {
		status int
		told   string
	}{
		`{"error":"hunter2"}`:          {400, "HTTP 400"},
		`{"error":"a\nhunter2"}`:       {400, "HTTP 400"},
		`hunter2`:                      {503, "does not work now (HTTP 503)"},
		`{"access_token":"hunter2 è"}`: {200, "no access token"},
		`{"access_token":"` + strings.Repeat("a", 20_000) + `"}`: {200, "no access token"},
		`[hunter2 è`: {200, "token endpoint"},
	} {
		e := newEndpoint(t)
		e.says(c.status, says)
		e.fails(1, c.told)
	}
}

// Those who want a token while one is asked for get what that comes to; one that leaves
// is no failure of the endpoint.
func TestTokensAreAskedForOnce(t *testing.T) {
	e := newEndpoint(t)
	arrived, answer := make(chan struct{}), make(chan struct{})
	slow := func(w http.ResponseWriter, n int32) {
		arrived <- struct{}{}
		<-answer
		w.WriteHeader(http.StatusInternalServerError)
	}
	e.say.Store(&slow)
	leaving, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { _, err := e.token(leaving); gone <- err }()
	<-arrived
	leave()
	if err := <-gone; err == nil || e.failures() != 0 {
		t.Fatalf("%v, %d failures", err, e.failures())
	}
	answer <- struct{}{}
	var all sync.WaitGroup
	errs := make(chan error, 20)
	for range 20 {
		all.Go(func() { _, err := e.token(t.Context()); errs <- err })
	}
	<-arrived
	answer <- struct{}{}
	all.Wait()
	close(errs)
	for err := range errs {
		if err == nil || !strings.Contains(err.Error(), "HTTP 500") {
			t.Errorf("told is %v", err)
		}
	}
	if e.asked.Load() != 2 || e.failures() != 1 {
		t.Errorf("%d requests, %d failures", e.asked.Load(), e.failures())
	}
}

// failures is how often the endpoint failed.
func (e *endpoint) failures() int {
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	return e.tokens.fails
}

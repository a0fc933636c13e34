package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"pecgate/gateway/auth"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

// The probes are for this machine; anybody else needs a token, and gets none of them
// with one. What panics ends its own request.
func TestProbesAreForThisMachine(t *testing.T) {
	value, hash := auth.NewToken()
	p := func() *policy.Policy {
		return &policy.Policy{Applications: []policy.Application{{Name: "a", User: "u"}}}
	}
	s := &Server{rates: newRates(time.Now), places: newPlaces(), opt: Options{
		Policy: p, Applications: func() []Application { return []Application{{Name: "a", Token: hash, Rate: 1000}} },
		Auth: auth.New(auth.Options{Policy: p, Events: events.Discard()}), Events: events.Discard(),
		Probe:  func(path string) bool { return path == "/metrics" },
		Probes: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }),
	}}
	h := s.guard(http.NotFoundHandler())
	for _, c := range []struct {
		remote, path, token string
		want                int
	}{
		{"127.0.0.1:9", "/metrics", "", 200}, {"[::1]:9", "/metrics", "", 200}, {"127.0.0.1:9", "/other", "", 401},
		{"192.0.2.1:9", "/metrics", "", 401}, {"192.0.2.1:9", "/metrics", value, 404}, {"[2001:db8::1]:9", "/metrics", "", 401}, {"", "/metrics", "", 401},
	} {
		r := httptest.NewRequest("GET", c.path, nil)
		r.RemoteAddr = c.remote
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != c.want {
			t.Errorf("%+v: %d", c, w.Code)
		}
	}
}

// An application has its requests in a minute, and no other has fewer for it.
func TestRates(t *testing.T) {
	now := time.Now()
	r := newRates(func() time.Time { return now })
	for range 60 {
		if r.take("a", 60) != 0 {
			t.Fatal("too few")
		}
	}
	if wait := r.take("a", 60); wait <= 0 || wait > time.Second {
		t.Errorf("wait %s", wait)
	}
	if r.take("b", 60) != 0 {
		t.Error("the other has none")
	}
	now = now.Add(time.Second)
	if r.take("a", 60) != 0 || r.take("a", 60) == 0 {
		t.Error("not one in a second")
	}
	now = now.Add(-time.Hour) // a clock that is put back
	if wait := r.take("a", 60); wait <= 0 || wait > time.Second {
		t.Errorf("wait %s", wait)
	}
}

// An application reads what its user sent, the rest of a mailbox only where that user
// receives, and nothing where its line does not name the mailbox or grant reading.
func TestVisible(t *testing.T) {
	const box, other = "a@pec.example", "b@pec.example"
	sends := func(address string) policy.Mailbox {
		return policy.Mailbox{Address: address, Active: true, Members: []policy.Member{{User: "u", Send: true}, {User: "r", Send: true, Receive: true}}}
	}
	p := &policy.Policy{
		Users: []policy.User{{Login: "u"}, {Login: "r"}}, Mailboxes: []policy.Mailbox{sends(box), sends(other)},
		Applications: []policy.Application{
			{Name: "sends", User: "u", Mailboxes: []string{box}, Read: true}, {Name: "receives", User: "r", Mailboxes: []string{box}, Read: true},
			{Name: "blind", User: "r", Mailboxes: []string{box}, Send: true},
		},
	}
	s := &Server{opt: Options{Policy: func() *policy.Policy { return p }}}
	for _, c := range []struct {
		app, box, sender string
		want             bool
	}{
		{"sends", box, "u", true}, {"sends", box, "U", true}, {"sends", box, "r", false}, {"sends", box, "", false}, {"sends", other, "u", false},
		{"receives", box, "u", true}, {"receives", box, "r", true}, {"receives", box, "", true}, {"receives", other, "r", false},
		{"blind", box, "r", false}, {"nobody", box, "r", false}, {"nobody", box, "", false},
	} {
		a, ok := p.Application(c.app)
		if !ok {
			a = &policy.Application{Name: c.app}
		}
		if got := s.visible(caller{app: *a}, c.box, c.sender); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

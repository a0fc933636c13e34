package imapd

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

// staff is who has mario's login, and with which app password.
type staff struct {
	number, version atomic.Uint32

	mu   sync.Mutex
	apps map[[32]byte]bool
}

func (s *staff) Number(context.Context, string) (uint32, error) { return s.number.Load(), nil }
func (s *staff) Enter(context.Context, string) (uint32, error)  { return s.number.Load(), nil }
func (s *staff) Closed(*policy.User) bool                       { return false }
func (s *staff) KeptOut(string, string)                         {}
func (s *staff) Version() uint64                                { return uint64(s.version.Load()) }

func (s *staff) Find(_ context.Context, _ string, digest [32]byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.apps[digest] {
		return "phone", nil
	}
	return "", nil
}

func (s *staff) Used(context.Context, string, [32]byte, string) {}

// TestG12_SessionEndsWithItsLogin: whoever has a session open is out when the
// login is somebody else's, its password another or its app password revoked,
// also one that idles; and stays when something else of the policy changes.
func TestG12_SessionEndsWithItsLogin(t *testing.T) {
	hash := func(secret string) string {
		h, err := auth.HashSecretCost(secret, auth.Cost{Time: 1, Memory: 8, Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	password, digest := auth.NewAppPassword()
	for _, c := range []struct {
		name   string
		app    bool
		change func(*staff, *policy.Policy)
		ends   bool
	}{
		{"nothing that matters", false, func(s *staff, p *policy.Policy) { p.Users[0].PIN, p.Users[0].Name = "x", "y" }, false},
		{"another password", false, func(_ *staff, p *policy.Policy) { p.Users[0].Password = hash("other") }, true},
		{"another person", false, func(s *staff, _ *policy.Policy) { s.number.Add(1) }, true},
		{"the app password of another session", false, func(s *staff, _ *policy.Policy) { delete(s.apps, digest) }, false},
		{"its app password", true, func(s *staff, _ *policy.Policy) { delete(s.apps, digest) }, true},
		{"an app password that stays", true, func(*staff, *policy.Policy) {}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &staff{apps: map[[32]byte]bool{digest: true}}
			s.number.Store(7)
			var now atomic.Pointer[policy.Policy]
			rules := func() *policy.Policy {
				p := testPolicy()
				p.Users[0].Password = hash("secret")
				return p
			}
			now.Store(rules())
			h := newHouse(t, func(o *Options) {
				o.Policy = now.Load
				o.Login = auth.New(auth.Options{Policy: now.Load, Events: events.Discard(), People: s, Apps: s}).Login
			})
			h.furnish()
			open := func() *client {
				cl := h.connect()
				secret := "secret"
				if c.app {
					secret = password
				}
				cl.ok(`LOGIN mario "` + secret + `"`)
				cl.ok(`SELECT "PEC/` + protocollo + `/Posta in arrivo"`)
				return cl
			}
			idle, busy := open(), open()
			idle.send("x IDLE\r\n")
			if l := idle.read(); l != "+ idling" {
				t.Fatal(l)
			}
			p := now.Load()
			next := *p
			next.Users = append([]policy.User(nil), p.Users...)
			s.mu.Lock()
			c.change(s, &next)
			s.mu.Unlock()
			now.Store(&next)
			s.version.Add(1)
			if !c.ends {
				busy.ok("FETCH 1 UID")
				idle.send("DONE\r\n")
				idle.read()
				busy.ok("NOOP")
				return
			}
			if bye := idle.gone(); bye != "* BYE "+both(byeLogin) {
				t.Errorf("%q", bye)
			}
			if bye := busy.gone(); bye != "* BYE "+both(byeLogin) {
				t.Errorf("%q", bye)
			}
		})
	}
}

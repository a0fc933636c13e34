package api

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2" // requests and answers as types, and their OpenAPI document
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5" // finds the operation of a path

	"pecgate/gateway/auth"
	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/policy"
	"pecgate/relay"
)

// Bounds of a connection and of a request.
const (
	headerTime = 10 * time.Second // to send a request's header
	bodyTime   = 10 * time.Minute // to send a whole request
	answerTime = 30 * time.Minute // to take a whole answer
	idleTime   = time.Minute      // between two requests
	maxHeader  = 32 << 10         // octets; net/http adds 4 KiB
)

// Limits of the listener: applications are few, and a flood of theirs must not take the
// places of people.
const (
	MaxConns   = 256 // open at a time
	MaxPerHost = 64
)

// Application is how a program is known.
type Application struct {
	Name     string         // that of an application of the policy
	Token    string         // hash of auth.NewToken
	Networks []netip.Prefix // it connects from; none: any
	Rate     int            // requests in a minute
}

// Options of a Server.
type Options struct {
	Policy       func() *policy.Policy // required
	Applications func() []Application  // required
	Store        *mailbox.Store        // required
	Auth         *auth.Service         // required
	SMTP         *smtpd.Server         // required: takes what is submitted
	Events       *events.Log           // required
	MaxMessage   int64                 // octets of a message
	// Probes answers what Probe says yes to, without a token, to whoever asks from this
	// machine itself; nil: nothing.
	Probes http.Handler
	Probe  func(path string) bool
	// Closed tells that nobody may act as a login now; nil: everybody may.
	Closed func(login string) bool
}

// Server is the HTTP service. Safe for concurrent use.
type Server struct {
	opt    Options
	http   *http.Server
	api    huma.API
	rates  rates
	places places
	cancel context.CancelFunc
}

// New returns a server.
func New(o Options) (*Server, error) {
	if o.Policy == nil || o.Applications == nil || o.Store == nil || o.Auth == nil || o.SMTP == nil || o.Events == nil {
		return nil, errors.New("api: Policy, Applications, Store, Auth, SMTP and Events are required")
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 100 << 20
	}
	s := &Server{opt: o, rates: newRates(time.Now), places: newPlaces()}
	mux := chi.NewMux()
	mux.Use(s.guard)
	mux.NotFound(func(w http.ResponseWriter, r *http.Request) {
		write(w, r, problem(r.Context(), http.StatusNotFound, noSuchPath))
	})
	mux.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		write(w, r, problem(r.Context(), http.StatusMethodNotAllowed, noSuchMethod))
	})
	s.operations(mux)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.http = &http.Server{
		Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, DisableGeneralOptionsHandler: true,
		ErrorLog: log.New(faults{o.Events}, "", 0),
	}
	return s, nil
}

// operations gives a router all that is served.
func (s *Server) operations(mux chi.Router) {
	s.api = humachi.New(mux, config())
	s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	s.sending()
	s.reading()
	if shown := s.api.OpenAPI().Components.Schemas.Map()["Shown"]; shown != nil { // null for what is no batch
		shown.Properties["batch"] = &huma.Schema{AnyOf: []*huma.Schema{shown.Properties["batch"], {Enum: []any{nil}}}}
	}
}

func config() huma.Config {
	c := huma.DefaultConfig("pecgate", "1")
	c.Info.Description = "Submits certified mail (PEC) and tells what became of each recipient, with the receipts of the providers. " +
		"Every request bears the token of an application (pecgate token)."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "/openapi", "", "" // documents of a page elsewhere are nothing for a gateway
	c.CreateHooks = nil                                           // no links to schemas in answers
	c.Transformers = append(c.Transformers, asProblem)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	c.Security = []map[string][]string{{"token": {}}}
	c.Tags = []*huma.Tag{{Name: "send", Description: "Submit."}, {Name: "read", Description: "What became of it."}}
	return c
}

// Document is the OpenAPI document that is served at /openapi.json.
func Document() *huma.OpenAPI {
	s := new(Server)
	s.operations(chi.NewMux())
	return s.api.OpenAPI()
}

// faults makes events of what net/http says of itself.
type faults struct{ ev *events.Log }

func (f faults) Write(b []byte) (int, error) {
	text := strings.TrimSpace(string(b))
	if !strings.Contains(text, "TLS handshake") {
		f.ev.Fault("api", "", errors.New(text))
	}
	return len(b), nil
}

// Serve serves the connections of a listener, whose TLS is done, until Shutdown or until
// the listener is closed.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return net.ErrClosed
	}
	return err
}

// Shutdown closes the listeners, and each connection when its request has its answer.
// When the context ends it cuts the others.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	s.cancel()
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	return err
}

type connKey struct{}

// guard lets in who shows the token of an application, and bounds what it asks.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler {
					panic(v)
				}
				// The value may hold what was asked for; the stack does not.
				s.opt.Events.Panic("api", string(debug.Stack()))
				panic(http.ErrAbortHandler)
			}
		}()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		r = r.WithContext(context.WithValue(r.Context(), langKey{}, languageOf(r.Header.Get("Accept-Language"))))
		remote := remoteOf(r)
		if s.opt.Probes != nil && s.opt.Probe(r.URL.Path) && here(remote) {
			s.opt.Probes.ServeHTTP(w, r)
			return
		}
		c, no := s.admit(r, remote)
		if no != nil {
			refuse(w, r, no)
			return
		}
		if conn, ok := r.Context().Value(connKey{}).(interface{ LoggedIn() }); ok {
			conn.LoggedIn()
		}
		if wait := s.rates.take(c.app.Name, c.rate); wait > 0 {
			no := problem(r.Context(), http.StatusTooManyRequests, tooManyRequests)
			no.after = wait
			refuse(w, r, no)
			return
		}
		leave, ok := s.places.enter(r.Context(), r.ContentLength)
		if !ok {
			no := problem(r.Context(), http.StatusServiceUnavailable, busy)
			no.after = 5 * time.Second
			refuse(w, r, no)
			return
		}
		defer leave()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

// refuse answers before the body was read: it is not waited for.
func refuse(w http.ResponseWriter, r *http.Request, p *Problem) {
	w.Header().Set("Connection", "close")
	write(w, r, p)
}

// here reports whether an address is of this machine.
func here(remote string) bool {
	a, err := netip.ParseAddr(remote)
	return err == nil && a.Unmap().IsLoopback()
}

func remoteOf(r *http.Request) string {
	if c, ok := r.Context().Value(connKey{}).(interface{ Remote() string }); ok {
		return c.Remote()
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// caller is the application that asks.
type caller struct {
	app    policy.Application
	rate   int
	remote string
}

type callerKey struct{}

// callerOf is who asks; guard has put it there.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// identity is who submits.
func (c caller) identity() policy.Identity {
	return policy.Identity{User: c.app.User, Application: c.app.Name}
}

// admit finds the application whose token is shown.
func (s *Server) admit(r *http.Request, remote string) (c caller, no *Problem) {
	value, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || len(r.Header.Values("Authorization")) != 1 {
		value = "" // is wrong as any other
	}
	all := s.opt.Applications()
	hashes := make([]string, len(all))
	for i := range all {
		hashes[i] = all[i].Token
	}
	from, _ := netip.ParseAddr(remote)
	i, err := s.opt.Auth.Token(hashes, strings.TrimSpace(value), remote, func(i int) bool {
		if len(all[i].Networks) == 0 {
			return true
		}
		for _, n := range all[i].Networks {
			if n.Contains(from.Unmap()) {
				return true
			}
		}
		return false
	})
	switch {
	case errors.Is(err, auth.ErrTokenThrottled):
		no = problem(r.Context(), http.StatusTooManyRequests, tooManyTokens)
		no.after = time.Minute
		return c, no
	case err != nil:
		return c, problem(r.Context(), http.StatusUnauthorized, badToken)
	}
	app, ok := s.opt.Policy().Application(all[i].Name)
	if !ok { // the policy changed just now
		return c, problem(r.Context(), http.StatusUnauthorized, badToken)
	}
	if s.opt.Closed != nil && s.opt.Closed(app.User) {
		no = problem(r.Context(), http.StatusServiceUnavailable, busy)
		no.after = 30 * time.Second
		return c, no
	}
	return caller{app: *app, rate: all[i].Rate, remote: remote}, nil
}

// visible reports whether an application may read a message of a mailbox: what its user
// sent there, and all the rest where the user receives.
func (s *Server) visible(c caller, box, sender string) bool {
	r := s.opt.Policy().MayAsk(c.app.Name, box, time.Now())
	if sender != "" && strings.EqualFold(sender, c.app.User) {
		return r.Any()
	}
	return r.Receive
}

// submission finds a submission that an application may read.
func (s *Server) submission(ctx context.Context, name string) (relay.Shown, mailbox.MessageID, error) {
	if len(name) > 998 {
		return relay.Shown{}, 0, problem(ctx, http.StatusNotFound, noSuchMessage)
	}
	shown, id, err := relay.Show(ctx, s.opt.Store, name)
	switch {
	case errors.Is(err, relay.ErrNotFound):
		return shown, 0, problem(ctx, http.StatusNotFound, noSuchMessage)
	case err != nil:
		return shown, 0, s.fault(ctx, err)
	case !s.visible(callerOf(ctx), shown.Mailbox, shown.User):
		return relay.Shown{}, 0, problem(ctx, http.StatusNotFound, noSuchMessage)
	}
	return shown, id, nil
}

package autoconfig

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"pecgate/mailbox/events"
)

// Bounds of a connection and of a request.
const (
	headerTime = 10 * time.Second // to send a request's header
	totalTime  = 20 * time.Second // to send a whole request; as long again for the answer
	idleTime   = 15 * time.Second // between two requests
	maxHeader  = 8 << 10          // octets; net/http adds 4 KiB
	maxBody    = 64 << 10         // octets
	maxConns   = 64               // open at once; the next one is closed
)

// Options of a Server.
type Options struct {
	Settings Settings
	Events   *events.Log      // required
	Now      func() time.Time // nil: time.Now
}

// Server is the HTTP service. Safe for concurrent use.
type Server struct {
	opt   Options
	diary *diary
	http  *http.Server
}

// New returns a server. Without an IMAP and a submission port there is nothing
// to tell, which is an error.
func New(o Options) (*Server, error) {
	if s := o.Settings; s.Hostname == "" || s.IMAPS == 0 || s.Submissions+s.Submission == 0 {
		return nil, errors.New("autoconfig needs a host name, an IMAP listener and a submission listener")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{opt: o, diary: newDiary(o.Events)}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTime, ReadTimeout: totalTime, WriteTimeout: 2 * totalTime, IdleTimeout: idleTime,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true, // it would answer a method that is refused here
		ErrorLog:                     log.New(faults{s.diary}, "", 0),
	}
	return s, nil
}

// faults makes events of what net/http says of itself.
type faults struct{ *diary }

func (f faults) Write(b []byte) (int, error) {
	f.fault(errors.New(strings.TrimSpace(string(b))))
	return len(b), nil
}

// Serve serves the connections of a listener, whose TLS is done, until Shutdown
// or until the listener is closed.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(&bounded{Listener: ln, places: make(chan struct{}, maxConns)})
	if errors.Is(err, http.ErrServerClosed) {
		return net.ErrClosed
	}
	return err
}

// Shutdown closes the listeners, and each connection when its request has its
// answer. When the context ends it cuts the others.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.diary.lines.Close()
	return err
}

// answer is what a request gets, and what the log says of it.
type answer struct {
	status     int
	format     string // thunderbird, autodiscover, apple
	domain     string // that was asked for
	kind, file string // Content-Type; name for a file, where it is one
	allow      string // with 405
	body       []byte
	err        error // of ours
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if recover() != nil {
			// The value may hold what was asked for; the stack does not.
			s.opt.Events.Panic("autoconfig", string(debug.Stack()))
			panic(http.ErrAbortHandler) // net/http ends the connection, and says nothing of this one
		}
	}()
	a := s.answer(w, r)
	if a.err != nil {
		s.diary.fault(a.err)
		a.status, a.body = http.StatusInternalServerError, nil
	}
	s.diary.asked(a)
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if a.status != http.StatusOK {
		h.Set("Connection", "close") // whatever of the body was not read is not waited for
		if a.allow != "" {
			h.Set("Allow", a.allow)
		}
		a.kind, a.file, a.body = "text/plain; charset=utf-8", "", []byte(http.StatusText(a.status)+"\n")
	}
	h.Set("Content-Type", a.kind)
	if a.file != "" {
		h.Set("Content-Disposition", `attachment; filename="`+a.file+`"`)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // who went does not wait for it
}

// The paths, in lower case. Outlook's versions write theirs in several ways.
const (
	pathThunderbird  = "/mail/config-v1.1.xml"
	pathWellKnown    = "/.well-known/autoconfig" + pathThunderbird
	pathAutodiscover = "/autodiscover/autodiscover.xml"

	// ProfilePath gives the profiles for Apple's devices. It takes the parameters
	// emailaddress and login.
	ProfilePath = "/pecgate.mobileconfig"
)

const contentXML = "text/xml; charset=utf-8"

func (s *Server) answer(w http.ResponseWriter, r *http.Request) answer {
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !read && r.Method != http.MethodPost {
		return answer{status: http.StatusMethodNotAllowed, allow: "GET, HEAD, POST"}
	}
	allow, serve := "GET, HEAD", s.thunderbird
	switch strings.ToLower(r.URL.Path) {
	case pathThunderbird, pathWellKnown:
	case ProfilePath:
		serve = s.profile
	case pathAutodiscover:
		read, allow = !read, "POST"
		serve = func(r *http.Request) answer {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			return s.autodiscover(r)
		}
	default:
		return answer{status: http.StatusNotFound}
	}
	if !read {
		return answer{status: http.StatusMethodNotAllowed, allow: allow}
	}
	return serve(r)
}

// thunderbird answers for the domain of the address that is asked for, or, where
// there is none, for that of the host name.
func (s *Server) thunderbird(r *http.Request) answer {
	a := answer{format: "thunderbird", kind: contentXML, status: http.StatusOK}
	if a.domain = domainOf(r.URL.Query().Get("emailaddress")); a.domain == "" {
		a.domain = askedOf(r.Host)
	}
	if a.domain == "" {
		a.domain = s.opt.Settings.Hostname
	}
	a.body, a.err = thunderbird(s.opt.Settings, a.domain)
	return a
}

func (s *Server) profile(r *http.Request) answer {
	q := r.URL.Query()
	account := Account{Address: q.Get("emailaddress"), Login: q.Get("login")}
	a := answer{format: "apple", domain: domainOf(account.Address)}
	if account.Address != "" && a.domain == "" || account.Login != "" && !isLogin(account.Login) {
		a.status = http.StatusBadRequest
		return a
	}
	a.status, a.kind, a.file = http.StatusOK, "application/x-apple-aspen-config", "pecgate.mobileconfig"
	a.body, a.err = Profile(s.opt.Settings, account)
	return a
}

func (s *Server) autodiscover(r *http.Request) answer {
	a := answer{format: "autodiscover", kind: contentXML, status: http.StatusOK}
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		a.status = http.StatusRequestEntityTooLarge
		return a
	case err != nil:
		a.status = http.StatusBadRequest
		return a
	}
	q, err := readDiscovery(body)
	if err != nil {
		a.status = http.StatusBadRequest
		return a
	}
	a.domain = domainOf(q.address)
	switch {
	case q.schema != "" && q.schema != responseOutlook:
		a.body, a.err = outlookError(codeSchema, s.opt.Now())
	case a.domain == "":
		a.body, a.err = outlookError(codeInvalid, s.opt.Now())
	default:
		a.body, a.err = outlook(s.opt.Settings, q.address)
	}
	return a
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

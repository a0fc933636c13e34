package smtpd

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp" // SMTP server: commands, parameters, reply format

	"pecgate/gateway/auth"
	"pecgate/gateway/gate"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

// Auth is what smtpd needs of gateway/auth.
type Auth interface {
	// LoginPIN checks a login whose password may have a PIN behind it, which it
	// does not look at.
	LoginPIN(ctx context.Context, name, password, remote string) (auth.Entry, error)
	CheckPIN(ctx context.Context, login, pin string, use auth.Use) (bool, error)
}

// Options of a Server. Zero numbers get the default named beside them.
type Options struct {
	Hostname   string // in the greeting and in Message-IDs made here
	MaxSize    int64  // octets of a message as the client sends it, without dots of transparency: 100 MiB
	Recipients int    // of one message, whatever the policy says: 1000
	Logins     int    // refused logins on one connection before it is closed: 3

	Policy  func() *policy.Policy // required
	Auth    Auth                  // required
	Intake  Intake                // required
	Confirm Confirm               // of what is held for a PIN; nil: nothing is confirmed here
	Events  *events.Log           // required
	Now     func() time.Time      // time.Now
	Relay   *Relay                // the clients are groupware servers; nil: they are mail programs
}

// Server serves submissions on any number of listeners.
type Server struct {
	opt    Options
	smtp   *smtp.Server
	ctx    context.Context // of every session; ends when waiting is over
	cancel context.CancelFunc

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// New returns a Server. Its Filter belongs into the gate.Options of each
// listener that is given to Serve.
func New(o Options) (*Server, error) {
	if o.Relay != nil && (o.Relay.Peers == nil || o.Relay.Strays == nil) {
		return nil, errors.New("smtpd: Relay needs Peers and Strays")
	}
	if o.Policy == nil || o.Auth == nil || o.Intake == nil || o.Events == nil {
		return nil, errors.New("smtpd: Policy, Auth, Intake and Events are required")
	}
	if o.MaxSize <= 0 {
		o.MaxSize = 100 << 20
	}
	if o.Recipients <= 0 {
		o.Recipients = 1000
	}
	if o.Logins <= 0 {
		o.Logins = 3
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{opt: o, conns: map[*conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	sessions := s.session
	if o.Relay != nil {
		sessions = s.relaySession
	}
	l := smtp.NewServer(smtp.BackendFunc(sessions))
	l.EnableDSN = o.Relay != nil
	l.Domain = o.Hostname
	l.MaxMessageBytes = o.MaxSize // only what SIZE says: messages do not pass the library's reader
	l.MaxLineLength = 2 * maxAuthLine
	l.ReadTimeout, l.WriteTimeout = idle, time.Minute // idle times, see netconn
	l.AllowInsecureAuth = true                        // TLS is below, where the library does not see it
	l.ErrorLog = libraryLog{o.Events}
	s.smtp = l
	return s, nil
}

// Filter is put between a connection and the library.
func (s *Server) Filter(c *gate.Conn) net.Conn { return s.filter(c) }

// Serve serves the connections of a listener whose gate uses Filter. It
// returns nil after Shutdown, else why accepting ended.
func (s *Server) Serve(l net.Listener) error {
	err := s.smtp.Serve(l)
	if errors.Is(err, net.ErrClosed) {
		return nil // drained before Shutdown
	}
	return err
}

// Shutdown closes the listeners and waits for every session. Those that still
// live when the context ends are cut, and what they wait for is cancelled.
// gate.Listener.Drain comes first, so that sessions end by themselves.
func (s *Server) Shutdown(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.cancel()
		s.mu.Lock()
		live := make([]*conn, 0, len(s.conns))
		for c := range s.conns {
			live = append(live, c)
		}
		s.mu.Unlock()
		for _, c := range live {
			_ = c.link.Close() // its own goroutine does the rest
		}
	})
	err := s.smtp.Shutdown(context.Background()) // ends: the function above sees to it
	stop()
	s.cancel()
	if errors.Is(err, smtp.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) enter(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// flood is how many octets of one message are read at all.
func (s *Server) flood() int64 { return 2*s.opt.MaxSize + 1<<20 }

// libraryLog takes what the library complains about: broken connections, and
// panics with their stack.
type libraryLog struct{ ev *events.Log }

// Printf takes one complaint.
func (l libraryLog) Printf(format string, v ...any) {
	if strings.HasPrefix(format, "panic") {
		// What was panicked with may hold bytes of the peer; only the stack goes on.
		stack := debug.Stack()
		for _, a := range v {
			if b, ok := a.([]byte); ok {
				stack = b
			}
		}
		l.ev.Panic("smtp", string(stack))
		return
	}
	l.ev.SMTPLibrary(format, v...)
}

// Println takes one complaint.
func (l libraryLog) Println(v ...any) { l.ev.SMTPLibrary("%v", v...) }

package imapd

import (
	"context"
	"errors"
	"net"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"            // the protocol's words: attributes, response codes
	"github.com/emersion/go-imap/v2/imapserver" // parses commands and writes the small answers

	"pecgate/gateway/auth"
	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

// Options are what the service works with. Store, Policy and Login are
// required.
type Options struct {
	Store  *mailbox.Store
	Policy func() *policy.Policy // the policy now; asked with every command
	// Login checks a name and a password; remote is the client's address. It logs
	// what it decides. auth.ErrRefused is a failed login, any other error a
	// temporary one.
	Login     func(ctx context.Context, name, password, remote string) (auth.Entry, error)
	Language  string           // of the folders' names: it (default) or en
	MaxAppend int64            // bytes of a message that a client may append; 0: 100 MiB; at most 4 GiB
	Location  *time.Location   // of INTERNALDATE and of SEARCH by date; nil: time.Local
	Now       func() time.Time // nil: time.Now
	Events    *events.Log      // nil: none
	// Occupied tells how full a PEC mailbox is at its provider; nil: nobody knows.
	Occupied func(box string) Occupied
	// Withdraw cancels submissions that are held for the PIN of a login, by their
	// messages, and files them in a trash unless that is the zero key. It returns
	// where each stands then, zero where it was not held any more; nil: nobody can.
	Withdraw  func(ctx context.Context, login, remote string, messages []mailbox.MessageID, trash mailbox.FolderKey) ([]mailbox.Place, error)
	Approvals Approvals // nil: nobody can approve
}

// watchEvery is how often open sessions are compared with the policy. A change
// takes effect within twice this time also on a session that says nothing.
const watchEvery = 2 * time.Second

// Server serves IMAP on any number of listeners.
type Server struct {
	opt    Options
	labels labels
	lib    *imapserver.Server
	every  time.Duration // watchEvery; tests have less time
	pin    *regexp.Regexp
	extras map[string]extra // by name

	buffers sync.Pool // of *[]byte with outSize bytes

	searches    chan struct{} // one place for each search that reads a message
	searchSign  time.Duration // searchSign; tests have less time
	searchBytes int64         // maxRead; likewise

	ctx    context.Context // ends when the last connection must go
	cancel context.CancelFunc

	mu       sync.Mutex
	live     map[*filter]*session // nil until the library has greeted
	watching bool
	closing  bool
	gone     chan struct{} // closed when the last connection has gone, while closing
	wg       sync.WaitGroup
	lns      map[net.Listener]struct{}
}

// New returns a server that serves nothing yet.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Location == nil {
		o.Location = time.Local
	}
	if o.Events == nil {
		o.Events = events.Discard()
	}
	if o.MaxAppend <= 0 {
		o.MaxAppend = 100 << 20
	}
	o.MaxAppend = min(o.MaxAppend, 1<<32-1)
	s := &Server{
		opt: o, labels: labelsFor(o.Language), every: watchEvery, pin: pinMark(), extras: extraCommands(),
		live: map[*filter]*session{}, lns: map[net.Listener]struct{}{},
		searches: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), searchSign: searchSign, searchBytes: maxRead,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	caps := imap.CapSet{}
	for _, c := range []imap.Cap{
		imap.CapIMAP4rev1, imap.CapIMAP4rev2, imap.CapNamespace, imap.CapUIDPlus, imap.CapESearch, imap.CapSearchRes,
		imap.CapListExtended, imap.CapListStatus, imap.CapMove, imap.CapStatusSize, imap.CapBinary, imap.CapChildren,
		imap.CapSpecialUse, imap.CapCreateSpecialUse, imap.CapUnauthenticate,
	} {
		caps[c] = struct{}{}
	}
	s.lib = imapserver.New(&imapserver.Options{
		Caps:       caps,
		NewSession: s.newSession,
		Logger:     libraryLog{o.Events},
		// TLS lies below the filter; no connection comes here without it.
		InsecureAuth: true,
	})
	return s
}

func (s *Server) now() time.Time { return s.opt.Now() }

// ErrClosed is returned by Serve after Shutdown.
var ErrClosed = errors.New("imapd: server closed")

// Serve serves the connections of ln, which have TLS done, until ln is closed
// or Shutdown. It returns nil then.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrClosed
	}
	s.lns[ln] = struct{}{}
	if !s.watching {
		s.watching = true
		s.wg.Go(s.watch)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.lns, ln)
	}()
	return s.lib.Serve(listener{ln, s})
}

// listener puts the filter on each connection.
type listener struct {
	net.Listener
	srv *Server
}

func (l listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		f := newFilter(raw, l.srv)
		if !l.srv.enter(f) {
			_ = raw.Close()
			continue // the listener is closed in a moment
		}
		if g, ok := raw.(interface{ OnDrain(func()) }); ok {
			g.OnDrain(func() { f.sayBye(byeStopping) })
		}
		return f, nil
	}
}

const byeStopping = "The server is stopping"

// Busy is the whole answer to a connection for which there is no room.
const Busy = "* BYE [UNAVAILABLE] Troppe connessioni, riprovare piu' tardi / Too many connections, try again later\r\n"

func (s *Server) enter(f *filter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.live[f] = nil
	return true
}

func (s *Server) forget(f *filter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, f)
	if s.gone != nil && len(s.live) == 0 {
		close(s.gone)
		s.gone = nil
	}
}

func (s *Server) attach(f *filter, ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.live[f]; ok {
		s.live[f] = ses
	}
}

// session is what the library made of a connection, nil before its greeting.
func (s *Server) session(f *filter) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[f]
}

// connections lists what is open; the sessions may be nil.
func (s *Server) connections() map[*filter]*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[*filter]*session, len(s.live))
	for f, ses := range s.live {
		out[f] = ses
	}
	return out
}

// Shutdown stops accepting, lets each connection finish its command and tells
// it BYE, and waits for all to end. Those that have not when ctx ends are cut;
// the error is then ctx's.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	var gone chan struct{}
	if len(s.live) > 0 {
		if s.gone == nil {
			s.gone = make(chan struct{})
		}
		gone = s.gone
	}
	lns := make([]net.Listener, 0, len(s.lns))
	for ln := range s.lns {
		lns = append(lns, ln)
	}
	s.mu.Unlock()
	for _, ln := range lns {
		_ = ln.Close() // whoever opened it may have closed it
	}
	for f := range s.connections() {
		f.sayBye(byeStopping)
	}
	var err error
	if gone != nil {
		select {
		case <-gone:
		case <-ctx.Done():
			err = ctx.Err()
			s.cancel()
			for f := range s.connections() {
				f.cut()
			}
			<-gone // every command sees its context or its connection end
		}
	}
	s.cancel()
	s.wg.Wait()
	return err
}

// watch compares open sessions with the policy, since one that idles asks
// nothing.
func (s *Server) watch() {
	t := time.NewTicker(s.every)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		for _, ses := range s.connections() {
			if ses != nil {
				s.recheck(ses)
			}
		}
	}
}

// recheck compares one session with the policy. One at which that panics ends by
// itself, as if its own command had: the watch is of all.
func (s *Server) recheck(ses *session) {
	defer func() {
		if recover() != nil {
			s.opt.Events.Panic("imap", string(debug.Stack()))
			ses.f.cut()
		}
	}()
	ses.recheck()
}

func (s *Server) takeBuffer() []byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, outSize)
}

func (s *Server) giveBuffer(b []byte) {
	if cap(b) == outSize {
		s.buffers.Put(&b)
	}
}

// libraryLog takes the library's complaints. Its arguments hold bytes of the
// peer, so only the fixed text goes on.
type libraryLog struct{ events *events.Log }

// Printf takes one complaint.
func (l libraryLog) Printf(format string, args ...any) {
	if strings.HasPrefix(format, "panic") {
		stack := debug.Stack()
		for _, a := range args {
			if b, ok := a.([]byte); ok {
				stack = b
			}
		}
		l.events.Panic("imap", string(stack))
		return
	}
	l.events.IMAPLibrary(format)
}

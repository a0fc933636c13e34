// Package admin is how administrators and their tools talk to the running
// appliance.
//
// It owns the control socket, over which the `pecgate` commands read and
// change the appliance's data.
//
// Invariants:
//
//   - The socket is mode 0600 in a folder of mode 0700: who may open it is the
//     appliance's user or root. Every request leaves an audit line with the
//     peer's user and process number before it is answered.
//   - Answers carry no secret.
//   - After Close nothing here uses the store.
//
// It must not import cmd or configs.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix" // SO_PEERCRED: who is at the other end of the socket

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/relay"
)

// SocketName is the socket's name in the data folder.
const SocketName = "control.sock"

const (
	closeTime = 5 * time.Second // for answers under way when the service ends
	stallTime = 5 * time.Minute // people page through a message
)

// Options is what the control socket serves.
type Options struct {
	DataDir string
	Store   *mailbox.Store
	Relay   *relay.Service
	Events  *events.Log
	// UnlockPIN forgets the wrong PINs that a login gave today, with its audit
	// line, and returns how many these were.
	UnlockPIN func(ctx context.Context, login string, by relay.Hand) (int, error)
	// User is who has a login or an email in the policy in use; nil: each name is a
	// login.
	User  func(name string) (u User, known bool)
	Stall time.Duration // longest wait for a reader that takes nothing; 0: 5 minutes
}

// Control is the server on the control socket.
type Control struct {
	opt    Options
	room   func() error // whether the store has room for an audit line
	http   *http.Server
	done   chan error
	wait   time.Duration           // closeTime
	cancel context.CancelCauseFunc // of every request

	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup // requests that may use the store
}

type peerKey struct{}

// Listen makes the socket and serves it. A socket file that is left over from
// a crash is replaced: the store's lock already says that nobody else runs.
func Listen(o Options) (*Control, error) {
	if o.Stall <= 0 {
		o.Stall = stallTime
	}
	path := filepath.Join(o.DataDir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace the control socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	run, cancel := context.WithCancelCause(context.Background())
	c := &Control{opt: o, room: o.Store.Room, done: make(chan error, 1), wait: closeTime, cancel: cancel}
	mux := http.NewServeMux()
	mux.Handle("GET /v1/status", c.audited("status", c.status))
	mux.Handle("GET /v1/show", c.audited("show", c.show))
	mux.Handle("GET /v1/messages", c.audited("messages", c.messages))
	mux.Handle("GET /v1/eml", c.audited("show --eml", c.eml))
	mux.Handle("GET /v1/audit/verify", c.audited("audit verify", c.verifyAudit))
	c.queueRoutes(mux)
	c.providerRoutes(mux)
	c.appRoutes(mux)
	c.peopleRoutes(mux)
	c.pinRoutes(mux)
	c.backupRoutes(mux)
	c.reconcileRoutes(mux)
	c.importRoutes(mux)
	mux.HandleFunc("POST /v1/evidence", c.evidence)
	mux.HandleFunc("POST /v1/export", c.export)
	mux.Handle("/", c.audited("unknown", c.unknown))
	c.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return run },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(conn))
		},
	}
	go func() {
		c.done <- c.http.Serve(ln)
		close(c.done)
	}()
	return c, nil
}

// Close ends the service and takes the socket away. Answers under way have
// five seconds, then they are cut. When it returns no request uses the store.
// It may be called more than once.
func (c *Control) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.wait)
	defer cancel()
	err := c.http.Shutdown(ctx)
	c.cancel(relay.ErrStopping) // before the connections go: who asked has not gone
	if errors.Is(err, context.DeadlineExceeded) {
		err = c.http.Close()
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.inside.Wait()
	if served := <-c.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// enter lets a request in unless the service has ended; it leaves by
// inside.Done.
func (c *Control) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.inside.Add(1)
	}
	return !c.closed
}

// peerOf names the process at the other end.
func peerOf(conn net.Conn) string {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return "unknown"
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return "unknown"
	}
	who := "unknown"
	_ = raw.Control(func(fd uintptr) { // the name stays unknown where it fails
		if c, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			who = "uid " + strconv.Itoa(int(c.Uid)) + " pid " + strconv.Itoa(int(c.Pid))
		}
	})
	return who
}

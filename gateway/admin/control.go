// Package admin is how administrators and their tools talk to the running
// appliance.
//
// It owns the control socket, over which the `pecgate` commands read and
// change the appliance's data.
//
// Invariants:
//
//   - The socket is mode 0600 in a folder of mode 0700: who may open it is the
//     appliance's user or root. Who asked what goes into the audit lines with
//     the peer's user and process number.
//   - Answers carry no secret.
//
// It must not import cmd or configs.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix" // SO_PEERCRED: who is at the other end of the socket

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/relay"
)

// SocketName is the socket's name in the data folder.
const SocketName = "control.sock"

// Options is what the control socket serves.
type Options struct {
	DataDir string
	Store   *mailbox.Store
	Relay   *relay.Service
	Events  *events.Log
}

// Control is the server on the control socket.
type Control struct {
	opt  Options
	http *http.Server
	ln   net.Listener
	done chan error
}

type peerKey struct{}

// Listen makes the socket and serves it. A socket file that is left over from
// a crash is replaced: the store's lock already says that nobody else runs.
func Listen(o Options) (*Control, error) {
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
	c := &Control{opt: o, ln: ln, done: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", c.status)
	mux.HandleFunc("GET /v1/show", c.show)
	mux.HandleFunc("GET /v1/eml", c.eml)
	c.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(conn))
		},
	}
	go func() { c.done <- c.http.Serve(ln) }()
	return c, nil
}

// Close ends the service and takes the socket away.
func (c *Control) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := c.http.Shutdown(ctx)
	if served := <-c.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
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

func (c *Control) status(w http.ResponseWriter, r *http.Request) {
	st, err := c.opt.Relay.Status(r.Context())
	c.answer(w, st, err)
}

func (c *Control) show(w http.ResponseWriter, r *http.Request) {
	shown, _, err := relay.Show(r.Context(), c.opt.Store, r.URL.Query().Get("id"))
	c.answer(w, shown, err)
}

// eml gives the stored bytes of a submission. Reading a message leaves an
// audit line.
func (c *Control) eml(w http.ResponseWriter, r *http.Request) {
	shown, id, err := relay.Show(r.Context(), c.opt.Store, r.URL.Query().Get("id"))
	if err != nil {
		c.answer(w, nil, err)
		return
	}
	m, err := c.opt.Store.Message(r.Context(), id)
	if err != nil {
		c.answer(w, nil, err)
		return
	}
	peer, _ := r.Context().Value(peerKey{}).(string)
	err = c.opt.Store.Update(r.Context(), func(tx *mailbox.Tx) error {
		return tx.Audit(mailbox.AuditLine{Actor: "control socket", Event: "show --eml", Box: shown.Mailbox, Subject: shown.ID, Result: "given", From: peer})
	})
	if err != nil {
		c.answer(w, nil, err)
		return
	}
	body, err := c.opt.Store.Open(m)
	if err != nil {
		c.answer(w, nil, err)
		return
	}
	defer body.Close() // read-only handle: nothing to lose
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("Content-Length", strconv.FormatInt(m.Size(), 10))
	if _, err := io.Copy(w, io.NewSectionReader(body, 0, m.Size())); err != nil {
		c.opt.Events.Fault("control", shown.Mailbox, err)
	}
}

func (c *Control) answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case errors.Is(err, relay.ErrNotFound):
		w.WriteHeader(http.StatusNotFound)
		v = map[string]string{"error": "no submission has this id, Message-ID or PEC identifier"}
	case err != nil:
		c.opt.Events.Fault("control", "", err)
		w.WriteHeader(http.StatusInternalServerError)
		v = map[string]string{"error": "the appliance could not answer; its log says why"}
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		c.opt.Events.Fault("control", "", err)
	}
}

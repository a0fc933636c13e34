package imapd

import (
	"context"
	"fmt"
	"sync"

	"github.com/emersion/go-imap/v2"            // the protocol's words: attributes, response codes
	"github.com/emersion/go-imap/v2/imapserver" // the session's interface

	"pecgate/gateway/auth"
	"pecgate/mailbox"
	"pecgate/policy"
)

// session is one connection's state. The library calls it from one goroutine,
// IDLE from a second one that settle waits for.
type session struct {
	srv    *Server
	conn   *imapserver.Conn
	f      *filter
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc

	id       policy.Identity
	person   mailbox.Person
	entry    auth.Entry // what the login rests on
	failures int
	v        *view         // of the selected folder, or nil
	saved    []mailbox.UID // the last SEARCH that was saved (RFC 9051 section 6.4.4.1)

	mu     sync.Mutex
	closed bool
	idling chan struct{} // closed when IDLE has ended
	held   *held         // what the watch compares with the policy; nil before login
}

// held is what a session has open.
type held struct {
	folder *mailbox.FolderKey // nil: none selected
	scope  mailbox.Scope
	rights mailbox.Rights // of an archive
}

var (
	_ imapserver.SessionIMAP4rev2   = (*session)(nil)
	_ imapserver.SessionAppendLimit = (*session)(nil)

	_ imapserver.SessionUnauthenticate = (*session)(nil)
)

func (s *Server) newSession(c *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
	f, ok := c.NetConn().(*filter)
	if !ok {
		return nil, nil, fmt.Errorf("imapd: a connection of type %T has no filter", c.NetConn())
	}
	ses := &session{srv: s, conn: c, f: f}
	ses.ctx, ses.cancel = context.WithCancel(mailbox.WithPeer(s.ctx, f.remote()))
	s.attach(f, ses)
	return ses, nil, nil
}

// Close ends the session. The library does not wait for IDLE when a connection
// breaks, so this does.
func (s *session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	// What is left goes out and the line is closed, so that an IDLE that writes
	// to a dead peer ends too. The library closes it again; that does nothing.
	err := s.f.Close()
	s.settle()
	s.deselect()
	return err
}

// settle waits for an IDLE of this session that may still be at work.
func (s *session) settle() {
	s.mu.Lock()
	idling := s.idling
	s.mu.Unlock()
	if idling != nil {
		<-idling
	}
}

// AppendLimit is the largest message for APPEND in bytes (RFC 7889).
func (s *session) AppendLimit() uint32 { return uint32(s.srv.opt.MaxAppend) }

// hold notes what the watch compares with the policy.
func (s *session) hold(v *view) {
	h := &held{}
	if v != nil {
		k := v.key
		h.folder, h.scope = &k, v.viewer.Scope
		if v.archive != nil {
			h.rights = v.archive.rights
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = h
}

// recheck ends the session when the policy no longer allows what it holds.
// It is called by the watch.
func (s *session) recheck() { s.allowed() }

// allowed tells whether the policy allows what the session holds, and ends the
// session if not. Before login it holds nothing.
func (s *session) allowed() bool {
	bye := s.verdict()
	if bye != "" {
		s.lose(bye)
	}
	return bye == ""
}

// verdict is why a session is allowed no more, "" where it is.
func (s *session) verdict() string {
	s.mu.Lock() // who it is changes with it
	defer s.mu.Unlock()
	switch {
	case s.held == nil:
		return ""
	case !s.sameLogin():
		return byeLogin
	case !s.stillMay(s.held):
		return byeFolder
	}
	return ""
}

// What a session is told that is allowed no more.
const (
	byeLogin  = "The user or the password has changed: log in again"
	byeFolder = "Access to this folder has ended"
)

// sameLogin tells whether the login is still the same person's, with the same
// password. An error says that nothing is known: what needs the store then fails
// too.
func (s *session) sameLogin() bool {
	holds, err := s.entry.Holds(s.ctx)
	return err != nil || holds
}

func (s *session) stillMay(h *held) bool {
	if !s.srv.opt.Policy().MayRead(s.id, s.srv.now()) {
		return false
	}
	if h.folder == nil {
		return true
	}
	scope, ok := s.access(*h.folder)
	if h.folder.Role == mailbox.RoleArchive {
		return ok && s.sight(h.folder.Box).Rights() == h.rights
	}
	return ok && scope == h.scope
}

// lose ends the connection because what it holds is allowed no more. The
// library's state cannot be changed from here, so the session ends as a whole.
func (s *session) lose(bye string) {
	s.srv.opt.Events.IMAPAccessEnded(s.id.User, s.f.remote())
	s.f.sayBye(bye)
}

// begin is the first call of every command: it waits for IDLE and asks the
// policy again.
func (s *session) begin() error {
	s.settle()
	if !s.allowed() {
		return errNoFolder()
	}
	return nil
}

// selected is begin for the commands of the selected state.
func (s *session) selected() (*view, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	if s.v == nil {
		return nil, badCommand("No folder is selected")
	}
	// What the policy says besides the scope, which begin has looked at.
	if now, ok := s.viewer(s.v.key); ok && now.Scope == s.v.viewer.Scope {
		s.v.viewer = now
	}
	return s.v, nil
}

// writable is selected for the commands that change something.
func (s *session) writable() (*view, error) {
	v, err := s.selected()
	if err == nil && v.readOnly {
		err = s.errReadOnly(v)
	}
	return v, err
}

func (s *session) deselect() {
	if s.v != nil {
		s.v = nil
		s.saved = nil
	}
}

// rev2 tells whether the client has enabled IMAP4rev2.
func (s *session) rev2() bool { return s.conn.EnabledCaps().Has(imap.CapIMAP4rev2) }

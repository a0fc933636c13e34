package providersim

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"            // types of the session interface
	"github.com/emersion/go-imap/v2/imapserver" // as above
)

// imapSession is one connection. The library calls it from one goroutine,
// except Idle, which may overlap with Close when the connection breaks.
type imapSession struct {
	p      *Provider
	conn   *clientConn
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	idling sync.WaitGroup // entered with mu held and closed false

	user     *account
	selected *folder
	readOnly bool
	polling  sync.Mutex
	view     []seen // what the client knows of the selected folder, by sequence number
	version  uint64
	validity uint32
}

// seen is a message as the client last heard of it.
type seen struct {
	uid   uint32
	flags []string
}

func no(code imap.ResponseCode, text string) error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: text}
}

func noFolder() error { return no(imap.ResponseCodeNonExistent, "no such folder") }

func (s *imapSession) Close() error {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.idling.Wait()
	s.p.mu.Lock()
	s.p.sessions--
	s.p.mu.Unlock()
	s.p.notify()
	return nil
}

func (s *imapSession) Login(username, password string) error {
	var text string
	if s.user, text = s.p.login("imap", username, password); s.user == nil {
		return no(imap.ResponseCodeAuthenticationFailed, text)
	}
	return nil
}

func (s *imapSession) Select(name string, o *imap.SelectOptions) (*imap.SelectData, error) {
	f := s.user.folder(name)
	if f == nil {
		return nil, noFolder()
	}
	st := f.state()
	s.selected, s.readOnly, s.view = f, o.ReadOnly, nil
	s.version, s.validity = st.version, st.validity
	flags := []imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft}
	data := &imap.SelectData{
		Flags: flags, NumMessages: uint32(len(st.messages)),
		UIDNext: imap.UID(st.next), UIDValidity: st.validity,
	}
	if !o.ReadOnly {
		data.PermanentFlags = append(slices.Clone(flags), imap.FlagWildcard)
	}
	for i, m := range st.messages {
		s.view = append(s.view, seen{m.UID, m.Flags})
		if data.FirstUnseenSeqNum == 0 && !hasFlag(m.Flags, `\Seen`) {
			data.FirstUnseenSeqNum = uint32(i + 1)
		}
	}
	return data, nil
}

func (s *imapSession) Unselect() error {
	s.selected, s.view = nil, nil
	return nil
}

const appendLimit = 100 << 20

func (s *imapSession) AppendLimit() uint32 { return appendLimit }

func (s *imapSession) Append(name string, r imap.LiteralReader, o *imap.AppendOptions) (*imap.AppendData, error) {
	f := s.user.folder(name)
	if f == nil {
		return nil, no(imap.ResponseCodeTryCreate, "no such folder")
	}
	var b bytes.Buffer
	// A broken connection looks like the end of the literal: count.
	if n, err := io.Copy(&b, r); err != nil || n != r.Size() {
		return nil, no("", "message incomplete")
	}
	at := o.Time
	if at.IsZero() {
		at = s.p.now()
	}
	uid, validity := f.add(b.Bytes(), at, flagStrings(o.Flags))
	s.p.notify()
	return &imap.AppendData{UID: imap.UID(uid), UIDValidity: validity}, nil
}

func flagStrings(flags []imap.Flag) []string {
	var out []string
	for _, f := range flags {
		if !hasFlag(out, string(f)) && fold(string(f)) != `\recent` {
			out = append(out, string(f))
		}
	}
	return out
}

func imapFlags(flags []string) []imap.Flag {
	out := make([]imap.Flag, 0, len(flags))
	for _, f := range flags {
		out = append(out, imap.Flag(f))
	}
	return out
}

// Poll tells the client what changed since it last heard. EXPUNGE waits for a
// command that allows it; until then its numbers stay.
func (s *imapSession) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	// Where the line breaks during IDLE the library looks once more beside it.
	s.polling.Lock()
	defer s.polling.Unlock()
	if s.selected == nil || s.selected.currentVersion() == s.version {
		return nil
	}
	st := s.selected.state()
	if st.validity != s.validity || st.gone {
		return &imap.Error{Type: imap.StatusResponseTypeBye, Text: "the folder was deleted or made anew"}
	}
	now := make(map[uint32][]string, len(st.messages))
	for _, m := range st.messages {
		now[m.UID] = m.Flags
	}
	complete := true
	for i := len(s.view) - 1; i >= 0; i-- {
		if _, ok := now[s.view[i].uid]; ok {
			continue
		}
		if !allowExpunge {
			complete = false
			continue
		}
		if err := w.WriteExpunge(uint32(i + 1)); err != nil {
			return err
		}
		s.view = slices.Delete(s.view, i, i+1)
	}
	last := uint32(0)
	if n := len(s.view); n > 0 {
		last = s.view[n-1].uid
	}
	known := len(s.view)
	for _, m := range st.messages {
		if m.UID > last {
			s.view = append(s.view, seen{m.UID, m.Flags})
		}
	}
	if len(s.view) > known {
		if err := w.WriteNumMessages(uint32(len(s.view))); err != nil {
			return err
		}
	}
	for i := range s.view[:known] {
		flags, ok := now[s.view[i].uid]
		if !ok || slices.Equal(flags, s.view[i].flags) {
			continue
		}
		s.view[i].flags = flags
		if err := w.WriteMessageFlags(uint32(i+1), imap.UID(s.view[i].uid), imapFlags(flags)); err != nil {
			return err
		}
	}
	if complete {
		s.version = st.version
	}
	return nil
}

// Idle announces until the client is done. It looks once before it waits, so
// that what came just before IDLE is not left for later.
func (s *imapSession) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.idling.Add(1)
	s.mu.Unlock()
	defer s.idling.Done()
	var wake <-chan struct{}
	if s.selected != nil {
		ch, end := s.selected.watch()
		defer end()
		wake = ch
	}
	for {
		if err := s.Poll(w, true); err != nil {
			return err
		}
		select {
		case <-wake:
		case <-stop:
			return nil
		case <-s.ctx.Done():
			return nil
		}
	}
}

var _ imapserver.SessionAppendLimit = (*imapSession)(nil)

func internalDate(t time.Time) time.Time { return t.Truncate(time.Second) }

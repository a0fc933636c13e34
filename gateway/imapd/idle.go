package imapd

import (
	"github.com/emersion/go-imap/v2/imapserver" // the interface of the session
)

// Idle tells changes as they happen (RFC 9051 section 6.3.13) until stop is
// closed. The library runs it beside its reading goroutine and does not always
// wait for it; settle does.
func (s *session) Idle(_ *imapserver.UpdateWriter, stop <-chan struct{}) error {
	over := make(chan struct{})
	defer close(over)
	s.mu.Lock()
	stopped := s.closed
	select {
	case <-stop:
		stopped = true
	default:
	}
	if !stopped {
		s.idling = over
	}
	s.mu.Unlock()
	if stopped {
		return nil
	}
	v := s.v // of this goroutine alone until IDLE has ended
	var wake <-chan struct{}
	if v != nil {
		w, end := s.watch(v)
		defer end()
		wake = w
	}
	for {
		// What came just before IDLE, or before the watch, is told at once.
		if v != nil && s.allowed() {
			if err := s.sync(v, true); err != nil {
				return s.reply("IDLE", err)
			}
		}
		select {
		case <-stop:
			return nil
		case <-s.ctx.Done():
			return nil
		case <-wake:
		}
	}
}

package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"pecgate/relay/fetch"
)

// perRound is how many messages of a folder one round takes at most; a full
// round is followed by another at once.
const perRound = 500

// fetch polls a mailbox's folders until ctx ends: every Account.Every, and
// quickly for a while after something was sent.
func (s *Service) fetch(ctx context.Context, w *worker) {
	var quick []time.Duration // what is left of the quick polls
	for {
		wait := w.acc.Every
		if !w.suspended() {
			more, err := s.poll(ctx, w)
			if ctx.Err() != nil {
				return
			}
			w.polled(err, s.opt.Store.Now())
			switch {
			case err != nil:
				s.opt.Events.PollFailed(w.acc.Box, err)
			case more:
				wait = 0
			}
		}
		if len(quick) > 0 && wait > 0 {
			wait, quick = min(wait, quick[0]), quick[1:]
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-w.hurry:
			timer.Stop()
			quick = s.opt.Schedule.Hurry
			if !pause(ctx, quick[0]) {
				return
			}
			quick = quick[1:]
		}
	}
}

// poll takes in what is new in each folder. more tells that a folder holds
// more than one round takes.
func (s *Service) poll(ctx context.Context, w *worker) (more bool, err error) {
	if err := s.opt.Store.Room(); err != nil {
		return false, err
	}
	password, err := w.password()
	if err != nil {
		return false, fmt.Errorf("read the provider's password: %w", err)
	}
	e := w.acc.IMAP
	session, err := fetch.Dial(ctx, fetch.Server{
		Host: e.Host, Port: e.Port, Security: e.Security, Roots: e.Roots, Timeout: e.Timeout,
		Username: w.acc.Username, Password: password, MaxMessage: w.acc.MaxMessage,
	})
	if errors.Is(err, fetch.ErrAuthRefused) {
		w.suspend("IMAP login refused: set the right password in the policy; "+err.Error(), password)
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	w.seenCertificate(session.CertificateExpires)
	folders := w.acc.Folders
	if len(folders) == 0 {
		folders = []string{"INBOX"}
	}
	for _, f := range folders {
		m, err := s.pollFolder(ctx, w, session, f)
		if err != nil {
			return false, fmt.Errorf("folder %s: %w", f, err)
		}
		more = more || m
	}
	return more, nil
}

// pollFolder takes in what is new in one folder.
func (s *Service) pollFolder(ctx context.Context, w *worker, session *fetch.Session, folder string) (more bool, err error) {
	c, met, err := s.readCursor(ctx, w.acc.Box, folder)
	if err != nil {
		return false, err
	}
	// An empty round tells how the folder stands.
	st, err := session.New(ctx, folder, fetch.Cursor{UIDValidity: c.UIDValidity, UID: c.UID}, 0, nil)
	if err != nil {
		return false, err
	}
	if !met || st.Reset {
		// At first contact, and where all UIDs begin anew, what stands there is
		// history. Nothing is doubled: messages are known by their content.
		c = cursor{UIDValidity: st.UIDValidity, HistoryTo: history(st)}
		if err := s.forgetAside(ctx, w.acc.Box, folder); err != nil {
			return false, err
		}
		if err := s.writeCursor(ctx, w.acc.Box, folder, c); err != nil {
			return false, err
		}
	}
	var stumbled uint32 // UID; the session's own error about it says nothing new
	st, err = session.New(ctx, folder, fetch.Cursor{UIDValidity: c.UIDValidity, UID: c.UID}, perRound,
		func(ctx context.Context, it fetch.Item) error {
			err := it.Problem
			if err == nil {
				err = s.takeIn(ctx, w.acc, c, it)
			}
			if err != nil {
				stumbled = it.UID
				return s.stumble(ctx, w, folder, &c, it.UID, err)
			}
			c.UID = it.UID
			delete(w.tries, asideKey(w.acc.Box, folder, c.UIDValidity, it.UID))
			return nil
		})
	if broken := new(fetch.MessageError); errors.As(err, &broken) && broken.UID != stumbled {
		// The session broke at one message: after its tries the next round
		// begins behind it.
		return false, errors.Join(err, s.stumble(ctx, w, folder, &c, broken.UID, broken.Err))
	}
	if err != nil {
		return false, err
	}
	if !st.More && c.HistoryTo == math.MaxUint32 {
		c.HistoryTo = c.UID
		if err := s.writeCursor(ctx, w.acc.Box, folder, c); err != nil {
			return false, err
		}
	}
	return st.More, s.retryAside(ctx, w, session, folder, c)
}

// history is the UID up to which a folder's messages stood there before us.
func history(st fetch.State) uint32 {
	switch {
	case st.UIDNext > 0:
		return st.UIDNext - 1
	case st.Exists > 0:
		return math.MaxUint32 // not told: what the first rounds find
	}
	return 0
}

// polled keeps how a round ended.
func (w *worker) polled(err error, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.facts.fetchError = err.Error()
		return
	}
	w.facts.fetchError = ""
	w.facts.LastFetch = at.UTC()
}

func (w *worker) seenCertificate(expires time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.certificate(expires)
}

// copyBody reads a message whole; the count is compared with what was
// announced.
func copyBody(to io.Writer, it fetch.Item) error {
	n, err := io.Copy(to, it.Body)
	if err == nil && n != it.Size {
		err = fmt.Errorf("%d bytes instead of %d", n, it.Size)
	}
	if err != nil {
		return fmt.Errorf("read message %d of %s: %w", it.UID, it.Folder, err)
	}
	return nil
}

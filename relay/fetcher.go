package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/relay/fetch"
)

// messagesPerRound is how many messages of a folder one round takes at most; a
// full round is followed by another at once.
const messagesPerRound = 500

// fetch polls a mailbox's folders until ctx ends: every Account.Every, and
// quickly for a while after something was sent.
func (s *Service) fetch(ctx context.Context, w *worker) {
	var quick []time.Duration // what is left of the quick polls
	defer func() {
		if err := s.leaveBox(ctx, w); err != nil {
			s.opt.Events.Fault("fetch", w.acc.Box, err)
		}
	}()
	for {
		wait := w.lookWait()
		if !w.suspended() {
			more, err := s.round(ctx, w)
			if ctx.Err() != nil {
				return
			}
			if !errors.Is(err, errOtherFetcher) {
				w.polled(err, s.opt.Store.Now())
			}
			wait = w.lookWait()
			switch {
			case errors.Is(err, errOtherFetcher): // it is in good hands
			case err != nil:
				s.opt.Events.PollFailed(w.acc.Box, &w.fetchTrouble, s.opt.Store.Now(), err)
			default:
				s.opt.Events.PollGood(w.acc.Box, &w.fetchTrouble)
				if more {
					wait = 0
				}
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

// round is poll under the lease of the mailbox.
func (s *Service) round(ctx context.Context, w *worker) (more bool, err error) {
	if err := s.takeBox(ctx, w); err != nil {
		return false, err
	}
	err = s.guarded("fetch", w.acc.Box, func() (err error) {
		more, err = s.poll(ctx, w)
		return err
	})
	return more, errors.Join(err, s.endRound(ctx, w, err == nil && !more))
}

// poll takes in what is new at the provider. more tells that there is more than
// one round takes.
func (s *Service) poll(ctx context.Context, w *worker) (more bool, err error) {
	if err := s.opt.Store.Room(); err != nil {
		return false, err
	}
	password, err := w.password()
	if err != nil {
		return false, fmt.Errorf("read the provider's password: %w", err)
	}
	e, protocol, poll := w.acc.IMAP, "IMAP", s.pollFolders
	if w.acc.POP3.Host != "" {
		e, protocol, poll = w.acc.POP3, "POP3", s.pollMaildrop
	}
	more, err = poll(ctx, w, fetch.Server{
		Host: e.Host, Port: e.Port, Security: e.Security, Roots: e.Roots, Timeout: e.Timeout,
		Username: w.acc.Username, Password: password, MaxMessage: w.acc.MaxMessage,
	})
	if errors.Is(err, fetch.ErrAuthRefused) {
		w.suspend(protocol+" login refused: set the right password in the policy; "+err.Error(), password)
	}
	return more, err
}

// pollFolders takes in what is new in each folder, by IMAP.
func (s *Service) pollFolders(ctx context.Context, w *worker, srv fetch.Server) (more bool, err error) {
	began := s.opt.Store.Now()
	session, err := fetch.Dial(ctx, srv)
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
	if err := s.lookFolders(ctx, w, session, folders, began); err != nil {
		return false, err
	}
	if err := s.recoverOriginals(ctx, w, session); err != nil {
		return false, err
	}
	q, err := session.Quota(ctx, folders[0])
	switch {
	case err == nil:
		s.opt.Events.PollGood(w.acc.Box, &w.quotaTrouble)
	case ctx.Err() == nil:
		s.opt.Events.PollFailed(w.acc.Box, &w.quotaTrouble, s.opt.Store.Now(), fmt.Errorf("ask for the quota: %w", err)) // all has been taken in
	}
	w.occupied(q)
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
		for _, prefix := range []string{asidesPrefix(w.acc.Box, folder), foldersPrefix(w.acc.Box, folder)} {
			if err := s.forget(ctx, prefix); err != nil {
				return false, err
			}
		}
		if err := s.writeCursor(ctx, w.acc.Box, folder, c); err != nil {
			return false, err
		}
	}
	var stumbled uint32 // UID; the session's own error about it says nothing new
	behind := func(uid uint32) func(*mailbox.Tx) error {
		return func(tx *mailbox.Tx) error {
			c.UID = uid
			return tx.Space(room).Put(cursorKey(w.acc.Box, folder), c)
		}
	}
	st, err = session.New(ctx, folder, fetch.Cursor{UIDValidity: c.UIDValidity, UID: c.UID}, s.perRound,
		func(ctx context.Context, it fetch.Item) error {
			err := it.Problem
			if err == nil {
				err = s.look(ctx, w, spotOf(it), func() error { return s.takeIn(ctx, w.acc, c, it) })
			}
			if err != nil {
				stumbled = it.UID
				return s.stumble(ctx, w, spotOf(it), err, behind(it.UID))
			}
			c.UID = it.UID
			delete(w.tries, spotOf(it))
			return nil
		})
	if broken := new(fetch.MessageError); errors.As(err, &broken) && broken.UID != stumbled {
		// The session broke at one message: after its tries the next round
		// begins behind it.
		at := spot{folder: folder, validity: broken.UIDValidity, uid: broken.UID}
		return false, errors.Join(err, s.stumble(ctx, w, at, broken.Err, behind(broken.UID)))
	}
	if err != nil {
		return false, err
	}
	for _, uid := range st.Gone {
		at := spot{folder: folder, validity: st.UIDValidity, uid: uid}
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return seenButGone(tx, w.acc.Box, at, byAnother) })
		if err != nil {
			return false, err
		}
	}
	if !st.More && c.HistoryTo == math.MaxUint32 {
		c.HistoryTo = c.UID
		if err := s.writeCursor(ctx, w.acc.Box, folder, c); err != nil {
			return false, err
		}
	}
	if err := s.retryAside(ctx, w, session, folder, c); err != nil || st.More {
		return st.More, err
	}
	// Nothing is deleted before all is taken in: a folder whose UIDs began anew is
	// read to its end first.
	return false, s.clearFolder(ctx, w, session, folder, c.UIDValidity)
}

// byAnother is why a message went that we did not ask to delete.
const byAnother = "another client moved or deleted it"

// seenButGone notes a message that was there and went before it was taken in.
func seenButGone(tx *mailbox.Tx, box string, at spot, why string) error {
	return tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "arrival", Box: box, Result: "seen but gone", Reason: why, More: at.facts()})
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
		w.blind = plain(err.Error(), maxWords)
		return
	}
	w.facts.fetchError = ""
	w.facts.LastFetch = at.UTC()
	w.good++
}

func (w *worker) seenCertificate(expires time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.certificate(expires)
}

// headBytes is how much of a message's beginning is kept while it is read, for
// the time in its header.
const headBytes = 32 << 10

// copyBody reads a message whole. Where the size was announced the count is
// compared with it; where no time of arrival was told it is that of the topmost
// Received, unless that lies ahead of now.
func copyBody(to io.Writer, it *fetch.Item, now time.Time) error {
	body := it.Body
	var head head
	if it.InternalDate.IsZero() {
		body = io.TeeReader(body, &head)
	}
	n, err := io.Copy(to, body)
	if err == nil && it.Size >= 0 && n != it.Size {
		err = fmt.Errorf("%d bytes instead of %d", n, it.Size)
	}
	if at := mime.ReceivedDate(head); err == nil && at.Before(now.Add(24*time.Hour)) && at.Year() > 1980 {
		it.InternalDate = at
	}
	return err
}

// head keeps the beginning of what is written to it.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), headBytes-len(*h))]...)
	return len(p), nil
}

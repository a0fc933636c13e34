package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/relay/fetch"
)

// messagesPerRound is how many messages of a folder one round takes at most; a
// full round is followed by another at once.
const messagesPerRound = 500

// roundFor is how long one connection takes in message after message, before the
// next one looks what came meanwhile; at least messagesPerRound.
const roundFor = time.Minute

// fetch polls a mailbox's folders until ctx ends: every Account.Every, at once
// when the provider tells of something (listen), and quickly for a while after
// something was sent.
func (s *Service) fetch(ctx context.Context, w *worker) {
	var quick []time.Duration // what is left of the quick polls
	defer func() {
		if err := s.leaveBox(ctx, w); err != nil {
			s.opt.Events.Fault("fetch", w.acc.Box, err)
		}
	}()
	if err := s.sweepAsides(ctx, w.acc); err != nil && ctx.Err() == nil { // the folders may be others
		s.opt.Events.Fault("fetch", w.acc.Box, err)
	}
	var heard hinted
	sent := s.sentLast(ctx, w)
	var looked time.Time // the last round
	for {
		wait := w.lookWait()
		shut := s.receivesIn(ctx, w, sent)
		w.setShut(shut > 0)
		if shut > 0 && !s.looksRarely(ctx, w, looked) {
			wait, quick = min(shut, idle), nil
		} else if s.suspended(ctx, w, w.acc.fetchService()) {
			wait = min(wait, suspendedLook)
		} else {
			looked = s.opt.Store.Now()
			more, err := s.round(ctx, w)
			if ctx.Err() != nil {
				return
			}
			w.polled(err, s.opt.Store.Now())
			wait = w.lookWait()
			switch {
			case errors.Is(err, errOtherFetcher): // it is in good hands
			case err != nil:
				s.opt.Events.PollFailed(w.acc.Box, &w.fetchTrouble, s.opt.Store.Now(), err)
			default:
				s.opt.Events.PollGood(w.acc.Box, &w.fetchTrouble)
				if more {
					wait, looked = 0, time.Time{}
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
		case <-w.hints:
			timer.Stop()
			if !pause(ctx, heard.next(time.Now())) {
				return
			}
		case j := <-w.jobs:
			timer.Stop()
			s.work(ctx, w, j)
		case <-w.hurry:
			timer.Stop()
			quick, sent = s.opt.Schedule.Hurry, s.opt.Store.Now()
			if !pause(ctx, quick[0], w.hints) {
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
	if p := new(panicked); errors.As(err, &p) {
		err = errors.Join(err, s.noteBlind(ctx, w, err))
	}
	return more, errors.Join(err, s.endRound(ctx, w, err == nil && !more))
}

// server is where the mailbox is fetched, without its login: see loggedIn.
func (w *worker) server() fetch.Server {
	e := w.acc.IMAP
	if w.acc.POP3.Host != "" {
		e = w.acc.POP3
	}
	return fetch.Server{
		Host: e.Host, Port: e.Port, Security: e.Security, Roots: e.Roots, Timeout: e.Timeout,
		MaxMessage: w.acc.MaxMessage, Folders: w.acc.folders(),
	}
}

// folders are those of the provider that are polled.
func (a Account) folders() []string {
	if len(a.Folders) == 0 {
		return []string{"INBOX"}
	}
	return a.Folders
}

// poll takes in what is new at the provider. more tells that there is more than
// one round takes.
func (s *Service) poll(ctx context.Context, w *worker) (more bool, err error) {
	w.beginRound()
	if more, err = s.pollOnce(ctx, w); err != nil && !w.hasLooked() {
		err = errors.Join(err, s.noteBlind(ctx, w, err))
	}
	return more, err
}

func (s *Service) pollOnce(ctx context.Context, w *worker) (more bool, err error) {
	if err := s.opt.Store.Room(); err != nil {
		return false, err
	}
	srv := w.server()
	leave, err := s.gates.enter(ctx, srv.Host, w.acc.Connections, w.hungFetching)
	if err != nil {
		return false, err
	}
	defer leave()
	defer func() { w.hungFetching = hung(err) }()
	if w.acc.POP3.Host != "" {
		return s.pollMaildrop(ctx, w, srv)
	}
	return s.pollFolders(ctx, w, srv)
}

// loggedIn dials with the login of the service that the mailbox is fetched by.
func loggedIn[T any](ctx context.Context, s *Service, w *worker, srv fetch.Server, dial func(context.Context, fetch.Server) (T, error)) (session T, err error) {
	return loggedInBy(ctx, s, w, srv, dial, refusedAs)
}

// loggedInBy is loggedIn with another judgement of a refusal.
func loggedInBy[T any](ctx context.Context, s *Service, w *worker, srv fetch.Server, dial func(context.Context, fetch.Server) (T, error), judge func(error) loginEnd) (session T, err error) {
	login, err := s.login(ctx, w, w.acc.fetchService())
	if err != nil {
		return session, err
	}
	srv.Username, srv.BeforeLogin = login.username, login.before
	srv.Password, srv.Token = w.acc.secrets(login.password)
	if session, err = dial(ctx, srv); err == nil {
		login.taken(ctx)
		return session, nil
	}
	login.end(ctx, judge(err), err.Error())
	return session, err
}

// pollFolders takes in what is new in each folder, by IMAP.
func (s *Service) pollFolders(ctx context.Context, w *worker, srv fetch.Server) (more bool, err error) {
	began, dialled := s.opt.Store.Now(), time.Now()
	session, err := loggedIn(ctx, s, w, srv, fetch.Dial)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	w.seenCertificate(w.acc.IMAP, session.CertificateExpires)
	s.seenStaple(w, w.acc.IMAP, session.CertificateExpires, session.Staple)
	folders := w.acc.folders()
	var missing []string
	present := folders
	for left := folders; len(left) > 0; {
		var again []string // what has more
		for _, f := range left {
			m, err := s.pollFolder(ctx, w, session, f)
			if errors.Is(err, fetch.ErrNoFolder) && f != folders[0] {
				missing = append(missing, f)
				present = slices.DeleteFunc(slices.Clone(present), func(x string) bool { return x == f })
				continue // renamed or deleted by webmail: the others are fetched all the same
			}
			if err != nil {
				return false, fmt.Errorf("folder %s: %w", f, err)
			}
			if m {
				again = append(again, f)
			}
		}
		more = len(again) > 0
		if left = again; time.Since(dialled) >= s.roundFor {
			break
		}
	}
	if err := s.noteMissing(ctx, w, missing); err != nil {
		return false, err
	}
	if session, err = s.lookFolders(ctx, w, srv, session, present, began, missingNote(missing)); err != nil {
		return false, err
	}
	if err := s.recoverOriginals(ctx, w, session); err != nil {
		return false, err
	}
	s.copySent(ctx, w, session)
	if err := errors.Join(s.lookEmptied(ctx, w, session), s.tellEmptied(ctx, w.acc.Box)); err != nil {
		return false, err
	}
	q, err := session.Quota(ctx, folders[0])
	switch {
	case err == nil:
		s.opt.Events.PollGood(w.acc.Box, &w.quotaTrouble)
	case ctx.Err() == nil:
		s.opt.Events.PollFailed(w.acc.Box, &w.quotaTrouble, s.opt.Store.Now(), fmt.Errorf("ask for the quota: %w", err)) // all has been taken in
	}
	if err == nil {
		if q, err = w.acc.quotaOf(q, func() (int64, error) { return s.standingBytes(ctx, w.acc.Box) }); err == nil {
			err = s.occupied(ctx, w, q)
		}
		if err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("room", w.acc.Box, err) // all has been taken in
		}
	}
	return more, s.lookElsewhere(ctx, w, session)
}

// pollFolder takes in what is new in one folder: first what came since, oldest
// first, then what stood there at first contact, newest first, since receipts
// that are waited for are among the newest.
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
		if c, err = s.meetFolder(ctx, w, session, folder, c.UIDValidity); err != nil {
			return false, err
		}
	}
	r := &folderRound{s: s, w: w, folder: folder, c: c}
	st, err = r.run(ctx, func(fn func(ctx context.Context, it fetch.Item) error) (fetch.State, error) {
		return session.New(ctx, folder, fetch.Cursor{UIDValidity: c.UIDValidity, UID: c.UID}, s.perRound, fn)
	})
	if err != nil {
		return false, err
	}
	more = st.More
	if !more && r.c.Left > 0 {
		if r.taken < s.perRound {
			old, err := r.run(ctx, func(fn func(ctx context.Context, it fetch.Item) error) (fetch.State, error) {
				return session.Before(ctx, folder, c.UIDValidity, r.c.Left, s.perRound-r.taken, fn)
			})
			if err != nil {
				return false, err
			}
			if !old.More && !old.Reset {
				r.c.Left = 0
				if err := s.writeCursor(ctx, w.acc.Box, folder, r.c); err != nil {
					return false, err
				}
			}
		}
		more = r.c.Left > 0
	}
	if err := s.retryAside(ctx, w, session, folder, r.c); err != nil || more {
		return more, err
	}
	if err := s.ended(ctx, w.acc.Box, anewKind, folder); err != nil {
		return false, err
	}
	// Nothing is deleted before all is taken in: a folder whose UIDs began anew is
	// read to its end first.
	return false, s.clearFolder(ctx, w, session, folder, c.UIDValidity)
}

// meetFolder begins a folder: at first contact, and where all UIDs begin anew
// (before is their UIDVALIDITY until now, or 0). What stands there is history.
// Nothing is doubled: messages are known by their content.
func (s *Service) meetFolder(ctx context.Context, w *worker, session *fetch.Session, folder string, before uint32) (cursor, error) {
	last, st, err := session.Last(ctx, folder)
	if err != nil {
		return cursor{}, err
	}
	// What comes gets a higher UID than all that stand there. UIDNEXT may say more,
	// but a message is neither passed over nor called old because of it.
	c := cursor{UIDValidity: st.UIDValidity, UID: last, Left: last, HistoryTo: last}
	for _, prefix := range []string{asidesPrefix(w.acc.Box, folder), foldersPrefix(w.acc.Box, folder)} {
		if err := s.forget(ctx, prefix); err != nil {
			return c, err
		}
	}
	if err := s.sweepAsides(ctx, w.acc); err != nil {
		return c, err
	}
	if before > 0 && before != c.UIDValidity {
		s.opt.Events.Renumbered(w.acc.Box, folder, before, c.UIDValidity)
		if err := s.numberedAnew(ctx, w.acc.Box, folder); err != nil {
			return c, err
		}
	}
	return c, s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		if before > 0 && before != c.UIDValidity {
			err := tx.Audit(mailbox.AuditLine{
				Actor: "relay", Event: "arrival", Box: w.acc.Box, Result: "numbered anew",
				Reason: "the provider has given all messages new numbers (UIDVALIDITY): what stands there is compared by content, and is history",
				More:   map[string]string{"folder": folder, "before": fmt.Sprint(before), "now": fmt.Sprint(c.UIDValidity)},
			})
			if err != nil {
				return err
			}
		}
		return tx.Space(room).Put(cursorKey(w.acc.Box, folder), c)
	})
}

// folderRound is one round in a folder; its cursor moves with each message.
type folderRound struct {
	s        *Service
	w        *worker
	folder   string
	c        cursor
	taken    int
	stumbled uint32 // UID; the session's own error about it says nothing new
}

// errAnew: UIDVALIDITY changed within a round. The UIDs are of other messages than
// the cursor knows; the next round meets the folder anew.
var errAnew = errors.New("the provider gave all messages new numbers meanwhile")

// row is that of the folder's messages.
func (r *folderRound) row() *row {
	return &row{
		s: r.s, w: r.w,
		taking: func(it fetch.Item, before []*arriving, last bool) taking {
			c := r.c
			for _, a := range before {
				c = c.behind(a.it.UID)
			}
			return takingOf(r.w.acc, c, it, last)
		},
		taken: func(it fetch.Item) { r.c = r.c.behind(it.UID) },
		stumble: func(ctx context.Context, at spot, why error) error {
			r.stumbled = at.uid
			return r.stumble(ctx, at, why)
		},
	}
}

// run takes in what list hands out.
func (r *folderRound) run(ctx context.Context, list func(fn func(ctx context.Context, it fetch.Item) error) (fetch.State, error)) (fetch.State, error) {
	var st fetch.State
	// The row may be moving the cursor and stumbling while the next one is listed.
	validity, stumbled := r.c.UIDValidity, uint32(0)
	err := r.row().run(ctx, func(fn func(ctx context.Context, it fetch.Item) error) (err error) {
		st, err = list(func(ctx context.Context, it fetch.Item) error {
			if it.UIDValidity != validity {
				stumbled = it.UID
				return errAnew
			}
			r.taken++
			return fn(ctx, it)
		})
		return err
	})
	if stumbled != 0 {
		r.stumbled = stumbled
	}
	return st, r.ended(ctx, st, err)
}

func (r *folderRound) stumble(ctx context.Context, at spot, why error) error {
	return r.s.stumble(ctx, r.w, at, why, func(tx *mailbox.Tx) error {
		r.c = r.c.behind(at.uid)
		return tx.Space(room).Put(cursorKey(r.w.acc.Box, r.folder), r.c)
	})
}

// ended looks at how the session left a round.
func (r *folderRound) ended(ctx context.Context, st fetch.State, err error) error {
	if broken := new(fetch.MessageError); errors.As(err, &broken) && broken.UID != r.stumbled {
		// The session broke at one message: after its tries the next round
		// begins behind it.
		at := spot{folder: r.folder, validity: broken.UIDValidity, uid: broken.UID}
		return errors.Join(err, r.stumble(ctx, at, broken.Err))
	}
	if err == nil && (st.Reset || st.UIDValidity != r.c.UIDValidity) {
		err = errAnew
	}
	if err != nil {
		return err
	}
	for _, uid := range st.Gone {
		at := spot{folder: r.folder, validity: st.UIDValidity, uid: uid}
		err := r.s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return seenButGone(tx, r.w.acc.Box, at, byAnother) })
		if err != nil {
			return err
		}
	}
	return nil
}

// byAnother is why a message went that we did not ask to delete.
const byAnother = "another client moved or deleted it"

// seenButGone notes a message that was there and went before it was taken in.
func seenButGone(tx *mailbox.Tx, box string, at spot, why string) error {
	return errors.Join(countGone(tx, box, false),
		tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "arrival", Box: box, Result: "seen but gone", Reason: why, More: at.facts()}))
}

// polled keeps how a round ended.
func (w *worker) polled(err error, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.otherHas = errors.Is(err, errOtherFetcher); w.otherHas {
		return // it is in good hands
	}
	if err != nil {
		w.facts.fetchError = err.Error()
		return
	}
	w.facts.fetchError = ""
	w.facts.LastFetch = at.UTC()
	w.good++
	select {
	case w.well <- struct{}{}:
	default:
	}
}

func (w *worker) seenCertificate(e Endpoint, expires time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.certificate(e, expires)
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

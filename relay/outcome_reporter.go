package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"pecgate/mailbox"
)

// How the reporter works.
const (
	reportsAtOnce = 4                // so that several share one sync, and mail comes first all the same
	reportsInGo   = 64               // taken from the list in one look
	reportAgain   = time.Minute      // after a report that could not be written
	reportIdle    = 10 * time.Minute // without anything due; a wake-up comes before
)

// report writes the reports that are due until ctx ends.
func (s *Service) report(ctx context.Context) {
	wake, stop := s.opt.Store.WatchSpace(room, outcomeBell)
	defer stop()
	for {
		wait, err := s.reportDue(ctx)
		if err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("outcomes", "", err)
			wait = max(wait, retryReports)
			if !pause(ctx, wait) { // no bell: the fault is not over by another message
				return
			}
			continue
		}
		if !pause(ctx, wait, wake) {
			return
		}
	}
}

// retryReports is the pause after a fault of the whole, like a full disk.
const retryReports = 10 * time.Second

// reportDue writes what is due now and returns how long nothing more is.
func (s *Service) reportDue(ctx context.Context) (time.Duration, error) {
	for {
		var due []dueReport
		var next, now time.Time
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
			now = tx.Now()
			due, next, err = dueOutcomes(tx, reportsInGo)
			return err
		})
		if err != nil {
			return 0, err
		}
		if len(due) == 0 {
			if next.IsZero() {
				return reportIdle, nil
			}
			return min(max(next.Sub(now), time.Millisecond), reportIdle), nil
		}
		if err := s.reportSome(ctx, due); err != nil {
			return 0, err
		}
	}
}

// reportSome writes the reports of some submissions. One that fails stops no
// other and is put off; the error is of what stops all.
func (s *Service) reportSome(ctx context.Context, due []dueReport) error {
	errs := make([]error, len(due))
	var wg sync.WaitGroup
	turn := make(chan struct{}, reportsAtOnce)
	for i, d := range due {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			errs[i] = s.reportOne(ctx, d)
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err == nil || errors.Is(err, errStale) {
			continue // a stale one is due again
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, mailbox.ErrNoSpace) || s.opt.Store.Broken() != nil {
			return err
		}
		s.opt.Events.Fault("outcomes", "", fmt.Errorf("report of submission %s: %w", due[i].ID, err))
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			return postpone(tx, due[i], tx.Now().UTC().Add(reportAgain))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// errStale: what the report was written from has changed meanwhile.
var errStale = errors.New("relay: the outcome has changed meanwhile")

// reportOne writes the report of a submission in place of the one before, if it
// is due and there is something new to tell.
func (s *Service) reportOne(ctx context.Context, d dueReport) error {
	id := d.ID
	o, known, err := s.readOutcome(ctx, id)
	if err != nil {
		return err
	}
	if o == nil {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return postpone(tx, d, time.Time{}) })
	}
	shown := o.sub.tells()
	in, err := s.opt.Store.Begin(ctx)
	if err != nil {
		return err
	}
	defer in.Abort() // no effect after Store
	if _, err := in.Write(o.bytes()); err != nil {
		return err
	}
	// Name: what it tells, so that one that stays after all records were lost is
	// known to be right or not.
	st, err := in.Store(ctx, mailbox.Origin{
		Box: o.sub.Box, Direction: mailbox.Own, User: o.sub.User, Submission: id,
		Folder: string(mailbox.RoleOutcomes), Name: shown.Digest, Date: o.at,
	})
	if err != nil {
		return err
	}
	defer st.Close() // read-only handle: nothing to lose
	_, err = s.opt.Store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		now, err := load(tx, id)
		if err != nil {
			return err
		}
		r, err := readReported(tx, id)
		if err != nil {
			return err
		}
		if now.tells().Digest != shown.Digest || r.Message != known.Message || r.Due.IsZero() {
			return errStale
		}
		whom, err := s.opt.toSender(tx, now)
		if err != nil {
			return err
		}
		how := mailbox.Filing{Audience: whom.audience}
		if err := tx.FileGenerated(outcomesOf(now.Box), m, r.Message, how, r.Shown.worse(shown)); err != nil {
			return err
		}
		if shown.Ended && !r.Shown.Ended { // one copy, of the last
			if err := noteForward(tx, routed{Message: m.ID, What: routeReport, Box: now.Box}); err != nil {
				return err
			}
		}
		sp := tx.Space(room)
		if err := sp.Delete(dueKey(r.Due, id)); err != nil {
			return err
		}
		return sp.Put(outcomeKey(id), reported{Message: m.ID, Made: tx.Now().UTC(), Shown: shown, Changed: r.Changed})
	})
	return err
}

func outcomesOf(box string) mailbox.FolderKey {
	return mailbox.FolderKey{Box: box, Role: mailbox.RoleOutcomes}
}

// readOutcome reads what the report of a submission is written from; nil where
// none is to be made.
func (s *Service) readOutcome(ctx context.Context, id string) (o *outcomeReport, known reported, err error) {
	var m *mailbox.Message
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		o = nil
		sub, err := load(tx, id)
		if err != nil {
			return err
		}
		if known, err = readReported(tx, id); err != nil || known.Due.IsZero() {
			return err
		}
		if m, err = tx.Message(sub.Message); err != nil {
			return err // removed: nothing is to be told of it any more
		}
		if m.History && known.Message == 0 {
			return nil
		}
		o = &outcomeReport{
			sub: sub, at: known.Changed, from: s.opt.Address, zone: s.opt.Location, words: wordsOf(s.opt.Language),
		}
		if o.deciding, err = decidingOf(tx, sub); err != nil {
			return err
		}
		if o.answer, err = answerOf(tx, sub, o.deciding); err == nil {
			o.again, err = sub.handedOverAgain(tx, o.words)
		}
		return err
	})
	if errors.Is(err, ErrNotFound) || errors.Is(err, mailbox.ErrNotFound) {
		return nil, known, nil
	}
	if err != nil || o == nil {
		return nil, known, err
	}
	ix, err := s.opt.Store.Index(ctx, m.ID)
	if err != nil {
		return nil, known, err
	}
	o.subject = ix.Subject
	return o, known, nil
}

// answerOf returns the provider's words about a submission that it did not take.
func answerOf(tx *mailbox.Tx, s *Submission, deciding map[int]lastReceipt) (string, error) {
	if s.State != NotAccepted {
		return "", nil
	}
	if words := deciding[-1].Error; words != "" {
		return words, nil
	}
	events, err := Story(tx, s.ID)
	if err != nil {
		return "", err
	}
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].What == string(NotAccepted) {
			return events[i].Text, nil
		}
	}
	return "", nil
}

// outcomeAnew files a report whose record was lost, where its origin says: as
// one that people have seen. It tells what its submission told then; if that is
// not so any more, the next one replaces it.
func outcomeAnew(tx *mailbox.Tx, o mailbox.Origin, m *mailbox.Message) error {
	m.Submission = o.Submission
	sub, err := load(tx, o.Submission)
	switch {
	case errors.Is(err, ErrNotFound):
		who, err := tx.EnsurePerson(o.User)
		if err != nil {
			return err
		}
		return tx.FileGenerated(outcomesOf(o.Box), m, 0, mailbox.Filing{Audience: who, Seen: true}, false)
	case err != nil:
		return err
	}
	r, err := readReported(tx, sub.ID)
	if err != nil || r.Made.After(o.At) {
		return err // a newer one stands: this one's record tells that its bytes are known
	}
	how := mailbox.Filing{Audience: sub.Person, Seen: true}
	if err := tx.FileGenerated(outcomesOf(sub.Box), m, r.Message, how, false); err != nil {
		return err
	}
	r.Message, r.Made = m.ID, o.At
	r.Shown = told{Digest: o.Name}
	if now := sub.tells(); now.Digest == o.Name {
		r.Shown = now
	}
	return errors.Join(tx.Space(room).Put(outcomeKey(sub.ID), r), noteOutcome(tx, sub))
}

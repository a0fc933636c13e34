package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-imap/v2" // commands and answers
	"github.com/emersion/go-imap/v2/imapclient"
)

const (
	// maxAsk is how often a message is asked for that the provider lists but
	// does not give: a change of flags told in between hides the answer from
	// the library, and may happen at any time.
	maxAsk = 3
	// maxNew bounds the messages of one call.
	maxNew = 10_000
)

// New opens folder for reading only and calls fn for at most max messages (and
// 10,000) after the cursor, in ascending order of their UIDs, one after the
// other. With max below 1 it only tells how the folder stands; fn may be nil. If the cursor is of another UIDVALIDITY it begins with the first
// message, and State.Reset tells so unless the cursor is the zero Cursor.
//
// An error of fn ends the call and is returned wrapped. A connection that broke
// at a message is a *MessageError. Unless the error is ErrNoFolder the session
// is over then.
func (s *Session) New(ctx context.Context, folder string, c Cursor, max int, fn func(ctx context.Context, it Item) error) (State, error) {
	st, err := s.examine(ctx, folder)
	if err != nil {
		return State{}, err
	}
	after := c.UID
	if c.UIDValidity != st.UIDValidity {
		after = 0
		st.Reset = c.UIDValidity != 0
	}
	if max < 1 {
		return st, nil
	}
	list, more, err := s.listNew(ctx, st, after, min(max, maxNew))
	if err != nil {
		return st, err
	}
	st.More = more
	return s.fetchAll(ctx, folder, st, list, fn)
}

// Before opens folder for reading only and calls fn for at most max messages (and
// 10,000) up to the UID last, the highest first, as New does in the other
// direction. State.More tells that there are more below. UIDs of another
// UIDVALIDITY name other messages: then State.Reset is set and fn is not called.
func (s *Session) Before(ctx context.Context, folder string, uidValidity, last uint32, max int, fn func(ctx context.Context, it Item) error) (State, error) {
	st, err := s.examine(ctx, folder)
	if err != nil {
		return State{}, err
	}
	if uidValidity != st.UIDValidity {
		st.Reset = true
		return st, nil
	}
	if max < 1 || last == 0 {
		return st, nil
	}
	list, more, err := s.listBefore(ctx, st, last, min(max, maxNew))
	if err != nil {
		return st, err
	}
	st.More = more
	return s.fetchAll(ctx, folder, st, list, fn)
}

// Last returns the highest UID that stands in the folder now, 0 where it is
// empty, and how the folder stands. A provider that does not say it is an error:
// UIDNEXT alone may be wrong.
func (s *Session) Last(ctx context.Context, folder string) (uint32, State, error) {
	st, err := s.examine(ctx, folder)
	if err != nil || st.Exists == 0 {
		return 0, st, err
	}
	last := uint32(0)
	err = s.do(ctx, "list the last message", func() error {
		// By its number: the library hides answers about "*".
		cmd := s.c.Fetch(imap.SeqSetNum(st.Exists), &imap.FetchOptions{UID: true})
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			last = max(last, readListed(msg).uid)
		}
		return cmd.Close()
	})
	if err == nil && last == 0 {
		err = fmt.Errorf("%w: the last of %s", ErrNoAnswer, folder)
	}
	return last, st, err
}

// Again calls fn for those of the given UIDs that are still there, in the given
// order, as New does. It is for messages that were left aside with a Problem.
// UIDs of another UIDVALIDITY name other messages: then State.Reset is set and
// fn is not called.
func (s *Session) Again(ctx context.Context, folder string, uidValidity uint32, uids []uint32, fn func(ctx context.Context, it Item) error) (State, error) {
	st, err := s.examine(ctx, folder)
	if err != nil {
		return State{}, err
	}
	if uidValidity != st.UIDValidity {
		st.Reset = true
		return st, nil
	}
	for _, uid := range uids {
		if uid == 0 {
			continue
		}
		list, _, err := s.list(ctx, uid, uid, 1, false)
		if err != nil {
			return st, err
		}
		if len(list) == 0 {
			st.Gone = append(st.Gone, uid)
			continue
		}
		if st, err = s.fetchAll(ctx, folder, st, list, fn); err != nil {
			return st, err
		}
	}
	return st, nil
}

// fetchAll gets the listed messages one by one. One command a message: its OK
// is the provider's word that the message was given whole. Small ones are read
// while those before them are in the hands of fn.
func (s *Session) fetchAll(ctx context.Context, folder string, st State, list []listed, fn func(ctx context.Context, it Item) error) (State, error) {
	// ended looks at how the turn of a message ended.
	ended := func(m listed, gone bool, err error) error {
		var said *callbackError
		switch {
		case err == nil && gone:
			st.Gone = append(st.Gone, m.uid)
			return nil
		case err == nil:
			return nil
		case errors.As(err, &said):
			return fmt.Errorf("message %d of %s: %w", m.uid, folder, said.err)
		case context.Cause(ctx) != nil:
			return fmt.Errorf("message %d of %s: %w", m.uid, folder, err)
		}
		return &MessageError{Folder: folder, UIDValidity: st.UIDValidity, UID: m.uid, Err: err}
	}
	item := func(m listed) Item {
		return Item{Folder: folder, UIDValidity: st.UIDValidity, UID: m.uid, InternalDate: m.date, Size: max(m.size, 0)}
	}
	for _, part := range runs(list, func(m listed) int64 { return m.size }) {
		if len(part) == 1 {
			gone, err := s.fetchOne(ctx, part[0], item(part[0]), fn)
			if err := ended(part[0], gone, err); err != nil {
				return st, err
			}
			continue
		}
		next := 0 // of part, to be handed out
		err := ahead(len(part), func(i int) (*early, bool) {
			e := &early{}
			gone, err := s.fetchOne(ctx, part[i], item(part[i]), e.keep)
			e.gone, e.err = gone, e.failed(err)
			return e, e.err == nil
		}, func(e *early) error {
			m := part[next]
			next++
			if e.err == nil && e.has {
				e.err = e.give(ctx, fn)
			}
			return ended(m, e.gone, e.err)
		})
		if err != nil {
			return st, err
		}
	}
	return st, nil
}

// callbackError tells an error of a callback from one of the session.
type callbackError struct{ err error }

func (e *callbackError) Error() string { return e.err.Error() }

func call(ctx context.Context, it Item, fn func(ctx context.Context, it Item) error) error {
	if err := fn(ctx, it); err != nil {
		return &callbackError{err}
	}
	return nil
}

func (s *Session) fetchOne(ctx context.Context, m listed, it Item, fn func(ctx context.Context, it Item) error) (gone bool, err error) {
	for asked := 0; asked < maxAsk && m.asked < 2*maxAsk; {
		if m.size > s.srv.MaxMessage {
			return false, problem(ctx, it, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, m.size, s.srv.MaxMessage), fn)
		}
		if m.size >= 0 {
			asked++
			it.Size, it.InternalDate = m.size, m.date
			if done, err := s.ask(ctx, it, fn); done || err != nil {
				return false, err
			}
		}
		again, _, err := s.list(ctx, m.uid, m.uid, 1, false)
		if err != nil {
			return false, err
		}
		if len(again) == 0 {
			return true, nil
		}
		again[0].asked = m.asked + 1
		m = again[0]
	}
	return false, problem(ctx, it, ErrNoAnswer, fn)
}

// problem hands out a message that cannot be fetched.
func problem(ctx context.Context, it Item, err error, fn func(ctx context.Context, it Item) error) error {
	it.Problem, it.Body = err, failing{err}
	return call(ctx, it, fn)
}

// failing is the Body of a message that has none.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

var wholeMessage = &imap.FetchItemBodySection{Peek: true}

// ask fetches one message and hands it to fn. done is false if the provider
// completed the command without giving the message.
func (s *Session) ask(ctx context.Context, it Item, fn func(ctx context.Context, it Item) error) (done bool, err error) {
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	defer context.AfterFunc(ctx, func() { s.g.abort(context.Cause(ctx)) })()
	s.g.begin(s.srv.MaxMessage)
	b := &body{s: s, ctx: ctx, uid: imap.UID(it.UID), size: it.Size}
	b.cmd = s.c.Fetch(imap.UIDSetNum(b.uid), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{wholeMessage}})
	lit := b.find()
	if lit == nil {
		// A refusal is about this message; whether it is still there is asked
		// next.
		err := b.finish()
		if no := (*imap.Error)(nil); errors.As(err, &no) && s.g.failure() == nil {
			err = nil
		}
		return false, err
	}
	if lit.Size() != it.Size {
		told := fmt.Errorf("%w: %d bytes instead of %d", ErrSize, lit.Size(), it.Size)
		if err := b.finish(); err != nil {
			return false, err
		}
		return true, problem(ctx, it, told, fn)
	}
	b.lit, it.Body = lit, b
	err = call(ctx, it, fn)
	switch {
	case b.err != nil && !errors.Is(b.err, io.EOF):
		// fn may have taken it for a whole message; it is not.
		return false, b.err
	case err != nil && b.err == nil:
		// Reading on to the end of a large message for nothing takes long.
		s.g.abort(errors.New("ended in the middle of a message"))
		_ = b.finish() // frees the library's reader; err is what counts
		return false, err
	case b.err == nil:
		return true, b.finish()
	}
	return true, err
}

// body is a message on its way, an io.Reader.
type body struct {
	s    *Session
	ctx  context.Context // of the call that the body lives in
	uid  imap.UID
	size int64 // what must come

	cmd    *imapclient.FetchCommand
	msg    *imapclient.FetchMessageData
	lit    io.Reader
	n      int64
	err    error // sticky; io.EOF after the whole message and the OK
	closed bool
}

// find goes to the literal of the whole message.
func (b *body) find() imap.LiteralReader {
	for b.msg = b.cmd.Next(); b.msg != nil; b.msg = b.cmd.Next() {
		for item := b.msg.Next(); item != nil; item = b.msg.Next() {
			section, ok := item.(imapclient.FetchItemDataBodySection)
			if ok && section.MatchCommand(wholeMessage) && section.Literal != nil {
				return section.Literal
			}
		}
	}
	return nil
}

// Read reads the message. It ends in io.EOF only after the provider's OK.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if left := b.size - b.n; left == 0 {
		b.err = b.complete()
		return 0, b.err
	} else if int64(len(p)) > left {
		p = p[:left]
	}
	n, err := b.lit.Read(p)
	b.n += int64(n)
	if err != nil && b.n < b.size {
		// The library reports a broken connection as the end of the literal. Its
		// reader goes on from here, and must have ended before finish: that
		// reads the literal once more, from the same buffer.
		b.s.g.abort(err)
		<-b.s.c.Closed()
		b.err = fmt.Errorf("%w: %d bytes of %d: %w", io.ErrUnexpectedEOF, b.n, b.size, b.torn())
		return n, b.err
	}
	return n, nil
}

// complete reads what stands behind the message: the end of the literal, other
// items, the end of the command.
func (b *body) complete() error {
	if n, err := b.lit.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return errors.Join(fmt.Errorf("%w: the literal does not end", ErrSize), b.finish())
	}
	var odd error
	for item := b.msg.Next(); item != nil; item = b.msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			if item.UID != b.uid {
				odd = fmt.Errorf("the provider answers with UID %d", item.UID)
			}
		case imapclient.FetchItemDataBodySection:
			odd = errors.New("the provider gives two bodies")
		}
	}
	if err := errors.Join(b.finish(), odd); err != nil {
		return err
	}
	return io.EOF
}

// finish lets the command end. A broken connection or a NO is its error.
func (b *body) finish() error {
	if b.closed {
		return nil
	}
	b.closed = true
	defer b.s.g.end()
	if err := b.cmd.Close(); err != nil {
		return b.s.explain(b.ctx, "fetch", err)
	}
	return nil
}

// torn is finish for a body that broke, with the reason in any case.
func (b *body) torn() error {
	if err := b.finish(); err != nil {
		return err
	}
	return errors.New("the provider ended the message early")
}

package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"pecgate/relay/pop3"
	"pecgate/relay/upstream"
)

// maxDoubtful is how many messages without a usable id of their own are looked
// at one by one. More would be a download of every header at every round.
const maxDoubtful = 1000

// topLines is how much of a body is looked at, besides the header, to tell
// whether a message is the one it is taken for (C5).
const topLines = 64

// Listed is a message of a maildrop.
type Listed struct {
	Number int   // of this session only (C8)
	Size   int64 // as the provider lists it
	// ID tells the message from others over sessions: the provider's unique-id,
	// or, where that tells nothing, one made of what TOP gives, which begins with
	// a space as no unique-id does.
	ID string
}

// Doubtful tells that the provider gave no id that can be relied on. Such a
// message must not be deleted.
func (l Listed) Doubtful() bool { return strings.HasPrefix(l.ID, " ") }

// Maildrop is one POP3 connection to a provider, logged in. Its methods are for
// one goroutine at a time. After an error it is over: Close it and dial anew.
type Maildrop struct {
	// What is known of the TLS connection.
	TLSVersion         string
	Cipher             string
	CertificateExpires time.Time
	Staple             string // see upstream.Facts

	c *pop3.Client
}

// DialMaildrop connects by POP3, checks the server and logs in. Server.Folders
// is not used: POP3 shows the inbox only. Errors: ErrTLS, ErrAuthRefused (with ErrAuthUnclear
// or ErrAuthSystem), otherwise temporary. ctx ends only the dialling.
func DialMaildrop(ctx context.Context, srv Server) (*Maildrop, error) {
	if srv.Timeout <= 0 {
		srv.Timeout = defaultTimeout
	}
	if srv.MaxMessage <= 0 {
		srv.MaxMessage = defaultMaxMessage
	}
	o := upstream.Options{Host: srv.Host, Port: srv.Port, Roots: srv.Roots, Timeout: srv.Timeout, Dial: srv.Dial}
	socket, err := upstream.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	d := &Maildrop{}
	d.c, err = pop3.New(ctx, socket, pop3.Options{
		Security: srv.Security, Username: srv.Username, Password: srv.Password, Token: srv.Token, Timeout: srv.Timeout, MaxMessage: srv.MaxMessage,
		BeforeLogin: srv.BeforeLogin,
		Secure: func(ctx context.Context, conn net.Conn) (net.Conn, error) {
			secured, facts, err := upstream.Handshake(ctx, conn, o)
			if err != nil {
				return nil, err
			}
			d.TLSVersion, d.Cipher, d.CertificateExpires = facts.Version, facts.Cipher, facts.CertificateExpires
			d.Staple = facts.Staple
			srv.secured(facts)
			return secured, nil
		},
	})
	var bad *upstream.TLSError
	var no *pop3.ReplyError
	switch {
	case errors.Is(err, pop3.ErrTLS), errors.As(err, &bad):
		return nil, fmt.Errorf("%w: %w", ErrTLS, err)
	case errors.As(err, &no) && errors.Is(err, pop3.ErrAuthRefused) && no.Code == "SYS/PERM" && upstream.JudgeRefusal(no.Text) != upstream.Credential:
		return nil, fmt.Errorf("%w: %w (%w)", ErrAuthRefused, err, ErrAuthSystem)
	case errors.As(err, &no) && errors.Is(err, pop3.ErrAuthRefused):
		return nil, refused(err, no.Code == "AUTH", false, no.Text) // RFC 3206
	case errors.Is(err, pop3.ErrAuthRefused):
		return nil, fmt.Errorf("%w: %w", ErrAuthRefused, err)
	case err != nil:
		return nil, err
	}
	return d, nil
}

// List returns all messages, by number, each with an id that no other of them
// has. At most 200,000. ErrNoIDs: the provider gives no means to tell them
// apart.
func (d *Maildrop) List(ctx context.Context) ([]Listed, error) {
	entries, err := d.c.List(ctx)
	if errors.Is(err, pop3.ErrNoUIDL) {
		return nil, fmt.Errorf("%w: fetch this mailbox by IMAP: %w", ErrNoIDs, err)
	}
	if err != nil {
		return nil, err
	}
	out := make([]Listed, 0, len(entries))
	made := map[string]int{}
	doubtful := 0
	for _, e := range entries {
		l := Listed{Number: e.Number, Size: e.Size, ID: e.ID}
		if l.ID == "" {
			if doubtful++; doubtful > maxDoubtful {
				return nil, fmt.Errorf("%w: more than %d messages without a usable id: fetch this mailbox by IMAP", ErrNoIDs, maxDoubtful)
			}
			if l.ID, err = d.makeID(ctx, e); err != nil {
				return nil, err
			}
			// Two that look the same are told apart by their order: both are fetched.
			if made[l.ID]++; made[l.ID] > 1 {
				l.ID = fmt.Sprintf("%s.%d", l.ID, made[l.ID])
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// makeID makes an id of size, header and the first lines of the body.
func (d *Maildrop) makeID(ctx context.Context, e pop3.Entry) (string, error) {
	h := sha256.New()
	err := d.c.Top(ctx, e, topLines, func(r io.Reader) error { _, err := io.Copy(h, r); return err })
	var no *pop3.ReplyError
	if errors.As(err, &no) {
		return "", fmt.Errorf("%w: message %d has no usable id, and TOP is refused: fetch this mailbox by IMAP: %w", ErrNoIDs, e.Number, err)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(" %x.%d", h.Sum(nil)[:16], e.Size), nil
}

// Fetch gives the messages to fn in the given order, as Session.New does: Item
// has ID in place of UIDs, and Size -1, since POP3 knows the size of the bytes
// only at their end. Item.InternalDate is zero: a maildrop tells none.
//
// An error of fn ends the call and is returned wrapped. A connection that broke
// at a message is a *MessageError.
func (d *Maildrop) Fetch(ctx context.Context, list []Listed, fn func(ctx context.Context, it Item) error) error {
	for _, part := range runs(list, func(l Listed) int64 { return l.Size }) {
		if len(part) == 1 {
			if err := ended(ctx, part[0], d.fetchOne(ctx, part[0], fn)); err != nil {
				return err
			}
			continue
		}
		next := 0 // of part, to be handed out
		err := ahead(len(part), func(i int) (*early, bool) {
			e := &early{}
			e.err = e.failed(d.fetchOne(ctx, part[i], e.keep))
			return e, e.err == nil
		}, func(e *early) error {
			l := part[next]
			next++
			if e.err == nil && e.has {
				e.err = e.give(ctx, fn)
			}
			return ended(ctx, l, e.err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ended looks at how the turn of a message ended.
func ended(ctx context.Context, l Listed, err error) error {
	var said *callbackError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		return fmt.Errorf("message %q: %w", l.ID, said.err)
	case context.Cause(ctx) != nil:
		return fmt.Errorf("message %q: %w", l.ID, err)
	}
	if errors.Is(err, pop3.ErrSize) {
		err = fmt.Errorf("%w: %w", ErrSize, err)
	}
	return &MessageError{ID: l.ID, Err: err}
}

func (d *Maildrop) fetchOne(ctx context.Context, l Listed, fn func(ctx context.Context, it Item) error) error {
	it := Item{ID: l.ID, Size: -1}
	err := d.c.Retr(ctx, l.entry(), func(r io.Reader) error {
		it.Body = r
		return call(ctx, it, fn)
	})
	var no *pop3.ReplyError
	if errors.As(err, &no) || errors.Is(err, pop3.ErrTooLarge) && d.alive() {
		what := ErrNoAnswer
		if no == nil {
			what = ErrTooLarge
		}
		err = problem(ctx, it, fmt.Errorf("%w: %w", what, err), fn)
	}
	return err
}

func (d *Maildrop) alive() bool { return !d.c.Over() }

func (l Listed) entry() pop3.Entry { return pop3.Entry{Number: l.Number, Size: l.Size, ID: l.ID} }

// maxHeader bounds what Header returns of a message, in bytes.
const maxHeader = 256 << 10

// Header returns the header of a listed message, its first 256 KiB at most.
// ErrNoAnswer: the provider does not give it, or does not know TOP.
func (d *Maildrop) Header(ctx context.Context, l Listed) (head []byte, err error) {
	err = d.c.Top(ctx, l.entry(), 0, func(r io.Reader) error {
		if head, err = io.ReadAll(io.LimitReader(r, maxHeader)); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r) // to its end, so that the session goes on
		return err
	})
	var no *pop3.ReplyError
	if errors.As(err, &no) || errors.Is(err, pop3.ErrTooLarge) && d.alive() {
		return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return head, err
}

// Same tells whether a listed message is ours as far as TOP shows it: header and
// the first lines of the body, and to its end where it has no more or where the
// provider shows less.
func (d *Maildrop) Same(ctx context.Context, l Listed, ours io.ReaderAt, size int64) (bool, error) {
	w := &compare{ours: ours, size: size}
	err := d.c.Top(ctx, l.entry(), topLines, w.all)
	var no *pop3.ReplyError
	if errors.As(err, &no) || err == nil && !w.differ && !w.same() {
		// No TOP, or not so many lines as were asked for.
		w = &compare{ours: ours, size: size, whole: true}
		err = d.c.Retr(ctx, l.entry(), w.all)
		if errors.As(err, &no) {
			return false, nil
		}
	}
	if err != nil {
		return false, err
	}
	return w.same(), nil
}

// Delete marks messages for deletion. They go when Quit returns nil, and not
// before. refused are those that the provider would not mark.
func (d *Maildrop) Delete(ctx context.Context, list []Listed) (refused []Listed, err error) {
	for _, l := range list {
		if l.Doubtful() {
			return refused, fmt.Errorf("delete message %d: %w", l.Number, ErrNoIDs)
		}
		err := d.c.Dele(ctx, l.entry())
		var no *pop3.ReplyError
		if errors.As(err, &no) {
			refused = append(refused, l)
		} else if err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// Quit ends the session in order. nil is the provider's word that what was
// marked is gone; after an error it may be there still, or some of it (C4).
func (d *Maildrop) Quit(ctx context.Context) error { return d.c.Quit(ctx) }

// Close ends the connection. Without Quit nothing is deleted (C3).
func (d *Maildrop) Close() error { return d.c.Close() }

// compare holds what the provider gives against our bytes.
type compare struct {
	ours  io.ReaderAt
	size  int64
	whole bool // to the end

	at     int64
	buf    []byte
	last   []byte // what came beyond ours, at most three bytes
	differ bool
	header bool // the end of the header was seen
	lines  int  // behind it
	length int  // of the line so far, without its end
	cr     bool // the byte before was a CR
}

// all reads what the provider gives, to its end.
func (w *compare) all(r io.Reader) error { _, err := io.Copy(w, r); return err }

func (w *compare) Write(p []byte) (int, error) {
	n := len(p)
	w.count(p)
	if left := w.size - w.at; int64(len(p)) > left {
		w.last = append(w.last, p[left:]...)
		w.last = w.last[:min(len(w.last), 3)]
		p = p[:left]
	}
	w.buf = slices.Grow(w.buf[:0], len(p))[:len(p)]
	if _, err := w.ours.ReadAt(w.buf, w.at); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	w.differ = w.differ || !slices.Equal(w.buf, p)
	w.at += int64(len(p))
	return n, nil
}

// count counts the lines behind the header.
func (w *compare) count(p []byte) {
	for _, b := range p {
		switch {
		case b == '\n' && w.cr && w.header:
			w.lines++
		case b == '\n' && w.cr && w.length == 1:
			w.header = true
		}
		if w.length++; b == '\n' && w.cr {
			w.length = 0
		}
		w.cr = b == '\r'
	}
}

// same is the answer after all was written. Where ours ends without a line end,
// POP3 had to add one.
func (w *compare) same() bool {
	if w.differ || len(w.last) > 0 && string(w.last) != "\r\n" {
		return false
	}
	return w.at == w.size || !w.whole && w.lines >= topLines
}

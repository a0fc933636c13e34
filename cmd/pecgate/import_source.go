package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox/archive"
	"pecgate/relay/fetch"
)

// foundMessage is a message of a source. Its readings are good until the callback
// returns.
type foundMessage struct {
	key, name string
	date      time.Time // INTERNALDATE; zero: not told
	err       error     // it cannot be read
	readings  []readAs  // the bytes as they stand, then what else they may have been
}

// readAs is what may be the bytes of a message.
type readAs struct {
	size int64
	body io.Reader
}

// importSource is where messages are imported from. Nothing in it is changed.
type importSource interface {
	// each hands over the messages: all, or those with the keys.
	each(ctx context.Context, only []string, progress func(done, total int64), fn func(foundMessage) error) error
	String() string
}

// archives is a source of files and folders. Keys are numbers: the order of a walk is
// always the same.
type archives []string

func (a archives) String() string { return strings.Join(a, " ") }

func (a archives) each(ctx context.Context, only []string, progress func(done, total int64), fn func(foundMessage) error) error {
	wanted := map[string]bool{}
	for _, k := range only {
		wanted[k] = true
	}
	n := 0
	for i, file := range a {
		listed := archive.Listed(file, archive.Limits{})
		o := archive.Options{Progress: func(done, total int64) {
			progress(int64(i)*1000+done*1000/max(total, 1), int64(len(a))*1000)
		}}
		stopped := false
		err := archive.Walk(ctx, file, o, func(it archive.Item) (err error) {
			defer func() {
				err = errors.Join(err, it.Close())
				stopped = err != nil
			}()
			n++
			m := foundMessage{key: strconv.Itoa(n), name: it.Name, date: it.Date, err: it.Err}
			if only != nil && !wanted[m.key] {
				return nil
			}
			if m.err == nil {
				m.readings = readingsOf(it, listed)
			}
			return fn(m)
		})
		if err != nil && !stopped && ctx.Err() == nil { // this file; the others may be better
			if only != nil {
				continue // it was told the first time
			}
			err = fn(foundMessage{name: file, err: err})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readingsOf gives the bytes of a message as they stand, and behind them those that
// they may have been before an mbox was made of them. Where a manifest lists one of
// all these, it is the one.
func readingsOf(it archive.Item, listed map[[32]byte]bool) []readAs {
	type bytesAt struct {
		r    io.ReaderAt
		size int64
	}
	all := []bytesAt{{it.ReaderAt, it.Size}}
	for _, u := range it.Unquotings() {
		r, size := it.Unquoted(u)
		all = append(all, bytesAt{r, size})
	}
	if len(listed) > 0 {
		for _, b := range all {
			for _, size := range []int64{b.size, b.size - 1} { // an end of line may have been added
				h := sha256.New()
				if _, err := io.Copy(h, io.NewSectionReader(b.r, 0, max(size, 0))); err == nil && listed[[32]byte(h.Sum(nil))] {
					return []readAs{{size, io.NewSectionReader(b.r, 0, size)}}
				}
			}
		}
	}
	var out []readAs
	for _, b := range all {
		out = append(out, readAs{b.size, io.NewSectionReader(b.r, 0, b.size)})
	}
	return out
}

// imapSource is a mailbox at another provider. Keys name folder, UIDVALIDITY and UID.
type imapSource struct {
	server  fetch.Server
	folders []string // none: all that hold mail
}

func (s *imapSource) String() string { return "imap " + s.server.Host }

const (
	importPage   = 500
	importRedial = 5 // connections in a row that bring nothing
)

func (s *imapSource) each(ctx context.Context, only []string, progress func(done, total int64), fn func(foundMessage) error) error {
	run := &imapRun{s: s, progress: progress, fn: fn}
	defer run.close()
	if err := run.dial(ctx); err != nil {
		return err
	}
	if only != nil {
		return run.some(ctx, only)
	}
	return run.all(ctx)
}

// imapRun is one reading of the mailbox.
type imapRun struct {
	s           *imapSource
	session     *fetch.Session
	progress    func(done, total int64)
	fn          func(foundMessage) error
	done, total int64
	stop        error // of fn
}

func (r *imapRun) close() {
	if r.session != nil {
		_ = r.session.Close() // nothing was written
		r.session = nil
	}
}

func (r *imapRun) dial(ctx context.Context) (err error) {
	r.close()
	r.session, err = fetch.Dial(ctx, r.s.server)
	return err
}

// give is the callback of a session.
func (r *imapRun) give(_ context.Context, it fetch.Item) error {
	r.done++
	r.progress(r.done, r.total)
	m := foundMessage{key: fmt.Sprintf("%d %d %s", it.UIDValidity, it.UID, it.Folder), name: fmt.Sprintf("%s %d", it.Folder, it.UID), date: it.InternalDate, err: it.Problem}
	if m.err == nil && it.Size < 0 {
		m.err = errors.New("the server does not tell its size")
	}
	if m.err == nil {
		m.readings = []readAs{{it.Size, it.Body}}
	}
	r.stop = r.fn(m)
	return r.stop
}

func (r *imapRun) all(ctx context.Context) error {
	folders := r.s.folders
	if len(folders) == 0 {
		all, err := r.session.Folders(ctx)
		if err != nil {
			return err
		}
		for _, f := range all {
			if f.Aside == "" {
				folders = append(folders, f.Name)
			}
		}
	}
	for _, f := range folders {
		st, err := r.session.New(ctx, f, fetch.Cursor{}, 0, nil)
		if err != nil && !errors.Is(err, fetch.ErrNoFolder) {
			return err
		}
		r.total += int64(st.Exists)
	}
	for _, f := range folders {
		if err := r.folder(ctx, f); err != nil {
			return fmt.Errorf("folder %s: %w", f, err)
		}
	}
	return nil
}

// folder reads one folder. A message at which the connection breaks is told, and a new
// connection goes on behind it.
func (r *imapRun) folder(ctx context.Context, folder string) error {
	c, vain := fetch.Cursor{}, 0
	for {
		st, err := r.session.New(ctx, folder, c, importPage, func(ctx context.Context, it fetch.Item) error {
			if c.UIDValidity != 0 && c.UIDValidity != it.UIDValidity {
				return errors.New("the server gave all messages new numbers meanwhile: run the command again")
			}
			if err := r.give(ctx, it); err != nil {
				return err
			}
			c, vain = fetch.Cursor{UIDValidity: it.UIDValidity, UID: it.UID}, 0
			return nil
		})
		broken := new(fetch.MessageError)
		switch {
		case err == nil && !st.More:
			return nil
		case err == nil:
			continue
		case r.stop != nil || ctx.Err() != nil:
			return err
		case errors.Is(err, fetch.ErrNoFolder):
			return r.fn(foundMessage{name: folder, err: err})
		case errors.As(err, &broken) && broken.UID > c.UID:
			if err := r.fn(foundMessage{name: fmt.Sprintf("%s %d", folder, broken.UID), err: broken.Err}); err != nil {
				return err
			}
			c = fetch.Cursor{UIDValidity: broken.UIDValidity, UID: broken.UID}
		}
		if vain++; vain > importRedial {
			return err
		}
		if err := r.dial(ctx); err != nil {
			return err
		}
	}
}

// some reads those with the keys, which stand in the order in which they came.
func (r *imapRun) some(ctx context.Context, only []string) error {
	r.total = int64(len(only))
	for len(only) > 0 {
		validity, _, folder := splitKey(only[0])
		var uids []uint32
		n := 0
		for ; n < len(only) && n < importPage; n++ {
			v, uid, f := splitKey(only[n])
			if f != folder || v != validity {
				break
			}
			uids = append(uids, uid)
		}
		st, err := r.session.Again(ctx, folder, validity, uids, r.give)
		if err == nil && st.Reset {
			err = errors.New("the server gave all messages new numbers meanwhile: run the command again")
		}
		broken := new(fetch.MessageError)
		if errors.As(err, &broken) && r.stop == nil && ctx.Err() == nil {
			if err := r.fn(foundMessage{name: fmt.Sprintf("%s %d", folder, broken.UID), err: broken.Err}); err != nil {
				return err
			}
			if at := slices.Index(uids, broken.UID); at >= 0 {
				n = at + 1
			}
			err = r.dial(ctx)
		}
		if err != nil {
			return err
		}
		only = only[n:]
	}
	return nil
}

func splitKey(key string) (validity, uid uint32, folder string) {
	v, rest, _ := strings.Cut(key, " ")
	u, folder, _ := strings.Cut(rest, " ")
	a, _ := strconv.ParseUint(v, 10, 32)
	b, _ := strconv.ParseUint(u, 10, 32)
	return uint32(a), uint32(b), folder
}

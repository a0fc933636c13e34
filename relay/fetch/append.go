package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2" // commands and answers
)

// SentFolder returns the folder of the provider for what was sent: the one that
// it marks as such (RFC 6154), else the one with the given name, where it is.
// ErrNoFolder: neither.
func (s *Session) SentFolder(ctx context.Context, name string) (string, error) {
	var found string
	err := s.do(ctx, "list the folders", func() error {
		all, err := s.c.List("", "*", &imap.ListOptions{ReturnSpecialUse: s.c.Caps().Has(imap.CapSpecialUse)}).Collect()
		for _, f := range all {
			if slices.Contains(f.Attrs, imap.MailboxAttrSent) {
				found = f.Mailbox
				break
			}
			if name != "" && f.Mailbox == name {
				found = name
			}
		}
		return err
	})
	if err == nil && found == "" {
		err = fmt.Errorf("%w: the provider marks no folder as the one of what was sent, and there is none named %q", ErrNoFolder, name)
	}
	return found, err
}

// Append puts a message into a folder, read, as one that arrived at a time, byte
// for byte. After an error it may be there all the same: look before trying
// again. A refusal is an *imap.Error below, and the session goes on; otherwise it
// is over.
func (s *Session) Append(ctx context.Context, folder string, at time.Time, body io.ReaderAt, size int64) error {
	return s.appendTo(ctx, folder, &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen}, Time: at}, body, size)
}

func (s *Session) appendTo(ctx context.Context, folder string, o *imap.AppendOptions, body io.ReaderAt, size int64) error {
	return s.do(ctx, "put a copy into "+folder, func() error {
		cmd := s.c.Append(folder, size, o)
		n, err := io.Copy(&progress{to: cmd, g: s.g}, io.NewSectionReader(body, 0, size))
		if err == nil && n != size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			// The literal is not whole: nothing else may follow on this connection.
			s.g.abort(err)
			return errors.Join(err, cmd.Close())
		}
		if err := cmd.Close(); err != nil {
			return err
		}
		_, err = cmd.Wait()
		return err
	})
}

// progress lets the time limit of an answer begin anew with each part that the
// provider takes.
type progress struct {
	to io.Writer
	g  *guard
}

func (p *progress) Write(b []byte) (int, error) {
	n, err := p.to.Write(b)
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	_ = p.g.Conn.SetReadDeadline(time.Now().Add(p.g.timeout)) // a closed connection tells the reader
	return n, err
}

package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-imap/v2" // commands and answers
)

// Parcel is a message for a folder of an ordinary mailbox.
type Parcel struct {
	Folder    string    // made where it is not there
	At        time.Time // INTERNALDATE
	MessageID string    // as in the field, by which it is looked for; "": it is not looked for
	Body      io.ReaderAt
	Size      int64
	// Again: an earlier attempt may have put it there. Then it is looked for first.
	Again bool
	// Check: it is looked for after it was put there, too.
	Check bool
}

// Delivery is what is known of a message that was put into a folder.
type Delivery struct {
	Before bool // an earlier attempt had put it there
	Found  bool // it was looked for and stands there
}

// maxSame bounds how many messages of one Message-ID are compared.
const maxSame = 50

// Deliver puts a message into a folder, unseen, byte for byte, unless an earlier
// attempt did: one with its Message-ID stands there that has the same bytes, or the
// same INTERNALDATE to the second (servers that keep mail as something else, like
// Exchange, give other bytes back, but the date that they were given). One that the
// server took and that is not found by Check, or of which it cannot be told, is
// delivered all the same: it is not put there again.
func (s *Session) Deliver(ctx context.Context, p Parcel) (Delivery, error) {
	// A server refuses an APPEND to what is not there before it takes the bytes, and
	// the line is of no more use then: the folder comes first.
	switch _, err := s.examine(ctx, p.Folder); {
	case errors.Is(err, ErrNoFolder):
		if err := s.do(ctx, "make the folder "+p.Folder, func() error { return s.c.Create(p.Folder, nil).Wait() }); err != nil {
			return Delivery{}, err
		}
	case err != nil:
		return Delivery{}, err
	case p.Again && p.MessageID != "":
		if there, err := s.stands(ctx, p); there || err != nil {
			return Delivery{Before: there, Found: there}, err
		}
	}
	err := s.appendTo(ctx, p.Folder, &imap.AppendOptions{Time: p.At}, p.Body, p.Size)
	if err != nil || !p.Check || p.MessageID == "" {
		return Delivery{}, err
	}
	found, err := s.stands(ctx, p)
	return Delivery{Found: found && err == nil}, nil
}

// stands tells whether a message stands in its folder already.
func (s *Session) stands(ctx context.Context, p Parcel) (bool, error) {
	uids, err := s.FindHeader(ctx, p.Folder, "Message-ID", p.MessageID)
	if err != nil || len(uids) == 0 {
		return false, err
	}
	want := sha256.New()
	if n, err := io.Copy(want, io.NewSectionReader(p.Body, 0, p.Size)); err != nil || n != p.Size {
		return false, fmt.Errorf("read the message: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	st, err := s.examine(ctx, p.Folder)
	if err != nil {
		return false, err
	}
	there := false
	_, err = s.Again(ctx, p.Folder, st.UIDValidity, uids[max(0, len(uids)-maxSame):], func(_ context.Context, it Item) error {
		if it.Problem != nil {
			return nil
		}
		got := sha256.New()
		if _, err := io.Copy(got, it.Body); err != nil {
			return err
		}
		same := string(got.Sum(nil)) == string(want.Sum(nil))
		there = there || same || it.InternalDate.Truncate(time.Second).Equal(p.At.Truncate(time.Second))
		return nil
	})
	return there, err
}

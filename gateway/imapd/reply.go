package imapd

import (
	"context"
	"errors"

	"github.com/emersion/go-imap/v2" // response codes and the error type that the library sends as it is

	"pecgate/mailbox"
)

// The answers of this service. Each call makes its own: the library's error
// type is a pointer that nobody should share. No text holds what a client sent.

func no(code imap.ResponseCode, text string) *imap.Error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: both(text)}
}

func badCommand(text string) *imap.Error {
	return &imap.Error{Type: imap.StatusResponseTypeBad, Code: imap.ResponseCodeClientBug, Text: text}
}

// errNoFolder is the one answer for folders that do not exist and for those
// that may not be seen.
func errNoFolder() error { return no(imap.ResponseCodeNonExistent, "No such folder") }

func isNoFolder(err error) bool {
	var e *imap.Error
	return errors.As(err, &e) && e.Code == imap.ResponseCodeNonExistent
}

func errTryCreate() error { return no(imap.ResponseCodeTryCreate, "No such folder") }

func errBadName() error {
	return no(imap.ResponseCodeCannot, "A folder cannot have this name")
}

func errReservedName() error {
	return no(imap.ResponseCodeCannot, "This name belongs to the gateway")
}

func (s *session) errNotOwn(n node) error {
	if n.period != nil {
		return s.errArchive()
	}
	return no(imap.ResponseCodeNoPerm, "Messages can be put into your own folders only")
}

func (s *session) errReadOnly(v *view) error {
	if v.archive != nil {
		return s.errArchive()
	}
	return no(imap.ResponseCodeNoPerm, "The folder is open for reading only")
}

// byeFolderGone ends a session whose folder is gone: the library's state cannot
// be set back to "nothing selected".
const byeFolderGone = "The selected folder is there no more"

func errLimit(text string) error { return no(imap.ResponseCodeLimit, text) }

// reply turns any error into what the client is told. What is not the client's
// doing is logged and answered as temporary.
func (s *session) reply(command string, err error) error {
	var e *imap.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, mailbox.ErrNotFound):
		switch command {
		case "FETCH", "STORE", "SEARCH", "EXPUNGE", "COPY", "MOVE":
			// Another session has deleted or renamed the selected folder.
			s.f.sayBye(byeFolderGone)
		}
		return errNoFolder()
	case errors.Is(err, mailbox.ErrExists):
		return no(imap.ResponseCodeAlreadyExists, "There is a folder of this name")
	case errors.Is(err, mailbox.ErrRefused):
		return no(imap.ResponseCodeNoPerm, "This is not allowed here")
	case errors.Is(err, mailbox.ErrTooManyKeywords):
		return errLimit("This message would have too many keywords")
	case errors.Is(err, mailbox.ErrNoSpace):
		return no(imap.ResponseCodeUnavailable, "There is no room on the server's disk, try again later")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return no(imap.ResponseCodeUnavailable, "The server is stopping")
	}
	if !s.f.broken() { // a client that has gone is no fault
		s.srv.opt.Events.IMAPFault(command, err)
	}
	return no(imap.ResponseCodeUnavailable, "A fault of the server, try again later")
}

func isExists(err error) bool { return errors.Is(err, mailbox.ErrExists) }

const someGone = "Some of the messages have been removed meanwhile"

// errSomeGone ends a command by sequence numbers that met messages which another
// session has removed (RFC 5530 section 3). The others are done, which is no
// failure; with none left it is one.
func errSomeGone(all bool) error {
	if all {
		return no("EXPUNGEISSUED", someGone)
	}
	return &imap.Error{Type: imap.StatusResponseTypeOK, Code: "EXPUNGEISSUED", Text: both(someGone)}
}

package providersim

import (
	"errors"
	"slices"

	"github.com/emersion/go-imap/v2"            // types of the session interface
	"github.com/emersion/go-imap/v2/imapserver" // as above
)

// folderError turns an account's error into the answer of IMAP.
func folderError(err error) error {
	code := imap.ResponseCodeCannot
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNoFolder):
		code = imap.ResponseCodeNonExistent
	case errors.Is(err, errFolderExists):
		code = imap.ResponseCodeAlreadyExists
	case errors.Is(err, errHasChildren):
		code = imap.ResponseCodeHasChildren
	case errors.Is(err, errTooMany):
		code = imap.ResponseCodeLimit
	}
	return no(code, err.Error())
}

func (s *imapSession) Create(name string, _ *imap.CreateOptions) error {
	return folderError(s.user.create(name))
}

func (s *imapSession) Delete(name string) error { return folderError(s.user.remove(name)) }

func (s *imapSession) Rename(from, to string, _ *imap.RenameOptions) error {
	return folderError(s.user.rename(from, to))
}

func (s *imapSession) Subscribe(name string) error {
	if s.user.folder(name) == nil {
		return noFolder()
	}
	s.user.subscribe(name)
	return nil
}

func (s *imapSession) Unsubscribe(name string) error {
	s.user.unsubscribe(name)
	return nil
}

// Move takes messages to another folder (RFC 6851).
func (s *imapSession) Move(w *imapserver.MoveWriter, set imap.NumSet, name string) error {
	if s.readOnly {
		return readOnly()
	}
	named := map[uint32]bool{}
	for _, m := range s.choose(set) {
		named[m.UID] = true
	}
	pairs, validity, err := s.user.move(s.selected, name, func(uid uint32) bool { return named[uid] })
	if err != nil {
		return no(imap.ResponseCodeTryCreate, "no such folder")
	}
	if len(pairs) == 0 {
		return nil // an empty COPYUID breaks the library's answer
	}
	data := &imap.CopyData{UIDValidity: validity}
	for _, p := range pairs {
		data.SourceUIDs.AddNum(imap.UID(p[0]))
		data.DestUIDs.AddNum(imap.UID(p[1]))
	}
	if err := w.WriteCopyData(data); err != nil {
		return err
	}
	for i := len(s.view) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(pairs, func(p [2]uint32) bool { return p[0] == s.view[i].uid }) {
			continue
		}
		if err := w.WriteExpunge(uint32(i + 1)); err != nil {
			return err
		}
		s.view = slices.Delete(s.view, i, i+1)
	}
	s.p.notify()
	return nil
}

var (
	_ imapserver.SessionMove      = (*imapSession)(nil)
	_ imapserver.SessionNamespace = (*imapSession)(nil)
)

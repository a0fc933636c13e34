package providersim

import (
	"slices"

	"github.com/emersion/go-imap/v2"            // types of the session interface
	"github.com/emersion/go-imap/v2/imapserver" // as above
)

func readOnly() error { return no(imap.ResponseCodeCannot, "folder is open for reading only") }

// changeFlags changes the flags of one message and keeps the view in step, so
// that Poll does not tell the client what it did itself.
func (s *imapSession) changeFlags(m chosen, change func([]string) []string) []string {
	flags, ok := s.selected.setFlags(map[uint32]bool{m.UID: true}, change)[m.UID]
	if !ok {
		return m.Flags // expunged meanwhile
	}
	s.view[m.seq-1].flags = flags
	return flags
}

func (s *imapSession) Store(w *imapserver.FetchWriter, set imap.NumSet, change *imap.StoreFlags, _ *imap.StoreOptions) error {
	if s.readOnly {
		return readOnly()
	}
	given := flagStrings(change.Flags)
	for _, m := range s.choose(set) {
		m.Flags = s.changeFlags(m, func(old []string) []string {
			switch change.Op {
			case imap.StoreFlagsAdd:
				for _, f := range given {
					if !hasFlag(old, f) {
						old = append(old, f)
					}
				}
				return old
			case imap.StoreFlagsDel:
				return slices.DeleteFunc(old, func(f string) bool { return hasFlag(given, f) })
			}
			return slices.Clone(given)
		})
		if change.Silent {
			continue
		}
		_, byUID := set.(imap.UIDSet)
		if err := s.fetchOne(w, m, &imap.FetchOptions{UID: byUID}, true); err != nil {
			return err
		}
	}
	return nil
}

// Expunge also serves CLOSE, which the library sends here even after EXAMINE.
func (s *imapSession) Expunge(w *imapserver.ExpungeWriter, uids *imap.UIDSet) error {
	if s.readOnly {
		return nil
	}
	among := func(uint32) bool { return true }
	if uids != nil {
		in := s.matcher(*uids)
		among = func(uid uint32) bool { return in(0, uid) }
	}
	s.selected.expunge(among)
	left := map[uint32]bool{}
	for _, m := range s.selected.state().messages {
		left[m.UID] = true
	}
	for i := len(s.view) - 1; i >= 0; i-- {
		if left[s.view[i].uid] {
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

func (s *imapSession) Copy(set imap.NumSet, name string) (*imap.CopyData, error) {
	f := s.user.folder(name)
	if f == nil {
		return nil, no(imap.ResponseCodeTryCreate, "no such folder")
	}
	list := s.choose(set)
	if len(list) == 0 {
		return nil, nil // an empty COPYUID breaks the library's answer
	}
	data := &imap.CopyData{}
	for _, m := range list {
		uid, validity := f.add(m.Raw, m.At, m.Flags)
		data.UIDValidity = validity
		data.SourceUIDs.AddNum(imap.UID(m.UID))
		data.DestUIDs.AddNum(imap.UID(uid))
	}
	s.p.notify()
	return data, nil
}

package imapd

import (
	"errors"
	"maps"
	"math"
	"sync"

	"pecgate/mailbox"
)

// Flags of an archive are those of the entries that its lines show, and change
// where these stand. An open period follows the feeds of these folders.

// feeds is up to which mod-sequence the flags of each folder are known.
type feeds map[mailbox.FolderID]uint64

// follow adds the folders of lines that are not followed yet, from now on.
func (s *session) follow(known feeds, lines []mailbox.ArchiveLine) (feeds, error) {
	out := maps.Clone(known)
	if out == nil {
		out = feeds{}
	}
	for _, l := range lines {
		if _, ok := out[l.Place.Folder]; ok {
			continue
		}
		ch, err := s.srv.opt.Store.Changes(s.ctx, l.Place.Folder, mailbox.Viewer{Person: s.person}, math.MaxUint64)
		if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return nil, err
		}
		out[l.Place.Folder] = ch.ModSeq
	}
	return out, nil
}

// archiveFlags are the messages of an open period whose flags may have changed,
// and the feeds up to which that was looked at.
func (s *session) archiveFlags(a *archived) (flags []mailbox.UID, reached feeds, err error) {
	changed := map[mailbox.Place]bool{}
	all := map[mailbox.FolderID]bool{} // the feed does not reach back far enough
	reached = maps.Clone(a.known)
	for folder, since := range a.known {
		// Which lines are seen has been judged; the scope says nothing more here.
		ch, err := s.srv.opt.Store.Changes(s.ctx, folder, mailbox.Viewer{Person: s.person}, since)
		if errors.Is(err, mailbox.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		reached[folder] = ch.ModSeq
		if ch.Resync {
			all[folder] = true
		}
		for _, uid := range ch.Flags {
			changed[mailbox.Place{Folder: folder, UID: uid}] = true
		}
	}
	if len(changed)+len(all) == 0 {
		return nil, reached, nil
	}
	for _, l := range a.lines {
		if changed[l.Place] || all[l.Place.Folder] {
			flags = append(flags, l.UID)
		}
	}
	return flags, reached, nil
}

// watch wakes whoever idles in a view; end ends it.
func (s *session) watch(v *view) (wake <-chan struct{}, end func()) {
	store := s.srv.opt.Store
	if v.archive == nil {
		return store.Watch(v.folder)
	}
	any, done := make(chan struct{}, 1), make(chan struct{})
	var wg sync.WaitGroup
	one := func(folder mailbox.FolderID) {
		w, stop := store.Watch(folder)
		wg.Go(func() {
			defer stop()
			for {
				select {
				case <-done:
					return
				case <-w:
				}
				select {
				case any <- struct{}{}:
				default: // one wake-up stands for all
				}
			}
		})
	}
	one(v.folder)
	for folder := range v.archive.known {
		one(folder)
	}
	return any, func() {
		close(done)
		wg.Wait()
	}
}

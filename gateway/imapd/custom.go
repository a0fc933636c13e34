package imapd

import (
	"strings"

	"github.com/emersion/go-imap/v2" // options of CREATE and RENAME

	"pecgate/mailbox"
)

// Create makes a folder of the person's own, with the levels above it (RFC 9051
// section 6.3.4).
func (s *session) Create(name string, o *imap.CreateOptions) error {
	if err := s.begin(); err != nil {
		return err
	}
	if o != nil && len(o.SpecialUse) > 0 {
		return no("USEATTR", "The special folders are there already") // RFC 6154 section 3
	}
	// A delimiter at the end says that folders below will follow.
	name = strings.TrimSuffix(name, delim)
	if n, err := s.lookup(name); err == nil && n.folder {
		return s.reply("CREATE", mailbox.ErrExists)
	} else if err != nil && !isNoFolder(err) {
		return s.reply("CREATE", err)
	} else if err == nil && !n.folder && !s.isOwnLevel(n) {
		return errReservedName()
	}
	k, err := s.newKey(name)
	if err == nil {
		err = s.make(k)
	}
	return s.reply("CREATE", err)
}

// isOwnLevel tells whether a level without a folder is one above the person's
// own folders.
func (s *session) isOwnLevel(n node) bool {
	_, err := s.newKey(n.name)
	return err == nil
}

// make makes a folder and what is missing above it.
func (s *session) make(k mailbox.FolderKey) error {
	names, err := s.srv.opt.Store.CustomFolders(s.ctx, k.Box, s.person)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, n := range names {
		have[n] = true
	}
	levels := parents(k.Name)
	if len(names)+len(levels)+1 > maxCustom {
		return errLimit("You have too many folders")
	}
	for _, up := range levels {
		if have[up] {
			continue
		}
		if err := s.srv.opt.Store.CreateFolder(s.ctx, s.customKey(k.Box, up)); err != nil {
			return err
		}
	}
	return s.srv.opt.Store.CreateFolder(s.ctx, k)
}

// Delete takes a folder of the person's own away (RFC 9051 section 6.3.5). Its
// messages stay in the store.
func (s *session) Delete(name string) error {
	if err := s.begin(); err != nil {
		return err
	}
	n, err := s.lookup(name)
	switch {
	case err != nil:
		return s.reply("DELETE", err)
	case !n.custom():
		return errReservedName()
	}
	below, err := s.inside(n.key)
	if err != nil {
		return s.reply("DELETE", err)
	}
	if len(below) > 0 {
		return no(imap.ResponseCodeHasChildren, "There are folders below this one")
	}
	return s.reply("DELETE", s.srv.opt.Store.DeleteFolder(s.ctx, n.key))
}

// inside lists the person's folders below one.
func (s *session) inside(k mailbox.FolderKey) ([]string, error) {
	names, err := s.srv.opt.Store.CustomFolders(s.ctx, k.Box, s.person)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		if strings.HasPrefix(n, k.Name+delim) {
			out = append(out, n)
		}
	}
	return out, nil
}

// Rename gives a folder of the person's own, and those below it, another name
// in the same tree (RFC 9051 section 6.3.6).
func (s *session) Rename(from, to string, _ *imap.RenameOptions) error {
	if err := s.begin(); err != nil {
		return err
	}
	n, err := s.lookup(from)
	switch {
	case err != nil:
		return s.reply("RENAME", err)
	case !n.custom():
		return errReservedName()
	}
	to = strings.TrimSuffix(to, delim)
	if _, err := s.lookup(to); err == nil {
		return s.reply("RENAME", mailbox.ErrExists)
	} else if !isNoFolder(err) {
		return s.reply("RENAME", err)
	}
	k, err := s.newKey(to)
	if err != nil {
		return s.reply("RENAME", err)
	}
	if k.Box != n.key.Box || strings.HasPrefix(k.Name, n.key.Name+delim) {
		return no(imap.ResponseCodeCannot, "A folder cannot be moved there")
	}
	return s.reply("RENAME", s.rename(n.key, k))
}

func (s *session) rename(from, to mailbox.FolderKey) error {
	below, err := s.inside(from)
	if err != nil {
		return err
	}
	for _, name := range below {
		if !goodName(to.Name + strings.TrimPrefix(name, from.Name)) {
			return errBadName()
		}
	}
	if up := parents(to.Name); len(up) > 0 {
		err := s.make(s.customKey(to.Box, up[len(up)-1]))
		if err != nil && !isExists(err) {
			return err
		}
	}
	moves := []mailbox.FolderMove{{From: from, To: to}}
	for _, name := range below {
		moves = append(moves, mailbox.FolderMove{
			From: s.customKey(from.Box, name), To: s.customKey(to.Box, to.Name+strings.TrimPrefix(name, from.Name)),
		})
	}
	if len(moves) > mailbox.MaxMoves {
		return errLimit("There are too many folders below this one to rename it: move some first")
	}
	if err := s.srv.opt.Store.RenameFolders(s.ctx, moves...); err != nil {
		return err
	}
	for _, m := range moves {
		if s.v != nil && s.v.key == m.From {
			s.v.key = m.To // it stays selected
			s.hold(s.v)
			break
		}
	}
	return nil
}

// Subscribe and Unsubscribe note what the person wants to see (RFC 9051
// sections 6.3.7 and 6.3.8).
func (s *session) Subscribe(name string) error { return s.subscribe(name, true) }

// Unsubscribe takes a subscription away, also of a folder that is gone.
func (s *session) Unsubscribe(name string) error { return s.subscribe(name, false) }

func (s *session) subscribe(name string, on bool) error {
	if err := s.begin(); err != nil {
		return err
	}
	n, err := s.lookup(name)
	if err == nil && on && n.period != nil {
		return no(imap.ResponseCodeCannot, "The archive is never subscribed: show all folders")
	}
	if isNoFolder(err) && !on {
		if k, kerr := s.newKey(name); kerr == nil {
			n, err = node{id: keyID(k)}, nil
		}
	}
	if err != nil {
		return s.reply("SUBSCRIBE", err)
	}
	return s.reply("SUBSCRIBE", s.srv.opt.Store.Subscribe(s.ctx, s.person, n.id, on))
}

package imapd

import (
	"fmt"
	"strings"

	"github.com/emersion/go-imap/v2" // response codes

	"pecgate/mailbox"
)

// Roots of quota (RFC 9208). Each PEC mailbox has two: what the gateway keeps of
// it, and what stands at its provider.
const (
	gatewayRoot  = "Gateway/"
	providerRoot = "Provider/"
)

// Occupied is how full a mailbox is at its provider, in bytes, as the provider
// told when it was asked last. Known is false until it has told anything.
type Occupied struct {
	Used, Limit int64
	Known       bool
}

// getQuotaRoot names the roots of a folder and how full they are (RFC 9208
// section 4.1.3). Only who sees all messages of a mailbox is told their size; a
// folder of the person's own has no root.
func (s *session) getQuotaRoot(a *arguments) error {
	name := a.mailbox()
	if err := a.end(); err != nil {
		return err
	}
	n, err := s.lookup(name)
	if err != nil {
		return err
	}
	var roots []string
	if box := n.key.Box; n.folder && s.seesAll(box) {
		roots = s.roots(box)
	}
	line := "* QUOTAROOT " + s.quoteName(n.name)
	for _, root := range roots {
		line += " " + quote(root)
	}
	var quotas []string
	for _, root := range roots {
		q, err := s.quota(root)
		if err != nil {
			return err
		}
		quotas = append(quotas, q)
	}
	return s.f.append([]byte(strings.Join(append([]string{line}, quotas...), "\r\n") + "\r\n"))
}

// getQuota tells one root (RFC 9208 section 4.1.2).
func (s *session) getQuota(a *arguments) error {
	root := a.astring()
	if err := a.end(); err != nil {
		return err
	}
	q, err := s.quota(root)
	if err != nil {
		return err
	}
	return s.f.append([]byte(q + "\r\n"))
}

// setQuota is refused: what limits a mailbox is the disk and the provider.
func (s *session) setQuota(*arguments) error {
	return no(imap.ResponseCodeNoPerm, "Quotas cannot be set here: the disk and the provider limit a mailbox")
}

// seesAll tells whether the person may know how much a mailbox holds.
func (s *session) seesAll(box string) bool {
	m, known := s.srv.opt.Policy().Mailbox(box)
	if !known || m.Address != box {
		return false
	}
	scope, ok := s.access(mailbox.FolderKey{Box: box, Role: mailbox.RoleInbox})
	return ok && scope == mailbox.ScopeAll
}

func (s *session) roots(box string) []string {
	roots := []string{gatewayRoot + box}
	if s.srv.opt.Occupied != nil && s.srv.opt.Occupied(box).Known {
		roots = append(roots, providerRoot+box)
	}
	return roots
}

// quota is the answer for one root. One that may not be seen is one that does
// not exist.
func (s *session) quota(root string) (string, error) {
	if box, ok := strings.CutPrefix(root, gatewayRoot); ok && s.seesAll(box) {
		var u mailbox.Usage
		err := s.srv.opt.Store.View(s.ctx, func(tx *mailbox.Tx) (err error) {
			u, err = tx.Usage(box)
			return err
		})
		if err != nil {
			return "", err
		}
		space, err := s.srv.opt.Store.Space()
		if err != nil {
			return "", err
		}
		// The limit is what the disk has left for all mailboxes together.
		limit := u.Bytes + max(space.Free-space.Floor, 0)
		return fmt.Sprintf("* QUOTA %s (STORAGE %d %d)", quote(root), kib(u.Bytes), kib(limit)), nil
	}
	if box, ok := strings.CutPrefix(root, providerRoot); ok && s.seesAll(box) && s.srv.opt.Occupied != nil {
		if q := s.srv.opt.Occupied(box); q.Known {
			return fmt.Sprintf("* QUOTA %s (STORAGE %d %d)", quote(root), kib(q.Used), kib(q.Limit)), nil
		}
	}
	return "", no(imap.ResponseCodeNonExistent, "No such quota root")
}

// kib counts in units of 1,024 bytes, rounded up (RFC 9208 section 5.1).
func kib(n int64) int64 { return n/1024 + min(n%1024, 1) }

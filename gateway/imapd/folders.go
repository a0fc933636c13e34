package imapd

import (
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2" // the protocol's words: attributes, response codes

	"pecgate/mailbox"
	"pecgate/policy"
)

// access says what the person sees of a folder now, by the rights table of
// interface.md. ok is false for a folder that they do not see at all.
func (s *session) access(k mailbox.FolderKey) (scope mailbox.Scope, ok bool) {
	p := s.srv.opt.Policy()
	if _, known := p.User(s.id.User); !known {
		return 0, false
	}
	if s.id.Box != "" && k.Box != s.id.Box {
		return 0, false
	}
	if s.archiveLogin() && !k.Shared() && k.Role != mailbox.RoleInbox {
		return 0, false
	}
	if k.Box == "" {
		return mailbox.ScopeAll, k.Owner == s.person
	}
	box, known := p.Mailbox(k.Box)
	if !known {
		return 0, false
	}
	r := p.Rights(s.id.User, k.Box, s.srv.now())
	if !r.Reads() {
		return 0, false
	}
	if !k.Shared() {
		return mailbox.ScopeAll, k.Owner == s.person && (k.Role != mailbox.RoleToConfirm || r.Writes() || r.Approve)
	}
	return shared(k.Role, r, box)
}

// viewer is the person looking at a folder; ok is false where they do not see
// it.
func (s *session) viewer(k mailbox.FolderKey) (v mailbox.Viewer, ok bool) {
	v.Person = s.person
	if v.Scope, ok = s.access(k); !ok || !k.Shared() {
		return v, ok
	}
	if box, known := s.srv.opt.Policy().Mailbox(k.Box); known {
		v.SharedSeen, v.Admin = box.SharedSeen, box.Admin == s.id.User
		v.Delete = s.srv.opt.Policy().Rights(s.id.User, k.Box, s.srv.now()).Delete
	}
	return v, true
}

func (s *session) sees(k mailbox.FolderKey) bool {
	_, ok := s.access(k)
	return ok
}

// Shared says what a member with some rights sees of a folder of a mailbox; of all
// else that shows messages too.
func Shared(role mailbox.Role, r policy.Rights, box *policy.Mailbox) (mailbox.Scope, bool) {
	return shared(role, r, box)
}

func shared(role mailbox.Role, r policy.Rights, box *policy.Mailbox) (mailbox.Scope, bool) {
	switch role {
	case mailbox.RoleInbox:
		return mailbox.ScopeAll, r.Receive
	case mailbox.RoleAnomalies:
		// What is between providers only has the administrator as its audience.
		return mailbox.ScopeOwnOrCommon, r.Anomalies
	case mailbox.RoleSent, mailbox.RoleOutcomes:
		if r.Receive {
			return mailbox.ScopeAll, true
		}
		return mailbox.ScopeOwn, r.Writes()
	case mailbox.RoleAcceptance, mailbox.RoleOrdinaryAcceptance, mailbox.RoleDelivery, mailbox.RoleErrors:
		switch {
		case r.Receive && (box.ReceiptsTo == "receivers" || box.ReceiptsTo == "both"):
			return mailbox.ScopeAll, true
		case r.Receive:
			return mailbox.ScopeOwnOrCommon, true
		}
		return mailbox.ScopeOwn, r.Writes()
	case mailbox.RoleToApprove, mailbox.RoleApproved:
		return approvalScope(r)
	case mailbox.RoleArchive:
		return mailbox.ScopeAll, r.Any() // each folder's scope holds inside; see sight
	}
	return 0, false
}

// boxes lists the PEC mailboxes whose trees the session shows.
func (s *session) boxes() []*policy.Mailbox {
	all := s.srv.opt.Policy().Trees(s.id.User, s.srv.now())
	if s.id.Box == "" {
		return all
	}
	return slices.DeleteFunc(all, func(m *policy.Mailbox) bool { return !strings.EqualFold(m.Address, s.id.Box) })
}

// tree returns every name that the session sees now but those of archives,
// parents before children.
func (s *session) tree() ([]node, error) {
	if s.id.Box != "" {
		if len(s.boxes()) == 0 {
			return nil, nil
		}
		return s.boxTree(nil, s.id.Box, "")
	}
	if _, known := s.srv.opt.Policy().User(s.id.User); !known {
		return nil, nil
	}
	l := s.srv.labels
	own := func(name string, role mailbox.Role, use imap.MailboxAttr) node {
		k := mailbox.FolderKey{Owner: s.person, Role: role}
		return node{name: name, id: keyID(k), folder: true, key: k, use: use}
	}
	nodes := []node{
		own("INBOX", mailbox.RoleInbox, ""),
		own(l.sent, mailbox.RoleSent, imap.MailboxAttrSent),
		own(l.drafts, mailbox.RoleDrafts, imap.MailboxAttrDrafts),
		own(l.trash, mailbox.RoleTrash, imap.MailboxAttrTrash),
	}
	nodes, err := s.customTree(nodes, "", "")
	if err != nil {
		return nil, err
	}
	boxes := s.boxes()
	if len(boxes) > 0 {
		nodes = append(nodes, node{name: treeName, id: levelID("", treeName)})
	}
	for _, m := range boxes {
		name := treeName + delim + m.Address
		nodes = append(nodes, node{name: name, id: levelID(m.Address, "")})
		if nodes, err = s.boxTree(nodes, m.Address, name+delim); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// boxTree appends the tree of one PEC mailbox; at is what stands before its
// names. With at "" the inbox of the tree is INBOX.
func (s *session) boxTree(nodes []node, box, at string) ([]node, error) {
	l := s.srv.labels
	root := at == ""
	if s.archiveLogin() {
		k := mailbox.FolderKey{Box: box, Owner: s.person, Role: mailbox.RoleInbox}
		return append(nodes, node{name: "INBOX", id: keyID(k), folder: true, key: k}), nil // it always exists
	}
	add := func(name string, owner mailbox.Person, role mailbox.Role, use imap.MailboxAttr) {
		k := mailbox.FolderKey{Box: box, Owner: owner, Role: role}
		if _, ok := s.access(k); ok {
			if !root {
				use = "" // special use stands at the root only (interface.md, "Folders over IMAP")
			}
			nodes = append(nodes, node{name: at + name, id: keyID(k), folder: true, key: k, use: use})
		}
	}
	inbox := l.inbox
	if root {
		inbox = "INBOX"
	}
	before := len(nodes)
	add(inbox, 0, mailbox.RoleInbox, "")
	if root && len(nodes) == before {
		// INBOX always exists (RFC 9051 section 5.1): an own, empty one where
		// the shared one may not be seen.
		add(inbox, s.person, mailbox.RoleInbox, "")
	}
	if k := (mailbox.FolderKey{Box: box, Role: mailbox.RoleInbox}); s.sees(k) {
		nodes = append(nodes, node{name: at + l.contents, id: levelID(box, "contents"), folder: true, key: k, inner: true})
	}
	add(l.sent, 0, mailbox.RoleSent, imap.MailboxAttrSent)
	if _, ok := s.access(mailbox.FolderKey{Box: box, Role: mailbox.RoleAcceptance}); ok {
		nodes = append(nodes, node{name: at + l.receipts, id: levelID(box, "receipts")})
		add(l.receipts+delim+l.acceptance, 0, mailbox.RoleAcceptance, "")
		add(l.receipts+delim+l.ordinary, 0, mailbox.RoleOrdinaryAcceptance, "")
		add(l.receipts+delim+l.delivery, 0, mailbox.RoleDelivery, "")
		add(l.receipts+delim+l.failing, 0, mailbox.RoleErrors, "")
	}
	add(l.anomalies, 0, mailbox.RoleAnomalies, "")
	add(l.outcomes, 0, mailbox.RoleOutcomes, "")
	if s.confirms(box) {
		add(l.toConfirm, s.person, mailbox.RoleToConfirm, "")
	}
	add(l.toApprove, 0, mailbox.RoleToApprove, "")
	add(l.approved, 0, mailbox.RoleApproved, "")
	add(l.drafts, s.person, mailbox.RoleDrafts, imap.MailboxAttrDrafts)
	add(l.trash, s.person, mailbox.RoleTrash, imap.MailboxAttrTrash)
	return s.customTree(nodes, box, at)
}

// customTree appends the folders that the person made, and the levels above
// them that are no folders.
func (s *session) customTree(nodes []node, box, at string) ([]node, error) {
	names, err := s.srv.opt.Store.CustomFolders(s.ctx, box, s.person)
	if err != nil {
		return nil, err
	}
	have := make(map[string]bool, len(names))
	for _, name := range names {
		have[name] = true
	}
	for _, name := range names {
		for _, up := range parents(name) {
			if !have[up] {
				have[up] = true
				nodes = append(nodes, node{name: at + up, id: levelID(box, up)})
			}
		}
		k := s.customKey(box, name)
		nodes = append(nodes, node{name: at + name, id: keyID(k), folder: true, key: k})
	}
	return nodes, nil
}

func (s *session) customKey(box, name string) mailbox.FolderKey {
	return mailbox.FolderKey{Box: box, Owner: s.person, Role: mailbox.RoleCustom, Name: name}
}

// lookup finds a name in the tree. What is not there and what may not be seen
// are the same: errNoFolder.
func (s *session) lookup(name string) (node, error) {
	if n, ours, err := s.findArchive(name); ours {
		return n, err
	}
	nodes, err := s.tree()
	if err != nil {
		return node{}, err
	}
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	for _, n := range nodes {
		if n.name == name {
			return n, nil
		}
	}
	return node{}, errNoFolder()
}

// lookupFolder is lookup for names that can hold messages.
func (s *session) lookupFolder(name string) (node, error) {
	n, err := s.lookup(name)
	if err == nil && !n.folder {
		err = errNoFolder()
	}
	return n, err
}

// target is lookupFolder for APPEND, COPY and MOVE, which tell a client when it
// may make the folder (RFC 9051 section 6.3.12).
func (s *session) target(name string) (node, error) {
	n, err := s.lookupFolder(name)
	if !isNoFolder(err) {
		return n, err
	}
	if _, kerr := s.newKey(name); kerr == nil {
		return node{}, errTryCreate()
	}
	return node{}, err
}

// newKey says which folder a person would make under a name. Names below the
// PEC trees that the session does not see answer as missing ones.
func (s *session) newKey(name string) (mailbox.FolderKey, error) {
	if s.archiveLogin() {
		return mailbox.FolderKey{}, s.errArchive()
	}
	box, rest := s.id.Box, name
	if level, below, cut := strings.Cut(name, delim); s.id.Box == "" && cut && strings.EqualFold(level, treeName) {
		address, inside, _ := strings.Cut(below, delim)
		if level != treeName || inside == "" || !slices.ContainsFunc(s.boxes(), func(m *policy.Mailbox) bool { return m.Address == address }) {
			return mailbox.FolderKey{}, errNoFolder()
		}
		box, rest = address, inside
	}
	if !goodName(rest) {
		return mailbox.FolderKey{}, errBadName()
	}
	if first, _, _ := strings.Cut(rest, delim); reserved(first, box != "") {
		if strings.EqualFold(first, treeName) && first != rest {
			return mailbox.FolderKey{}, errNoFolder()
		}
		return mailbox.FolderKey{}, errReservedName()
	}
	return s.customKey(box, rest), nil
}

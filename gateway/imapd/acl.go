package imapd

import (
	"strings"

	"github.com/emersion/go-imap/v2" // response codes

	"pecgate/policy"
)

// Rights on folders as RFC 4314 writes them. They follow from policy.yaml and
// cannot be changed from here.

// rights are the letters of what a person may do with a name of the tree
// (RFC 4314 section 2.1).
func (s *session) rights(n node) string {
	switch {
	case !n.folder:
		return "l"
	case n.period != nil:
		return "lr"
	case n.custom():
		return "lrswikxte"
	case n.own():
		return "lrswite"
	}
	return "lrswte" // flags; a deleted message is hidden from the person
}

// myRights answers MYRIGHTS (RFC 4314 section 3.5).
func (s *session) myRights(a *arguments) error {
	n, err := s.named(a)
	if err != nil {
		return err
	}
	return s.f.append([]byte("* MYRIGHTS " + s.quoteName(n.name) + " " + s.rights(n) + "\r\n"))
}

// named reads the name of a folder, the only argument left, and finds it.
func (s *session) named(a *arguments) (node, error) {
	name := a.mailbox()
	if err := a.end(); err != nil {
		return node{}, err
	}
	return s.lookup(name)
}

// getACL answers GETACL (RFC 4314 section 3.3): of a folder of the person's
// own, and of a shared one to the administrator of its mailbox.
func (s *session) getACL(a *arguments) error {
	n, err := s.named(a)
	if err != nil {
		return err
	}
	line := "* ACL " + s.quoteName(n.name)
	if !n.folder || n.personal() {
		return s.f.append([]byte(line + " " + quote(s.id.User) + " " + s.rights(n) + "\r\n"))
	}
	box, err := s.administered(n)
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for _, m := range box.Members {
		r := s.srv.opt.Policy().Rights(m.User, box.Address, s.srv.now())
		// Several lines may speak of one person.
		if _, ok := shared(n.key.Role, r, box); ok && r.Reads() && !told[strings.ToLower(m.User)] {
			told[strings.ToLower(m.User)] = true
			line += " " + quote(m.User) + " " + s.rights(n)
		}
	}
	return s.f.append([]byte(line + "\r\n"))
}

// listRights answers LISTRIGHTS (RFC 4314 section 3.4): what policy gives is
// given always, and nothing else can be.
func (s *session) listRights(a *arguments) error {
	name, who := a.mailbox(), a.astring()
	if err := a.end(); err != nil {
		return err
	}
	n, err := s.lookup(name)
	if err != nil {
		return err
	}
	given := `""`
	if !n.folder || n.personal() {
		if strings.EqualFold(who, s.id.User) {
			given = s.rights(n)
		}
	} else {
		box, err := s.administered(n)
		if err != nil {
			return err
		}
		r := s.srv.opt.Policy().Rights(who, box.Address, s.srv.now())
		if _, ok := shared(n.key.Role, r, box); ok && r.Reads() {
			given = s.rights(n)
		}
	}
	return s.f.append([]byte("* LISTRIGHTS " + s.quoteName(n.name) + " " + quote(who) + " " + given + "\r\n"))
}

// setACL answers SETACL and DELETEACL. The folder is looked for first, so that
// one that may not be seen answers as a missing one.
func (s *session) setACL(a *arguments) error {
	name := a.mailbox()
	if a.bad {
		return badCommand("Syntax error")
	}
	if _, err := s.lookup(name); err != nil {
		return err
	}
	return no(imap.ResponseCodeNoPerm, "policy.yaml rules who may do what; ask the administrator of the mailbox")
}

// administered is the PEC mailbox of a shared folder, for its administrator.
func (s *session) administered(n node) (*policy.Mailbox, error) {
	box, ok := s.srv.opt.Policy().Mailbox(n.key.Box)
	if !ok {
		return nil, errNoFolder()
	}
	if box.Admin != s.id.User {
		return nil, no(imap.ResponseCodeNoPerm, "Only the administrator of the mailbox may see that")
	}
	return box, nil
}

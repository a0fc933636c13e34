package imapd

import (
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"            // options and answers of LIST
	"github.com/emersion/go-imap/v2/imapserver" // writes them
)

// Limits of one LIST.
const (
	maxPatterns = 32
	maxPattern  = 1000 // bytes
)

// List tells the names of folders (RFC 9051 section 6.3.9, LSUB of RFC 3501
// section 6.3.9).
func (s *session) List(w *imapserver.ListWriter, ref string, patterns []string, o *imap.ListOptions) error {
	if err := s.begin(); err != nil {
		return err
	}
	if len(patterns) == 0 {
		// The client asks for the delimiter only.
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: rune(delim[0])})
	}
	if len(patterns) > maxPatterns {
		return errLimit("Too many patterns")
	}
	var ms []matcher
	for _, p := range patterns {
		if len(ref)+len(p) > maxPattern {
			return errLimit("This pattern is too long")
		}
		ms = append(ms, newMatcher(ref+p))
	}
	l, err := s.listing(ms)
	if err != nil {
		return s.reply("LIST", err)
	}
	for i, n := range l.nodes {
		if !l.named[i] {
			continue
		}
		data := l.entry(i, o, s.f.cur.name == "LSUB")
		if data == nil {
			continue
		}
		if o.ReturnStatus != nil && n.folder {
			if data.Status, err = s.count(n, o.ReturnStatus.Size || o.ReturnStatus.DeletedStorage); err != nil && !isNoFolder(err) {
				return s.reply("LIST", err)
			}
		}
		if err := w.WriteList(data); err != nil {
			return err
		}
	}
	return nil
}

// listing is the tree with what LIST tells of each name.
type listing struct {
	nodes      []node
	named      []bool // a pattern fits
	subscribed []bool
	children   []bool // there is a name below
	below      []bool // there is a subscribed name below
	unnamed    []bool // there is one below that no pattern fits
	missing    []bool // only subscribed, not there (any more)
}

func (s *session) listing(patterns []matcher) (*listing, error) {
	nodes, err := s.tree()
	if err != nil {
		return nil, err
	}
	for _, m := range s.boxes() {
		if at := s.at(m); s.mayListArchive(patterns, at) {
			if nodes, err = s.archiveTree(nodes, m.Address, at); err != nil {
				return nil, err
			}
		}
	}
	chosen, err := s.srv.opt.Store.Subscriptions(s.ctx, s.person)
	if err != nil {
		return nil, err
	}
	l := &listing{nodes: nodes}
	known := map[string]bool{}
	for _, n := range nodes {
		known[n.id] = true
	}
	l.missing = make([]bool, len(nodes))
	for _, n := range s.missing(chosen, known) {
		l.nodes = append(l.nodes, n)
		l.missing = append(l.missing, true)
	}
	for _, list := range []*[]bool{&l.named, &l.subscribed, &l.children, &l.below, &l.unnamed} {
		*list = make([]bool, len(l.nodes))
	}
	place := make(map[string]int, len(l.nodes))
	for i, n := range l.nodes {
		place[n.name] = i
		l.named[i] = slices.ContainsFunc(patterns, func(m matcher) bool { return m.match(n.name) })
		on, said := chosen[n.id]
		// The gateway's folders are subscribed until the person says otherwise.
		l.subscribed[i] = on || !said && !n.custom() && !n.inner && n.period == nil && n.folder
	}
	for i, n := range l.nodes {
		for _, up := range parents(n.name) {
			if k, ok := place[up]; ok {
				l.children[k] = l.children[k] || !l.missing[i]
				l.below[k] = l.below[k] || l.subscribed[i]
				l.unnamed[k] = l.unnamed[k] || l.subscribed[i] && !l.named[i]
			}
		}
	}
	return l, nil
}

// missing are the names that the person subscribed and that are gone: a
// subscription outlives its folder (RFC 9051 section 6.3.7).
func (s *session) missing(chosen map[string]bool, known map[string]bool) []node {
	var out []node
	for id, on := range chosen {
		box, rest, _ := strings.Cut(id, delim)
		role, name, _ := strings.Cut(rest, delim)
		k := s.customKey(box, name)
		if !on || known[id] || role != string(k.Role) || name == "" {
			continue
		}
		if _, ok := s.access(k); !ok {
			continue
		}
		if s.id.Box == "" && box != "" {
			name = strings.Join([]string{treeName, box, name}, delim)
		}
		out = append(out, node{name: name, id: id, key: k})
	}
	slices.SortFunc(out, func(a, b node) int { return strings.Compare(a.name, b.name) })
	return out
}

// entry is the answer for one name, or nil when the options leave it out.
func (l *listing) entry(i int, o *imap.ListOptions, lsub bool) *imap.ListData {
	n := l.nodes[i]
	data := &imap.ListData{Mailbox: n.name, Delim: rune(delim[0])}
	if o.SelectSubscribed && !l.subscribed[i] {
		// A level above subscribed names is told where the client sees only
		// levels (LSUB) or asks for it (RECURSIVEMATCH), and not beside all of
		// these names (RFC 9051 section 6.3.9.6).
		if !l.unnamed[i] || !lsub && !o.SelectRecursiveMatch {
			return nil
		}
	}
	if !o.SelectSubscribed && l.missing[i] || o.SelectSpecialUse && n.use == "" {
		return nil
	}
	switch {
	case l.missing[i] && !lsub:
		data.Attrs = append(data.Attrs, imap.MailboxAttrNonExistent)
	case !n.folder, lsub && !l.subscribed[i]:
		data.Attrs = append(data.Attrs, imap.MailboxAttrNoSelect)
	}
	switch {
	case l.children[i]:
		data.Attrs = append(data.Attrs, imap.MailboxAttrHasChildren)
	case n.folder && !n.custom():
		data.Attrs = append(data.Attrs, imap.MailboxAttrNoInferiors, imap.MailboxAttrHasNoChildren)
	default:
		data.Attrs = append(data.Attrs, imap.MailboxAttrHasNoChildren)
	}
	if l.subscribed[i] && !lsub && (o.SelectSubscribed || o.ReturnSubscribed) {
		data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
	}
	if n.use != "" {
		data.Attrs = append(data.Attrs, n.use)
	}
	if o.SelectRecursiveMatch && l.below[i] {
		data.ChildInfo = &imap.ListDataChildInfo{Subscribed: true}
	}
	return data
}

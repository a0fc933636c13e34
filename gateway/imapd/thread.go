package imapd

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
)

// threaded writes the answer to THREAD (RFC 5256 section 3).
func (s *session) threaded(v *view, list []sorted, algorithm string, number func(mailbox.UID) uint32) error {
	var roots []*container
	if algorithm == "ORDEREDSUBJECT" {
		roots = bySubject(list)
	} else {
		refs, err := s.references(v, list)
		if err != nil {
			return err
		}
		roots = byReferences(list, refs)
	}
	out := []byte("* THREAD")
	if len(roots) > 0 {
		out = append(out, ' ')
	}
	for _, c := range roots {
		out = c.write(append(out, '('), number)
		out = append(out, ')')
	}
	return s.f.append(append(out, "\r\n"...))
}

// Limits of what one message says about its thread.
const (
	maxReferences = 100 // ids of one message; the last ones count
	maxThread     = 200 // levels; what is deeper stands beside
)

// references reads the ids that each message refers to, the oldest first.
func (s *session) references(v *view, list []sorted) ([][]string, error) {
	out := make([][]string, len(list))
	for i := range list {
		if err := s.ctx.Err(); err != nil {
			return nil, err
		}
		c, err := s.openIn(v, list[i].message)
		if err != nil {
			return nil, err
		}
		header, err := mime.ReadHeader(c.r, &c.ix.Root)
		c.close()
		if err != nil {
			return nil, err
		}
		for _, f := range mime.Fields(header) {
			if strings.EqualFold(f.Name, "References") {
				out[i] = ids(f.Body())
				break
			}
		}
		if len(out[i]) == 0 {
			out[i] = ids(list[i].inReplyTo)
			out[i] = out[i][:min(len(out[i]), 1)]
		}
	}
	return out, nil
}

// ids lists the message ids in a field's value, without brackets.
func ids(value string) []string {
	var out []string
	for {
		_, rest, ok := strings.Cut(value, "<")
		if !ok {
			break
		}
		id, after, ok := strings.Cut(rest, ">")
		if !ok {
			break
		}
		if id = pec.NormalizeID("<" + id + ">"); id != "" {
			out = append(out, id)
		}
		value = after
	}
	return out[max(0, len(out)-maxReferences):]
}

// container is one place in a thread; m is nil for a message that others refer
// to and that is not there.
type container struct {
	m        *sorted
	parent   *container
	children []*container
}

// under tells whether c stands below p, or is it; or so deep that nothing more
// is to be put under it.
func (c *container) under(p *container) bool {
	for range 10 * maxThread {
		if c == nil || c == p {
			return c == p
		}
		c = c.parent
	}
	return true
}

func (c *container) leave() {
	if p := c.parent; p != nil {
		p.children = slices.DeleteFunc(p.children, func(x *container) bool { return x == c })
		c.parent = nil
	}
}

func (c *container) adopt(child *container) {
	child.leave()
	child.parent = c
	c.children = append(c.children, child)
}

// date is when a thread begins to be of interest: its own date, or that of its
// first child that is there.
func (c *container) date() time.Time {
	if c.m != nil || len(c.children) == 0 {
		if c.m == nil {
			return time.Time{}
		}
		return c.m.date
	}
	return c.children[0].date()
}

// first is the message that names the subject of a thread.
func (c *container) first() *sorted {
	for c.m == nil && len(c.children) > 0 {
		c = c.children[0]
	}
	return c.m
}

// byReferences links messages by the ids in their headers (RFC 5256 section 3,
// REFERENCES).
func byReferences(list []sorted, refs [][]string) []*container {
	table := map[string]*container{}
	var all []*container
	get := func(id string) *container {
		c := table[id]
		if c == nil {
			c = &container{}
			table[id] = c
			all = append(all, c)
		}
		return c
	}
	for i := range list {
		m := &list[i]
		id := pec.NormalizeID(m.id)
		if c := table[id]; id == "" || c != nil && c.m != nil {
			id = "\x00" + strconv.Itoa(i) // without an id, or another one's: a message of its own
		}
		c := get(id)
		c.m = m
		var parent *container
		for _, ref := range refs[i] {
			next := get(ref)
			if parent != nil && next.parent == nil && !parent.under(next) {
				parent.adopt(next)
			}
			parent = next
		}
		c.leave()
		if parent != nil && !parent.under(c) {
			parent.adopt(c)
		}
	}
	var roots []*container
	for _, c := range all {
		if c.parent == nil {
			roots = append(roots, prune(c, 0, true)...)
		}
	}
	sortThreads(roots, 0)
	return mergeSubjects(roots)
}

// prune takes away places without a message, and gives what stands below them
// to whoever stands above.
func prune(c *container, depth int, root bool) []*container {
	var kept []*container
	for _, child := range c.children {
		kept = append(kept, prune(child, depth+1, false)...)
	}
	for _, k := range kept {
		k.parent = c
	}
	c.children = kept
	switch {
	case c.m == nil && (len(kept) == 0 || !root || len(kept) == 1):
		for _, k := range kept {
			k.parent = nil
		}
		return kept
	case depth >= maxThread:
		c.children = nil
		return append([]*container{c}, kept...)
	}
	return []*container{c}
}

func sortThreads(list []*container, depth int) {
	if depth > 2*maxThread {
		return
	}
	for _, c := range list {
		sortThreads(c.children, depth+1)
	}
	slices.SortStableFunc(list, func(x, y *container) int { return x.date().Compare(y.date()) })
}

// mergeSubjects gathers threads with one subject where a reply has lost its
// references (step 5 of REFERENCES).
func mergeSubjects(roots []*container) []*container {
	table := map[string]*container{}
	for _, c := range roots {
		m := c.first()
		if m == nil || m.subject == "" {
			continue
		}
		old := table[m.subject]
		switch {
		case old == nil, c.m == nil && old.m != nil, old.m != nil && old.m.isReply && c.m != nil && !c.m.isReply:
			table[m.subject] = c
		}
	}
	out := make([]*container, 0, len(roots))
	gone := map[*container]bool{}
	for _, c := range roots {
		m := c.first()
		if m == nil {
			continue
		}
		head := table[m.subject]
		if head == nil || head == c || m.subject == "" {
			continue
		}
		gone[c] = true
		switch {
		case head.m == nil && c.m == nil:
			for _, child := range slices.Clone(c.children) {
				head.adopt(child)
			}
		case head.m == nil, c.m != nil && c.m.isReply && !head.m.isReply:
			head.adopt(c)
		default:
			both := *head // head becomes an empty place above both
			for _, child := range both.children {
				child.parent = &both
			}
			head.m, head.children = nil, nil
			head.adopt(&both)
			head.adopt(c)
		}
	}
	for _, c := range roots {
		if !gone[c] {
			out = append(out, c)
		}
	}
	sortThreads(out, 0)
	return out
}

// bySubject puts messages of one subject under the earliest (RFC 5256 section 3,
// ORDEREDSUBJECT).
func bySubject(list []sorted) []*container {
	order := make([]*sorted, len(list))
	for i := range list {
		order[i] = &list[i]
	}
	slices.SortStableFunc(order, func(x, y *sorted) int { return x.date.Compare(y.date) })
	heads := map[string]*container{}
	var roots []*container
	for _, m := range order {
		c := &container{m: m}
		if head := heads[m.subject]; head != nil {
			head.adopt(c)
			continue
		}
		heads[m.subject] = c
		roots = append(roots, c)
	}
	return roots
}

// write appends a thread without its outer parentheses. One child follows its
// parent; several stand in parentheses each.
func (c *container) write(out []byte, number func(mailbox.UID) uint32) []byte {
	for {
		if c.m != nil {
			out = strconv.AppendUint(out, uint64(number(c.m.uid)), 10)
		}
		if len(c.children) != 1 || c.m == nil {
			break
		}
		out = append(out, ' ')
		c = c.children[0]
	}
	if c.m != nil && len(c.children) > 0 {
		out = append(out, ' ')
	}
	for _, child := range c.children {
		out = child.write(append(out, '('), number)
		out = append(out, ')')
	}
	return out
}

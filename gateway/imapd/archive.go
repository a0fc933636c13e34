package imapd

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2" // the attributes of LIST and the answer of SELECT

	"pecgate/mailbox"
	"pecgate/policy"
)

// Archivio is everything of a mailbox that a person may see, for reading only:
// by year and month, under the login of the archive by day. Only the last level
// holds messages, so that each stands in one folder, and only what holds
// something is there. Its folders are no folders of the store: they are named
// by dates and read from the index by day.

// archiveLogin is what a session of the archive's own login shows: nothing but
// the archive, by day.
func (s *session) archiveLogin() bool { return s.id.Archive }

// archiveKey is the folder whose counters the whole archive of a mailbox has.
func archiveKey(box string) mailbox.FolderKey {
	return mailbox.FolderKey{Box: box, Role: mailbox.RoleArchive}
}

// sight is the person looking at the archive of a mailbox. It asks the policy
// with every folder.
func (s *session) sight(box string) mailbox.Sight {
	v := mailbox.Sight{Person: s.person, Role: func(r mailbox.Role) (mailbox.Scope, bool) {
		return s.access(mailbox.FolderKey{Box: box, Role: r})
	}}
	if m, known := s.srv.opt.Policy().Mailbox(box); known {
		v.SharedSeen = m.SharedSeen
	}
	return v
}

// archiveNode is the name of a period; folder tells whether it holds messages.
func (s *session) archiveNode(box, at string, p mailbox.Period) node {
	name, folder := s.srv.labels.archive, false
	for _, part := range []struct{ n, digits int }{{p.Year, 4}, {int(p.Month), 2}, {p.Day, 2}} {
		if part.n != 0 {
			name += fmt.Sprintf("%s%0*d", delim, part.digits, part.n)
		}
	}
	if s.archiveLogin() {
		folder = p.Day != 0
	} else {
		folder = p.Month != 0
	}
	n := node{name: at + name, id: levelID(box, name), folder: folder, key: archiveKey(box), period: &p}
	if at == "" && p.Year == 0 {
		n.use = imap.MailboxAttrArchive
	}
	return n
}

// archiveTree appends the archive's names in a tree.
func (s *session) archiveTree(nodes []node, box, at string) ([]node, error) {
	list := s.srv.opt.Store.ArchiveMonths
	if s.archiveLogin() {
		list = s.srv.opt.Store.ArchiveDays
	}
	all, err := list(s.ctx, box, s.sight(box))
	if err != nil {
		return nil, err
	}
	told := map[string]bool{}
	for _, d := range all {
		for _, p := range []mailbox.Period{{}, {Year: d.Year}, {Year: d.Year, Month: d.Month}, mailbox.Period(d)} {
			if n := s.archiveNode(box, at, p); !told[n.name] {
				told[n.name] = true
				nodes = append(nodes, n)
			}
		}
	}
	return nodes, nil
}

// findArchive finds a name of an archive. ours is false for names that stand
// elsewhere; what is not there answers errNoFolder.
func (s *session) findArchive(name string) (n node, ours bool, err error) {
	for _, m := range s.boxes() {
		at := s.at(m)
		rest, found := strings.CutPrefix(name, at+s.srv.labels.archive)
		if !found || rest != "" && rest[0] != delim[0] {
			continue
		}
		p, good := s.readPeriod(rest)
		if !good {
			return node{}, true, errNoFolder()
		}
		holds, err := s.srv.opt.Store.ArchiveHolds(s.ctx, m.Address, p, s.sight(m.Address))
		if err == nil && !holds {
			err = errNoFolder()
		}
		return s.archiveNode(m.Address, at, p), true, err
	}
	return node{}, false, nil
}

// at is what stands before the names of a mailbox's tree.
func (s *session) at(m *policy.Mailbox) string {
	if s.id.Box != "" {
		return ""
	}
	return treeName + delim + m.Address + delim
}

// readPeriod reads "/2026/11/21" and what is shorter.
func (s *session) readPeriod(rest string) (p mailbox.Period, ok bool) {
	if rest == "" {
		return p, true
	}
	parts := strings.Split(rest[1:], delim)
	most := 2
	if s.archiveLogin() {
		most = 3
	}
	if len(parts) > most {
		return p, false
	}
	var n [3]int
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 10, 16)
		if err != nil || v == 0 || len(part) != []int{4, 2, 2}[i] || v > []uint64{9999, 12, 31}[i] {
			return p, false
		}
		n[i] = int(v)
	}
	return mailbox.Period{Year: n[0], Month: time.Month(n[1]), Day: n[2]}, true
}

// mayListArchive tells whether any pattern may fit a name of an archive, so that
// a LIST of something else does not read it.
func (s *session) mayListArchive(patterns []matcher, at string) bool {
	name := at + s.srv.labels.archive
	return slices.ContainsFunc(patterns, func(m matcher) bool {
		fixed, _, _ := strings.Cut(strings.ReplaceAll(m.pattern, "%", "*"), "*")
		return strings.HasPrefix(name, fixed) || strings.HasPrefix(fixed, name)
	})
}

// archived is the period of an archive that a view shows.
type archived struct {
	period mailbox.Period
	sight  mailbox.Sight
	rights mailbox.Rights
	lines  []mailbox.ArchiveLine // ascending by UID; what the view knows
	known  feeds                 // of the folders whose entries the lines show
}

// selectArchive opens a period of an archive, always for reading only.
func (s *session) selectArchive(n node) (*mailbox.Snapshot, *archived, error) {
	a := &archived{period: *n.period, sight: s.sight(n.key.Box)}
	a.rights = a.sight.Rights()
	now, err := s.srv.opt.Store.Archive(s.ctx, n.key.Box, a.period, a.sight)
	if err != nil {
		return nil, nil, err
	}
	a.lines = now.Lines
	if a.known, err = s.follow(nil, a.lines); err != nil {
		return nil, nil, err
	}
	snap := &mailbox.Snapshot{Folder: now.Folder, UIDValidity: now.UIDValidity, UIDNext: now.UIDNext, ModSeq: now.ModSeq}
	snap.UIDs = make([]mailbox.UID, len(now.Lines))
	for i, l := range now.Lines {
		snap.UIDs[i] = l.UID
	}
	return snap, a, nil
}

// some returns the lines of ascending UIDs.
func (a *archived) some(uids []mailbox.UID) []mailbox.ArchiveLine {
	out := make([]mailbox.ArchiveLine, 0, len(uids))
	rest := a.lines
	for _, uid := range uids {
		i, found := slices.BinarySearchFunc(rest, uid, func(l mailbox.ArchiveLine, uid mailbox.UID) int { return cmp.Compare(l.UID, uid) })
		rest = rest[i:]
		if found {
			out = append(out, rest[0])
		}
	}
	return out
}

// entries calls fn for messages of a view, as Store.Entries does.
func (s *session) entries(v *view, uids []mailbox.UID, want mailbox.Want, fn func(*mailbox.Entry) error) error {
	if v.archive == nil {
		return s.srv.opt.Store.Entries(s.ctx, v.folder, v.viewer, uids, want, fn)
	}
	return s.srv.opt.Store.ArchiveEntries(s.ctx, v.archive.sight, v.archive.some(uids), want, fn)
}

// changes is what has happened in the selected folder. settled is called once
// the client has been told. An archive has no feed of its own messages: when its
// counter has moved it is read again.
func (s *session) changes(v *view) (ch mailbox.Changes, settled func(), err error) {
	ch, err = s.srv.opt.Store.Changes(s.ctx, v.folder, v.viewer, v.modseq)
	if v.archive == nil || err != nil {
		return ch, func() {}, err
	}
	next := *v.archive
	flags, reached, err := s.archiveFlags(v.archive)
	if err != nil {
		return ch, nil, err
	}
	next.known = reached
	if ch.ModSeq != v.modseq {
		now, err := s.srv.opt.Store.Archive(s.ctx, v.key.Box, v.archive.period, v.archive.sight)
		if err != nil {
			return ch, nil, err
		}
		if now.Folder != v.folder || now.UIDValidity != v.validity {
			return ch, nil, mailbox.ErrNotFound
		}
		if next.known, err = s.follow(reached, now.Lines); err != nil {
			return ch, nil, err
		}
		ch = compareLines(v.archive.lines, now.Lines)
		ch.ModSeq, next.lines = now.ModSeq, now.Lines
	}
	ch.Flags = flags
	v.archive.lines = next.lines // what the flags are read by
	return ch, func() { v.archive.known = next.known }, nil
}

// compareLines finds what came and what went between two readings.
func compareLines(old, now []mailbox.ArchiveLine) (ch mailbox.Changes) {
	for _, l := range now {
		for len(old) > 0 && old[0].UID < l.UID {
			ch.Removed, old = append(ch.Removed, old[0].UID), old[1:]
		}
		if len(old) > 0 && old[0].UID == l.UID {
			old = old[1:]
			continue
		}
		ch.Added = append(ch.Added, l.UID)
	}
	for _, l := range old {
		ch.Removed = append(ch.Removed, l.UID)
	}
	return ch
}

// archiveStatus counts a period of an archive.
func (s *session) archiveStatus(n node) (mailbox.Status, error) {
	sight := s.sight(n.key.Box)
	a, err := s.srv.opt.Store.Archive(s.ctx, n.key.Box, *n.period, sight)
	if err != nil {
		return mailbox.Status{}, err
	}
	st := mailbox.Status{UIDValidity: a.UIDValidity, UIDNext: a.UIDNext, ModSeq: a.ModSeq}
	err = s.srv.opt.Store.ArchiveEntries(s.ctx, sight, a.Lines, mailbox.Want{Flags: true}, func(e *mailbox.Entry) error {
		st.Messages++
		st.Size += e.Size
		if !slices.Contains(e.Flags, string(imap.FlagSeen)) {
			st.Unseen++
		}
		if slices.Contains(e.Flags, string(imap.FlagDeleted)) {
			st.Deleted++
			st.DeletedSize += e.Size
		}
		return nil
	})
	return st, err
}

// errArchive refuses to change an archive.
func (s *session) errArchive() error {
	return no(imap.ResponseCodeNoPerm, "The archive fills itself and can only be read")
}

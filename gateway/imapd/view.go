package imapd

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"            // sets of numbers
	"github.com/emersion/go-imap/v2/imapserver" // the interface of the session

	"pecgate/mailbox"
)

// view is a session's own picture of its selected folder: what the client has
// been told. Sequence numbers are places in uids plus one.
type view struct {
	key      mailbox.FolderKey
	viewer   mailbox.Viewer
	folder   mailbox.FolderID
	validity uint32
	readOnly bool
	inner    bool      // the messages inside are shown; see contents.go
	archive  *archived // a period of an archive; nil: a folder
	modseq   uint64    // up to here the client knows all, apart from gone

	uids   []mailbox.UID // ascending; shared with other sessions while shared is true
	shared bool
	gone   []mailbox.UID // removed, but not announced yet; still in uids

	// told are flags that this session has set and answered itself, by UID and
	// the mod-sequence that it made: they are not announced again.
	told map[mailbox.UID]uint64

	// doomed are messages that wait for a PIN or an approval and that this session has
	// marked \Deleted: an EXPUNGE that comes too late for one must not answer OK.
	doomed map[mailbox.UID]bool

	keywords   map[string]bool // that a list of flags has named; nil: those of SELECT
	introduced []string        // of them, those after SELECT
}

func newView(snap *mailbox.Snapshot, k mailbox.FolderKey, viewer mailbox.Viewer, readOnly bool) *view {
	return &view{
		key: k, viewer: viewer, folder: snap.Folder, validity: snap.UIDValidity, readOnly: readOnly,
		modseq: snap.ModSeq, uids: snap.UIDs, shared: true, told: map[mailbox.UID]uint64{},
	}
}

// doom notes that a message is to be taken back by the next EXPUNGE.
func (v *view) doom(uid mailbox.UID) {
	if v.doomed == nil {
		v.doomed = map[mailbox.UID]bool{}
	}
	v.doomed[uid] = true
}

// late takes the doomed ones that the client still sees and that are not among
// what stands out of the list, and tells whether there were any.
func (v *view) late(stands map[mailbox.UID]bool) (any bool) {
	for uid := range v.doomed {
		any = any || v.seq(uid) != 0 && !stands[uid]
	}
	v.doomed = nil
	return any
}

// seq is the sequence number of a UID, 0 when it is not in the view.
func (v *view) seq(uid mailbox.UID) uint32 {
	if i, ok := slices.BinarySearch(v.uids, uid); ok {
		return uint32(i + 1)
	}
	return 0
}

// span is a range of places, from inclusive, to exclusive.
type span struct{ from, to int }

// spans turns a set of numbers into places, ascending and without overlap.
// Sequence numbers that do not exist are the client's fault (RFC 9051 section
// 9, seq-number); UIDs that do not exist are passed over.
func (v *view) spans(set imap.NumSet, saved []mailbox.UID) ([]span, error) {
	var out []span
	n := uint32(len(v.uids))
	switch set := set.(type) {
	case imap.SeqSet:
		for _, r := range set {
			from, to := r.Start, r.Stop
			if dynamic := from == 0 || to == 0; !dynamic && (from > n || to > n) {
				return nil, badCommand("There is no message of this number")
			} else if dynamic {
				// Clients ask for "n:*" without knowing whether n is there yet.
				from, to = min(from, n), min(to, n)
			}
			if n == 0 {
				continue // "*" and "n:*" of nothing
			}
			from, to = star(from, n), star(to, n)
			out = append(out, span{int(min(from, to)) - 1, int(max(from, to))})
		}
	case imap.UIDSet:
		if imap.IsSearchRes(set) {
			return v.places(saved), nil
		}
		if n == 0 {
			return nil, nil
		}
		last := imap.UID(v.uids[n-1])
		for _, r := range set {
			from, to := star(r.Start, last), star(r.Stop, last)
			if from > to {
				from, to = to, from
			}
			i, _ := slices.BinarySearch(v.uids, mailbox.UID(from))
			j, found := slices.BinarySearch(v.uids, mailbox.UID(to))
			if found {
				j++
			}
			if i < j {
				out = append(out, span{i, j})
			}
		}
	default:
		return nil, badCommand("Syntax error in a set of messages")
	}
	return join(out), nil
}

func star[N ~uint32](n, last N) N {
	if n == 0 {
		return last
	}
	return n
}

// join sorts spans and merges what touches.
func join(in []span) []span {
	slices.SortFunc(in, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out := in[:0]
	for _, s := range in {
		if k := len(out) - 1; k >= 0 && s.from <= out[k].to {
			out[k].to = max(out[k].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

// meet returns what two lists of spans have in common.
func meet(a, b []span) []span {
	var out []span
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if s := (span{max(a[i].from, b[j].from), min(a[i].to, b[j].to)}); s.from < s.to {
			out = append(out, s)
		}
		if a[i].to < b[j].to {
			i++
		} else {
			j++
		}
	}
	return out
}

// places are the spans of ascending UIDs as far as they are in the view.
func (v *view) places(uids []mailbox.UID) []span {
	var out []span
	for _, uid := range uids {
		if i, ok := slices.BinarySearch(v.uids, uid); ok {
			out = append(out, span{i, i + 1})
		}
	}
	return join(out)
}

// collect returns the UIDs of spans.
func (v *view) collect(spans []span) []mailbox.UID {
	if len(spans) == 1 {
		return v.uids[spans[0].from:spans[0].to]
	}
	var out []mailbox.UID
	for _, s := range spans {
		out = append(out, v.uids[s.from:s.to]...)
	}
	return out
}

// sync reads what has happened in the selected folder and tells the client:
// removals first, if they may be told now, then new messages, then flags.
func (s *session) sync(v *view, expunge bool) error {
	ch, settled, err := s.changes(v)
	if err == nil && ch.Resync {
		ch, err = s.resync(v)
	}
	if errors.Is(err, mailbox.ErrNotFound) {
		s.f.sayBye(byeFolderGone)
		return nil
	}
	if err != nil {
		return err
	}
	gone := v.merge(ch.Removed)
	var out []byte
	if expunge {
		out = v.expunge(out, gone)
		gone = nil
	}
	v.gone = gone
	out = v.exists(out, ch.Added)
	flags := slices.DeleteFunc(ch.Flags, func(uid mailbox.UID) bool {
		_, removed := slices.BinarySearch(gone, uid)
		return removed || v.seq(uid) == 0
	})
	slices.Sort(flags)
	err = s.entries(v, flags, mailbox.Want{Flags: true}, func(e *mailbox.Entry) error {
		if mod, own := v.told[e.UID]; !own || mod != e.ModSeq {
			out = appendFlagUpdate(v.introduce(out, e.Flags), v.seq(e.UID), e.UID, e.Flags)
		}
		return nil
	})
	if err != nil {
		return err
	}
	v.modseq = ch.ModSeq
	settled()
	clear(v.told)
	if len(out) == 0 {
		return nil
	}
	return s.f.append(out)
}

// resync finds the changes by comparing with the folder as it is now, when the
// feed no longer reaches back far enough.
func (s *session) resync(v *view) (mailbox.Changes, error) {
	snap, err := s.srv.opt.Store.Snapshot(s.ctx, v.key, v.viewer)
	if err != nil {
		return mailbox.Changes{}, err
	}
	if snap.Folder != v.folder || snap.UIDValidity != v.validity {
		return mailbox.Changes{}, mailbox.ErrNotFound
	}
	ch := mailbox.Changes{ModSeq: snap.ModSeq}
	old, now := v.uids, snap.UIDs
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(old) > 0 && old[0] < now[0]:
			ch.Removed = append(ch.Removed, old[0])
			old = old[1:]
		case len(old) == 0 || now[0] < old[0]:
			ch.Added = append(ch.Added, now[0])
			now = now[1:]
		default:
			old, now = old[1:], now[1:]
		}
	}
	err = s.srv.opt.Store.Entries(s.ctx, v.folder, v.viewer, v.uids, mailbox.Want{}, func(e *mailbox.Entry) error {
		if e.ModSeq > v.modseq {
			ch.Flags = append(ch.Flags, e.UID)
		}
		return nil
	})
	return ch, err
}

// merge adds removed UIDs of the view to those not announced yet.
func (v *view) merge(removed []mailbox.UID) []mailbox.UID {
	gone := slices.Clone(v.gone)
	for _, uid := range removed {
		if v.seq(uid) != 0 {
			gone = append(gone, uid)
		}
	}
	slices.Sort(gone)
	return slices.Compact(gone)
}

// expunge takes UIDs out of the view and appends the answers, the last message
// first so that the numbers of the others stay.
func (v *view) expunge(out []byte, gone []mailbox.UID) []byte {
	if len(gone) == 0 {
		return out
	}
	for _, uid := range slices.Backward(gone) {
		out = append(out, "* "...)
		out = strconv.AppendUint(out, uint64(v.seq(uid)), 10)
		out = append(out, " EXPUNGE\r\n"...)
	}
	kept := make([]mailbox.UID, 0, len(v.uids)-len(gone))
	for _, uid := range v.uids {
		if len(gone) > 0 && gone[0] == uid {
			gone = gone[1:]
			continue
		}
		kept = append(kept, uid)
	}
	v.uids, v.shared = kept, false
	return out
}

// exists takes new UIDs into the view and appends the answer.
func (v *view) exists(out []byte, added []mailbox.UID) []byte {
	slices.Sort(added)
	n := len(v.uids)
	for _, uid := range added {
		if len(v.uids) > 0 && uid <= v.uids[len(v.uids)-1] {
			continue // known since SELECT
		}
		if v.shared {
			v.uids, v.shared = slices.Clone(v.uids), false
		}
		v.uids = append(v.uids, uid)
	}
	if len(v.uids) == n {
		return out
	}
	out = append(out, "* "...)
	out = strconv.AppendInt(out, int64(len(v.uids)), 10)
	return append(out, " EXISTS\r\n"...)
}

// Poll tells what has happened (RFC 9051 section 5.2); the library calls it
// before the last answer of most commands.
func (s *session) Poll(_ *imapserver.UpdateWriter, allowExpunge bool) error {
	if err := s.begin(); err != nil || s.v == nil {
		return nil // lost access ends the connection by itself
	}
	if s.f.cur.then != nil && !strings.HasPrefix(s.f.cur.name, "UID ") {
		allowExpunge = false // for the library it is a search by UID
	}
	// An error here would end the connection without an answer to the command,
	// which has been done. What could not be told now is told at the next one.
	_ = s.reply("NOOP", s.sync(s.v, allowExpunge))
	return nil
}

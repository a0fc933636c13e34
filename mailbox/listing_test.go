package mailbox

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// modelEntry is an entry as the test below knows it.
type modelEntry struct {
	audience Person
	size     int64
	common   map[string]bool
	own      map[Person]map[string]bool // \Seen of everybody stands under 0
	hidden   map[Person]bool
}

func (m *modelEntry) visible(v Viewer) bool {
	return !m.hidden[v.Person] && (v.Scope == ScopeAll || m.audience == v.Person)
}

func (m *modelEntry) flags(v Viewer) []string {
	all := maps.Clone(m.common)
	for f := range m.own[v.Person] {
		if f != `\Seen` || !v.SharedSeen {
			all[f] = true
		}
	}
	if v.SharedSeen && m.own[0][`\Seen`] {
		all[`\Seen`] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// TestListingsFollowTheFolder: whatever happens to a folder, a listing, the
// entries and the status say what a model says, which knows neither.
func TestListingsFollowTheFolder(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("shared ", shared), func(t *testing.T) { listingsFollow(t, shared) })
	}
}

func listingsFollow(t *testing.T, shared bool) {
	ctx, s := context.Background(), open(t, t.TempDir())
	rnd := rand.New(rand.NewPCG(7, 7))
	mario, lucia, carla := person(t, s, "mario"), person(t, s, "lucia"), person(t, s, "carla")
	viewers := []Viewer{{Person: mario, SharedSeen: shared}, {Person: lucia, SharedSeen: shared}, {Person: carla, Scope: ScopeOwn, SharedSeen: shared}}
	folder := id(t, s, inbox)
	model := map[UID]*modelEntry{}
	for step := range 500 {
		v := viewers[rnd.IntN(len(viewers))]
		var seen []UID
		for uid, m := range model {
			if m.visible(v) && rnd.IntN(3) == 0 {
				seen = append(seen, uid)
			}
		}
		slices.Sort(seen)
		switch what := rnd.IntN(10); {
		case what < 3 || len(seen) == 0:
			to := []Person{0, mario, carla}[rnd.IntN(3)]
			m, uid := put(t, s, inbox, text(fmt.Sprint("n", step)), Filing{Audience: to, For: to, Flags: []string{`\Flagged`}, Keywords: []string{"$PecNew"}})
			e := &modelEntry{audience: to, size: m.Ref.Size, common: map[string]bool{"$PecNew": true}, own: map[Person]map[string]bool{}, hidden: map[Person]bool{}}
			if to != 0 {
				e.own[to] = map[string]bool{`\Flagged`: true}
			}
			model[uid] = e
		case what < 9:
			flag := []string{`\Seen`, `\Deleted`, `\Flagged`, `\Answered`, "lavoro"}[rnd.IntN(5)]
			op := []FlagOp{FlagsAdd, FlagsRemove}[rnd.IntN(2)]
			if _, err := s.SetFlags(ctx, folder, v, seen, op, []string{flag}); err != nil {
				t.Fatal(err)
			}
			for _, uid := range seen {
				m, who := model[uid], v.Person
				if flag == `\Seen` && shared {
					who = 0
				}
				set := m.common
				if personalBit(flag) != 0 {
					if m.own[who] == nil {
						m.own[who] = map[string]bool{}
					}
					set = m.own[who]
				}
				if delete(set, flag); op == FlagsAdd {
					set[flag] = true
				}
			}
		default:
			gone := seen[:1]
			if _, err := s.Remove(ctx, folder, v, gone); err != nil {
				t.Fatal(err)
			}
			for _, uid := range gone {
				model[uid].hidden[v.Person] = true
			}
		}
		if step%3 == 0 {
			for _, v := range viewers {
				compareListing(t, s, folder, v, model)
			}
		}
	}
}

func compareListing(t *testing.T, s *Store, folder FolderID, v Viewer, model map[UID]*modelEntry) {
	t.Helper()
	ctx := context.Background()
	var want, entries, listed []string
	unseen, size := 0, int64(0)
	for _, uid := range slices.Sorted(maps.Keys(model)) {
		m := model[uid]
		if !m.visible(v) {
			continue
		}
		size += m.size
		flags := m.flags(v)
		if !slices.Contains(flags, `\Seen`) {
			unseen++
		}
		want = append(want, fmt.Sprint(uid, " ", m.size, " ", strings.Join(flags, " ")))
	}
	line := func(uid UID, size int64, flags []string) string {
		return fmt.Sprint(uid, " ", size, " ", strings.Join(slices.Sorted(slices.Values(flags)), " "))
	}
	snap := snapshot(t, s, inbox, v)
	err := s.Entries(ctx, folder, v, snap.UIDs, Want{Flags: true}, func(e *Entry) error {
		entries = append(entries, line(e.UID, e.Size, e.Flags))
		return nil
	})
	l, lerr := s.Listing(ctx, folder, v, 1, 1)
	if err != nil || lerr != nil || l == nil {
		t.Fatal(err, lerr, l)
	}
	for i, uid := range l.UIDs {
		listed = append(listed, line(uid, int64(l.Size(i)), l.Flags(i)))
	}
	if !slices.Equal(entries, want) || !slices.Equal(listed, want) {
		t.Fatalf("person %d:\nentries %q\nlisting %q\nmodel   %q", v.Person, entries, listed, want)
	}
	st, err := s.Status(ctx, inbox, v)
	if err != nil || st.Messages != len(want) || st.Unseen != unseen || st.Size != size {
		t.Fatalf("status %+v (%v) of %d messages, %d unseen, %d bytes", st, err, len(want), unseen, size)
	}
}

// TestListingsAreBounded: those that were not used for long go first.
func TestListingsAreBounded(t *testing.T) {
	c := &listingCache{}
	of := func(n int) *Listing { return &Listing{UIDs: make([]UID, n)} }
	k := func(n int) snapshotKey { return snapshotKey{folder: FolderID(n)} }
	c.put(k(1), of(maxListed/2))
	c.put(k(2), of(maxListed/4))
	if c.get(k(1)) == nil {
		t.Fatal("not kept")
	}
	c.put(k(3), of(maxListed/2))
	if c.get(k(1)) == nil || c.get(k(2)) != nil || c.get(k(3)) == nil || c.held != maxListed {
		t.Errorf("%d entries are held", c.held)
	}
	for i := range 2 * maxSnapshots {
		c.put(k(10+i), of(1))
	}
	if len(c.last) != maxSnapshots || len(c.order) != maxSnapshots {
		t.Errorf("%d listings are held", len(c.last))
	}
}

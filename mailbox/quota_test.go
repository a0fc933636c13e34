package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid" // models of states
)

// TestCountersFollowTheRecords records and removes at random, some of it in
// transactions that fail, and recounts.
func TestCountersFollowTheRecords(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, err := Open(Options{Dir: t.TempDir()})
		if err != nil {
			rt.Fatal(err)
		}
		ctx, no := context.Background(), errors.New("no")
		want := map[string]Usage{}
		var all []*Message
		for i := range rapid.IntRange(1, 15).Draw(rt, "steps") {
			switch what := rapid.SampledFrom([]string{"put", "share", "fail", "remove", "refuse"}).Draw(rt, "what"); what {
			case "put", "fail", "share":
				b := rapid.SampledFrom([]string{"A@pec.example", "b@pec.example", ""}).Draw(rt, "box")
				st := storeOnly(t, s, text(fmt.Sprint(i)), Origin{Box: b, Direction: In})
				for range map[string]int{"put": 1, "fail": 1, "share": 2}[what] {
					m, err := s.Record(ctx, st, func(*Tx, *Message) error {
						if what == "fail" {
							return no
						}
						return nil
					})
					if (err != nil) != (what == "fail") {
						rt.Fatal(err)
					}
					if err == nil {
						all = append(all, m)
					}
				}
				if err := st.Close(); err != nil {
					rt.Fatal(err)
				}
			case "remove", "refuse":
				if len(all) == 0 {
					continue
				}
				n := rapid.IntRange(0, len(all)-1).Draw(rt, "which")
				gone, err := s.removeMessage(ctx, all[n].ID, func(*Tx, *Message) (bool, error) { return what == "remove", nil })
				if err != nil || gone != (what == "remove") {
					rt.Fatal(gone, err)
				}
				if gone {
					all = slices.Delete(all, n, n+1)
				}
			}
		}
		refs := map[string]bool{}
		for _, m := range all {
			b := map[string]string{"A@pec.example": "a@pec.example"}[m.Box]
			if b == "" {
				b = m.Box
			}
			u := want[b]
			u.Messages++
			if k := fmt.Sprint(b, m.Ref); !refs[k] {
				refs[k] = true
				u.Bytes += m.Ref.Size
			}
			want[b] = u
		}
		got, err := s.Usages(ctx)
		if err != nil {
			rt.Fatal(err)
		}
		for _, b := range []string{"a@pec.example", "b@pec.example", ""} {
			if got[b] != want[b] {
				rt.Errorf("%q: %+v instead of %+v", b, got[b], want[b])
			}
		}
		if wrong, err := s.Recount(ctx); err != nil || len(wrong) != 0 {
			rt.Errorf("recounted: %+v, %v", wrong, err)
		}
		if found, err := s.Recover(ctx, admin); err != nil || found.Filed != 0 {
			rt.Errorf("recovered %+v: %v", found, err)
		}
		if err := s.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestRecountFindsWrongCounters(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	m, _ := put(t, s, inbox, text("one"), Filing{})
	err := s.Update(ctx, func(tx *Tx) error { return errors.Join(tx.count(box, 1, -5), tx.count("c@pec.example", 1, 0)) })
	if err != nil {
		t.Fatal(err)
	}
	want := []Miscount{
		{"c@pec.example", Usage{1, 0}, Usage{}},
		{box, Usage{2, m.Size() - 5}, Usage{1, m.Size()}},
	}
	if wrong, err := s.Recount(ctx); err != nil || !slices.Equal(wrong, want) {
		t.Errorf("%+v: %v", wrong, err)
	}
}

// TestFeedIsBounded: no more lines than feedLength are kept, who is exactly so
// far behind resyncs, who is one nearer does not.
func TestFeedIsBounded(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	v := Viewer{Person: person(t, s, "mario")}
	_, uid := put(t, s, inbox, text("one"), Filing{})
	folder := id(t, s, inbox)
	for i := 0; i < feedLength+200; i += 200 {
		err := s.Update(ctx, func(tx *Tx) error {
			f, err := tx.folderByID(folder)
			if err != nil {
				return err
			}
			for range 200 {
				if err := tx.changed(f, change{UID: uid, Kind: changeFlags}); err != nil {
					return err
				}
			}
			return tx.putFolder(f)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	now := snapshot(t, s, inbox, v).ModSeq
	for behind, want := range map[uint64]bool{0: false, 1: false, feedLength - 1: false, feedLength: true, feedLength + 50: true} {
		c, err := s.Changes(ctx, folder, v, now-behind)
		if err != nil || c.Resync != want || c.ModSeq != now || (!want && behind > 0) != slices.Equal(c.Flags, []UID{uid}) {
			t.Errorf("%d behind: %+v, %v", behind, c, err)
		}
	}
	if c, err := s.Changes(ctx, folder, v, now+1); err != nil || !c.Resync {
		t.Errorf("ahead, as after a restore: %+v, %v", c, err)
	}
	lines, first := 0, uint64(0)
	err := s.View(ctx, func(tx *Tx) error {
		return tx.r.Scan(key("c", folder), nil, func(k, _ []byte) (bool, error) {
			if lines++; lines == 1 {
				first = binary.BigEndian.Uint64(k[len(k)-8:])
			}
			return true, nil
		})
	})
	if err != nil || lines != feedLength || first != now-feedLength+1 {
		t.Errorf("%d lines from %d on: %v", lines, first, err)
	}
}

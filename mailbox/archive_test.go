package mailbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// putAt files a message with an INTERNALDATE.
func putAt(t *testing.T, s *Store, k FolderKey, subject string, date time.Time, how Filing) *Message {
	t.Helper()
	ctx := context.Background()
	st := storeOnly(t, s, text(subject), Origin{Box: k.Box, Direction: In, Date: date})
	defer st.Close()
	m, err := s.Record(ctx, st, func(tx *Tx, m *Message) error { _, _, err := tx.File(k, m, how); return err })
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func everything(p Person) Sight {
	return Sight{Person: p, Role: func(Role) (Scope, bool) { return ScopeAll, true }}
}

func archiveDays(t *testing.T, s *Store, v Sight) string {
	t.Helper()
	days, err := s.ArchiveDays(context.Background(), strings.ToUpper(box), v)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range days {
		out = append(out, fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day))
	}
	return strings.Join(out, " ")
}

func archive(t *testing.T, s *Store, p Period, v Sight) *Archive {
	t.Helper()
	a, err := s.Archive(context.Background(), box, p, v)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func archived(a *Archive) (uids []UID) {
	for _, l := range a.Lines {
		uids = append(uids, l.UID)
	}
	return uids
}

func TestArchive(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	c := &clock{time.Date(2026, 10, 30, 12, 0, 0, 0, time.UTC)}
	s := openWith(t, Options{Dir: dir, Zone: rome(t), Now: c.now})
	m, l := person(t, s, "mario"), person(t, s, "lucia")
	at := func(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 30, 0, 0, time.UTC) }
	sent := FolderKey{Box: box, Role: RoleSent}
	putAt(t, s, inbox, "one", at(20, 23), Filing{}) // the 21st in Rome
	putAt(t, s, sent, "marios", at(21, 10), Filing{Audience: m})
	putAt(t, s, anomalies, "odd", at(25, 10), Filing{})
	putAt(t, s, sent, "private", at(21, 11), Filing{Audience: l, Private: true})
	putAt(t, s, inbox, "december", at(31, 10), Filing{}) // 1 December
	putAt(t, s, inbox, "nonsense", time.Date(1, 1, 1, 1, 0, 0, 0, time.UTC), Filing{})
	putAt(t, s, inbox, "late", at(21, 9), Filing{})
	own := FolderKey{Box: box, Owner: m, Role: RoleDrafts}
	putAt(t, s, own, "draft", at(26, 9), Filing{Audience: m})

	all := everything(m)
	if got := archiveDays(t, s, all); got != "2026-10-30 2026-11-21 2026-11-25 2026-12-01" {
		t.Errorf("days: %s", got)
	}
	less := Sight{Person: m, Role: func(r Role) (Scope, bool) {
		return map[Role]Scope{RoleSent: ScopeOwn}[r], r != RoleAnomalies && r != RoleInbox
	}}
	if got := archiveDays(t, s, less); got != "2026-11-21" {
		t.Errorf("days of one who sees their own sent messages: %s", got)
	}
	first := archive(t, s, Period{2026, 11, 21}, all)
	for p, want := range map[Period][]UID{
		{2026, 11, 21}: {1, 2, 7}, {2026, 11, 0}: {1, 2, 3, 7}, {2026, 0, 0}: {1, 2, 3, 5, 6, 7},
		{2025, 0, 0}: nil, {2026, 11, 22}: nil, {2026, 12, 0}: {5}, {}: {1, 2, 3, 5, 6, 7},
	} {
		a := archive(t, s, p, all)
		if got := archived(a); !slices.Equal(got, want) {
			t.Errorf("%v holds %v instead of %v", p, got, want)
		}
		if a.UIDValidity != first.UIDValidity || a.UIDNext != 8 {
			t.Errorf("%v: UIDVALIDITY %d, UIDNEXT %d", p, a.UIDValidity, a.UIDNext)
		}
	}
	// Other rights are another UIDVALIDITY.
	if a := archive(t, s, Period{}, less); !slices.Equal(archived(a), []UID{2}) || a.UIDValidity <= first.UIDValidity {
		t.Errorf("with less rights: %+v", a)
	}
	if a := archive(t, s, Period{2026, 11, 21}, everything(l)); !slices.Equal(archived(a), []UID{1, 2, 4, 7}) {
		t.Errorf("lucia sees %v", archived(a))
	}

	// Flags are those of the folder; what is removed there stays.
	v := Viewer{Person: m}
	if _, err := s.SetFlags(ctx, id(t, s, inbox), v, []UID{1}, FlagsAdd, []string{`\Seen`, "urgent"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, id(t, s, inbox), v, []UID{1}); err != nil {
		t.Fatal(err)
	}
	var got []string
	lines := archive(t, s, Period{2026, 11, 21}, all).Lines
	err := s.ArchiveEntries(ctx, all, lines, Want{Flags: true, Envelope: true}, func(e *Entry) error {
		got = append(got, fmt.Sprint(e.UID, " ", e.Flags, " ", len(e.Envelope) > 0))
		return nil
	})
	if err != nil || !slices.Equal(got, []string{`1 [\Seen urgent] true`, "2 [] true", "7 [] true"}) {
		t.Errorf("entries %q: %v", got, err)
	}
	// What the person does not see, they do not read with lines of somebody else.
	err = s.ArchiveEntries(ctx, less, lines, Want{}, func(e *Entry) error {
		if e.UID != 2 {
			t.Errorf("read %d", e.UID)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	// What leaves the store leaves the archive, in another zone too.
	before := archive(t, s, Period{}, all)
	wake, stop := s.Watch(before.Folder)
	defer stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, Options{Dir: dir})
	wake, stop = s.Watch(before.Folder)
	defer stop()
	if gone, err := s.removeMessage(ctx, lines[0].Message, func(*Tx, *Message) (bool, error) { return true, nil }); !gone || err != nil {
		t.Fatal(err)
	}
	select {
	case <-wake:
	case <-time.After(10 * time.Second):
		t.Error("the archive's watch did not wake up")
	}
	after := archive(t, s, Period{2026, 11, 21}, all)
	if !slices.Equal(archived(after), []UID{2, 7}) || after.ModSeq <= before.ModSeq {
		t.Errorf("after a removal: %+v", after)
	}
}

// TestArchiveShowsAMessageOnce: a sent copy that was put back for its author
// stands in the folder twice.
func TestArchiveShowsAMessageOnce(t *testing.T) {
	s, ctx := open(t, t.TempDir()), context.Background()
	p := person(t, s, "mario")
	m, _ := put(t, s, inbox, text("one"), Filing{})
	err := s.Update(ctx, func(tx *Tx) error {
		_, _, err := tx.File(FolderKey{Box: box, Role: RoleSent}, m, Filing{Audience: p, Private: true})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := archived(archive(t, s, Period{}, everything(p))); !slices.Equal(got, []UID{1}) {
		t.Errorf("the archive shows %v", got)
	}
}

// TestFormat0IsFilledIn opens a store as it was before the archive and the
// counters, made by taking these away.
func TestFormat0IsFilledIn(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := openWith(t, Options{Dir: dir})
	p := person(t, s, "mario")
	var all []*Message
	for i := range 45 {
		m := putAt(t, s, inbox, fmt.Sprint("m", i), time.Date(2026, 11, 1+i%20, 12, 0, 0, 0, time.UTC), Filing{})
		all = append(all, m)
	}
	usage, err := s.Usages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	days := archiveDays(t, s, everything(p))
	uids := archived(archive(t, s, Period{}, everything(p)))
	for _, prefix := range []string{"mb", "q", "ad", "av"} {
		if err := s.clear(ctx, key(prefix)); err != nil {
			t.Fatal(err)
		}
	}
	err = s.Update(ctx, func(tx *Tx) error {
		f, err := tx.folder(FolderKey{Box: box, Role: RoleArchive})
		if err != nil {
			return err
		}
		if err := tx.w.Delete(f.Key.bytes()); err != nil {
			return err
		}
		for _, m := range all {
			places, err := tx.Places(m.ID)
			if err != nil {
				return err
			}
			e, err := tx.entry(places[0].Folder, places[0].UID)
			if err != nil {
				return err
			}
			e.Archived = 0
			if err := tx.w.Put(key("e", places[0].Folder, places[0].UID), e.bytes()); err != nil {
				return err
			}
		}
		return tx.w.Delete(key("n", "plan"))
	})
	if err != nil {
		t.Fatal(err)
	}
	// Interrupted after the first step.
	err = s.Update(ctx, func(tx *Tx) error { _, _, err := tx.fill(0, 20); return err })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, Options{Dir: dir})
	recounted(t, s)
	if got, err := s.Usages(ctx); err != nil || fmt.Sprint(got) != fmt.Sprint(usage) {
		t.Errorf("usage %v instead of %v: %v", got, usage, err)
	}
	if got := archiveDays(t, s, everything(p)); got != days {
		t.Errorf("days %s instead of %s", got, days)
	}
	if got := archived(archive(t, s, Period{}, everything(p))); !slices.Equal(got, uids) {
		t.Errorf("UIDs %v instead of %v", got, uids)
	}
	recovered(t, s, admin, Found{})
	// A newer one is refused.
	if err := s.Update(ctx, func(tx *Tx) error { return tx.w.Put(key("n", "plan"), []byte{0, 0, 0, 0, 0, 0, 0, 9}) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "newer pecgate") {
		t.Errorf("a newer store: %v", err)
	}
}

// BenchmarkArchive lists the months and reads one of them, of an archive of 10
// years; messages of others stand between.
func BenchmarkArchive(b *testing.B) {
	ctx := context.Background()
	s, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	mario, err := s.Person(ctx, "mario")
	if err != nil {
		b.Fatal(err)
	}
	const messages = 2400
	var m *Message
	in, err := s.Begin(ctx)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := in.Write([]byte(text("one"))); err != nil {
		b.Fatal(err)
	}
	st, err := in.Store(ctx, Origin{Box: box, Direction: In})
	if err != nil {
		b.Fatal(err)
	}
	if m, err = s.Record(ctx, st, func(*Tx, *Message) error { return nil }); err != nil {
		b.Fatal(err)
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	const some = 60 // a transaction takes no more
	for from := 0; from < messages; from += some {
		err := s.Update(ctx, func(tx *Tx) error {
			for i := range some / 2 {
				m.Date = time.Date(2016, time.Month((from+2*i)/(messages/120)), 3, 0, 0, 0, 0, time.UTC)
				if _, _, err := tx.File(inbox, m, Filing{Audience: mario}); err != nil {
					return err
				}
				if _, _, err := tx.File(inbox, m, Filing{}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	all := everything(mario)
	own := Sight{Person: mario, Role: func(Role) (Scope, bool) { return ScopeOwn, true }}
	for name, v := range map[string]Sight{"all": all, "own": own} {
		b.Run("months/"+name, func(b *testing.B) {
			for b.Loop() {
				if months, err := s.ArchiveMonths(ctx, box, v); err != nil || len(months) < 100 {
					b.Fatal(len(months), err)
				}
			}
		})
	}
	b.Run("holds", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.ArchiveHolds(ctx, box, Period{Year: 2020, Month: 5}, own); err != nil {
				b.Fatal(err)
			}
		}
	})
}

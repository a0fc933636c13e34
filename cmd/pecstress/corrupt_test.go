package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay"
)

const boxOfTest = "protocollo@pec.alfa.example"

// filledStores makes a store with submissions and arrived messages, small and
// large ones, and takes it up as a kill and as a stop leave it.
func filledStores(t *testing.T) map[string]*reference {
	t.Helper()
	dir := t.TempDir()
	var ledger []string
	open := func() *mailbox.Store {
		s, err := mailbox.Open(mailbox.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for range 15 {
			ledger = append(ledger, keep(t, s, len(ledger)))
		}
		return s
	}
	out := map[string]*reference{}
	take := func(name string) {
		im, err := readStill(dir)
		if err == nil {
			out[name], err = newReference(t.Context(), im, ledger, inside{})
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for range 2 { // two tables, and the beginning of a third
		s := open()
		if err := errors.Join(s.SignAudit(t.Context()), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	s := open()
	take("killed") // a kill leaves the files of a store that is open
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	take("stopped")
	return out
}

// readStill is readImage of a store that is open: badger may be merging tables,
// and a kill leaves the files of one moment. So it reads until nothing changes.
func readStill(dir string) (*image, error) {
	before, err := readImage(dir)
	for range 100 {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		time.Sleep(50 * time.Millisecond)
		now, nerr := readImage(dir)
		if err == nil && nerr == nil && reflect.DeepEqual(before, now) {
			return now, nil
		}
		before, err = now, nerr
	}
	return nil, errors.New("the files of an idle store do not come to rest")
}

// keep stores one message, every second one as a submission, and returns the
// hash of its body.
func keep(t *testing.T, s *mailbox.Store, n int) string {
	t.Helper()
	ctx := t.Context()
	size := 200 + n*97
	if n%8 == 5 {
		size = 1100 << 10 // a segment of its own
	}
	body := fmt.Sprintf("message %d\r\n%s\r\n", n, strings.Repeat("text of it ", size/11))
	in, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, fmt.Sprintf("From: a@pec.alfa.example\r\nMessage-ID: <n%d@driver.example>\r\n\r\n%s", n, body)); err != nil {
		t.Fatal(err)
	}
	o := mailbox.Origin{Box: boxOfTest, Direction: mailbox.In}
	k := mailbox.FolderKey{Box: boxOfTest, Role: mailbox.RoleInbox}
	if n%2 == 0 {
		o.Direction, k.Role = mailbox.Out, mailbox.RoleSent
	}
	st, err := in.Store(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Person(ctx, "mario")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		if o.Direction == mailbox.Out {
			ticket := relay.Ticket{ID: fmt.Sprint("id", n), MsgID: m.MessageID, Box: m.Box, User: "mario", Person: p, To: []string{"b@pec.beta.example"}}
			if _, err := relay.Enqueue(tx, ticket, m); err != nil {
				return err
			}
		}
		_, _, err := tx.File(k, m, mailbox.Filing{Audience: p, For: p, Flags: []string{`\Seen`}})
		return err
	})
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	return sum([]byte(body))
}

// damaged judges all damages that plan makes for each store.
func damaged(t *testing.T, plan func(im *image, rnd *rand.Rand) []damage) {
	t.Helper()
	for name, r := range filledStores(t) {
		report, err := r.tryAll(t.Context(), plan(r.image, rand.New(rand.NewPCG(1, 2026))), []looker{inside{}, inside{}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(name, report.lines())
		for _, f := range report.Faults {
			t.Errorf("%s: %s", name, f)
		}
		var c counts
		report.into(&c, name)
		if c.Detected == 0 || c.Detected+c.Harmless != report.Tried {
			t.Errorf("%s: %s", name, c.line())
		}
	}
}

// TestK5_WholeStoreFlipped flips a byte at random places of all files: a start
// is refused, fsck tells, or everything is there. `pecstress crash` does it at
// more places, also with the whole program.
func TestK5_WholeStoreFlipped(t *testing.T) {
	damaged(t, func(im *image, rnd *rand.Rand) []damage { return im.flips(30, rnd) })
}

// TestK6_WholeStoreCut cuts each file somewhere.
func TestK6_WholeStoreCut(t *testing.T) {
	damaged(t, func(im *image, rnd *rand.Rand) []damage { return im.cuts(1, rnd) })
}

// TestK7_WholeStoreFileRemoved removes each file.
func TestK7_WholeStoreFileRemoved(t *testing.T) {
	damaged(t, func(im *image, _ *rand.Rand) []damage { return im.removals() })
}

// told is a looker whose answers are given.
type told struct {
	s      sight
	v      []verdict // of each fsck in turn
	lookup error
}

func (l *told) look(context.Context, string) (sight, error) { return l.s, l.lookup }

func (l *told) fsck(context.Context, string) (verdict, error) {
	v := l.v[0]
	l.v = l.v[1:]
	return v, nil
}

// TestJudgeOfDamage: the judge of damaged stores sees what it is there for.
func TestJudgeOfDamage(t *testing.T) {
	content := func(change func(messages, records map[string]string)) *content {
		c := &content{Messages: map[string]string{"1": "a a", "2": "b b"}, Records: map[string]string{"6d": "x", "612f73": "y", "6e": "z"}}
		if change != nil {
			change(c.Messages, c.Records)
		}
		return c
	}
	first := content(nil)
	r := &reference{image: &image{dirs: []string{"."}, files: []imageFile{{name: "records/JOURNAL", size: 4, full: []span{{0, []byte("abcd")}}}}}, first: first}
	r.image.dirs = append(r.image.dirs, "records")
	r.content = first.steady(content(func(_, records map[string]string) { records["6e"] = "volatile" }))
	good, bad := verdict{}, verdict{Damage: []string{"something"}}
	gone := content(func(_, records map[string]string) { delete(records, "6d") })
	for name, c := range map[string]struct {
		with  told
		first bool
		want  ending
	}{
		"the same":                {told{s: sight{Content: content(nil)}}, false, endHarmless},
		"what each start changes": {told{s: sight{Content: content(func(_, records map[string]string) { records["6e"] = "other" })}}, false, endHarmless},
		"a line of the audit log more": {told{s: sight{Content: content(func(_, records map[string]string) {
			records["612f73"], records["612f65"] = "later", "new"
		})}}, false, endHarmless},
		"a record gone":                    {told{s: sight{Content: gone}, v: []verdict{good}}, false, endSilent},
		"a record gone, and told":          {told{s: sight{Content: gone}, v: []verdict{bad}}, false, endFlagged},
		"a record gone, told before":       {told{s: sight{Content: gone}, v: []verdict{bad, good}}, true, endFlagged},
		"a record more":                    {told{s: sight{Content: content(func(_, records map[string]string) { records["6f"] = "" })}, v: []verdict{good}}, false, endSilent},
		"a line of the audit log changed":  {told{s: sight{Content: content(func(_, records map[string]string) { delete(records, "612f73") })}, v: []verdict{good}}, false, endSilent},
		"a message with other bytes":       {told{s: sight{Content: content(func(m, _ map[string]string) { m["1"] = "c c" })}, v: []verdict{good}}, false, endSilent},
		"a message gone":                   {told{s: sight{Content: content(func(m, _ map[string]string) { delete(m, "1") })}, v: []verdict{good}}, false, endSilent},
		"a message that cannot be read":    {told{s: sight{Content: content(func(m, _ map[string]string) { m["1"] = unread }), Unread: []string{"1"}}}, false, endUnread},
		"one cannot be read, another gone": {told{s: sight{Content: content(func(m, _ map[string]string) { m["1"] = unread; delete(m, "2") })}, v: []verdict{good}}, false, endSilent},
		"refused by name":                  {told{s: sight{Refused: "file JOURNAL is damaged"}, v: []verdict{bad}}, false, endRefused},
		"refused without a name":           {told{s: sight{Refused: "corrupt"}, v: []verdict{bad}}, false, endUnnamed},
		"refused, fsck sees nothing":       {told{s: sight{Refused: "file JOURNAL is damaged"}, v: []verdict{good}}, false, endBlind},
		"the process dies":                 {told{lookup: errDied}, false, endCrash},
	} {
		e, why, err := r.judge(t.Context(), damage{Kind: damageFlip, File: "records/JOURNAL", At: 1, Mask: 1}, c.first, &c.with)
		if err != nil || e != c.want {
			t.Errorf("%s: %s instead of %s: %s, %v", name, e, c.want, why, err)
		}
	}
}

// TestDamage: a copy has the damage that was asked for, and no other.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	im := &image{dirs: []string{"."}, files: []imageFile{
		{name: "a", size: 20000, mode: 0o600, full: []span{{8192, []byte("some bytes")}}}, {name: "b", size: 3, mode: 0o600, full: []span{{0, []byte("xyz")}}},
	}}
	files := func(d damage) map[string]string {
		to := fmt.Sprintf("%s/%s-%d", dir, d.Kind, d.At)
		if err := im.write(to, d); err != nil {
			t.Fatal(err)
		}
		back, err := readImage(to)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for i := range back.files {
			f := &back.files[i]
			text := fmt.Sprintf("%d", f.size)
			for at := int64(0); at < f.size; at++ {
				if b := f.byteAt(at); b != 0 {
					text += fmt.Sprintf(" %d:%c", at, b)
				}
			}
			out[f.name] = text
		}
		return out
	}
	whole := map[string]string{"a": "20000 8192:s 8193:o 8194:m 8195:e 8196:  8197:b 8198:y 8199:t 8200:e 8201:s", "b": "3 0:x 1:y 2:z"}
	for _, c := range []struct {
		d    damage
		want map[string]string
	}{
		{damage{}, whole},
		{damage{Kind: damageFlip, File: "b", At: 1, Mask: 'y' ^ 'q'}, map[string]string{"a": whole["a"], "b": "3 0:x 1:q 2:z"}},
		{damage{Kind: damageFlip, File: "a", At: 5, Mask: 'k'}, map[string]string{"a": "20000 5:k" + whole["a"][5:], "b": whole["b"]}},
		{damage{Kind: damageCut, File: "b", At: 2}, map[string]string{"a": whole["a"], "b": "2 0:x 1:y"}},
		{damage{Kind: damageRemove, File: "a"}, map[string]string{"b": whole["b"]}},
	} {
		if got := files(c.d); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v", c.d, got)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	if n := len(im.flips(50, rnd)); n != 50 {
		t.Errorf("%d flips", n)
	}
	cuts := map[string]int{}
	for _, d := range im.cuts(10, rnd) {
		cuts[d.File]++
	}
	if cuts["a"] != 10 || cuts["b"] != 3 || len(im.removals()) != 2 {
		t.Errorf("%v, %d removals", cuts, len(im.removals()))
	}
}

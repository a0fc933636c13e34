package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay"
)

// largeEvery is how many fetched messages there are for each large one, which
// has a segment of its own.
const largeEvery = 150

// backlog writes a store with messages that were fetched and submissions that
// wait, as a stop left it. It gives the Message-IDs of the submissions, the
// oldest first; they are written in any order.
func backlog(t *testing.T, dir string, fetched, queued int) []string {
	t.Helper()
	store, err := mailbox.Open(mailbox.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	mario, err := store.Person(ctx, "mario")
	if err != nil {
		t.Fatal(err)
	}
	const line = "Si trasmette quanto in oggetto, con preghiera di riscontro.\r\n"
	small, large := strings.Repeat(line, 5), strings.Repeat(line, 20_000)
	began := store.Now().Add(-3 * time.Hour)
	put := func(n int) error {
		out := n >= fetched
		box, from, to := boxB, boxA, boxB
		if out {
			box = boxA
		}
		in, err := store.Begin(ctx)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("n%d@backlog.example", n)
		fill := small
		if !out && n%largeEvery == 0 {
			fill = large
		}
		if _, err := in.Write([]byte(mail(from, to, "Prova", id) + fill)); err != nil {
			return err
		}
		o := mailbox.Origin{Box: box, Direction: mailbox.In}
		if out {
			o = mailbox.Origin{Box: box, Direction: mailbox.Out, User: "mario", From: from, To: []string{to}}
		}
		st, err := in.Store(ctx, o)
		if err != nil {
			return err
		}
		defer st.Close()
		_, err = store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
			if !out {
				_, _, err := tx.File(mailbox.FolderKey{Box: box, Role: mailbox.RoleInbox}, m, mailbox.Filing{Seen: true})
				return err
			}
			at := began.Add(time.Duration(n-fetched) * time.Second)
			s, err := relay.Enqueue(tx, relay.Ticket{ID: relay.NewID(at), Box: box, User: "mario", Person: mario, MsgID: id, To: []string{to}}, m)
			if err != nil {
				return err
			}
			m.Submission = s.ID
			_, _, err = tx.File(mailbox.FolderKey{Box: box, Role: mailbox.RoleSent}, m, mailbox.Filing{Audience: mario, Seen: true})
			return err
		})
		return err
	}
	var wg sync.WaitGroup
	turn := make(chan int)
	for range 64 {
		wg.Go(func() {
			for n := range turn {
				if err := put(n); err != nil {
					t.Errorf("message %d: %v", n, err)
				}
			}
		})
	}
	for _, n := range rand.New(rand.NewPCG(6, 6)).Perm(fetched + queued) {
		turn <- n
	}
	close(turn)
	wg.Wait()
	if err := store.Close(); err != nil || t.Failed() {
		t.Fatal(err)
	}
	ids := make([]string, queued)
	for n := range ids {
		ids[n] = fmt.Sprintf("n%d@backlog.example", fetched+n)
	}
	return ids
}

// readSoFar is how many bytes this process has read, from wherever.
func readSoFar(t *testing.T) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(b), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func sizeOf(t *testing.T, dir, pattern string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if ok, _ := filepath.Match(pattern, filepath.Base(path)); err != nil || !ok {
			return err
		}
		info, err := d.Info()
		n += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestL6_RestartWithBacklog: a store with many messages and a long queue opens
// without reading the messages, and the queue goes on with the oldest, one at a
// time.
func TestL6_RestartWithBacklog(t *testing.T) {
	const fetched, queued, enough = 10_000, 2_000, 25
	h := newHouse(t, mailboxText(boxA, false, "    limits: {per_minute: 0}\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	data := filepath.Join(h.dir, "data")
	ids := backlog(t, data, fetched, queued)

	before := readSoFar(t)
	store, err := mailbox.Open(mailbox.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	read := readSoFar(t) - before
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	segments := filepath.Join(data, "segments")
	tables, active, all := sizeOf(t, filepath.Join(data, "records"), "*.sst"), sizeOf(t, segments, "*2.tar"), sizeOf(t, segments, "*.tar")
	t.Logf("opening read %d bytes; the records have %d, the segment that is written on %d, all segments %d", read, tables, active, all)
	if all-active < 60_000_000 || read > tables+active+1_000_000 {
		t.Error("that is more than the records and the segment that is written on")
	}

	h.start()
	h.until("the first have left", func() bool {
		if n := h.status().Queue[relay.Attempting]; n > 1 {
			t.Errorf("%d are on their way at once", n)
		}
		return len(h.provider.Ledger()) >= enough
	})
	h.stop()
	var left []string
	for _, l := range h.provider.Ledger() {
		left = append(left, strings.Trim(l.MessageID, "<>"))
	}
	if !slices.Equal(left, ids[:len(left)]) {
		t.Errorf("not the oldest first: %v", left[:enough])
	}
	if len(left) == queued {
		t.Error("all left before anybody looked: too few to tell anything")
	}
	var st relay.Status
	_, out, _ := program(t, "", "status", "--json", "--config", h.config())
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, n := range st.Queue {
		total += n
	}
	if total != queued || st.Queue[relay.Queued] < queued-len(left)-1 {
		t.Errorf("%d left of %d, and now: %v", len(left), queued, st.Queue)
	}
}

package mailbox

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix" // how many blocks a file has
)

// taken is the blocks of all files below a folder, in bytes.
func taken(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && !d.IsDir() && unix.Lstat(name, &st) == nil { // one that has just gone takes none
			n += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestK13_WholeStoreStaysSmall puts and removes messages, and writes the same
// records over and over: bytes take at most 1.5 times the tar form of what lives,
// the records of what is gone take no room, and nothing comes back.
func TestK13_WholeStoreStaysSmall(t *testing.T) {
	const rounds, each, size = 4, 160, 60 << 10
	ctx, dir := context.Background(), t.TempDir()
	o := Options{Dir: dir}
	s := openWith(t, o)
	may := func(*Tx, *Message) (bool, error) { return true, nil }
	live, gone := map[MessageID]string{}, map[MessageID]bool{}
	largest := 0.0
	for round := range rounds {
		made := make([]*Message, each)
		var wg sync.WaitGroup
		for part := range 8 { // so that they share syncs
			wg.Go(func() {
				for i := part; i < each; i += 8 {
					raw := text(fmt.Sprintf("r%d m%d", round, i)) + strings.Repeat("x", size)
					st := storeOnly(t, s, raw, Origin{Box: box, Direction: In})
					m, err := s.Record(ctx, st, func(tx *Tx, m *Message) error { _, _, err := tx.File(inbox, m, Filing{}); return err })
					if err != nil {
						t.Error(err)
					}
					made[i] = m
					if err := st.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
		for i, m := range made {
			if live[m.ID] = m.SHA256(); i%8 != 0 {
				if _, err := s.removeMessage(ctx, m.ID, may); err != nil {
					t.Fatal(err)
				}
				delete(live, m.ID)
				gone[m.ID] = true
			}
		}
		if _, err := s.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		// A message is two entries: 512 bytes each, content in steps of 512.
		tar := int64(len(live)) * (512 + (size+1024)/512*512 + 512 + 512)
		ratio := float64(taken(t, filepath.Join(dir, "segments"))) / float64(tar)
		if largest = max(largest, ratio); ratio > 1.5 {
			t.Errorf("round %d: %d live messages take %.2f times their tar form", round, len(live), ratio)
		}
	}

	// 100 MB of records, of which 0.5 MB live.
	value := strings.Repeat("v", 1000)
	for n := range 250 {
		err := s.Update(ctx, func(tx *Tx) error {
			for k := range 400 {
				if err := tx.Space("x").Put(fmt.Sprint("k", (n+k)%500), value+fmt.Sprint(n)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const most = 40 << 20 // two memory tables, their logs, and tables about to be merged
	records := taken(t, filepath.Join(dir, "records"))
	for end := time.Now().Add(time.Minute); records > most && time.Now().Before(end); records = taken(t, filepath.Join(dir, "records")) {
		time.Sleep(50 * time.Millisecond) // merging goes on behind
	}
	if records > most {
		t.Errorf("0.5 MB of records take %d MB", records>>20)
	}
	t.Logf("bytes took %.2f times their tar form at the most, records %d MB", largest, records>>20)

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, o)
	recounted(t, s)
	recovered(t, s, admin, Found{})
	err := s.View(ctx, func(tx *Tx) error {
		for id, hash := range live {
			if m, err := tx.Message(id); err != nil || m.SHA256() != hash {
				t.Errorf("message %d is gone: %v", id, err)
			}
		}
		for id := range gone {
			if _, err := tx.Message(id); err == nil {
				t.Errorf("message %d came back", id)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/backup"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// load is writers, a remover and a sweeper at work on a store, so much of it as
// they are let.
type load struct {
	s             *Store
	write, remove crew
	sweep         crew
	stop          chan struct{}
	wg            sync.WaitGroup

	mu      sync.Mutex
	acked   map[MessageID]letter
	going   map[MessageID]bool // its removal was begun
	gone    map[MessageID]bool // and acknowledged
	sweeps  int
	problem error
}

// crew is who does one kind of work.
type crew struct{ let, done chan struct{} }

func newLoad(s *Store) *load {
	crew := func() crew { return crew{make(chan struct{}, 100), make(chan struct{}, 100)} }
	return &load{
		s: s, write: crew(), remove: crew(), sweep: crew(), stop: make(chan struct{}),
		acked: map[MessageID]letter{}, going: map[MessageID]bool{}, gone: map[MessageID]bool{},
	}
}

// work lets writers and remover do something and waits for it. With sweep the
// sweeper is let too, and waited for a little: it must wait for the end of a copy.
func (l *load) work(sweep bool) {
	const letters = 4
	for range letters {
		l.write.let <- struct{}{}
	}
	l.remove.let <- struct{}{}
	for range letters {
		<-l.write.done
	}
	<-l.remove.done
	if !sweep {
		return
	}
	select {
	case l.sweep.let <- struct{}{}:
	default:
	}
	select {
	case <-l.sweep.done:
	case <-time.After(20 * time.Millisecond):
	}
}

// busyRecords has others work just before and just after the state is taken
// that a backup holds.
type busyRecords struct {
	kv.Store
	l *load
}

func (b busyRecords) Backup(ctx context.Context, w io.Writer, since uint64) (uint64, error) {
	b.l.work(false)
	next, err := b.Store.Backup(ctx, w, since)
	b.l.work(true)
	return next, err
}

// letter is a message by its writer and place in what that one wrote.
type letter struct{ writer, n int }

func (l letter) text() string {
	t := text(fmt.Sprintf("%d-%d", l.writer, l.n)) + strings.Repeat("x", l.n*37%3000)
	if l.n%60 == 7 {
		t += strings.Repeat("0123456789abcdef\r\n", 60_000) // a segment of its own
	}
	return t
}

func (l *load) fail(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem = errors.Join(l.problem, err)
}

func (l *load) each(c crew, work func() error) {
	l.wg.Add(1)
	go func() {
		defer l.wg.Done()
		for {
			select {
			case <-l.stop:
				return
			case <-c.let:
			}
			l.fail(work())
			select {
			case c.done <- struct{}{}:
			case <-l.stop:
			}
		}
	}()
}

// put writes one message and, in the same transaction, its number.
func (l *load) put(at letter) error {
	ctx := context.Background()
	in, err := l.s.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(in, at.text()); err != nil {
		return err
	}
	st, err := in.Store(ctx, Origin{Box: box, Direction: In})
	if err != nil {
		return err
	}
	m, err := l.s.Record(ctx, st, func(tx *Tx, m *Message) error {
		if _, _, err := tx.File(inbox, m, Filing{}); err != nil {
			return err
		}
		return tx.Space("load").Put(fmt.Sprint(at.writer), written{N: at.n, Message: m.ID})
	})
	if err := errors.Join(err, st.Close()); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[m.ID] = at
	return nil
}

type written struct {
	N       int       `json:"n"`
	Message MessageID `json:"message"`
}

// removeSome takes the oldest messages but every fourth away for good, with
// their bytes.
func (l *load) removeSome() error {
	ctx := context.Background()
	for range 4 {
		var id MessageID
		l.mu.Lock()
		for n := range l.acked {
			if !l.going[n] && n%4 != 0 && (id == 0 || n < id) {
				id = n
			}
		}
		l.going[id] = true
		l.mu.Unlock()
		if id == 0 {
			break
		}
		if _, err := l.s.removeMessage(ctx, id, func(*Tx, *Message) (bool, error) { return true, nil }); err != nil {
			return err
		}
		l.mu.Lock()
		l.gone[id] = true
		l.mu.Unlock()
	}
	return l.s.finishRemovals(ctx)
}

func (l *load) sweepSome() error {
	swept, err := l.s.Sweep(context.Background())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweeps += swept.Segments
	return err
}

// known is what was acknowledged at one moment.
type known struct {
	acked map[MessageID]letter
	gone  map[MessageID]bool
}

func (l *load) known() known {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := known{map[MessageID]letter{}, map[MessageID]bool{}}
	for id, at := range l.acked {
		k.acked[id] = at
	}
	for id := range l.gone {
		k.gone[id] = true
	}
	return k
}

// begun are the messages whose removal was begun until now.
func (l *load) begun() map[MessageID]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[MessageID]bool{}
	for id := range l.going {
		out[id] = true
	}
	return out
}

// TestK8_BackupUnderLoad makes 20 backups while others write, remove and sweep.
// In each every record has its bytes; five are restored, and each gives back a state that existed: all that was acknowledged before it
// began, byte for byte; what was removed before stays removed; and of each
// writer everything up to one message and nothing behind it.
func TestK8_BackupUnderLoad(t *testing.T) {
	data := t.TempDir()
	s := open(t, data)
	small(t, s)
	l := newLoad(s)
	s.records = busyRecords{s.records, l}
	for w := range 3 {
		n := 0
		l.each(l.write, func() error { n++; return l.put(letter{w, n}) })
	}
	l.each(l.remove, l.removeSome)
	l.each(l.sweep, l.sweepSome)
	dir := filepath.Join(t.TempDir(), "b")
	const runs = 20
	written, whole := int64(0), int64(0)
	for run := range runs {
		before := l.known()
		l.work(false)
		r := backupTo(t, s, backup.Options{Dir: dir})
		after, begun := l.known(), l.begun()
		if len(r.Damaged) > 0 {
			t.Errorf("run %d: torn: %v", r.Run, r.Damaged)
		}
		if run > 0 {
			written += r.Written
			whole += r.Bytes
		}
		if c := checkBackup(t, dir, nil); !c.OK() {
			t.Errorf("run %d: %+v", r.Run, c)
		}
		if run%4 != 1 { // the check has compared every message already
			continue
		}
		to := filepath.Join(t.TempDir(), "data")
		if back, err := tryRestore(dir, to, nil); err != nil || back.Damage > 0 {
			t.Fatalf("run %d: %+v, %v", r.Run, back, err)
		}
		judgeState(t, to, r.Run, before, after, begun)
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	close(l.stop)
	l.wg.Wait()
	if l.problem != nil {
		t.Error(l.problem)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if len(l.gone) < runs || l.sweeps == 0 || len(l.acked) < 5*runs {
		t.Errorf("%d written, %d removed, %d segments swept: there was no load", len(l.acked), len(l.gone), l.sweeps)
	}
	t.Logf("%d messages written, %d removed, %d segments swept; %d later runs wrote %d bytes of %d", len(l.acked), len(l.gone), l.sweeps, runs-1, written, whole)
}

// small gives the store small segments, so that they are sealed and swept.
func small(t *testing.T, s *Store) {
	t.Helper()
	err := s.bytes.Close()
	if err == nil {
		s.bytes, err = segment.Open(segment.Options{Dir: filepath.Join(s.opt.Dir, "segments"), MaxSegment: 64 << 10, LargeAt: 16 << 10})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// judgeState compares a restored store with what is known.
func judgeState(t *testing.T, dir string, run uint64, before, after known, begun map[MessageID]bool) {
	t.Helper()
	s := open(t, dir)
	defer s.Close()
	ctx := context.Background()
	var upTo [3]written
	there := map[MessageID]*Message{}
	err := s.View(ctx, func(tx *Tx) error {
		for w := range upTo {
			if err := tx.Space("load").Get(fmt.Sprint(w), &upTo[w]); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		return tx.r.Scan(key("m"), nil, func(k, _ []byte) (bool, error) {
			m, err := tx.Message(MessageID(tailUint64(k)))
			if err == nil {
				there[m.ID] = m
			}
			return true, err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, at := range before.acked {
		switch {
		case before.gone[id] && there[id] != nil:
			t.Errorf("run %d: message %d came back", run, id)
		case !begun[id] && there[id] == nil:
			t.Errorf("run %d: message %d was acknowledged before and is not there", run, id)
		case there[id] != nil && content(t, s, id) != at.text():
			t.Errorf("run %d: message %d has other bytes", run, id)
		}
		if upTo[at.writer].N < at.n {
			t.Errorf("run %d: message %d of writer %d was acknowledged before, the state ends at %d", run, at.n, at.writer, upTo[at.writer].N)
		}
	}
	found := map[letter]bool{}
	for _, m := range there {
		var at letter
		if _, err := fmt.Sscanf(m.MessageID, "%d-%d@", &at.writer, &at.n); err != nil {
			t.Fatal(m.MessageID, err)
		}
		if at.n > upTo[at.writer].N {
			t.Errorf("run %d: message %d of writer %d is there, the state ends at %d", run, at.n, at.writer, upTo[at.writer].N)
		}
		found[at] = true
		if content(t, s, m.ID) != at.text() {
			t.Errorf("run %d: message %d of writer %d has other bytes", run, at.n, at.writer)
		}
	}
	removed := map[letter]bool{}
	for id, at := range after.acked {
		removed[at] = begun[id]
	}
	for w, up := range upTo {
		for n := range up.N {
			if at := (letter{w, n + 1}); !found[at] && !removed[at] {
				t.Errorf("run %d: message %d of writer %d is missing, the state ends at %d", run, at.n, w, up.N)
			}
		}
	}
}

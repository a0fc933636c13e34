package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid" // draws and shrinks histories of batches

	"pecgate/mailbox"
	"pecgate/mailbox/kv"
	"pecgate/relay/submit"
)

// unlisted tells what the records of open_index.go say otherwise than the submissions
// themselves; "" for nothing.
func unlisted(ctx context.Context, store *mailbox.Store) (wrong string, err error) {
	err = store.View(ctx, func(tx *mailbox.Tx) error {
		wrong = ""
		c, _, err := coveredIn(tx)
		if err != nil || !c.Done {
			return err
		}
		sum, err := totalsOf(tx)
		if err != nil {
			return err
		}
		want, err := countAll(tx)
		if err != nil {
			return err
		}
		if !maps.Equal(sum.States, want.States) || sum.Late != want.Late {
			wrong = fmt.Sprintf("the totals are %+v, and should be %+v", sum, want)
		}
		var open, there []string
		err = tx.Space(room).Scan("s/", func(k string, raw []byte) (bool, error) {
			s := new(Submission)
			if err := json.Unmarshal(raw, s); err != nil {
				return false, err
			}
			if !s.State.ended() {
				open = append(open, s.ID+" "+s.Box+" "+string(s.State))
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		err = tx.Space(room).Scan(openPrefix, func(k string, raw []byte) (bool, error) {
			var l openLine
			if err := json.Unmarshal(raw, &l); err != nil {
				return false, err
			}
			there = append(there, strings.TrimPrefix(k, openPrefix)+" "+l.Box+" "+string(l.State))
			return true, nil
		})
		if !slices.Equal(open, there) {
			wrong += fmt.Sprintf("\nlisted are %q, and open are %q", there, open)
		}
		return err
	})
	return wrong, err
}

// mustList ends a test of a store whose lists are wrong at its end.
func mustList(t *testing.T, store *mailbox.Store) {
	t.Cleanup(func() {
		wrong, err := unlisted(context.Background(), store)
		if err != nil && !errors.Is(err, kv.ErrClosed) {
			t.Error(err)
		}
		if wrong != "" {
			t.Error(wrong)
		}
	})
}

// forget makes a store as one of an earlier release, which knows no lists.
func forget(ctx context.Context, store *mailbox.Store) error {
	return store.Update(ctx, func(tx *mailbox.Tx) error {
		var keys []string
		for _, prefix := range []string{openPrefix, "late/", "cn/", coveredKey} {
			err := tx.Space(room).Scan(prefix, func(k string, _ []byte) (bool, error) { keys = append(keys, k); return true, nil })
			if err != nil {
				return err
			}
		}
		for _, k := range keys {
			if err := tx.Space(room).Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// listModel drives submissions and batches at random, over services on one store.
type listModel struct {
	r     *rapid.T
	clock *testClock
	store *mailbox.Store
	s     *Service
	m     mailbox.Message
	ids   []string // submissions and batches
	under []*Submission
	n     int
}

func (m *listModel) must(err error) {
	m.r.Helper()
	if no := new(Refusal); err != nil && !errors.As(err, &no) && !errors.Is(err, errLease) {
		m.r.Fatal(err)
	}
}

func (m *listModel) update(fn func(*mailbox.Tx) error) {
	m.r.Helper()
	m.must(m.store.Update(context.Background(), fn))
}

func (m *listModel) submit(r *rapid.T) {
	if len(m.ids) > 8 {
		return
	}
	m.n++
	t := Ticket{ID: fmt.Sprintf("id%05d", m.n), Box: rapid.SampledFrom([]string{testBox, "seconda@pec.alfa.example"}).Draw(r, "mailbox"), User: "mario", Person: 1, To: numbered(1)}
	if t.MsgID = t.ID + "@alfa.example"; rapid.Bool().Draw(r, "batch") {
		t.Split, t.To = SplitAlways, numbered(rapid.IntRange(1, 4).Draw(r, "recipients"))
		if rapid.Bool().Draw(r, "blind") {
			t.Split, t.Visible = SplitBlind, rapid.IntRange(0, len(t.To)).Draw(r, "visible")
		}
	}
	m.update(func(tx *mailbox.Tx) error { _, err := Enqueue(tx, t, &m.m); return err })
	m.ids = append(m.ids, t.ID)
}

// any draws a submission, a batch or a message of one, with or without a record.
func (m *listModel) any(r *rapid.T) string {
	id := rapid.SampledFrom(m.ids).Draw(r, "submission")
	if n := rapid.IntRange(0, 4).Draw(r, "message"); n > 0 {
		err := m.store.View(context.Background(), func(tx *mailbox.Tx) error { _, err := load(tx, childID(id, n)); return err })
		if err == nil {
			return childID(id, n)
		}
	}
	return id
}

func (m *listModel) lease(r *rapid.T) {
	id := m.any(r)
	sub, err := m.s.leaseNext(context.Background(), id, 0)
	if errors.Is(err, errLease) {
		sub, err = m.s.lease(context.Background(), id)
	}
	if m.must(err); err == nil && sub.State == Attempting {
		m.under = append(m.under, sub)
	}
}

func (m *listModel) answer(r *rapid.T) {
	if len(m.under) == 0 {
		return
	}
	at := rapid.IntRange(0, len(m.under)-1).Draw(r, "attempt")
	sub := m.under[at]
	m.under = slices.Delete(m.under, at, at+1)
	class := rapid.SampledFrom([]submit.Class{submit.HandedOver, submit.Uncertain, submit.Temporary, submit.Permanent}).Draw(r, "answer")
	_, err := m.s.conclude(context.Background(), &worker{acc: m.s.account(sub.Box)}, sub, submit.Result{Class: class, Stage: submit.StageDot, Code: 250})
	m.must(err)
}

func (m *listModel) hand(r *rapid.T) {
	id, by := m.any(r), Hand{Actor: "capo"}
	var err error
	switch rapid.IntRange(0, 2).Draw(r, "hand") {
	case 0:
		_, err = m.s.Retry(context.Background(), id, by)
	case 1:
		_, err = m.s.Hold(context.Background(), id, by)
	case 2:
		_, err = m.s.Cancel(context.Background(), id, true, by)
	}
	m.must(err)
}

// late has receipts of a submission come late, and others come after all.
func (m *listModel) late(r *rapid.T) {
	id := m.any(r)
	state := rapid.SampledFrom([]RecipientState{Waiting, Late, Delivered}).Draw(r, "state")
	m.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, id)
		if err != nil || s.batch() || s.child() && s.Attempts == 0 {
			return err
		}
		s.Recipients[0].State = state
		return save(tx, s, nil)
	})
}

// room has a batch wait for it.
func (m *listModel) room(r *rapid.T) {
	id := m.any(r)
	m.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, id)
		if err != nil || !s.batch() || !s.toMake() {
			return err
		}
		return waitForRoomBatch(tx, s, &shortage{sub: s, need: 1})
	})
}

func (m *listModel) check() {
	wrong, err := unlisted(context.Background(), m.store)
	if m.must(err); wrong != "" {
		m.r.Fatal(wrong)
	}
}

// TestListsAgree: whatever happens to submissions and batches, the lists and totals are
// what a look at every record finds, also when they are made anew meanwhile for a
// store that had none.
func TestListsAgree(t *testing.T) {
	end, n := time.Now().Add(4*time.Second), 0
	rapid.Check(t, func(r *rapid.T) {
		if !r.Failed() && time.Now().After(end) {
			return
		}
		dir, err := os.MkdirTemp("", "lists")
		if err != nil {
			r.Fatal(err)
		}
		m := &listModel{r: r, clock: newTestClock(), n: 50}
		m.store, err = mailbox.Open(mailbox.Options{Dir: dir, Now: m.clock.now})
		m.must(err)
		defer func() { m.must(errors.Join(m.store.Close(), os.RemoveAll(dir))) }()
		ctx := context.Background()
		m.s = New(Options{Store: m.store, Address: "pecgate@gateway.example", Accounts: func() []Account { return nil }})
		in, err := m.store.Begin(ctx)
		m.must(err)
		_, err = in.Write([]byte("From: a@pec.example\r\n\r\nx\r\n"))
		m.must(err)
		st, err := in.Store(ctx, mailbox.Origin{Box: testBox, Direction: mailbox.Out})
		m.must(err)
		_, err = m.store.Record(ctx, st, func(tx *mailbox.Tx, got *mailbox.Message) error {
			m.m = *got
			_, err := tx.EnsurePerson("mario")
			return err
		})
		m.must(errors.Join(err, st.Close()))
		before := rapid.IntRange(0, 20).Draw(r, "steps of an earlier release")
		for steps := 0; steps < 40; steps++ {
			n++
			if steps == before && before > 0 {
				m.must(forget(ctx, m.store))
			}
			if steps > before && steps%3 == 0 {
				m.update(func(tx *mailbox.Tx) error { return coverMore(tx, 2) })
			}
			do := []func(*rapid.T){m.submit, m.lease, m.lease, m.answer, m.answer, m.hand, m.late, m.room}
			if len(m.ids) == 0 {
				m.submit(r)
			}
			do[rapid.IntRange(0, len(do)-1).Draw(r, "step")](r)
			m.check()
		}
		m.must(m.s.coverAll(ctx))
		m.check()
	})
	t.Logf("%d steps", n)
}

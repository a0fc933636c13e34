package relay

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// of puts a submission of a person into the queue beside the one with an id.
func (x *timed) of(user, id, beside string) {
	x.t.Helper()
	x.update(func(tx *mailbox.Tx) error {
		who, err := tx.EnsurePerson(user)
		if err != nil {
			return err
		}
		other, err := load(tx, beside)
		if err != nil {
			return err
		}
		m, err := tx.Message(other.Message)
		if err != nil {
			return err
		}
		s, err := begin(tx, Ticket{ID: id, Box: testBox, User: user, Person: who, MsgID: id + "@alfa.example", To: []string{id + "@pec.example"}}, m, tx.Now().UTC())
		if err != nil {
			return err
		}
		return save(tx, s, &due{At: tx.Now()})
	})
}

// TestB9_WhoeverWaitsIsTold: while the provider cannot be reached also those are told
// whose messages stand behind more than are looked at in one go, and whose message
// was released into the front of the queue meanwhile.
func TestB9_WhoeverWaitsIsTold(t *testing.T) {
	x := newTimed(t)
	ids := queued(t, x.store, testBox, inSight+100)
	x.of("luigi", "zz", ids[0])
	x.s.handOver = func(context.Context, submit.Server, string, []string, submit.Body, submit.Hooks) submit.Result {
		return submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: io.ErrUnexpectedEOF}
	}
	told := func() (who []string) {
		t.Helper()
		prefix := alarmsOf(testBox, queueLate)
		err := x.store.View(t.Context(), func(tx *mailbox.Tx) error {
			who = nil
			return tx.Space(room).Scan(prefix, func(k string, _ []byte) (bool, error) {
				who = append(who, strings.TrimPrefix(k, prefix))
				return true, nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return who
	}
	x.works(tellAfter - time.Hour)
	if who := told(); len(who) != 0 {
		t.Errorf("told too early: %q", who)
	}
	x.works(3*time.Hour + time.Minute) // the second look comes an hour after the first
	if who := told(); !slices.Equal(who, []string{"", "luigi", "mario"}) {
		t.Errorf("of those who wait were told %q", who)
	}
	x.of("anna", "aa", ids[0])
	x.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, "aa")
		if err != nil {
			return err
		}
		s.Released = tx.Now()
		return save(tx, s, nil)
	})
	x.works(tellAfter + tellAfter + lateLook)
	if who := told(); !slices.Equal(who, []string{"", "anna", "luigi", "mario"}) {
		t.Errorf("of those who wait were told %q", who)
	}
}

// TestQueue_OfWhatCanOnlyLeave: where few messages can leave, of a long queue only so
// many lines are taken, and all that need no provider.
func TestQueue_OfWhatCanOnlyLeave(t *testing.T) {
	x := newTimed(t)
	ids := queued(t, x.store, testBox, 50)
	var looked []string // uncertain
	for _, n := range []int{0, 20, 49} {
		x.ends(x.under(ids[n], true), submit.Uncertain)
		looked = append(looked, ids[n])
	}
	x.pass(25 * time.Hour)
	names := func(d dueNow) (out []string) {
		for _, task := range d.tasks {
			out = append(out, task.id)
		}
		return out
	}
	for most, want := range map[int][]string{
		1: {ids[0], ids[1], ids[20], ids[49]},
		3: {ids[0], ids[1], ids[2], ids[3], ids[20], ids[49]},
	} {
		due, err := x.s.dueOf(t.Context(), testBox, most, false)
		if err != nil || !slices.Equal(names(due), want) || !due.more {
			t.Errorf("at most %d: %v (more: %v), %v", most, names(due), due.more, err)
		}
	}
	due, err := x.s.dueOf(t.Context(), testBox, inSight, false)
	if err != nil || !slices.Equal(names(due), ids) || due.more {
		t.Errorf("without a limit: %v (more: %v), %v", names(due), due.more, err)
	}
	// What it leaves out is found next.
	var left []string
	x.s.handOver = func(ctx context.Context, s submit.Server, from string, to []string, b submit.Body, h submit.Hooks) submit.Result {
		if err := h.BeforeDot(ctx); err != nil {
			return submit.Result{Class: submit.Temporary, Stage: submit.StageBody, Err: err}
		}
		left = append(left, strings.TrimSuffix(to[0], "@pec.example"))
		return submit.Result{Class: submit.HandedOver, Stage: submit.StageDot, Code: 250}
	}
	x.w.acc.PerMinute = 5
	x.works(15 * time.Minute)
	want := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(looked, id) })
	if !slices.Equal(left, want) {
		t.Errorf("there left %v", left)
	}
	if _, err := x.s.lease(t.Context(), ids[1]); !errors.Is(err, errLease) {
		t.Error(err)
	}
}

// TestB9_BehindWhatWasReleased: who waits behind more than is looked at in one go, all
// of it released a short time ago, is told in time.
func TestB9_BehindWhatWasReleased(t *testing.T) {
	x := newTimed(t)
	ids := queued(t, x.store, testBox, inSight+10)
	x.of("luigi", "zz", ids[0])
	x.pass(tellAfter)
	for from := 0; from < len(ids); from += 200 {
		x.update(func(tx *mailbox.Tx) error {
			for _, id := range ids[from:min(from+200, len(ids))] {
				s, err := load(tx, id)
				if err != nil {
					return err
				}
				s.Released = tx.Now()
				if err := errors.Join(s.begins(tx), save(tx, s, nil)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	x.s.handOver = func(context.Context, submit.Server, string, []string, submit.Body, submit.Hooks) submit.Result {
		return submit.Result{Class: submit.Temporary, Stage: submit.StageConnect, Err: io.ErrUnexpectedEOF}
	}
	x.works(2*time.Hour + 5*time.Minute)
	told := 0
	err := x.store.View(t.Context(), func(tx *mailbox.Tx) error {
		told = 0
		all, err := Alarms(tx, 100)
		for _, a := range all {
			if a.Kind == queueLate && a.About == "luigi" {
				told++
			}
		}
		return err
	})
	if err != nil || told != 1 {
		t.Errorf("luigi was told %d times, %v", told, err)
	}
}

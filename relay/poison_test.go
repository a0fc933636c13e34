package relay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// TestL3_PanicInAWorker: a submission whose handling panics is tried three times
// and set aside; the others of its mailbox leave, its sender and the administrator
// are told once, and a person who tries it again may have it leave.
func TestL3_PanicInAWorker(t *testing.T) {
	clock, i := newTestClock(), newIntake(t)
	o := i.s.opt
	o.Store, o.Address = clock.store(t), "pecgate@gateway.example"
	o.Accounts = func() []Account { return []Account{{Box: testBox, Admin: "capo", Active: true}} }
	i.store, i.s = o.Store, New(o)
	ids := queued(t, i.store, testBox, 5)
	bad, broken := ids[1], true
	var d dots
	i.s.handOver = func(ctx context.Context, srv submit.Server, from string, to []string, body submit.Body, h submit.Hooks) submit.Result {
		if broken && strings.HasPrefix(to[0], bad) {
			panic("planted")
		}
		return d.handOver(ctx, srv, from, to, body, h)
	}
	w := aWorker(Account{Box: testBox})
	round := func() {
		t.Helper()
		for range 10 {
			wait, _, err := i.s.sendDue(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			clock.add(wait + time.Minute)
		}
	}
	round()
	if s := stored(t, i.store, bad); s.State != Held || s.StateReason != ReasonPoison || s.Attempts != maxCrashes {
		t.Fatalf("it is %s (%s) after %d attempts", s.State, s.StateReason, s.Attempts)
	}
	others := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == bad })
	if !slices.Equal(d.list, others) {
		t.Errorf("what left is %v", d.list)
	}
	if n := strings.Count(i.log.String(), "relay panic"); n != maxCrashes {
		t.Errorf("%d panics are in the log", n)
	}
	capo, err := i.store.Person(t.Context(), "capo")
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []mailbox.Person{1, capo} {
		if n := i.noticesOf(who); n != 1 {
			t.Errorf("person %d has %d notices", who, n)
		}
	}
	if _, err := i.s.Retry(t.Context(), bad, Hand{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if s := stored(t, i.store, bad); s.Crashes != 0 {
		t.Errorf("a person tries it again, and %d crashes count", s.Crashes)
	}
	round() // still broken: it begins anew
	if s := stored(t, i.store, bad); s.State != Held || s.Attempts != 2*maxCrashes {
		t.Errorf("it is %s after %d attempts", s.State, s.Attempts)
	}
	broken = false
	if _, err := i.s.Retry(t.Context(), bad, Hand{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	round()
	if s := stored(t, i.store, bad); s.State != HandedOver || s.Crashes != 0 {
		t.Errorf("mended it is %s", s.State)
	}
}

// noticesOf is how many messages stand in a person's own INBOX.
func (i *intake) noticesOf(p mailbox.Person) int {
	i.t.Helper()
	snap, err := i.store.Snapshot(i.t.Context(), mailbox.FolderKey{Owner: p, Role: mailbox.RoleInbox}, mailbox.Viewer{Person: p})
	if errors.Is(err, mailbox.ErrNotFound) {
		return 0
	}
	if err != nil {
		i.t.Fatal(err)
	}
	return len(snap.UIDs)
}

// TestL3_OnlyTheCulprit: several were under way each time that the process died.
// From then on one of them is handled at a time, and only what was at fault is set
// aside.
func TestL3_OnlyTheCulprit(t *testing.T) {
	clock, i := newTestClock(), newIntake(t)
	i.store = clock.store(t)
	i.s.opt.Store = i.store
	i.s = New(i.s.opt)
	ids := queued(t, i.store, testBox, 4)
	bad := ids[2]
	under := func() (all []string) { // as many as the service takes at a time
		tasks, _, err := i.s.dueTasks(t.Context(), testBox)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range tasks {
			if x.Suspect {
				if _, ok := i.s.suspect(); !ok {
					continue
				}
			}
			if _, err := i.s.lease(t.Context(), x.id); err != nil {
				t.Fatal(err)
			}
			all = append(all, x.id)
		}
		return all
	}
	for range 20 {
		all := under()
		if !slices.Contains(all, bad) { // nothing crashes: they leave
			for _, id := range all {
				i.ends(stored(t, i.store, id), submit.HandedOver)
			}
			<-i.s.suspects
		} else {
			i.again()
		}
		clock.add(time.Hour)
		if stored(t, i.store, bad).State == Held {
			break
		}
	}
	for _, id := range ids {
		s := stored(t, i.store, id)
		if id == bad && s.StateReason != ReasonPoison || id != bad && s.Crashes >= maxCrashes {
			t.Errorf("%s is %s (%s) after %d crashes", id, s.State, s.StateReason, s.Crashes)
		}
	}
}

// dies runs a relay that dies of a fault of its own, and starts it again as systemd
// does until it lives; it returns how often it died.
func (c *crash) dies(alive func(*child) bool) (n int) {
	c.t.Helper()
	for ; n < 10; n++ {
		r := startChild(c.t, c.order)
		for lives := false; ; {
			select {
			case <-r.ended:
			case <-time.After(20 * time.Millisecond):
				if lives = alive(r); !lives {
					continue
				}
			}
			if lives {
				r.stop(c.t)
				return n
			}
			break
		}
		if !strings.Contains(r.log.String(), "planted") {
			c.t.Fatalf("it did not die of its fault:\n%s", &r.log)
		}
		c.tap.cut()
	}
	return n
}

// TestL3_CrashLoopOfAMessage: a message of the provider that ends the process
// whenever it is read is set aside at the third time. The others are taken in, it is
// never deleted there, and the administrator is told.
func TestL3_CrashLoopOfAMessage(t *testing.T) {
	for _, pop3 := range []bool{false, true} {
		c := newCrash(t, pop3, CopyRule{Delete: true})
		c.order.Crash, c.order.Poison = atRead, "0000000002"
		if pop3 {
			c.order.Poison = ".2"
		}
		n := c.dies(func(*child) bool { return len(left(t, c.p)) == 1 })
		if n != maxCrashes {
			t.Errorf("POP3 %t: it died %d times", pop3, n)
		}
		f := &fetched{t: t, dir: c.order.Dir, clock: time.Now}
		f.open()
		defer f.close()
		f.once(c.sent[0], c.sent[2])
		var all []Alarm
		err := f.store.View(t.Context(), func(tx *mailbox.Tx) (err error) { all, err = Alarms(tx, 10); return err })
		if err != nil || len(all) != 1 || all[0].Kind != "poison" || !slices.Equal(all[0].Told, []string{"capo"}) {
			t.Errorf("POP3 %t: the alarms are %+v, %v", pop3, all, err)
		}
	}
}

package relay

import (
	"errors"
	"maps"
	"mime"
	"slices"
	"time"

	"pgregory.net/rapid" // draws and shrinks histories of the queue

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// What people, rooms, searches and clocks do to the model of the queue, and how the
// two are compared.

// hand is what a person does.
func (m *queueModel) hand(r *rapid.T) {
	x := m.item(r, States()...)
	s, by := m.s[rapid.IntRange(0, 1).Draw(r, "service")], Hand{Actor: "test"}
	left := m.stored(x.id).mayHaveLeft()
	what := rapid.SampledFrom([]string{"retry", "hold", "cancel", "give up", "approve", "reject"}).Draw(r, "what")
	var err error
	var may bool
	var do func()
	switch what {
	case "retry":
		_, err = s.Retry(m.ctx(), x.id, by)
		may = x.state == Queued || x.state == Held
		do = func() {
			if x.state == Held {
				x.flagged = true
				x.goes(Queued, "")
				x.intent, x.crashes = false, 0
			}
		}
	case "hold":
		_, err = s.Hold(m.ctx(), x.id, by)
		may = x.state == Queued
		do = func() { x.goes(Held, ReasonOperator) }
	case "cancel", "give up":
		_, err = s.Cancel(m.ctx(), x.id, what == "give up", by)
		may = slices.Contains([]State{Queued, Held, ToApprove}, x.state) && (what == "give up" || !left)
		do = func() {
			x.goes(Cancelled, map[bool]Reason{true: ReasonUncertain, false: ReasonOperator}[left])
			x.ends++
		}
	case "approve":
		_, err = s.ApproveByHand(m.ctx(), x.id, by)
		may = x.state == ToApprove
		do = func() { x.goes(Queued, "") }
	case "reject":
		_, err = s.RejectByHand(m.ctx(), x.id, by)
		may = x.state == ToApprove
		do = func() { x.goes(Cancelled, ReasonApproval); x.ends++ }
	}
	if no := new(Refusal); (err == nil) != may || err != nil && !errors.As(err, &no) {
		r.Fatalf("%s of %s (%s): %v", what, x.id, x.state, err)
	}
	if may {
		do()
		x.disturbed = true
	}
}

// searchEnds has the search for the receipt of an uncertain one come to its end.
func (m *queueModel) searchEnds(r *rapid.T) {
	x := m.item(r, Uncertain)
	m.must(m.store.Update(m.ctx(), func(tx *mailbox.Tx) error {
		return tx.Space(room).Put(lookingKey(x.box, x.id), looking{Seen: tx.Now(), Read: time.Hour, Over: true})
	}))
	w := m.worker(x.box)
	_, err := m.s[0].decide(m.ctx(), w, m.stored(x.id))
	m.must(err)
	if w.acc.Resend && !x.once {
		x.goes(Queued, "")
		x.once, x.flagged, x.intent = true, true, false
	} else {
		x.goes(Held, ReasonUncertain)
	}
	x.disturbed = true
}

func (m *queueModel) room(r *rapid.T) {
	acc := m.account(r)
	m.full[acc.Box] = !m.full[acc.Box]
	q := fetch.Quota{Used: 0, Limit: 1 << 30, Known: true}
	if m.full[acc.Box] {
		q.Used = q.Limit
	}
	m.must(m.s[0].occupied(m.ctx(), m.worker(acc.Box), q))
}

// jump lets time pass, or sets the clock.
func (m *queueModel) jump(r *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{
		time.Second, time.Minute, 30 * time.Minute, 24 * time.Hour, 20 * 24 * time.Hour, -time.Minute, -time.Hour, -20 * 24 * time.Hour,
	}).Draw(r, "by")
	if off := m.clock.now().Add(d).Sub(m.began); off < 0 || off > 28*24*time.Hour {
		r.Skip() // receipts would be of the future, or before the provider's certificate
	}
	m.clock.add(d)
	_, err := m.s[0].tick(m.ctx())
	m.must(err)
}

func (m *queueModel) stored(id string) (s *Submission) {
	m.must(m.store.View(m.ctx(), func(tx *mailbox.Tx) (err error) { s, err = load(tx, id); return err }))
	return s
}

// check compares the store with the model.
func (m *queueModel) check() {
	counts := map[State]int{}
	for _, x := range m.items {
		s := m.stored(x.id)
		counts[s.State]++
		if s.State != x.state || s.StateReason != x.why && x.state != HandedOver && x.state != NotAccepted {
			m.r.Fatalf("%s is %s (%s), and should be %s (%s)", x.id, s.State, s.StateReason, x.state, x.why)
		}
		if x.took && (s.State.open() || s.State == Cancelled) && !s.mayHaveLeft() {
			m.r.Fatalf("%s is %s, and the provider has it", x.id, s.State)
		}
		if s.StateReason == ReasonExpired {
			m.r.Fatalf("%s expired", x.id)
		}
	}
	lines := 0
	m.must(scanTasks(m.ctx(), m.store, "", func(_ time.Time, t task) bool {
		lines++
		if x := m.of(t.id); !x.state.waiting() {
			m.r.Fatalf("%s is %s and stands in the queue", x.id, x.state)
		}
		return true
	}))
	if want := counts[Queued] + counts[Attempting] + counts[Uncertain]; lines != want {
		m.r.Fatalf("%d lines of the queue, and %d wait", lines, want)
	}
	st, err := m.s[0].Status(m.ctx())
	m.must(err)
	if !maps.Equal(st.Queue, counts) {
		m.r.Fatalf("status counts %v, there are %v", st.Queue, counts)
	}
	wrong, err := unlisted(m.ctx(), m.store)
	if m.must(err); wrong != "" {
		m.r.Fatal(wrong)
	}
}

// checkTold counts the notices of ends that the sender got.
func (m *queueModel) checkTold() {
	if len(m.items) == 0 {
		return
	}
	p, err := m.store.Person(m.ctx(), "mario")
	m.must(err)
	told, v := map[string]int{}, mailbox.Viewer{Person: p}
	snap, err := m.store.Snapshot(m.ctx(), mailbox.FolderKey{Owner: p, Role: mailbox.RoleInbox}, v)
	m.must(err)
	ends := []string{"PEC non accettata dal gestore", "PEC annullata: non è stata inviata", "PEC: il gateway non la invierà più", "PEC non autorizzata: non è stata inviata"}
	m.must(m.store.Entries(m.ctx(), snap.Folder, v, snap.UIDs, mailbox.Want{}, func(e *mailbox.Entry) error {
		ix, err := m.store.Index(m.ctx(), e.Message)
		if err != nil {
			return err
		}
		msg, err := m.store.Message(m.ctx(), e.Message)
		if err != nil {
			return err
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(ix.Subject)
		if slices.Contains(ends, subject) {
			told[msg.Submission]++
		}
		return err
	}))
	for _, x := range m.items {
		if told[x.id] != x.ends {
			m.r.Fatalf("%s (%s, %s) ended %d times, and its sender was told %d times", x.id, x.state, x.why, x.ends, told[x.id])
		}
	}
}

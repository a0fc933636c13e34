package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
)

// QueueItem is one line of `pecgate queue list`. JSON keys are stable.
type QueueItem struct {
	ID          string     `json:"id"`
	MsgID       string     `json:"msgid"`
	Mailbox     string     `json:"mailbox"`
	User        string     `json:"user"`
	State       State      `json:"state"`
	StateReason Reason     `json:"state_reason"`
	SubmittedAt time.Time  `json:"submitted_at"`
	Since       time.Time  `json:"since"`         // of the present state
	Attempts    int        `json:"attempts"`      // so far
	Next        *time.Time `json:"next"`          // when something is due; null where nothing is
	Why         string     `json:"why"`           // it has not left, in words; empty where its turn just comes
	MayHaveLeft bool       `json:"may_have_left"` // nobody can say that the provider never took it
	// Unconfirmed is what it waited for (pin, approval) when it was accepted, where
	// the records that would say whether that was given are lost; else empty.
	Unconfirmed Reason   `json:"unconfirmed"`
	Recipients  []string `json:"recipients"`
	Last        *Event   `json:"last"` // newest line of its story
	// Batch is how far a batch is, which is one item; null for any other. Its
	// messages are items only where their state is asked for by name and one of
	// them needs a person: held or uncertain.
	Batch *ShownBatch `json:"batch"`
}

// QueueShown is the answer to `pecgate queue show`.
type QueueShown struct {
	Shown
	Since       time.Time  `json:"since"`
	Attempts    int        `json:"attempts"`
	Next        *time.Time `json:"next"`
	Why         string     `json:"why"` // it has not left, as of QueueItem
	MayHaveLeft bool       `json:"may_have_left"`
	Unconfirmed Reason     `json:"unconfirmed"` // as of QueueItem
	Can         []string   `json:"can"`         // what a person may do: retry, hold, cancel, approve, reject, retry --unconfirmed, cancel --may-have-left
}

// QueueFilter says which submissions a list is of.
type QueueFilter struct {
	Mailbox string  // "": of all
	States  []State // none: those in which something is still to be done
	After   string  // id behind which the list begins
	Most    int     // how many at most; 0: 200
}

// QueuePage is a part of the list, oldest submission first.
type QueuePage struct {
	Items []QueueItem `json:"items"`
	After string      `json:"after"` // for the next part; empty: this was the last
}

// States are all states of a submission, in the order of its way.
func States() []State {
	return []State{Held, ToApprove, Queued, Attempting, Uncertain, HandedOver, Accepted, NotAccepted, Cancelled}
}

// open tells whether something is still to be done before it leaves.
func (s State) open() bool { return s.waiting() || s == Held || s == ToApprove }

// queueLook is how many submissions one state of the store is searched for a
// part of the list.
const queueLook = 20000

// Queue returns a part of the list of submissions.
func Queue(ctx context.Context, store *mailbox.Store, f QueueFilter) (page QueuePage, err error) {
	if f.Most <= 0 || f.Most > 200 {
		f.Most = 200
	}
	box, states := strings.ToLower(f.Mailbox), f.States
	if len(states) == 0 {
		states = slices.DeleteFunc(States(), func(s State) bool { return !s.open() })
	}
	wanted := func(id string, l openLine) bool {
		if box != "" && l.Box != box {
			return false
		}
		_, _, child := batchOf(id)
		if child && (len(f.States) == 0 || len(f.States) == len(States()) || l.State != Held && l.State != Uncertain) {
			return false // its batch is listed
		}
		return slices.Contains(states, l.State)
	}
	err = store.View(ctx, func(tx *mailbox.Tx) error {
		page = QueuePage{Items: []QueueItem{}}
		var found []string
		looked := 0
		err := scanListed(tx, f.After, states, func(id string, l openLine) (bool, error) {
			if looked++; looked > queueLook || len(found) == f.Most {
				return false, nil
			}
			page.After = id
			if wanted(id, l) {
				found = append(found, id)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		if looked <= queueLook && len(found) < f.Most {
			page.After = ""
		}
		for _, id := range found {
			it, err := queueItem(tx, id)
			if err != nil {
				return err
			}
			page.Items = append(page.Items, it)
		}
		return nil
	})
	return page, err
}

func queueItem(tx *mailbox.Tx, id string) (it QueueItem, err error) {
	s, err := load(tx, id)
	if err != nil {
		return it, err
	}
	h, err := haltOf(tx, s.Box)
	if err != nil {
		return it, err
	}
	it = QueueItem{
		ID: s.ID, MsgID: s.MsgID, Mailbox: s.Box, User: s.User, State: s.State, StateReason: h.reason(s.State, s.StateReason),
		SubmittedAt: s.SubmittedAt, Since: s.Since, Attempts: s.Attempts, MayHaveLeft: s.mayHaveLeft(),
		Unconfirmed: s.stillUnconfirmed(), Recipients: []string{},
	}
	for _, r := range s.Recipients {
		it.Recipients = append(it.Recipients, r.Address)
	}
	if s.batch() {
		it.Batch = progressOf(s)
	}
	it.Next, err = nextOf(tx, s)
	if it.Next = h.next(s, it.Next); err != nil || s.Events == 0 {
		return it, err
	}
	var last Event
	err = tx.Space(room).Get(fmt.Sprintf("e/%s/%06d", s.ID, s.Events), &last)
	if errors.Is(err, mailbox.ErrNotFound) {
		return it, nil
	}
	it.Last = &last
	it.Why = it.why()
	return it, err
}

const suspendedWhy = "the provider refused the login: `pecgate status` says what to do"

// why is what keeps it from leaving.
func (it *QueueItem) why() string {
	switch {
	case it.StateReason == ReasonSuspended:
		return suspendedWhy
	case it.Last == nil || !it.State.open() || it.State == Queued && it.StateReason == "" && it.Attempts == 0:
		return ""
	}
	return it.Last.Text
}

// nextOf returns when something is due for a submission, or nil.
func nextOf(tx *mailbox.Tx, s *Submission) (*time.Time, error) {
	var line due
	err := tx.Space(room).Get(queueKey(s.Box, s.ID), &line)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, nil
	}
	at := line.At
	if s.State == Uncertain {
		l, err := lookingFor(tx, s)
		if err != nil || !l.End.IsZero() && !l.Over {
			return &l.End, err
		}
	}
	if line.Lease.After(at) {
		at = line.Lease
	}
	return &at, err
}

// ShowQueued is Show with what concerns the queue; ErrNotFound where there is no
// such submission.
func ShowQueued(ctx context.Context, store *mailbox.Store, name string) (shown QueueShown, err error) {
	if shown.Shown, _, err = Show(ctx, store, name); err != nil {
		return shown, err
	}
	err = store.View(ctx, func(tx *mailbox.Tx) error {
		s, err := load(tx, shown.ID)
		if err != nil {
			return err
		}
		shown.Since, shown.Attempts, shown.MayHaveLeft = s.Since, s.Attempts, s.mayHaveLeft()
		shown.Unconfirmed = s.stillUnconfirmed()
		shown.Can = []string{}
		for _, c := range []struct {
			what string
			no   error
		}{{"retry", mayRetry(s, false)}, {"hold", mayHold(s)}, {"cancel", mayCancel(s, false)}, {"approve", mayApprove(s)}, {"reject", mayApprove(s)}} {
			if c.no == nil {
				shown.Can = append(shown.Can, c.what)
			}
		}
		if mayRetry(s, false) != nil && mayRetry(s, true) == nil {
			shown.Can = append(shown.Can, "retry --unconfirmed")
		}
		if mayCancel(s, false) != nil && mayCancel(s, true) == nil {
			shown.Can = append(shown.Can, "cancel --may-have-left")
		}
		it, err := queueItem(tx, shown.ID)
		shown.Next, shown.Why = it.Next, it.Why
		return err
	})
	return shown, err
}

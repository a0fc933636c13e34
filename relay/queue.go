package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/planted"
)

// retryWindow is how long the client's identical retry of a submission is
// recognised as such.
const retryWindow = 24 * time.Hour

// relayWindow is the same for a groupware server, which repeats by itself what it has
// no answer to: Postfix and Sendmail for five days, Exchange for two.
const relayWindow = 7 * 24 * time.Hour

// Ticket is what a submission is before it has a place in the queue.
type Ticket struct {
	ID     string // NewID
	Box    string
	User   string
	Person mailbox.Person
	MsgID  string // on the wire
	Alias  string // the client's Message-ID where it was replaced, else ""
	To     []string
	PIN    bool // a PIN was given and right
	// Split makes it a batch: SplitBlind or SplitAlways. Of a blind one the first
	// Visible of To are those whom everybody sees. At most MaxBatch recipients.
	Split   string
	Visible int
	Retry   string   // Fingerprint
	Key     Key      // of an application
	Edits   []string // what was changed in the header
	Remote  string   // address of the client
	Held    Lack     // not empty: it is held until its sender confirms it by PIN, or until it is approved

	// Of what a groupware server submitted; empty for anything else.
	Relay    string // its name in the policy
	Ordinary string // the sender's ordinary address; for the audit log only
	ReturnTo string // reverse path as the server gave it: notices of failure go there
	EnvID    string // RFC 3461 section 4.4, decoded
	Return   string // FULL or HDRS; empty: not said
	Notify   []NotifyOf
	Remarks  []Remark // what the sender is told, once
}

// NotifyOf is what the sender asked to be told of one recipient (RFC 3461 section 4).
type NotifyOf struct {
	Recipient string `json:"recipient"` // as in To
	Notify    string `json:"notify,omitempty"`
	ORCPT     string `json:"orcpt,omitempty"` // type;address, decoded
}

// audited adds what only the audit log tells.
func (t Ticket) audited(more map[string]string) {
	if t.Relay != "" {
		more["relay"], more["sender"] = t.Relay, t.Ordinary
	}
	if len(t.Edits) > 0 {
		more["edits"] = strings.Join(t.Edits, ", ")
	}
}

// ErrMsgIDUsed says that another submission of the mailbox has the Message-ID:
// receipts quote only that, so no two may share it.
var ErrMsgIDUsed = errors.New("relay: another submission of this mailbox has this Message-ID")

// MsgIDUsed tells whether a submission of the mailbox has the Message-ID.
func MsgIDUsed(tx *mailbox.Tx, box, msgid string) (bool, error) {
	_, err := byMsgID(tx, box, msgid)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Repeated returns the id of an earlier submission of which this one is the
// client's retry: the same fingerprint within 24 hours, unless that one has
// ended without leaving. It returns "" where there is none.
func Repeated(tx *mailbox.Tx, fingerprint string) (string, error) {
	if fingerprint == "" || planted.Is(planted.RetryIsAnother) {
		return "", nil
	}
	var id string
	err := tx.Space(room).Get("t/"+fingerprint, &id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	old, err := load(tx, id)
	if err != nil {
		return "", err
	}
	window := retryWindow
	if old.Relay != "" {
		window = relayWindow
	}
	if old.State == NotAccepted || old.State == Cancelled || tx.Now().Sub(old.SubmittedAt) >= window {
		return "", nil
	}
	return id, nil
}

// Fingerprint is what stays the same when a client repeats a submission: who
// sends it from which mailbox to whom, under which Message-ID of their own, and
// the hashes of header and body as the client wrote them. It is "" where the
// client gave no Message-ID, or what stands for it: then nothing tells a retry
// from a second message.
func Fingerprint(user, box, clientMsgID string, to []string, hashes ...string) string {
	if clientMsgID == "" {
		return ""
	}
	all := make([]string, 0, len(to))
	for _, a := range to {
		all = append(all, strings.ToLower(a))
	}
	slices.Sort(all)
	h := sha256.New()
	for _, part := range [][]string{{strings.ToLower(user), strings.ToLower(box), clientMsgID}, slices.Compact(all), hashes} {
		for _, s := range part {
			fmt.Fprintf(h, "%d:%s,", len(s), s)
		}
		h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// begin makes a submission of a message, of a time, and makes its Message-IDs
// known. ErrMsgIDUsed leaves everything as it was. The caller saves it.
func begin(tx *mailbox.Tx, t Ticket, m *mailbox.Message, at time.Time) (*Submission, error) {
	s := &Submission{
		ID: t.ID, MsgID: t.MsgID, Alias: t.Alias, Box: strings.ToLower(t.Box), User: t.User, Person: t.Person,
		Message: m.ID, SHA256: m.SHA256(), Size: m.Ref.Size, SubmittedAt: at, State: Queued, Since: at,
		Relay: t.Relay, ReturnTo: bounded(t.ReturnTo, maxAddress), EnvID: bounded(t.EnvID, maxEnvID),
	}
	if err := errors.Join(s.begins(tx), noteID(tx, s.ID), putAsked(tx, t), putRemarks(tx, t)); err != nil {
		return nil, err
	}
	for _, a := range t.To {
		s.Recipients = append(s.Recipients, Recipient{Address: a, State: Waiting})
	}
	if t.Split != "" {
		if len(t.To) > MaxBatch || t.Visible < 0 || t.Visible > len(t.To) || t.Split == SplitAlways && t.Visible > 0 {
			return nil, errors.New("relay: no such batch")
		}
		s.Split, s.Visible, s.Tally, s.RestSince = t.Split, t.Visible, newTally(t.Split, t.Visible, len(t.To)), at
	}
	for _, id := range []string{t.MsgID, t.Alias} {
		if id == "" {
			continue
		}
		switch _, err := byMsgID(tx, s.Box, id); {
		case err == nil && id == t.MsgID:
			return nil, ErrMsgIDUsed
		case err == nil:
			continue // the alias stays with the submission that had it first
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
		if err := tx.Space(room).Put(msgidKey(s.Box, id), s.ID); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Enqueue puts a submission into the queue, in the transaction that records
// its message. The message's Submission field is set by the caller.
func Enqueue(tx *mailbox.Tx, t Ticket, m *mailbox.Message) (*Submission, error) {
	sp := tx.Space(room)
	now := tx.Now().UTC()
	s, err := begin(tx, t, m, now)
	if err != nil {
		return nil, err
	}
	if t.Retry != "" {
		if err := sp.Put("t/"+t.Retry, s.ID); err != nil {
			return nil, err
		}
	}
	if err := noteKey(tx, t.Key, s.ID); err != nil {
		return nil, err
	}
	if err := happened(tx, s, "submitted", strings.Join(t.Edits, ", ")); err != nil {
		return nil, err
	}
	switch t.Held {
	case "":
	case ForApproval:
		return s, keepForApproval(tx, s, t, m)
	default:
		return s, keepBack(tx, s, t, m)
	}
	more := map[string]string{"pin": map[bool]string{true: "right", false: "not needed"}[t.PIN]}
	t.audited(more)
	if s.batch() {
		more["split"], more["messages"] = s.Split, fmt.Sprint(s.Tally.Messages)
		more["split edits"] = "To, Cc, Bcc and Message-ID of each message"
	}
	err = tx.Audit(mailbox.AuditLine{Actor: t.User, Event: "submission", Box: s.Box, Subject: s.ID, Result: "queued", From: t.Remote, More: more})
	if err != nil {
		return nil, err
	}
	if err := ring(tx, s); err != nil {
		return nil, err
	}
	return s, save(tx, s, &due{At: now})
}

// task is a submission of which something is due.
type task struct {
	id string
	due
}

// many tells whether it is about a batch, or one of its messages.
func (t task) many() bool {
	_, _, child := batchOf(t.id)
	return t.Batch || child
}

// line orders the work of batches: a batch stands before its messages.
func (t task) line() string { return t.id }

// inSight is how many submissions that are due a sender takes in one go.
const inSight = 1000

// scanTasks calls fn for the lines of a mailbox's queue, or of all queues for
// "", oldest submission first, until it returns false.
func scanTasks(ctx context.Context, store *mailbox.Store, box string, fn func(now time.Time, t task) bool) error {
	return store.View(ctx, func(tx *mailbox.Tx) error {
		return tx.Space(room).Scan(queueBox(box), func(k string, raw []byte) (bool, error) {
			t := task{id: strings.TrimPrefix(k[strings.LastIndexByte(k, '/')+1:], "~")}
			if err := json.Unmarshal(raw, &t.due); err != nil {
				return false, err
			}
			return fn(tx.Now(), t), nil
		})
	})
}

// dueNow is what of a mailbox's queue is due, and in nobody's hands.
type dueNow struct {
	tasks []task
	later time.Time // when the next of the others will be
	more  bool      // there are lines that were not looked at
}

// canOnlyLeave is in the lines of what can do nothing but be handed over.
const canOnlyLeave = `"queued":true`

// dueOf returns what is due in a mailbox's queue, oldest first. Of what can do nothing
// but be handed over it takes most, and as many of the messages of batches: where a
// provider takes few, a long queue is not read whole for each message that leaves.
// Outside the hours (shut) it is, since something of it may leave all the same.
func (s *Service) dueOf(ctx context.Context, box string, most int, shut bool) (out dueNow, err error) {
	for range 2 {
		var ahead []string // lines of a clock that was put back since
		err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			out, ahead = dueNow{}, nil
			now, passed, leaves := tx.Now(), 0, map[bool]int{}
			return tx.Space(room).Scan(queueBox(box), func(k string, raw []byte) (bool, error) {
				t := task{id: strings.TrimPrefix(k[strings.LastIndexByte(k, '/')+1:], "~")}
				_, _, child := batchOf(t.id)
				if leaves[child] >= most && bytes.Contains(raw, []byte(canOnlyLeave)) {
					out.more = true
					passed++
					return shut || len(out.tasks)+passed < inSight, nil
				}
				if err := json.Unmarshal(raw, &t.due); err != nil {
					return false, err
				}
				at := t.At
				if t.Lease.After(at) {
					at = t.Lease
				}
				switch {
				case t.ahead(now):
					ahead = append(ahead, t.id)
				case !t.ready(now):
					if out.later.IsZero() || at.Before(out.later) {
						out.later = at
					}
				default:
					out.tasks = append(out.tasks, t)
					if t.due.Queued {
						leaves[child]++
					}
				}
				enough := len(out.tasks) >= inSight || !shut && len(out.tasks)+passed >= inSight
				out.more = out.more || enough
				return !enough, nil
			})
		})
		if err != nil || len(ahead) == 0 {
			return out, err
		}
		s.opt.Events.ClockBack("queue", box, len(ahead))
		if err := s.settleBack(ctx, box, ahead); err != nil {
			return dueNow{}, err
		}
	}
	return out, err
}

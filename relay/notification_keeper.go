package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/relay/dsn"
	"pecgate/relay/forward"
)

// routeStatus is the kind of what goes to an ordinary mailbox that a notification is.
const routeStatus = "dsn"

// maxNotification bounds the bytes of one, which stand in a record.
const maxNotification = 40 << 10

// keepNotifications writes what is due until ctx ends.
func (s *Service) keepNotifications(ctx context.Context) {
	wake, stop := s.opt.Store.WatchSpace(room, notifyBell)
	defer stop()
	for {
		wait, err := s.notifyDue(ctx)
		if err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("notifications", "", err)
			if !pause(ctx, retryReports) {
				return
			}
			continue
		}
		if !pause(ctx, wait, wake) {
			return
		}
	}
}

// notifyDue writes what is due now and returns how long nothing more is.
func (s *Service) notifyDue(ctx context.Context) (time.Duration, error) {
	for {
		var due []string
		wait := reportIdle
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			due, wait = nil, reportIdle
			now := tx.Now()
			return tx.Space(room).Scan(notifyDue, func(k string, _ []byte) (bool, error) {
				var ms int64
				var id string
				if _, err := fmt.Sscanf(k[len(notifyDue):], "%16x/%s", &ms, &id); err != nil {
					return false, fmt.Errorf("record of a notification that is due: %w", err)
				}
				if left := time.UnixMilli(ms).Sub(now); left > 0 && left <= notifyMost {
					wait = min(wait, max(left, time.Millisecond))
					return false, nil
				}
				due = append(due, id)
				return len(due) < reportsInGo, nil
			})
		})
		if err != nil || len(due) == 0 {
			return wait, err
		}
		for _, id := range due {
			err := s.notify(ctx, id)
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			if errors.Is(err, mailbox.ErrNoSpace) || err != nil && s.opt.Store.Broken() != nil {
				return 0, err
			}
			if err == nil || errors.Is(err, errStale) {
				continue
			}
			s.opt.Events.Fault("notifications", "", fmt.Errorf("delivery status of submission %s: %w", id, err))
			err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
				n, err := readNotified(tx, id)
				if err != nil {
					return err
				}
				return n.put(tx, id, tx.Now().UTC().Add(notifyAgain))
			})
			if err != nil {
				return 0, err
			}
		}
	}
}

// notify tells what is to be told of a submission by now.
func (s *Service) notify(ctx context.Context, id string) error {
	header, err := s.returned(ctx, id)
	if err != nil {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		n, err := readNotified(tx, id)
		if err != nil || n.Due.IsZero() {
			return errors.Join(err, staleLines(tx, id))
		}
		sub, err := load(tx, id)
		if errors.Is(err, ErrNotFound) {
			return n.put(tx, id, time.Time{})
		}
		if err != nil {
			return err
		}
		to, err := s.returnTo(tx, sub)
		if err != nil {
			return err
		}
		w := &statusWriter{s: s, sub: sub, to: to, header: header, number: n.Made + 1, at: tx.Now()}
		if w.asked, err = asked(tx, id); err != nil {
			return err
		}
		if w.deciding, err = decidingOf(tx, sub); err != nil {
			return err
		}
		if err := w.words(tx); err != nil {
			return err
		}
		reports := s.opt.DeliveryReports != nil && s.opt.DeliveryReports(sub.Relay)
		var told []int
		for i := range sub.Recipients {
			a, whole := sub.end(i)
			if a == "" || n.has(i, a) {
				continue
			}
			ask, err := dsn.ParseNotify(w.of(i).Notify)
			if err != nil {
				ask = dsn.Notify{}
			}
			if want := whole && !ask.Refuses() || !whole && reports && ask.Wants(a); want && to != "" {
				told = append(told, i)
				continue
			}
			n.add(i, a) // decided: nothing is told of it, whatever the policy says later
		}
		next := time.Time{}
		if len(told) > 0 {
			raw, took, err := w.bytes(told)
			if err != nil {
				return err
			}
			if took < len(told) {
				next = tx.Now().UTC()
			}
			for _, i := range told[:took] {
				a, _ := sub.end(i)
				n.add(i, a)
			}
			n.Made, n.Last = w.number, tx.Now().UTC()
			if err := s.queueStatus(tx, w, raw); err != nil {
				return err
			}
		}
		return n.put(tx, id, next)
	})
}

// historyTold has what is known by now of submissions that were made anew count as told:
// nobody knows what was, and years of it may be there. It is for a time when nothing is
// told yet, goes in bounded transactions, and may be called again.
func (s *Service) historyTold(ctx context.Context) error {
	for from := notifyDue; from != ""; {
		next := ""
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			var due []string
			next = ""
			err := tx.Space(room).ScanFrom(notifyDue, from, func(k string, _ []byte) (bool, error) {
				if len(due) == reportsInGo {
					next = k
					return false, nil
				}
				due = append(due, k[strings.LastIndexByte(k, '/')+1:])
				return true, nil
			})
			for _, id := range due {
				if err == nil {
					err = countAsTold(tx, id)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}

// countAsTold does that of one submission, if it was made anew.
func countAsTold(tx *mailbox.Tx, id string) error {
	n, err := readNotified(tx, id)
	if err != nil || n.Due.IsZero() {
		return err // a line that the record does not know is removed by notify
	}
	sub, err := load(tx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if anew, err := madeAnew(tx, sub); err != nil || !anew {
		return err
	}
	for i := range sub.Recipients {
		if a, _ := sub.end(i); a != "" && !n.has(i, a) {
			n.add(i, a)
		}
	}
	return n.put(tx, id, time.Time{})
}

// staleLines removes lines of the list that the submission's own record does not know.
func staleLines(tx *mailbox.Tx, id string) error {
	var lines []string
	err := tx.Space(room).Scan(notifyDue, func(k string, _ []byte) (bool, error) {
		if strings.HasSuffix(k, "/"+id) {
			lines = append(lines, k)
		}
		return len(lines) < reportsInGo, nil
	})
	for _, k := range lines {
		err = errors.Join(err, tx.Space(room).Delete(k))
	}
	return err
}

// queueStatus has a notification go to the ordinary mailbox.
func (s *Service) queueStatus(tx *mailbox.Tx, w *statusWriter, raw []byte) error {
	it := forward.Item{
		ID: fmt.Sprintf("dsn-%s-%d", w.sub.ID, w.number), To: w.to, Kind: routeStatus, Box: w.sub.Box, Person: w.sub.Person,
	}
	sum := sha256.Sum256(raw)
	return errors.Join(
		forward.AddText(tx, it, raw, s.isPEC),
		tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "delivery status", Box: w.sub.Box, Subject: w.sub.ID, Result: string(w.report.Worst()), More: map[string]string{
			"relay": w.sub.Relay, "to": w.to, "sha256": hex.EncodeToString(sum[:]), "item": it.ID,
		}}))
}

// returnTo is where the notifications of a submission go: the address that it came
// from, or the ordinary one of its sender where that is a PEC mailbox; "": nowhere.
func (s *Service) returnTo(tx *mailbox.Tx, sub *Submission) (string, error) {
	who, err := s.personBehind(tx, sub.Person)
	if err != nil || !s.hasWay() {
		return "", err
	}
	for _, a := range []string{sub.ReturnTo, who.Email} {
		if a != "" && strings.Contains(a, "@") && !s.isPEC(a) {
			return a, nil
		}
	}
	return "", nil
}

// hasWay tells whether there is a way to ordinary mailboxes.
func (s *Service) hasWay() bool { return s.opt.Smarthost != nil || s.opt.IMAP != nil }

// returnedFields are those of the message that a notification returns: enough for a
// client to find what it sent.
func returnedFields() []string {
	return []string{"From", "To", "Cc", "Subject", "Date", "In-Reply-To", "References", "Thread-Topic", "Thread-Index"}
}

// returned is the header of a submission as notifications return it: without its
// Message-ID, which is put before it as the client gave it.
func (s *Service) returned(ctx context.Context, id string) (header []byte, err error) {
	var m *mailbox.Message
	var sub *Submission
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		if sub, err = load(tx, id); err != nil {
			return err
		}
		m, err = tx.Message(sub.Message)
		return err
	})
	if errors.Is(err, ErrNotFound) || errors.Is(err, mailbox.ErrNotFound) {
		return nil, nil // nothing of it is left but its outcome
	}
	if err != nil {
		return nil, err
	}
	ix, err := s.opt.Store.Index(ctx, m.ID)
	if err != nil {
		return nil, err
	}
	body, err := s.opt.Store.Open(m)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	all, err := mime.ReadHeader(body, &ix.Root)
	if err != nil {
		return nil, fmt.Errorf("header of submission %s: %w", id, err)
	}
	out := []byte("Message-ID: <" + plain(sub.clientMsgID(), maxID) + ">\r\n")
	return append(out, mime.SelectFields(all, returnedFields(), false)...), nil
}

// clientMsgID is the Message-ID as the client gave it, without brackets.
func (s *Submission) clientMsgID() string {
	if s.Alias != "" {
		return strings.Trim(s.Alias, "<>")
	}
	return s.MsgID
}

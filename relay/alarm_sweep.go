package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"pecgate/mailbox"
)

// alarmGone tells of alarms about what is there no more, for which nobody else ends
// them: servers that no mailbox uses, the smarthost where there is none, ordinary
// addresses that nobody has, folders that are not fetched, and submissions that are
// not held any more.
func (s *Service) alarmGone() func(*mailbox.Tx, Alarm) (bool, error) {
	hosts := map[string]bool{}
	for _, a := range s.opt.Accounts() {
		hosts[a.SMTP.Host], hosts[a.IMAP.Host], hosts[a.POP3.Host] = true, true, true
	}
	inUse := sync.OnceValue(s.ordinaryAddresses)
	return func(tx *mailbox.Tx, a Alarm) (bool, error) {
		switch a.Kind {
		case "certificate":
			host, _, ok := strings.Cut(a.About, " ")
			return ok && !hosts[host], nil
		case "forward-refused", "forward-expired":
			return !s.hasWay() || s.opt.Policy != nil && !inUse()[strings.ToLower(a.About)], nil
		case "smarthost":
			return s.opt.Smarthost == nil, nil
		case "forward-full":
			return !s.hasWay(), nil
		case "imap-delivery":
			return s.opt.IMAP == nil, nil
		case kindFolderMissing:
			return s.folderUnwanted(a), nil
		case kindRoomHeld:
			return roomAlarmOver(tx, a)
		}
		return false, nil
	}
}

// ordinaryAddresses are those that ordinary mail goes to, in lower case.
func (s *Service) ordinaryAddresses() map[string]bool {
	all := map[string]bool{}
	for _, u := range s.opt.Policy().Users {
		all[strings.ToLower(u.Email)] = true
	}
	for _, a := range s.opt.Accounts() {
		all[strings.ToLower(a.OrdinaryTo)] = true
	}
	return all
}

// sweepAlarms ends the alarms of mailboxes that are no account any more, and of
// other things that are gone, and drops records of what ended long enough ago.
func (s *Service) sweepAlarms(ctx context.Context) error {
	boxes := map[string]bool{"": true}
	for _, a := range s.opt.Accounts() {
		boxes[strings.ToLower(a.Box)] = true
	}
	gone := s.alarmGone()
	var old []string
	var many []Alarm // in place of those above maxAlarms
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		old, many = nil, nil
		return tx.Space(room).Scan("al/", func(k string, raw []byte) (bool, error) {
			var a standingAlarm
			if err := json.Unmarshal(raw, &a); err != nil {
				return false, fmt.Errorf("record of an alarm: %w", err)
			}
			over, err := gone(tx, a.Alarm)
			if err != nil {
				return false, err
			}
			if over || !boxes[a.Mailbox] || !a.Ended.IsZero() && !a.silent(tx.Now()) {
				old = append(old, k)
			} else if a.Kind == tooMany && a.Ended.IsZero() {
				many = append(many, a.Alarm)
			}
			return len(old) < 200, nil
		})
	})
	if err == nil {
		err = s.fewAgain(ctx, many)
	}
	if err != nil || len(old) == 0 {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		for _, k := range old {
			if _, err := endAlarm(tx, k); err != nil {
				return err
			}
			if err := tx.Space(room).Delete(k); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// fewAgain ends the alarms in place of those above maxAlarms where there is room for
// another one of their kind.
func (s *Service) fewAgain(ctx context.Context, many []Alarm) error {
	var failed []error
	for _, a := range many {
		n := 0
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { n, err = countAlarms(tx, a.Mailbox, a.About); return err })
		if err == nil && n < maxAlarms {
			err = s.ended(ctx, a.Mailbox, tooMany, a.About)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

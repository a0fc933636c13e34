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

// The last days of passwords (expires). The administrator of the mailbox is told
// once at each of expiryDays days before the end, and when it has come. The alarm
// ends when the policy names another day.

// expiryLook is how often the days are counted.
const expiryLook = time.Hour

// expiryDays are when the end of a password is told, in days before it; below the
// last of them it is over.
func expiryDays() []int { return []int{14, 7, 1} }

// kindPassword is the alarm of a password that ends, about its day and how many
// are left.
const kindPassword = "password-expires"

// expiry is the nearest end of a mailbox's passwords, and of which services; the
// zero time where none is known.
func (a Account) expiry() (at time.Time, services []string) {
	for _, service := range []string{serviceSMTP, a.fetchService()} {
		switch l := a.loginOf(service); {
		case l.Expires.IsZero():
		case at.IsZero(), l.Expires.Before(at):
			at, services = l.Expires, []string{service}
		case l.Expires.Equal(at):
			services = append(services, service)
		}
	}
	return at, services
}

// daysLeft is how many days come after today until the last one: 0 on it,
// negative after it. end is the first instant after that day.
func daysLeft(end, now time.Time, zone *time.Location) int {
	day := func(t time.Time) time.Time {
		y, m, d := t.In(zone).Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	}
	return int(day(end.Add(-time.Second)).Sub(day(now)) / (24 * time.Hour))
}

// watchExpiry counts the days, and looks at the clock, until ctx ends.
func (s *Service) watchExpiry(ctx context.Context) {
	unsynced := false
	for {
		var err error
		if unsynced, err = s.watchClock(ctx, unsynced); err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("clock", "", err)
		}
		if err := s.tellExpiry(ctx); err != nil && ctx.Err() == nil {
			s.opt.Events.Fault("login", "", err)
		}
		if !pause(ctx, expiryLook) {
			return
		}
	}
}

// tellExpiry tells of every password that ends soon, and ends what is not so any
// more.
func (s *Service) tellExpiry(ctx context.Context) (err error) {
	now := s.opt.Store.Now()
	for _, a := range s.opt.Accounts() {
		if !a.Active {
			continue
		}
		want := map[string]bool{}
		if end, services := a.expiry(); !end.IsZero() {
			left := daysLeft(end, now, s.opt.Location)
			if al, ok := s.expiryAlarm(a, end, left, services); ok {
				want[al.about] = true
				err = errors.Join(err, s.raise(ctx, al))
			}
		}
		var over []string
		err = errors.Join(err, s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			over = nil
			prefix := alarmsOf(a.Box, kindPassword)
			return tx.Space(room).Scan(prefix, func(k string, _ []byte) (bool, error) {
				if about := strings.TrimPrefix(k, prefix); !want[about] {
					over = append(over, about)
				}
				return len(over) < maxAlarms, nil
			})
		}))
		for _, about := range over {
			err = errors.Join(err, s.ended(ctx, a.Box, kindPassword, about))
		}
	}
	return err
}

// expiryAlarm is what is told so many days before the end; ok is false where that
// is too early.
func (s *Service) expiryAlarm(a Account, end time.Time, left int, services []string) (al alarm, ok bool) {
	stage := -1 // it is over
	if left >= 0 {
		i := slices.IndexFunc(expiryDays(), func(d int) bool { return left > d })
		switch {
		case i == 0:
			return al, false
		case i < 0:
			stage = expiryDays()[len(expiryDays())-1]
		default:
			stage = expiryDays()[i-1]
		}
	}
	last := end.Add(-time.Second).In(s.opt.Location).Format("02/01/2006")
	of := strings.Join(services, ", ")
	al = alarm{box: a.Box, kind: kindPassword, about: fmt.Sprintf("%s %d", end.Add(-time.Second).In(s.opt.Location).Format(time.DateOnly), stage), to: s.adminOf(a.Box), quiet: 24 * time.Hour}
	al.subjectIT = fmt.Sprintf("Password della casella in scadenza il %s: %s", last, a.Box)
	al.subjectEN = fmt.Sprintf("Mailbox password ends on %s: %s", last, a.Box)
	al.it = fmt.Sprintf("La password del gestore (%s) vale fino al %s compreso (giorni rimasti: %d). Da allora in poi il gateway non può né inviare né scaricare.", of, last, left)
	al.en = fmt.Sprintf("The last day of the provider's password (%s) is %s: days left: %d. After it the gateway can neither send nor fetch.", of, last, left)
	if left < 0 {
		al.subjectIT = fmt.Sprintf("Password della casella scaduta il %s: %s", last, a.Box)
		al.subjectEN = fmt.Sprintf("Mailbox password ended on %s: %s", last, a.Box)
		al.it = fmt.Sprintf("La password del gestore (%s) valeva fino al %s compreso: ora il gateway non può più inviare né scaricare.", of, last)
		al.en = fmt.Sprintf("The last day of the provider's password (%s) was %s.", of, last)
	}
	al.it += "\n\nCosa fare: crearne una nuova nel pannello del gestore e scriverla in policy.yaml (pecgate seal) con il suo nuovo `expires`."
	al.en += "\n\nWhat to do: make a new one in the provider's panel and write it into policy.yaml (pecgate seal) with its new `expires`."
	return al, true
}

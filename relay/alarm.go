package relay

import (
	"cmp"
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
)

// An alarm is a condition that the right persons are told of once, and that ends
// when its cause ends:
//
//	s.raise(ctx, alarm{box: box, kind: "suspended", about: "", to: s.adminOf(box),
//		subjectIT: ..., subjectEN: ..., it: ..., en: ..., detail: ...})
//	s.ended(ctx, box, "suspended", "")
//
// Both may be called as often as one likes, at each round: raise does nothing
// while the alarm stands, ended nothing while it does not, and both are one read
// then. Neither is called with a lock held: they write to the store. An error says
// that nothing was recorded, and the next call tries again.
//
// Record (al/), notice in the INBOX of each of to, its way to their ordinary
// mailboxes and the audit line are one transaction. At most maxAlarms of a kind
// stand for a mailbox; the rest is one alarm "too-many" to the administrator.
type alarm struct {
	box   string // mailbox it is about; "": the appliance
	kind  string // a stable word
	about string // which one of its kind: an id, a folder, a number of days; any text

	to []addressee // adminOf, admins, senderOf; whoever is there twice is told once

	// The text: subject and paragraph in both languages, the appliance's first, and
	// lines that are in none. No secret, and what strangers wrote made plain().
	subjectIT, subjectEN, it, en, detail string

	sub *Submission // it is about this one, which is described below the text; nil: about none

	refuses string // address of which it tells that it refuses mail; "": of none

	// quiet is how long after its end the same alarm is raised again without being
	// told: for what comes and goes. One that still stands when it is over is told
	// then. 0: each time is told.
	quiet time.Duration
}

// addressee is a person who is told something.
type addressee struct {
	user   string         // login
	person mailbox.Person // 0: that of user by now
}

// maxAlarms is how many alarms of one kind stand for a mailbox at most.
const maxAlarms = 500

// tooMany is the kind of the alarm in place of those above maxAlarms.
const tooMany = "too-many"

// Alarm is an alarm that stands.
type Alarm struct {
	Mailbox string    `json:"mailbox"` // "": the appliance
	Kind    string    `json:"kind"`
	About   string    `json:"about,omitempty"`
	Since   time.Time `json:"since"`
	Told    []string  `json:"told"` // logins
	Subject string    `json:"subject"`
}

// standingAlarm is an alarm on record.
type standingAlarm struct {
	Alarm
	Quiet time.Duration `json:"quiet,omitempty"`
	// Before is when the one before ended, while this one stands untold because of
	// it; zero: it is told.
	Before time.Time `json:"before,omitzero"`
	Ended  time.Time `json:"ended,omitzero"` // it does not stand, and for Quiet it is not told again
}

// silent tells whether it ended so lately that it is not told again. A clock that
// was put back makes nothing silent.
func (a standingAlarm) silent(now time.Time) bool { return within(a.Ended, a.Quiet, now) }

// waits tells whether it stands and is not told yet; done, whether nothing is to
// be done about it at now.
func (a standingAlarm) waits() bool             { return !a.Before.IsZero() }
func (a standingAlarm) done(now time.Time) bool { return !a.waits() || within(a.Before, a.Quiet, now) }

func within(ended time.Time, quiet time.Duration, now time.Time) bool {
	since := now.Sub(ended)
	return !ended.IsZero() && since >= 0 && since < quiet
}

// maxAbout is how long a part of an alarm's key may be, in bytes.
const maxAbout = 200

func alarmsOf(box, kind string) string { return "al/" + strings.ToLower(box) + "/" + kind + "/" }

func alarmKey(box, kind, about string) string {
	if len(about) > maxAbout {
		sum := sha256.Sum256([]byte(about))
		about = hex.EncodeToString(sum[:])
	}
	return alarmsOf(box, kind) + about
}

// readAlarm returns the record of an alarm; ok is false where it does not stand.
func readAlarm(tx *mailbox.Tx, k string) (a standingAlarm, ok bool, err error) {
	err = tx.Space(room).Get(k, &a)
	if errors.Is(err, mailbox.ErrNotFound) {
		return a, false, nil
	}
	return a, err == nil && a.Ended.IsZero(), err
}

// raise has an alarm stand, and tells of it unless it stood before. One that came
// back too soon to be told is told by the raise after its quiet time.
func (s *Service) raise(ctx context.Context, a alarm) error {
	k, stands, many := alarmKey(a.box, a.kind, a.about), false, 0
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		var before standingAlarm
		if before, stands, err = readAlarm(tx, k); err != nil || stands {
			stands = stands && before.done(tx.Now())
			return err
		}
		many, err = countAlarms(tx, a.box, a.kind)
		return err
	})
	if err != nil || stands {
		return err
	}
	if many >= maxAlarms && a.kind != tooMany {
		return s.raise(ctx, s.tooMany(a))
	}
	told := false
	err = alarmNotice(a, s.opt).fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
		told = false
		before, stands, err := readAlarm(tx, k)
		if err != nil || stands && before.done(tx.Now()) {
			return false, err
		}
		silent := before.silent(tx.Now())
		told = !silent && len(a.to) > 0
		return told, a.record(tx, k, before, silent)
	})
	if err == nil {
		s.opt.Events.Alarm(a.box, a.kind, a.about, told)
	}
	return err
}

// record writes the record of an alarm and its audit line. before is what is on
// record: the one that ended, or this one where it stands untold.
func (a *alarm) record(tx *mailbox.Tx, k string, before standingAlarm, silent bool) error {
	stand := standingAlarm{Alarm: Alarm{
		Mailbox: strings.ToLower(a.box), Kind: a.kind, About: plain(a.about, maxAbout), Since: tx.Now().UTC(),
		Told: []string{}, Subject: plain(a.subjectEN, maxSubject),
	}, Quiet: a.quiet}
	if before.waits() {
		stand.Since = before.Since
	}
	result := "told"
	if silent {
		stand.Before, result = before.Ended, "not told again"
	} else {
		for _, to := range a.to {
			stand.Told = append(stand.Told, to.user)
		}
	}
	return errors.Join(tx.Space(room).Put(k, stand), tx.Audit(mailbox.AuditLine{
		Actor: "relay", Event: "alarm", Box: stand.Mailbox, Subject: a.subject(), Result: result,
		Reason: stand.Subject, More: map[string]string{"kind": a.kind, "about": stand.About, "to": strings.Join(stand.Told, ", ")},
	}))
}

func (a *alarm) subject() string {
	if a.sub == nil {
		return ""
	}
	return a.sub.ID
}

// ended says that the cause of an alarm is no more.
func (s *Service) ended(ctx context.Context, box, kind, about string) error {
	k, stands := alarmKey(box, kind, about), false
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		_, stands, err = readAlarm(tx, k)
		return err
	})
	if err != nil || !stands {
		return err
	}
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		stands, err = endAlarm(tx, k)
		return err
	})
	if err == nil && stands {
		s.opt.Events.AlarmEnded(box, kind, about)
	}
	return err
}

// endAlarm ends the alarm with a key, in the transaction that ends its cause, and
// tells whether it stood.
func endAlarm(tx *mailbox.Tx, k string) (bool, error) {
	a, stands, err := readAlarm(tx, k)
	if err != nil || !stands {
		return false, err
	}
	if a.Ended = tx.Now().UTC(); a.waits() { // silence counts from the last one that was told
		a.Ended, a.Before = a.Before, time.Time{}
	}
	if a.Quiet > 0 {
		err = tx.Space(room).Put(k, a)
	} else {
		err = tx.Space(room).Delete(k)
	}
	return true, errors.Join(err, tx.Audit(mailbox.AuditLine{
		Actor: "relay", Event: "alarm ended", Box: a.Mailbox, Reason: a.Subject,
		More: map[string]string{"kind": a.Kind, "about": a.About},
	}))
}

// alarmsOfKind are the alarms of a kind that stand for a mailbox.
func alarmsOfKind(tx *mailbox.Tx, box, kind string) (all []Alarm, err error) {
	err = tx.Space(room).Scan(alarmsOf(box, kind), func(_ string, raw []byte) (bool, error) {
		var a standingAlarm
		if err := json.Unmarshal(raw, &a); err != nil {
			return false, fmt.Errorf("record of an alarm: %w", err)
		}
		if a.Ended.IsZero() {
			all = append(all, a.Alarm)
		}
		return len(all) < maxAlarms, nil
	})
	return all, err
}

func countAlarms(tx *mailbox.Tx, box, kind string) (n int, err error) {
	err = tx.Space(room).Scan(alarmsOf(box, kind), func(string, []byte) (bool, error) { n++; return n < maxAlarms, nil })
	return n, err
}

// tooMany is the alarm in place of those that are not kept.
func (s *Service) tooMany(a alarm) alarm {
	return alarm{
		box: a.box, kind: tooMany, about: a.kind, to: s.adminOf(a.box), quiet: 24 * time.Hour,
		subjectIT: fmt.Sprintf("Più di %d allarmi dello stesso tipo: %s", maxAlarms, a.kind),
		subjectEN: fmt.Sprintf("More than %d alarms of one kind: %s", maxAlarms, a.kind),
		it:        "Quelli oltre questo numero non vengono segnalati uno per uno. `pecgate status` mostra gli allarmi in corso.",
		en:        "Those above that number are not told one by one. `pecgate status` shows the alarms that stand.",
	}
}

// Alarms returns the alarms that stand, at most limit, by mailbox and kind.
func Alarms(tx *mailbox.Tx, limit int) ([]Alarm, error) {
	out := []Alarm{}
	err := tx.Space(room).Scan("al/", func(_ string, raw []byte) (bool, error) {
		var a standingAlarm
		if err := json.Unmarshal(raw, &a); err != nil {
			return false, fmt.Errorf("record of an alarm: %w", err)
		}
		if a.Ended.IsZero() {
			out = append(out, a.Alarm)
		}
		return len(out) < limit, nil
	})
	return out, err
}

// adminOf is the administrator of a mailbox, for "" all of them.
func (s *Service) adminOf(box string) []addressee {
	if box == "" {
		return s.admins()
	}
	if login := s.account(box).Admin; login != "" {
		return []addressee{{user: login}}
	}
	return nil
}

// admins are the administrators of all active mailboxes: for what is of no single
// one.
func (s *Service) admins() (all []addressee) {
	for _, a := range s.opt.Accounts() {
		if a.Active && a.Admin != "" {
			all = append(all, addressee{user: a.Admin})
		}
	}
	return onceEach(all)
}

// senderOf is who submitted something, and in their place, where they have left,
// those who get what comes about it (routing.go).
func (s *Service) senderOf(ctx context.Context, sub *Submission) (all []addressee, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		all, err = s.opt.tellInstead(tx, sub)
		return err
	})
	if err != nil || len(all) > 0 {
		return all, err
	}
	return []addressee{{user: sub.User, person: sub.Person}}, nil
}

// onceEach leaves out whoever is there before.
func onceEach(all []addressee) (out []addressee) {
	for _, a := range all {
		if !slices.ContainsFunc(out, func(b addressee) bool {
			return strings.EqualFold(a.user, b.user) && (a.person == 0 || b.person == 0 || a.person == b.person)
		}) {
			out = append(out, a)
		}
	}
	return out
}

// alarmNotice is what the persons are told.
func alarmNotice(a alarm, o Options) *notice {
	var n *notice
	if a.sub != nil {
		n = makeNotice(a.sub, o, a.subjectIT, a.subjectEN, a.it, a.en, a.detail)
		n.user, n.person = "", 0
	} else {
		subject, first, second := a.subjectIT, a.it, a.en
		if o.Language == "en" {
			subject, first, second = a.subjectEN, a.en, a.it
		}
		text := first + "\n\n" + second + "\n"
		if a.detail != "" {
			text += "\n" + a.detail + "\n"
		}
		if a.box != "" {
			text += "\n" + o.label("mailbox") + ": " + a.box + "\n"
		}
		n = &notice{from: o.Address, subject: subject, text: text, box: a.box, at: o.here()}
	}
	n.subject, n.to = plain(n.subject, maxSubject), cmp.Or(a.box, o.Address)
	sum := sha256.Sum256([]byte(alarmKey(a.box, a.kind, a.about)))
	n.name = "alarm." + hex.EncodeToString(sum[:8])
	n.also, n.refuses = onceEach(a.to), a.refuses
	return n
}

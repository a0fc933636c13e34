package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/forward"
	"pecgate/relay/submit"
)

// BoxStatus is how a mailbox stands with its provider.
type BoxStatus struct {
	Address            string    `json:"address"`
	LastFetch          time.Time `json:"last_fetch"` // last one without an error; null before the first
	LastError          string    `json:"last_error"`
	Quota              string    `json:"quota"` // of the provider, when it tells
	Suspended          string    `json:"suspended"`
	CertificateExpires time.Time `json:"certificate_expires"` // null until a certificate was seen
	PasswordExpires    string    `json:"password_expires"`    // last day of the password that ends first, YYYY-MM-DD; "": none is known
	// Hours is when its hours of receiving begin; left out where it is read now.
	Hours            *time.Time `json:"hours,omitempty"`
	PasswordDaysLeft *int       `json:"password_days_left"` // until then; negative: it is over; null: none is known

	sendError, fetchError string
	elsewhere             []string                   // folders of the provider that hold receipts and are not fetched
	missing               []string                   // folders of incoming.folders that are not there
	aside                 map[string]int             // messages of the provider that could not be taken in, by folder
	clearErrors           map[string]error           // why the provider's copies are not deleted, by folder
	certificates          map[string]seenCertificate // by host and port
	staples               map[string]string          // what is wrong with the status stapled to one, by host and port
}

// MarshalJSON writes every key always: a time that is not known is null.
func (b BoxStatus) MarshalJSON() ([]byte, error) {
	type same BoxStatus // without this method
	known := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return json.Marshal(struct {
		same
		LastFetch          *time.Time `json:"last_fetch"`
		CertificateExpires *time.Time `json:"certificate_expires"`
	}{same(b), known(b.LastFetch), known(b.CertificateExpires)})
}

// Status is the answer to `pecgate status`.
type Status struct {
	Mailboxes []BoxStatus   `json:"mailboxes"`
	Queue     map[State]int `json:"queue"`
	Overdue   int           `json:"overdue"`  // recipients that a receipt is late for
	Alarms    []Alarm       `json:"alarms"`   // that stand, the first thousand
	Forwards  int           `json:"forwards"` // wait for the smarthost
	Space     Space         `json:"space"`
}

// Status tells how everything stands.
func (s *Service) Status(ctx context.Context) (Status, error) {
	st := Status{Mailboxes: []BoxStatus{}, Queue: map[State]int{}, Alarms: []Alarm{}}
	for _, a := range s.opt.Accounts() {
		s.mu.Lock()
		w := s.workers[a.Box]
		s.mu.Unlock()
		b := BoxStatus{Address: a.Box}
		if w != nil {
			b = w.status()
			if now := s.now(); w.isShut() && !a.Hours.Receive.open(now) {
				from := now.Add(a.Hours.Receive.until(now)).Round(time.Second).UTC()
				b.Hours = &from
			}
		} else if !a.Active {
			b.LastError = "not active in the policy"
		}
		if end, _ := a.expiry(); !end.IsZero() {
			left := daysLeft(end, s.opt.Store.Now(), s.opt.Location)
			b.PasswordExpires, b.PasswordDaysLeft = end.Add(-time.Second).In(s.opt.Location).Format(time.DateOnly), &left
		}
		st.Mailboxes = append(st.Mailboxes, b)
	}
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		for i := range st.Mailboxes {
			b := &st.Mailboxes[i]
			if b.Suspended, err = s.suspensions(tx, b.Address); err != nil {
				return err
			}
		}
		sum, err := totalsOf(tx)
		if err != nil {
			return err
		}
		st.Queue, st.Overdue = sum.States, sum.Late
		if st.Forwards, err = forward.Waiting(tx); err != nil {
			return err
		}
		st.Alarms, err = Alarms(tx, 1000)
		return err
	})
	if err != nil {
		return st, err
	}
	st.Space, err = spaceOf(ctx, s.opt.Store)
	return st, err
}

func (w *worker) status() BoxStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.facts
	switch {
	case b.sendError != "" && b.fetchError != "":
		b.LastError = "sending: " + b.sendError + "; fetching: " + b.fetchError
	case b.sendError != "":
		b.LastError = "sending: " + b.sendError
	case b.fetchError != "":
		b.LastError = "fetching: " + b.fetchError
	}
	aside := 0
	for _, n := range b.aside {
		aside += n
	}
	if aside > 0 {
		note := fmt.Sprintf("%d messages could not be fetched and stay at the provider; the log says why", aside)
		b.LastError = strings.TrimPrefix(b.LastError+"; "+note, "; ")
	}
	if len(b.elsewhere) > 0 {
		note := "receipts stand in folders that are not fetched (incoming.folders): " + plain(strings.Join(b.elsewhere, ", "), maxWords)
		b.LastError = strings.TrimPrefix(b.LastError+"; "+note, "; ")
	}
	if note := missingNote(b.missing); note != "" {
		b.LastError = strings.TrimPrefix(b.LastError+"; "+note, "; ")
	}
	for _, at := range slices.Sorted(maps.Keys(b.staples)) {
		note := "the status stapled to the certificate of " + at + " is of no use: " + b.staples[at]
		b.LastError = strings.TrimPrefix(b.LastError+"; "+note, "; ")
	}
	for _, folder := range slices.Sorted(maps.Keys(b.clearErrors)) {
		note := "provider_copy: " + b.clearErrors[folder].Error()
		b.LastError = strings.TrimPrefix(b.LastError+"; "+note, "; ")
	}
	return b
}

// sent keeps what an attempt said about the provider.
func (w *worker) sent(r submit.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts.sendError = ""
	if r.Err != nil {
		w.facts.sendError = answer(r)
	}
	w.certificate(w.acc.SMTP, r.CertificateExpires)
}

// seenCertificate is the end of a provider's certificate as it was seen last.
type seenCertificate struct{ expires, at time.Time }

// certificate keeps the end of the certificate that one of the provider's servers
// showed last: a new one takes the place of the one before at once. The caller
// holds the lock.
func (w *worker) certificate(e Endpoint, expires time.Time) {
	if expires.IsZero() {
		return
	}
	if w.facts.certificates == nil {
		w.facts.certificates = map[string]seenCertificate{}
	}
	w.facts.certificates[net.JoinHostPort(e.Host, strconv.Itoa(e.Port))] = seenCertificate{expires.UTC(), time.Now()}
	first := expires.UTC()
	for _, c := range w.facts.certificates {
		first = earlier(first, c.expires)
	}
	w.facts.CertificateExpires = first
}

func (w *worker) setAside(folder string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.facts.aside == nil {
		w.facts.aside = map[string]int{}
	}
	w.facts.aside[folder] = n
}

// cleared keeps how the deletion of the provider's copies in a folder went.
func (w *worker) cleared(folder string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if delete(w.facts.clearErrors, folder); err == nil {
		return
	}
	if w.facts.clearErrors == nil {
		w.facts.clearErrors = map[string]error{}
	}
	w.facts.clearErrors[folder] = err
}

// hurryUp makes the fetcher look for receipts now.
func (w *worker) hurryUp() {
	select {
	case w.hurry <- struct{}{}:
	default:
	}
}

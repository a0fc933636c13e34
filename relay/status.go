package relay

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
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

	sendError, fetchError string
	aside                 int // messages of the provider that could not be taken in
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
	Overdue   int           `json:"overdue"` // recipients that a receipt is late for
	Space     Space         `json:"space"`
}

// Space is the room on the store's disk, in bytes.
type Space struct {
	Free    int64 `json:"free"`
	AtFloor bool  `json:"at_floor"` // nothing is accepted or fetched until there is more
}

// Status tells how everything stands.
func (s *Service) Status(ctx context.Context) (Status, error) {
	st := Status{Mailboxes: []BoxStatus{}, Queue: map[State]int{}}
	for _, a := range s.opt.Accounts() {
		s.mu.Lock()
		w := s.workers[a.Box]
		s.mu.Unlock()
		b := BoxStatus{Address: a.Box}
		if w != nil {
			b = w.status()
		} else if !a.Active {
			b.LastError = "not active in the policy"
		}
		st.Mailboxes = append(st.Mailboxes, b)
	}
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		err := tx.Space(room).Scan("s/", func(_ string, raw []byte) (bool, error) {
			var sub Submission
			if err := json.Unmarshal(raw, &sub); err != nil {
				return false, err
			}
			st.Queue[sub.State]++
			return true, nil
		})
		if err != nil {
			return err
		}
		return tx.Space(room).Scan("r/", func(_ string, raw []byte) (bool, error) {
			var part []Recipient
			if err := json.Unmarshal(raw, &part); err != nil {
				return false, err
			}
			for _, r := range part {
				if r.State == Late {
					st.Overdue++
				}
			}
			return true, nil
		})
	})
	if err != nil {
		return st, err
	}
	if st.Space.Free, err = s.opt.Store.Free(); err != nil {
		return st, err
	}
	st.Space.AtFloor = s.opt.Store.Room() != nil
	return st, nil
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
	if b.aside > 0 {
		note := fmt.Sprintf("%d messages could not be fetched and stay at the provider; the log says why", b.aside)
		b.LastError = strings.TrimPrefix(b.LastError+"; "+note, "; ")
	}
	return b
}

// suspended tells whether the provider refused the login and nothing has
// changed since. Another password than the refused one ends it.
func (w *worker) suspended() bool {
	w.mu.Lock()
	held, refused := w.facts.Suspended != "", w.refused
	w.mu.Unlock()
	if !held {
		return false
	}
	password, err := w.password()
	if err != nil || sha256.Sum256([]byte(password)) == refused {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts.Suspended = ""
	return false
}

// suspend stops sending and fetching until the password is another than the one
// that was refused: a refused login that is repeated locks the mailbox at the
// provider.
func (w *worker) suspend(why, refused string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts.Suspended, w.refused = why, sha256.Sum256([]byte(refused))
}

// fetchedSince tells whether the mailbox was read without an error after t.
func (w *worker) fetchedSince(t time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.facts.LastFetch.After(t)
}

// sent keeps what an attempt said about the provider.
func (w *worker) sent(r submit.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts.sendError = ""
	if r.Err != nil {
		w.facts.sendError = answer(r)
	}
	w.certificate(r.CertificateExpires)
}

// certificate keeps the earlier end of the provider's certificates; the caller
// holds the lock.
func (w *worker) certificate(expires time.Time) {
	if expires.IsZero() {
		return
	}
	if w.facts.CertificateExpires.IsZero() || expires.Before(w.facts.CertificateExpires) || w.facts.CertificateExpires.Before(time.Now()) {
		w.facts.CertificateExpires = expires.UTC()
	}
}

func (w *worker) setAside(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts.aside = n
}

// hurryUp makes the fetcher look for receipts now.
func (w *worker) hurryUp() {
	select {
	case w.hurry <- struct{}{}:
	default:
	}
}

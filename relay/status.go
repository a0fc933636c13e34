package relay

import (
	"context"
	"encoding/json"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// BoxStatus is how a mailbox stands with its provider.
type BoxStatus struct {
	Address            string    `json:"address"`
	LastFetch          time.Time `json:"last_fetch,omitzero"` // last one without an error
	LastError          string    `json:"last_error"`
	Quota              string    `json:"quota"` // of the provider, when it tells
	Suspended          string    `json:"suspended"`
	CertificateExpires time.Time `json:"certificate_expires,omitzero"`

	sendError, fetchError string
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
		return tx.Space(room).Scan("s/", func(_ string, raw []byte) (bool, error) {
			var sub Submission
			if err := json.Unmarshal(raw, &sub); err != nil {
				return false, err
			}
			st.Queue[sub.State]++
			for _, r := range sub.Recipients {
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
	return b
}

func (w *worker) suspended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.facts.Suspended != ""
}

// suspend stops sending and fetching until the account changes: a refused
// login that is repeated locks the mailbox at the provider.
func (w *worker) suspend(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts.Suspended = why
}

// sent keeps what an attempt said about the provider.
func (w *worker) sent(r submit.Result) {
	if r.Class == submit.AuthRefused {
		w.suspend("SMTP login refused: set the right password in the policy; " + answer(r))
	}
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

// hurryUp makes the fetcher look for receipts now.
func (w *worker) hurryUp() {
	select {
	case w.hurry <- struct{}{}:
	default:
	}
}

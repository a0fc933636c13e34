package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"pecgate/mailbox"
)

// What the sender of a submission is told although nothing is wrong with it: that who
// stands in To or Cc did not get it. It is recorded with the submission, and its line
// goes with its notice, in one transaction: no crash loses or doubles one.
//
//	rw/<id>  []Remark; the keeper of holds writes the notice
const remarkTell = "rw/"

// Remark is a sentence for the sender, in both languages.
type Remark struct {
	Italian string `json:"it"`
	English string `json:"en"`
}

// Bounds of what is kept for one submission.
const (
	maxRemarks = 10
	maxRemark  = 500 // octets
)

// putRemarks records what the sender is to be told.
func putRemarks(tx *mailbox.Tx, t Ticket) error {
	if len(t.Remarks) == 0 {
		return nil
	}
	all := make([]Remark, 0, maxRemarks)
	for _, w := range t.Remarks[:min(len(t.Remarks), maxRemarks)] {
		all = append(all, Remark{plain(w.Italian, maxRemark), plain(w.English, maxRemark)})
	}
	sp := tx.Space(room)
	return errors.Join(sp.Put(remarkTell+t.ID, all), sp.Put(holdBell, t.ID))
}

// tellRemarks writes the notices that wait.
func (s *Service) tellRemarks(ctx context.Context) error {
	var failed error
	for after := ""; ; {
		waits := map[string][]Remark{}
		last := ""
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			clear(waits)
			return tx.Space(room).ScanFrom(remarkTell, remarkTell+after, func(k string, raw []byte) (bool, error) {
				id := strings.TrimPrefix(k, remarkTell)
				if id == after {
					return true, nil
				}
				var all []Remark
				if err := json.Unmarshal(raw, &all); err != nil {
					return false, fmt.Errorf("record of a remark: %w", err)
				}
				waits[id], last = all, id
				return len(waits) < holdsInGo, nil
			})
		})
		if err != nil || last == "" {
			return errors.Join(failed, err)
		}
		for id, all := range waits {
			if err := s.tellRemark(ctx, id, all); err != nil {
				failed = fmt.Errorf("notice of the submission %s: %w", id, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		after = last
	}
}

// tellRemark writes one notice.
func (s *Service) tellRemark(ctx context.Context, id string, all []Remark) error {
	done := func(tx *mailbox.Tx) (bool, error) {
		err := tx.Space(room).Get(remarkTell+id, new(json.RawMessage))
		if errors.Is(err, mailbox.ErrNotFound) {
			return false, nil
		}
		return err == nil, errors.Join(err, tx.Space(room).Delete(remarkTell+id))
	}
	var sub *Submission
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		sub, err = load(tx, id)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { _, err := done(tx); return err })
	}
	if err != nil {
		return err
	}
	return remarkNotice(sub, all, s.opt).fileOnly(ctx, s.opt.Store, done)
}

func remarkNotice(sub *Submission, all []Remark, o Options) *notice {
	var it, en []string
	for _, w := range all {
		it, en = append(it, w.Italian), append(en, w.English)
	}
	return makeNotice(sub, o,
		"PEC: non tutti in A e Cc la ricevono", "PEC: not all in To and Cc get it",
		"Il messaggio è stato accettato per i destinatari indicati sotto. "+strings.Join(it, " ")+" Per loro non ci sono ricevute: se serve, inviare loro il messaggio a parte.",
		"The message was accepted for the recipients below. "+strings.Join(en, " ")+" There are no receipts for them: where that matters, send them the message apart.",
		"")
}

package relay

import (
	"errors"
	"slices"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// Acceptances, non-acceptances and the warnings of 12 and 24 hours come from the
// sender's own provider. Every provider of PEC can sign one that names anybody's
// mailbox, and whoever receives a message knows its ids: so what another provider
// than the one of the acceptance says in these kinds is filed and told, and
// changes nothing. Deliveries and failures may come from any provider, since the
// recipient's makes them.

// Warner is who signed warnings about a submission.
type Warner struct {
	Signer string    `json:"signer"`
	Heeded bool      `json:"heeded,omitempty"` // until the acceptance tells whose count
	First  time.Time `json:"first,omitzero"`   // the earliest of them
}

// maxWarners bounds who is remembered before the acceptance tells whose warnings
// count. A message has one provider; the others are mistakes or worse.
const maxWarners = 3

// Warning is what one of the Warners said of a recipient.
type Warning struct {
	By    int       `json:"by"` // index of Warners
	Last  time.Time `json:"last,omitzero"`
	Final bool      `json:"final,omitempty"` // one said that it is the 24 h one
}

// heeds tells whether the one who signed a receipt may speak for the sender's
// provider.
func (s *Submission) heeds(r receipt) bool {
	if s.Signer != "" {
		return pec.SameAddress(s.Signer, r.Signer)
	}
	return r.provider == "" || pec.SameAddress(r.provider, r.Signer)
}

// foreign is the story's line of a receipt that only the sender's own provider
// may issue.
func foreign(r receipt) outcome {
	text := string(r.Kind) + " signed by " + r.Signer
	if r.recipient != "" {
		text += " about " + r.recipient
	}
	return outcome{what: "other-provider", text: text}
}

// acceptedBy notes whose acceptance came: from now on only that one's warnings
// count, also of those that came before.
func (s *Submission) acceptedBy(signer string) {
	if s.Signer != "" || signer == "" {
		return
	}
	s.Signer = signer
	own := s.warner(signer)
	for i := range s.Recipients {
		r := &s.Recipients[i]
		r.Warned = slices.DeleteFunc(r.Warned, func(w Warning) bool { return w.By != own })
		if len(r.Warned) > 0 {
			r.Warned[0].By = 0
		} else {
			r.Warned = nil
		}
	}
	if own >= 0 {
		s.Warners = []Warner{s.Warners[own]}
		s.Warners[0].Heeded = true
	} else {
		s.Warners = nil
	}
}

// warner returns the index of a signer in Warners, or -1.
func (s *Submission) warner(signer string) int {
	key := pec.AddressKey(signer)
	return slices.IndexFunc(s.Warners, func(w Warner) bool { return pec.AddressKey(w.Signer) == key })
}

// warned notes a warning. One that is not heeded is noted too as long as no
// acceptance tells whose count.
func (s *Submission) warned(r receipt) outcome {
	if s.index(r.recipient) < 0 {
		return outcome{}
	}
	heeded := s.heeds(r)
	if !heeded && s.Signer != "" {
		return foreign(r)
	}
	by := s.warner(r.Signer)
	if by < 0 && len(s.Warners) == maxWarners {
		return foreign(r)
	}
	if by < 0 {
		by = len(s.Warners)
		s.Warners = append(s.Warners, Warner{Signer: r.Signer})
	}
	w := &s.Warners[by]
	w.Heeded = w.Heeded || heeded
	w.First = earlier(w.First, r.at)
	for i := range s.Recipients {
		if to := &s.Recipients[i]; pec.SameAddress(to.Address, r.recipient) {
			to.warnedBy(by, r)
		}
	}
	if !heeded {
		return foreign(r)
	}
	return outcome{what: string(r.Kind), text: r.recipient + s.notice()}
}

func (to *Recipient) warnedBy(by int, r receipt) {
	n := slices.IndexFunc(to.Warned, func(w Warning) bool { return w.By == by })
	if n < 0 {
		n = len(to.Warned)
		to.Warned = append(to.Warned, Warning{By: by})
	}
	w := &to.Warned[n]
	w.Final = w.Final || r.Final
	if r.at.After(w.Last) {
		w.Last = r.at
	}
}

// The provider makes the first warning after 12 hours and the last between 22
// and 24, and only a code that not all of them write
// tells the two apart.
const (
	firstAfter = 12 * time.Hour
	finalAfter = 20 * time.Hour // a warning so long after the hand-over is the last one
)

// late is what the warnings about a recipient come to: Late, Failed with the 24 h
// one, or nothing.
func (s *Submission) late(r *Recipient) (state RecipientState) {
	for _, w := range r.Warned {
		if w.By >= len(s.Warners) || !s.Warners[w.By].Heeded {
			continue
		}
		if w.Final || !s.HandedOver.IsZero() && !w.Last.IsZero() && w.Last.Sub(s.HandedOver) >= finalAfter {
			return Failed
		}
		state = Late
	}
	return state
}

// timeOfHandOver sets HandedOver from what receipts prove, where the provider's
// own 250 never came: the acceptance is made at once and bears the clock of the
// one who warns; else it was before the earliest notice about a recipient.
func (s *Submission) timeOfHandOver() {
	if !s.HandedOver.IsZero() && !s.ByReceipt {
		return
	}
	at := s.AcceptedAt
	if at.IsZero() {
		at = s.ProvedAt
		for _, w := range s.Warners {
			if !w.Heeded || w.First.IsZero() {
				continue
			}
			by := w.First.Add(-firstAfter)
			if by.Before(s.SubmittedAt) {
				by = s.SubmittedAt
			}
			at = earlier(at, by)
		}
	}
	if !at.IsZero() {
		s.HandedOver, s.ByReceipt = at, true
	}
}

// provider is who signed the last acceptance of a mailbox.
type provider struct {
	Signer string    `json:"signer"`
	At     time.Time `json:"at"`
}

// providerOf returns who signed the last acceptance of a mailbox, nobody if none
// came.
func providerOf(tx *mailbox.Tx, box string) (provider, error) {
	var p provider
	err := tx.Space(room).Get(providerKey(box), &p)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return p, err
}

// noteProvider remembers who signed an acceptance, unless a newer one is known.
func noteProvider(tx *mailbox.Tx, box string, r receipt) error {
	before, err := providerOf(tx, box)
	if err != nil || r.Signer == "" || r.at.Before(before.At) {
		return err
	}
	return tx.Space(room).Put(providerKey(box), provider{Signer: r.Signer, At: r.at})
}

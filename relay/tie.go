package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// tie finds the submission that a believed receipt in a mailbox is about and
// the recipient it names: by the Message-ID in the signed data, and where those
// name none by the provider's identifier, once a receipt told it. It returns
// ErrNotFound where the signed data name another mailbox, or no submission of
// this one, or a stranger as recipient.
func tie(tx *mailbox.Tx, box string, r *pec.Report) (*Submission, string, error) {
	ids := r.MsgIDs()
	for _, id := range ids {
		s, err := byMsgID(tx, box, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if recipient, ok := r.About(s.sent("")); ok {
			return s, recipient, nil
		}
	}
	if len(ids) > 0 {
		return nil, "", ErrNotFound
	}
	s, err := byIdentifier(tx, r.Identifier)
	if err != nil {
		return nil, "", err
	}
	if recipient, ok := r.About(s.sent(r.Identifier)); ok && pec.SameAddress(s.Box, box) {
		return s, recipient, nil
	}
	return nil, "", ErrNotFound
}

// sent is the submission as receipts are compared with it.
func (s *Submission) sent(identifier string) pec.Sent {
	out := pec.Sent{Box: s.Box, MsgID: s.MsgID, Identifier: identifier, At: s.SubmittedAt}
	for _, x := range s.Recipients {
		out.Recipients = append(out.Recipients, x.Address)
	}
	return out
}

// applyReceipt ties a believed receipt, changes the outcome, and returns the
// submission, or nil where it is about none of ours. found is what comparing the
// receipt with our own copy has shown, or nil.
func applyReceipt(tx *mailbox.Tx, box string, r *pec.Report, m *mailbox.Message, found *finding) (*Submission, error) {
	s, recipient, err := tie(tx, box, r)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	at := r.SignedAt
	if at.IsZero() {
		at = m.Arrived
	}
	// A receipt counts once, whatever brings it a second time.
	k := receiptKey(s.ID, s.index(recipient), m.SHA256())
	var known ReceiptRef
	if err := tx.Space(room).Get(k, &known); !errors.Is(err, mailbox.ErrNotFound) {
		return s, err
	}
	err = tx.Space(room).Put(k, ReceiptRef{Kind: r.Kind, Verdict: r.Verdict, At: at.UTC(), SHA256: m.SHA256(), Message: m.ID})
	if err != nil {
		return nil, err
	}
	before := s.State
	out := s.apply(r, recipient)
	if s.State != before {
		s.Since = tx.Now().UTC()
	}
	if err := learn(tx, s, r.Identifier); err != nil {
		return nil, err
	}
	if err := happened(tx, s, out.what, out.text); err != nil {
		return nil, err
	}
	if found.about(s) {
		if err := happened(tx, s, "differs", found.text); err != nil {
			return nil, err
		}
	}
	if err := s.show(tx); err != nil {
		return nil, err
	}
	return s, save(tx, s, nil)
}

// learn remembers the provider's identifier of a submission; the first one to
// have it keeps it.
func learn(tx *mailbox.Tx, s *Submission, identifier string) error {
	k := identifierKey(identifier)
	if k == "" {
		return nil
	}
	var id string
	err := tx.Space(room).Get(k, &id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return tx.Space(room).Put(k, s.ID)
	}
	return err
}

// waiting is a receipt that names no Message-ID and came before the one that
// tells which submission its identifier is of. It is filed at once, as one that
// is tied to nothing, and waits under its identifier.
type waiting struct {
	Box        string            `json:"mailbox"`
	Identifier string            `json:"identifier"`
	Message    mailbox.MessageID `json:"message"`
}

func waitingPrefix(box, identifier string) string {
	return "w/" + strings.ToLower(box) + "/" + idKey(identifier) + "\x00"
}

// wait keeps a receipt that is tied to nothing yet, if another may tell to what.
func wait(tx *mailbox.Tx, box string, r *pec.Report, m *mailbox.Message) error {
	if len(r.MsgIDs()) > 0 || identifierKey(r.Identifier) == "" {
		return nil
	}
	id := idKey(r.Identifier)
	k := fmt.Sprintf("%s%016x", waitingPrefix(box, id), uint64(m.ID))
	return tx.Space(room).Put(k, waiting{Box: strings.ToLower(box), Identifier: id, Message: m.ID})
}

// perClaim is how many waiting receipts are looked up at a time.
const perClaim = 50

// claim applies the receipts that waited for an identifier which is known now.
// Each is read again, since only its bytes were kept. What fails is tried again
// with the next receipt of the identifier and at the next start.
func (s *Service) claim(ctx context.Context, box, identifier string) error {
	for {
		all := map[string]waiting{}
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			clear(all)
			if _, err := byIdentifier(tx, identifier); err != nil {
				return err
			}
			return tx.Space(room).Scan(waitingPrefix(box, identifier), func(k string, raw []byte) (bool, error) {
				var w waiting
				if err := json.Unmarshal(raw, &w); err != nil {
					return false, err
				}
				all[k] = w
				return len(all) < perClaim, nil
			})
		})
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil || len(all) == 0 {
			return err
		}
		for k, w := range all {
			if err := s.claimOne(ctx, box, k, w.Message); err != nil {
				return fmt.Errorf("receipt that waited for its submission: %w", err)
			}
		}
	}
}

func (s *Service) claimOne(ctx context.Context, box, k string, id mailbox.MessageID) error {
	report, found, err := s.readAgain(ctx, box, id)
	if errors.Is(err, mailbox.ErrNotFound) {
		report = nil // removed meanwhile
	} else if err != nil {
		return err
	}
	var m *mailbox.Message
	err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) (err error) {
		if err := tx.Space(room).Delete(k); err != nil || report == nil {
			return err
		}
		if m, err = tx.Message(id); err != nil {
			return err
		}
		sub, err := applyReceipt(tx, box, report, m, found)
		if err != nil || sub == nil {
			return err
		}
		m.Submission = sub.ID
		return tx.PutMessage(m)
	})
	if err == nil && m != nil {
		s.told(m, found)
	}
	return err
}

// told writes the log line of a finding about a receipt that is tied now.
func (s *Service) told(m *mailbox.Message, found *finding) {
	if found != nil && m.Submission == found.submission {
		s.opt.Events.ReceiptDiffers(m.Box, m.Submission, m.SHA256(), found.differences)
	}
}

// readAgain reads what a message of the store is.
func (s *Service) readAgain(ctx context.Context, box string, id mailbox.MessageID) (*pec.Report, *finding, error) {
	m, err := s.opt.Store.Message(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	ix, err := s.opt.Store.Index(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	body, err := s.opt.Store.Open(m)
	if err != nil {
		return nil, nil, err
	}
	defer body.Close() // read-only handle: nothing to lose
	report, err := s.opt.Reader.Read(ctx, body, m.Ref.Size, ix)
	if err != nil {
		return nil, nil, err
	}
	found, err := s.compare(ctx, box, report, m.SHA256(), body)
	return report, found, err
}

// claimAll applies what waits though its identifier is known: a stop of the
// gateway came between.
func (s *Service) claimAll(ctx context.Context) error {
	all := map[waiting]bool{}
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		clear(all)
		return tx.Space(room).Scan("w/", func(_ string, raw []byte) (bool, error) {
			var w waiting
			if err := json.Unmarshal(raw, &w); err != nil {
				return false, err
			}
			w.Message = 0 // all of an identifier are claimed together
			all[w] = true
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	for w := range all {
		if err := s.claim(ctx, w.Box, w.Identifier); err != nil {
			return err
		}
	}
	return nil
}

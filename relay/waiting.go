package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// waiting is a receipt whose Message-ID, if it names one, is of no submission
// and that came before the acceptance that tells which one its identifier is of.
// It is filed at once, for all who see what is tied to nothing, and waits under
// its identifier.
type waiting struct {
	Box        string            `json:"mailbox"`
	Identifier string            `json:"identifier"` // as a key
	Message    mailbox.MessageID `json:"message"`
	At         time.Time         `json:"at,omitzero"`
}

// waitFor is how long a receipt waits. The acceptance is made at once; a receipt
// of what left the mailbox on another way would wait for ever.
const waitFor = 30 * 24 * time.Hour

// waitingPrefix is where the receipts wait that bear an identifier, as a key.
func waitingPrefix(box, key string) string {
	return "w/" + strings.ToLower(box) + "/" + key + "\x00"
}

// wait keeps a receipt that is tied to nothing yet, if another may tell to what.
func wait(tx *mailbox.Tx, box string, r *pec.Report, m *mailbox.Message) error {
	key := idKey(r.Identifier)
	if key == "" || m.History && len(r.MsgIDs()) > 0 {
		return nil // what was sent before the gateway came is tied to nothing
	}
	k := fmt.Sprintf("%s%016x", waitingPrefix(box, key), uint64(m.ID))
	return tx.Space(room).Put(k, waiting{Box: strings.ToLower(box), Identifier: key, Message: m.ID, At: tx.Now().UTC()})
}

// perClaim is how many waiting receipts are looked up at a time.
const perClaim = 50

// waitingLine is a waiting receipt under its key.
type waitingLine struct {
	key string
	waiting
	err error // it cannot be read
}

// scanWaiting calls fn for each waiting receipt under a prefix, until it returns
// false.
func scanWaiting(tx *mailbox.Tx, prefix string, fn func(waitingLine) bool) error {
	return tx.Space(room).Scan(prefix, func(k string, raw []byte) (bool, error) {
		l := waitingLine{key: k}
		if err := json.Unmarshal(raw, &l.waiting); err != nil {
			l.err = fmt.Errorf("record of a receipt that waits: %w", err)
		}
		return fn(l), nil
	})
}

// claim applies the receipts that waited for an identifier, as a key, if it is
// known now. Each is read again, since only its bytes were kept. One that fails
// stops no other: its error is among those returned, and it is tried again with
// the next receipt of the identifier and at the next start.
func (s *Service) claim(ctx context.Context, box, key string) error {
	var failed []error
	for after := ""; ; {
		var lines []waitingLine
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			lines = nil
			if _, err := byIdentifier(tx, box, key); err != nil {
				return err
			}
			return scanWaiting(tx, waitingPrefix(box, key), func(l waitingLine) bool {
				if l.key > after {
					lines = append(lines, l)
				}
				return len(lines) < perClaim
			})
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			failed = append(failed, err)
		}
		if len(lines) == 0 {
			return errors.Join(failed...)
		}
		for _, l := range lines {
			after = l.key
			if l.err == nil {
				l.err = s.claimOne(ctx, box, l.key, l.Message)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if l.err != nil {
				failed = append(failed, fmt.Errorf("receipt that waited for its submission in %s: message %d: %w", box, l.Message, l.err))
			}
		}
	}
}

// faults logs each of the errors that claim or claimAll joined.
func (s *Service) faults(box string, err error) {
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		s.opt.Events.Fault("receipts", box, err)
		return
	}
	for _, err := range many.Unwrap() {
		s.faults(box, err)
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
		m = nil
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
		to, err := s.opt.toSender(tx, sub)
		if err != nil {
			return err
		}
		if to.audience != 0 { // else those who get it have it already
			had, err := s.gotByMail(tx, m, box)
			if err != nil {
				return err
			}
			if err := s.refile(tx, report, m, to); err != nil {
				return err
			}
			if !m.History {
				if err := noteForward(tx, routed{Message: m.ID, What: routeArrival, Box: box, Believed: saidByProvider(report), Had: had}); err != nil {
					return err
				}
			}
		}
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
	report, err := s.reader().Read(ctx, body, m.Ref.Size, ix)
	if err != nil {
		return nil, nil, err
	}
	found, err := s.compare(ctx, box, report, m.SHA256(), body)
	return report, found, err
}

// claimAll applies what waits though its identifier is known: a stop of the
// gateway came between. It takes away what has waited for too long. Its errors
// are those of claim.
func (s *Service) claimAll(ctx context.Context) error {
	look, err := s.lookRound(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, g := range look.known {
		if err := s.claim(ctx, g.box, g.key); err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for k, err := range look.damaged {
		if !slices.ContainsFunc(look.known, func(g group) bool { return strings.HasPrefix(k, waitingPrefix(g.box, g.key)) }) {
			failed = append(failed, err) // the others claim has told
		}
	}
	for part := range slices.Chunk(look.over, 500) {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			for _, k := range part {
				if err := tx.Space(room).Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// group is what waits under one identifier of a mailbox.
type group struct{ box, key string }

// waitingLook is what lookRound found.
type waitingLook struct {
	known   []group          // whose submission is known
	over    []string         // keys of what has waited for too long
	damaged map[string]error // by key
}

func (s *Service) lookRound(ctx context.Context) (look waitingLook, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		look = waitingLook{damaged: map[string]error{}}
		all := map[group]bool{}
		err := scanWaiting(tx, "w/", func(l waitingLine) bool {
			switch key, _, ok := strings.Cut(strings.TrimPrefix(l.key, "w/"+l.Box+"/"), "\x00"); {
			case l.err != nil:
				look.damaged[l.key] = l.err
			case !l.At.IsZero() && tx.Now().Sub(l.At) > waitFor:
				look.over = append(look.over, l.key)
			case ok:
				all[group{l.Box, key}] = true
			}
			return true
		})
		if err != nil {
			return err
		}
		for g := range all {
			// What is wrong with the submission itself claim tells.
			if _, err := byIdentifier(tx, g.box, g.key); !errors.Is(err, ErrNotFound) {
				look.known = append(look.known, g)
			}
		}
		return nil
	})
	return look, err
}

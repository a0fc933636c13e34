package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
)

// finding is what comparing a receipt with our own copy has shown, where the
// content is another. It is told and changes nothing: the signed receipt decides.
type finding struct {
	submission  string
	differences int
	text        string
}

// about tells whether the finding is of this submission.
func (f *finding) about(s *Submission) bool { return f != nil && f.submission == s.ID }

// compare holds a complete or brief delivery receipt against the copy of what
// was sent. It returns nil where there is nothing to tell: another kind, tied to
// nothing, known already, the same. A copy that cannot be read is a fault to be
// logged, not one of the receipt. The only error is that of ctx.
func (s *Service) compare(ctx context.Context, box string, r *pec.Report, sha256 string, outer io.ReaderAt) (*finding, error) {
	if !r.Believed() || r.Kind != pec.Delivery || r.Inner == nil || r.Receipt != pec.Complete && r.Receipt != pec.Brief {
		return nil, nil
	}
	var sub *Submission
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		found, recipient, err := tie(tx, box, r)
		if sub = found; err != nil {
			return err
		}
		if sub.Recovered != "" {
			return ErrNotFound // its bytes are the provider's, not what somebody submitted
		}
		var known ReceiptRef
		if err := tx.Space(room).Get(receiptKey(sub.ID, sub.index(recipient), sha256), &known); err == nil {
			return ErrNotFound // nothing new to tell
		} else if !errors.Is(err, mailbox.ErrNotFound) {
			return err
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil, ctx.Err()
	}
	var c pec.Comparison
	if err == nil {
		c, err = s.compareWith(ctx, sub, r, outer)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, nil // its time was over
	}
	if err != nil {
		s.opt.Events.Fault("compare", box, fmt.Errorf("receipt of submission: %w", err))
		return nil, nil
	}
	if c.Likeness != pec.LikeBody {
		return nil, nil
	}
	return &finding{
		submission: sub.ID, differences: len(c.Differences),
		text: string(r.Receipt) + " receipt of " + r.Recipient + ": " + strings.Join(c.Differences, "; "),
	}, nil
}

func (s *Service) compareWith(ctx context.Context, sub *Submission, r *pec.Report, outer io.ReaderAt) (pec.Comparison, error) {
	own, err := content(ctx, s.opt.Store, sub)
	if err != nil {
		return pec.Comparison{}, err
	}
	defer own.Close() // read-only handle: nothing to lose
	if r.Receipt == pec.Complete {
		return pec.CompareComplete(ctx, own, own.Size(), outer, r.Inner)
	}
	var ix *mime.Index
	if sub.child() { // with a header of its own
		ix, err = mime.Parse(own, own.Size(), mime.Limits{})
	} else {
		ix, err = s.opt.Store.Index(ctx, sub.Message)
	}
	if err != nil {
		return pec.Comparison{}, err
	}
	return pec.CompareBrief(ctx, own, own.Size(), ix, outer, r.Inner)
}

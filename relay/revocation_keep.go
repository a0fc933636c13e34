package relay

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/archive/bundle"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/relay/revocation"
)

// What the authorities said of the providers' certificates when their messages came:
// the signing time is the provider's own claim, so an answer of the day of arrival is
// kept for evidence. Each certificate is asked about once a day, behind everything
// else: no message waits for it, and what cannot be had is "not available". Only
// certificates that lead to a trusted CA are asked about, so strangers make none.
//
//	rv/<certificate>/<day>  what was learnt: revocationRecord; SHA-256 of the DER, UTC
//	rb/<sha256>/<number>    the bytes of an answer, in pieces; the same answer once

const (
	revocationWaiting = 64        // messages; more are not asked about
	revocationAgain   = time.Hour // after an answer that was none
	revocationPiece   = 30 << 10  // bytes in a record
	revocationKnown   = 1000      // signers in memory
)

// revocationRecord is what is kept of one certificate and day.
type revocationRecord struct {
	Kind   string    `json:"kind,omitempty"` // revocation.OCSP or CRL; empty: not available
	At     time.Time `json:"at"`
	Status string    `json:"status"`
	SHA256 string    `json:"sha256,omitempty"`
	Size   int       `json:"size,omitempty"`
}

// signedBy is a message whose signer is to be asked about.
type signedBy struct {
	message mailbox.MessageID
	signer  string
}

func revocationKey(cert string, day time.Time) string {
	return "rv/" + cert + "/" + day.UTC().Format(time.DateOnly)
}

// askRevocation notes that a message came. It never waits.
func (s *Service) askRevocation(r *pec.Report, m *mailbox.Message) {
	if s.opt.Revocation == nil || m.History || r.Signer == "" || r.Verdict != pec.Valid && r.Verdict != pec.ValidHistoric {
		return
	}
	select {
	case s.revocations <- signedBy{m.ID, r.Signer}:
	default: // the signer's next message asks
	}
}

// keepRevocations asks until ctx ends.
func (s *Service) keepRevocations(ctx context.Context) {
	next := map[string]time.Time{} // by signer: when it is asked about again
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-s.revocations:
			now := s.opt.Store.Now()
			if at, known := next[a.signer]; known && now.Before(at) && at.Sub(now) <= 24*time.Hour {
				continue
			}
			if len(next) >= revocationKnown {
				clear(next)
			}
			next[a.signer] = now.Add(revocationAgain)
			switch answered, err := s.keepRevocation(ctx, a.message); {
			case ctx.Err() != nil:
				return
			case errors.Is(err, mailbox.ErrNotFound), errors.Is(err, mailbox.ErrNoSpace):
			case err != nil:
				s.opt.Events.Fault("revocation", "", err)
			case answered:
				y, m, d := now.UTC().Date()
				next[a.signer] = time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
			}
		}
	}
}

// keepRevocation asks about the certificate that signed a message, unless that was
// done today, and tells whether there is an answer.
func (s *Service) keepRevocation(ctx context.Context, id mailbox.MessageID) (answered bool, err error) {
	m, err := s.opt.Store.Message(ctx, id)
	if err != nil {
		return false, err
	}
	body, err := s.opt.Store.Open(m)
	if err != nil {
		return false, err
	}
	var signed *pec.Signed
	ix, err := mime.Parse(body, body.Size(), mime.Limits{})
	if err == nil {
		signed, err = s.reader().Signed(ctx, body, body.Size(), ix)
	}
	if err = errors.Join(err, body.Close()); err != nil || !signed.Proven || len(signed.Chain) < 2 {
		return false, err
	}
	cert := certificateSum(signed.Chain[0])
	k := revocationKey(cert, s.opt.Store.Now())
	var had revocationRecord
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Get(k, &had) })
	if err == nil && had.Kind != "" {
		return true, nil
	}
	if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return false, err
	}
	a := s.opt.Revocation(ctx, signed.Chain[0], signed.Chain[1])
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	rec := revocationRecord{Kind: a.Kind, At: a.At.UTC(), Status: plain(a.Status, maxWords)}
	if a.Kind != "" {
		sum := sha256.Sum256(a.Bytes)
		rec.SHA256, rec.Size = hex.EncodeToString(sum[:]), len(a.Bytes)
		if err := s.keepAnswer(ctx, rec.SHA256, a.Bytes); err != nil {
			return false, err
		}
	}
	return a.Kind != "", s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Put(k, rec) })
}

// keepAnswer writes the bytes before the record that names them, a piece at a time.
func (s *Service) keepAnswer(ctx context.Context, sum string, b []byte) error {
	if len(b) > revocation.MaxCRL {
		return fmt.Errorf("an answer of %d bytes", len(b))
	}
	for n := 0; n*revocationPiece < len(b); n++ {
		piece := b[n*revocationPiece : min(len(b), (n+1)*revocationPiece)]
		k := answerKey(sum, n)
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Put(k, piece) })
		if err != nil {
			return err
		}
	}
	return nil
}

func answerKey(sum string, n int) string { return fmt.Sprintf("rb/%s/%04d", sum, n) }

func certificateSum(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// revocationOf is what is known of a certificate as of the day on which a message
// came, or the day after: the answer may have come past midnight.
func (s *Service) revocationOf(ctx context.Context, cert *x509.Certificate, arrived time.Time) (rev bundle.Revocation, b []byte, err error) {
	rev.Status = revocation.NotAvailable + ": it was not asked for when the message came"
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		for _, day := range []time.Time{arrived, arrived.AddDate(0, 0, 1)} {
			var rec revocationRecord
			err := tx.Space(room).Get(revocationKey(certificateSum(cert), day), &rec)
			if errors.Is(err, mailbox.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			rev = bundle.Revocation{Kind: rec.Kind, At: rec.At, Status: rec.Status}
			if rec.Kind == "" {
				continue
			}
			b, err = readAnswer(tx, rec)
			return err
		}
		return nil
	})
	return rev, b, err
}

func readAnswer(tx *mailbox.Tx, rec revocationRecord) ([]byte, error) {
	var b []byte
	prefix := strings.TrimSuffix(answerKey(rec.SHA256, 0), "0000")
	err := tx.Space(room).Scan(prefix, func(_ string, raw []byte) (bool, error) {
		var piece []byte
		err := json.Unmarshal(raw, &piece)
		b = append(b, piece...)
		return len(b) <= revocation.MaxCRL, err
	})
	if sum := sha256.Sum256(b); err == nil && hex.EncodeToString(sum[:]) != rec.SHA256 {
		err = fmt.Errorf("the answer %s about a certificate is not what was kept", rec.SHA256)
	}
	return b, err
}

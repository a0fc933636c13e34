package relay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"pecgate/mailbox"
)

// filingError is why a message whose bytes are ours could not be put where it
// belongs: a damaged record of its submission, say.
type filingError struct{ err error }

func (e *filingError) Error() string { return "file the message: " + e.err.Error() }
func (e *filingError) Unwrap() error { return e.err }

// shelve keeps a message that could not be filed where its administrator sees it,
// once, as a recovered one (C20). It counts as not fetched: it stays at the
// provider and is tried again, and what may come of it later comes then.
func (s *Service) shelve(ctx context.Context, acc Account, st *mailbox.Stored, why error) (err error) {
	if acc.Admin == "" {
		return nil // it stays at the provider
	}
	in, err := s.opt.Store.Begin(ctx)
	if err != nil {
		return err
	}
	defer in.Abort() // no effect after Store
	if _, err := io.Copy(in, io.NewSectionReader(st, 0, st.Size())); err != nil {
		return err
	}
	again, err := in.Store(ctx, st.Origin)
	if err != nil {
		return err
	}
	defer again.Close() // read-only handle: nothing to lose
	_, err = s.opt.Store.Record(ctx, again, func(tx *mailbox.Tx, m *mailbox.Message) error {
		ids, err := tx.ByContent(m.Ref.Sum)
		if err != nil {
			return err
		}
		for _, id := range ids {
			old, err := tx.Message(id)
			if err == nil && id != m.ID && old.Direction == mailbox.Recovered && old.Box == m.Box {
				return errKnown
			}
		}
		admin, err := tx.EnsurePerson(acc.Admin)
		if err != nil {
			return err
		}
		m.Kind = ""
		if err := tx.FileRecovered(m, admin, plain("it could not be filed: "+why.Error(), maxWords)); err != nil {
			return err
		}
		return tx.Audit(mailbox.AuditLine{
			Actor: "relay", Event: "arrival", Box: acc.Box, Result: "kept for the administrator", Reason: plain(why.Error(), maxWords),
			More: map[string]string{"sha256": m.SHA256()},
		})
	})
	if errors.Is(err, errKnown) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep it for the administrator: %w", err)
	}
	return nil
}

package relay

import (
	"errors"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// refile gives a receipt that was filed for all who see what is tied to nothing
// to the person whose submission it is about: as a new entry with a new UID, since
// what becomes visible to a person later must not appear under an old one.
func (s *Service) refile(tx *mailbox.Tx, r *pec.Report, m *mailbox.Message, to destination) error {
	role, how := place(r)
	how.Audience, how.Seen = to.audience, m.History && !s.account(m.Box).HistoryUnseen
	before, err := tx.PlacesIn(m.ID, role, 1)
	if err != nil || len(before) == 0 {
		return err
	}
	if _, _, err := tx.File(mailbox.FolderKey{Box: m.Box, Role: role}, m, how); err != nil {
		return err
	}
	if err := tx.Unfile(before[0]); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	return giveTo(tx, m, to.inbox)
}

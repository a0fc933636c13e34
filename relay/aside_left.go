package relay

import (
	"context"

	"pecgate/relay/fetch"
)

// asidesLeft looks whether what was set aside in a folder, and is not tried now, still
// stands there: what somebody moved or deleted ends its alarm at once. At most
// asidesPerRound are looked for; the rest is noticed at its next try.
func (s *Service) asidesLeft(ctx context.Context, w *worker, session *fetch.Session, folder string, c cursor, all map[string]aside) error {
	looked, now := 0, s.opt.Store.Now()
	for _, a := range all {
		if a.UID == 0 || a.due(now) {
			continue
		}
		if looked++; looked > asidesPerRound {
			return nil
		}
		st, standing, err := session.Standing(ctx, folder, a.UID-1, 1)
		if err != nil {
			return err
		}
		if st.UIDValidity != c.UIDValidity {
			return nil // the next round meets the folder anew
		}
		if len(standing) > 0 && standing[0].UID == a.UID {
			continue
		}
		if err := s.triedAside(ctx, w.acc.Box, spot{folder: folder, validity: c.UIDValidity, uid: a.UID}, a, true, nil); err != nil {
			return err
		}
	}
	return nil
}

// asidesLeftMaildrop is asidesLeft by POP3: the list of the round says it.
func (s *Service) asidesLeftMaildrop(ctx context.Context, w *worker, p *plan, all map[string]aside) error {
	now := s.opt.Store.Now()
	for _, a := range all {
		if _, there := p.listed[a.ID]; there || a.ID == "" || a.due(now) {
			continue
		}
		if err := s.triedAside(ctx, w.acc.Box, spot{id: a.ID}, a, true, nil); err != nil {
			return err
		}
	}
	return nil
}

package relay

import (
	"context"

	"pecgate/mailbox"
)

// clockKind is the alarm of a clock that nothing synchronises: the times in the audit
// log, and so in evidence, rest on it.
const clockKind = "clock"

// watchClock tells of a clock that is not synchronised at two looks in a row, so that
// a start of the machine tells nobody, and ends that when it is. Where it is not known
// nothing changes. unsynced is how it was at the look before; it returns how it is.
func (s *Service) watchClock(ctx context.Context, unsynced bool) (bool, error) {
	switch s.opt.Store.Clock() {
	case mailbox.ClockSynchronised:
		return false, s.ended(ctx, "", clockKind, "")
	case mailbox.ClockUnsynchronised:
		if !unsynced {
			return true, nil
		}
		return true, s.raise(ctx, alarm{
			kind: clockKind, to: s.admins(), quiet: fetchQuiet,
			subjectIT: "L'orologio del gateway non è sincronizzato",
			subjectEN: "The gateway's clock is not synchronised",
			it:        "Gli orari del registro e delle prove valgono quanto l'orologio: finché non è sincronizzato ogni prova lo dice. Attivare la sincronizzazione (systemd-timesyncd o chrony) e controllare con `timedatectl`.",
			en:        "The times in the log and in evidence are worth what the clock is: until it is synchronised every proof says so. Switch synchronisation on (systemd-timesyncd or chrony) and look with `timedatectl`.",
		})
	}
	return unsynced, nil
}

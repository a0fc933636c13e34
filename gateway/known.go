package gateway

import (
	"context"
	"time"

	"pecgate/mailbox"
)

// Bounds of the look for known devices, which a start waits for.
const (
	knownLines = 20000 // of the audit log, the newest
	knownWait  = 2 * time.Second
)

// knownDevices tells fn which login was good from which address and when, newest
// first, as far as the newest lines of the audit log tell: a restart in the
// middle of an attack must not make strangers of an office.
func knownDevices(ctx context.Context, store *mailbox.Store, fn func(login, remote string, at time.Time)) error {
	ctx, cancel := context.WithTimeout(ctx, knownWait)
	defer cancel()
	type device struct{ login, remote string }
	seen := map[device]bool{}
	return store.View(ctx, func(tx *mailbox.Tx) error {
		looked := 0
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			d := device{l.Actor, l.From}
			if l.Event == "login" && l.Result == "good" && d.login != "" && !seen[d] {
				seen[d] = true
				fn(d.login, d.remote, l.At)
			}
			looked++
			return looked < knownLines && ctx.Err() == nil
		})
	})
}

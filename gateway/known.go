package gateway

import (
	"context"
	"strings"
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
// middle of an attack must not make strangers of an office. What a login did
// while it was somebody else's is not told.
func knownDevices(ctx context.Context, store *mailbox.Store, fn func(ctx context.Context, login, remote string, at time.Time) error) error {
	ctx, cancel := context.WithTimeout(ctx, knownWait)
	defer cancel()
	type device struct{ login, remote string }
	seen := map[device]time.Time{}
	changed := map[string]bool{} // logins, in lower case: what is older was somebody else
	err := store.View(ctx, func(tx *mailbox.Tx) error {
		looked := 0
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			switch d := (device{l.Actor, l.From}); {
			case l.Event == "user removed":
				changed[strings.ToLower(l.Subject)] = true
			case l.Event == "user adopt":
				changed[strings.ToLower(l.Subject)] = true
				changed[strings.ToLower(l.More["login"])] = true
			case l.Event == "login" && l.Result == "good" && d.login != "" && seen[d].IsZero() && !changed[strings.ToLower(d.login)]:
				seen[d] = l.At
			}
			looked++
			return looked < knownLines && ctx.Err() == nil
		})
	})
	for d, at := range seen {
		if err == nil {
			err = fn(ctx, d.login, d.remote, at)
		}
	}
	return err
}

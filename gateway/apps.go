package gateway

import (
	"context"
	"errors"
	"time"

	"pecgate/gateway/auth"
	"pecgate/mailbox"
	"pecgate/mailbox/events"
)

// usedWait bounds the note of an app password's use: who logs in waits for it.
const usedWait = 2 * time.Second

// apps are the app passwords of the store. Each login looks there, so that one
// that is made or revoked counts at once.
type apps struct {
	store  *mailbox.Store
	events *events.Log
}

var _ auth.Apps = apps{}

// Find is the name of the app password with this digest, "" where there is none.
func (a apps) Find(ctx context.Context, login string, digest [32]byte) (string, error) {
	found, err := a.store.FindAppPassword(ctx, login, digest)
	if errors.Is(err, mailbox.ErrNotFound) {
		return "", nil
	}
	return found.Name, err
}

// Used notes the use.
func (a apps) Used(ctx context.Context, login string, digest [32]byte, remote string) {
	ctx, cancel := context.WithTimeout(ctx, usedWait)
	defer cancel()
	err := a.store.UsedAppPassword(ctx, login, digest, remote)
	if err != nil && !errors.Is(err, mailbox.ErrNoSpace) && ctx.Err() == nil {
		a.events.Fault("app password", "", err)
	}
}

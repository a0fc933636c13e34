package gateway

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"pecgate/gateway/auth"
	"pecgate/mailbox"
	"pecgate/relay"
)

// lockedWait bounds the telling of a lock: whoever gave the PIN waits for it.
const lockedWait = 5 * time.Second

// pinLocked tells the user and the administrator that a PIN is locked.
func (g *Gateway) pinLocked(ctx context.Context, login string, use auth.Use) {
	ctx, cancel := context.WithTimeout(ctx, lockedWait)
	defer cancel()
	g.fault("notice of a locked PIN", g.relay.TellPINLocked(ctx, login, strings.ToLower(use.Mailbox), g.store.Now()))
}

// UnlockPIN forgets the wrong PINs that a login gave today, in a zone (nil:
// UTC), and returns how many these were. Its audit line is stored with it.
func UnlockPIN(ctx context.Context, store *mailbox.Store, login string, zone *time.Location, by relay.Hand) (was int, err error) {
	if zone == nil {
		zone = time.UTC
	}
	err = store.Update(ctx, func(tx *mailbox.Tx) error {
		today := time.Now().In(zone)
		person, err := tx.PersonOf(login)
		if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return err
		}
		key := auth.PINKey(login, uint32(person), today)
		c, err := readCount(tx, key)
		if err != nil {
			return err
		}
		was = c.N
		if err := tx.Space("auth").Delete(key); err != nil {
			return err
		}
		if err := relay.ForgetPINLocked(tx, login, today.Format(time.DateOnly)); err != nil {
			return err
		}
		return tx.Audit(mailbox.AuditLine{
			Actor: by.Actor, From: by.From, Event: "pin unlock", Subject: login, Result: "unlocked", More: map[string]string{"wrong": strconv.Itoa(was)},
		})
	})
	return was, err
}

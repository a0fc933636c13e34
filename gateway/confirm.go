package gateway

import (
	"context"
	"errors"
	"strings"

	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
	"pecgate/policy"
	"pecgate/relay"
)

// confirm knows what is held for a PIN: it releases what a reply confirms, and
// cancels what its sender takes back.
type confirm struct {
	store  *mailbox.Store
	domain string // of the address of notices
}

var _ smtpd.Confirm = confirm{}

// Token is the token in confirm+<token>@ our domain.
func (c confirm) Token(address string) (string, bool) {
	local, domain, _ := strings.Cut(address, "@")
	n := len(relay.ConfirmPrefix)
	if len(local) <= n || !strings.EqualFold(local[:n], relay.ConfirmPrefix) || !strings.EqualFold(domain, c.domain) {
		return "", false
	}
	return local[n:], true
}

// Waiting returns what a token is for.
func (c confirm) Waiting(ctx context.Context, token string, who policy.Identity) (smtpd.Waiting, error) {
	p, err := c.store.Person(ctx, who.User)
	if err != nil {
		return smtpd.Waiting{}, err
	}
	h, err := relay.ByToken(ctx, c.store, token, p)
	if errors.Is(err, relay.ErrNotFound) {
		return smtpd.Waiting{}, smtpd.ErrNotWaiting
	}
	return smtpd.Waiting{ID: h.ID, Mailbox: h.Box, Waits: h.Waits, Ended: h.Ended, Approval: h.Approval, Own: h.Own}, err
}

// Release queues it.
func (c confirm) Release(ctx context.Context, token string, who policy.Identity, remote string) error {
	p, err := c.store.Person(ctx, who.User)
	if err != nil {
		return err
	}
	_, err = relay.Confirm(ctx, c.store, token, p, relay.Hand{Actor: who.User, From: remote})
	return err
}

// Withdraw cancels what a person takes out of the folder of what they have to
// confirm.
func (c confirm) Withdraw(ctx context.Context, login, remote string, messages []mailbox.MessageID, trash mailbox.FolderKey) ([]mailbox.Place, error) {
	p, err := c.store.Person(ctx, login)
	if err != nil {
		return nil, err
	}
	places, err := relay.Withdraw(ctx, c.store, p, messages, trash, relay.Hand{Actor: login, From: remote})
	return places, refused(err)
}

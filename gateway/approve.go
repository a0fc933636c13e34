package gateway

import (
	"context"
	"errors"
	"time"

	"pecgate/gateway/imapd"
	"pecgate/mailbox"
	"pecgate/policy"
	"pecgate/relay"
)

// approvals asks the policy who may approve, and has the relay do it.
type approvals struct {
	store  *mailbox.Store
	relay  *relay.Service
	policy func() *policy.Policy
}

var _ imapd.Approvals = approvals{}

// Approve releases what a person moves among what is approved.
func (a approvals) Approve(ctx context.Context, who policy.Identity, box, remote string, messages []mailbox.MessageID) ([]mailbox.Place, error) {
	p, now := a.policy(), time.Now()
	v := p.DecideApproval(who, box, false, now) // of what others wrote
	if !v.Allow {
		return nil, imapd.Refused(v.English)
	}
	person, err := a.store.Person(ctx, who.User)
	if err != nil {
		return nil, err
	}
	by := relay.Approver{Person: person, Login: who.User, PIN: v.Then == policy.HoldPIN, Own: p.DecideApproval(who, box, true, now).Allow}
	places, err := relay.Approve(ctx, a.store, by, messages, relay.Hand{Actor: who.User, From: remote})
	if errors.Is(err, relay.ErrOwnApproval) {
		return nil, imapd.Refused(p.DecideApproval(who, box, true, now).English)
	}
	return places, refused(err)
}

// Reject ends what a person takes out of what is to be approved: their own they
// take back.
func (a approvals) Reject(ctx context.Context, who policy.Identity, remote string, messages []mailbox.MessageID, trash mailbox.FolderKey) ([]mailbox.Place, error) {
	person, err := a.store.Person(ctx, who.User)
	if err != nil {
		return nil, err
	}
	by := relay.Approver{Person: person, Login: who.User}
	places, err := a.relay.Reject(ctx, by, messages, trash, relay.Hand{Actor: who.User, From: remote})
	return places, refused(err)
}

// refused gives imapd its own word for what the relay does not do.
func refused(err error) error {
	if no := new(relay.Refusal); errors.As(err, &no) {
		return imapd.Refused(no.Error())
	}
	return err
}

package gateway

import (
	"context"
	"errors"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
)

// peopleWait bounds the look at who left.
const peopleWait = 30 * time.Second

// person is the number of who has a login now.
func (g *Gateway) person(ctx context.Context, login string) (uint32, error) {
	p, err := g.store.Person(ctx, login)
	return uint32(p), tooFull(err)
}

// partPeople parts those whose login has left the policy from it. Where that
// fails (a full disk included) the next reload does it.
func (g *Gateway) partPeople(ctx context.Context, p *policy.Policy) error {
	ctx, cancel := context.WithTimeout(ctx, peopleWait)
	defer cancel()
	gone, err := g.store.Part(ctx, func(login string) bool {
		_, known := p.User(login)
		return known
	})
	for _, l := range gone {
		g.events.UserRemoved(l.Login)
	}
	if errors.Is(err, mailbox.ErrNoSpace) {
		return nil
	}
	return err
}

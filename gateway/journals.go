package gateway

import (
	"context"

	"pecgate/gateway/smtpd"
	"pecgate/relay"
)

// journals remembers for smtpd what journal reports brought.
type journals struct{ relay *relay.Service }

var _ smtpd.Journals = journals{}

// Left are the recipients for whom no earlier report brought the message.
func (j journals) Left(ctx context.Context, of smtpd.JournalOf) ([]string, error) {
	return j.relay.JournalLeft(ctx, journalOf(of))
}

// Refuse tells the sender.
func (j journals) Refuse(ctx context.Context, of smtpd.JournalOf, why smtpd.JournalRefusal) error {
	return tooFull(j.relay.RefuseJournal(ctx, journalOf(of), relay.JournalRefusal(why)))
}

// Drop counts one of which nothing leaves.
func (j journals) Drop(ctx context.Context, of smtpd.JournalOf, why string) error {
	return tooFull(j.relay.DropJournal(ctx, journalOf(of), why))
}

func journalOf(of smtpd.JournalOf) relay.Journaled {
	return relay.Journaled{Relay: of.Relay, Remote: of.Remote, Sender: of.Sender, User: of.User, Box: of.Box, MsgID: of.MessageID, To: of.To}
}

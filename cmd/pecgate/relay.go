package main

import (
	"fmt"

	"pecgate/configs"
	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay"
)

// relayOn returns the relay on an open store, for commands that work while
// nothing runs. It neither sends nor fetches.
func relayOn(l *configs.Loaded, store *mailbox.Store) (*relay.Service, error) {
	accounts, err := accountsOf(l)
	if err != nil {
		return nil, err
	}
	a := l.Appliance
	pems, err := trustOf(a)
	if err != nil {
		return nil, err
	}
	trust, err := pec.NewTrust(pems...)
	if err != nil {
		return nil, fmt.Errorf("provider_trust: %w", err)
	}
	return relay.New(relay.Options{
		Store: store, Reader: pec.NewReader(pec.Options{Trust: trust}), Accounts: func() []relay.Account { return accounts },
		Hello: a.Hostname, Address: a.Address, Language: a.Language,
	}), nil
}

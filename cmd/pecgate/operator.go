package main

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
)

// operator is a command on the appliance's data. It asks the appliance that runs,
// and works on the store where none does. The way over the socket needs
// pecgate.yaml alone, for data_dir: an appliance runs on with the last policy.yaml
// that was good, and it is that one that counts.
type operator struct {
	a      *configs.Appliance
	config string // pecgate.yaml
	name   string // of the command, for the audit log
	out    io.Writer
	json   bool
}

// operate makes a command of c that has an operator, and --json where jsonHelp says
// what that prints.
func (app *app) operate(c *cobra.Command, jsonHelp string, do func(c *cobra.Command, o *operator, args []string) error) *cobra.Command {
	var asJSON bool
	if jsonHelp != "" {
		c.Flags().BoolVar(&asJSON, "json", false, jsonHelp)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		o, err := app.operator(c, asJSON)
		if err != nil {
			return err
		}
		return do(c, o, args)
	}
	return c
}

func (app *app) operator(c *cobra.Command, asJSON bool) (*operator, error) {
	a, err := configs.LoadAppliance(app.config)
	if err != nil {
		return nil, err
	}
	words := strings.Fields(c.CommandPath())
	return &operator{a: a, config: app.config, name: strings.Join(words[:min(2, len(words))], " "), out: c.OutOrStdout(), json: asJSON}, nil
}

func (o *operator) client() *admin.Client { return admin.NewClient(o.a.Path(o.a.DataDir)) }

// either has the running appliance answer; offline is for when nothing runs.
func (o *operator) either(online func(*admin.Client) error, offline func(*mailbox.Store) error) error {
	if err := online(o.client()); !errors.Is(err, admin.ErrNotRunning) {
		return controlError(o.a, err)
	}
	return withStore(o.a, offline)
}

// relayed is what either does on the store with a relay, which neither sends nor
// fetches by itself. It needs policy.yaml: nobody else knows the mailboxes then.
func (o *operator) relayed(fn func(*relay.Service, *mailbox.Store) error) func(*mailbox.Store) error {
	return func(store *mailbox.Store) error {
		l, err := configs.Load(o.config)
		if err != nil {
			return err
		}
		r, err := relayOn(l, store)
		if err != nil {
			return err
		}
		return fn(r, store)
	}
}

// hand is who asks where nothing runs.
func (o *operator) hand() relay.Hand { return relay.Hand{Actor: o.name, From: thisProcess()} }

func (o *operator) loc() *time.Location { return o.a.Location() }

// print writes an answer, as one JSON object or as text.
func (o *operator) print(v any, text func() error) error {
	if o.json {
		return json.NewEncoder(o.out).Encode(v)
	}
	return text()
}

// printAll writes a list, as one JSON object a line or as text.
func printAll[T any](o *operator, all []T, text func() error) error {
	if !o.json {
		return text()
	}
	e := json.NewEncoder(o.out)
	for _, v := range all {
		if err := e.Encode(v); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"pecgate/configs"
	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/relay"
)

// checkOnline logs in at the provider of each active mailbox: through the
// appliance where it runs, since a refused login counts for both. Before the first
// start there is no store: what is found out is told and kept nowhere.
func checkOnline(ctx context.Context, l *configs.Loaded, asJSON bool, out io.Writer, bar *bar) error {
	o := &operator{a: l.Appliance}
	var boxes []string
	for _, m := range l.Policy.Mailboxes {
		if m.Active {
			boxes = append(boxes, m.Address)
		}
	}
	p := &onlinePrinter{out: out, json: asJSON, loc: l.Appliance.Location(), bar: bar, all: len(boxes)}
	rest, err := p.each(boxes, func(box string) (found []relay.Online, err error) {
		return found, o.client().Change(ctx, "/v1/provider/try", url.Values{"mailbox": {box}}, &found)
	})
	if errors.Is(err, admin.ErrNotRunning) {
		err = withStoreOrNone(l.Appliance, func(store *mailbox.Store) error {
			r, err := relayOn(l, store)
			if err == nil {
				_, err = p.each(rest, func(box string) ([]relay.Online, error) { return r.TryOnline(ctx, box) })
			}
			return err
		})
	} else {
		err = controlError(l.Appliance, err)
	}
	return errors.Join(err, p.end())
}

// onlinePrinter writes what came of each mailbox.
type onlinePrinter struct {
	out       io.Writer
	json      bool
	loc       *time.Location
	bar       *bar
	table     *tabwriter.Writer
	all, done int
	bad       int
}

// each asks for one mailbox after the other, and returns those that are left
// where nobody answered.
func (p *onlinePrinter) each(boxes []string, ask func(string) ([]relay.Online, error)) (rest []string, err error) {
	for i, box := range boxes {
		found, err := ask(box)
		if err != nil {
			return boxes[i:], err
		}
		p.done++
		p.bar.draw(int64(p.done) * 1000 / int64(p.all))
		for _, o := range found {
			if err := p.line(o); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func (p *onlinePrinter) line(o relay.Online) error {
	if o.Error != "" {
		p.bad++
	}
	if p.json {
		p.bar.clear()
		return json.NewEncoder(p.out).Encode(o)
	}
	if p.table == nil {
		p.table = tabwriter.NewWriter(p.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(p.table, "MAILBOX\tSERVICE\tHOST\tTLS\tCERTIFICATE UNTIL\tLOGIN\tQUOTA\tTROUBLE")
	}
	until := "-"
	if o.CertificateExpires != nil {
		until = o.CertificateExpires.In(p.loc).Format(time.DateOnly)
	}
	_, err := fmt.Fprintf(p.table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.Mailbox, o.Service, o.Host, cmp.Or(o.TLS, "-"), until, o.Login,
		cmp.Or(o.Quota, "-"), cmp.Or(o.Error, "none"))
	return err
}

func (p *onlinePrinter) end() error {
	p.bar.clear()
	if p.table != nil {
		if err := p.table.Flush(); err != nil {
			return err
		}
	}
	if p.bad > 0 {
		return fmt.Errorf("%s at the providers did not answer as they should", count(p.bad, "service", "services"))
	}
	return nil
}

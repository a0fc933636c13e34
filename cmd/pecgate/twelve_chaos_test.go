package main

import (
	"context"
	"testing"
	"time"

	"pecgate/mailbox/pec"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

// TestChaosRead reads what the provider emits with each switch about the form of
// messages: oddities that real providers have change nothing, what a forger does
// is never believed.
func TestChaosRead(t *testing.T) {
	const good = ""
	for _, style := range twelveStyles() {
		p := twelveProvider(t, style)
		trust, err := pec.NewTrust(p.CAPEM())
		if err != nil {
			t.Fatal(err)
		}
		reader := pec.NewReader(pec.Options{Trust: trust})
		genuine := pec.ValidHistoric // SHA-1
		if style == providersim.StyleNew {
			genuine = pec.Valid
		}
		for name, verdict := range map[string]string{
			"errore-altro": good, "empty-risposte": good, "no-msgid": good, "no-reference": good, "bare-ids": good, "folded-ids": good, "doctype": good,
			"daticert-last": good, "extra-parts": good, "header-disagrees": good, "nested-daticert": good, "lf-only": good, "relayed": good,
			"second-daticert": pec.Unverifiable, "forged-part": pec.Unverifiable, "foreign-ca": pec.Unverifiable,
			"wrong-signature": pec.Invalid, "expired-leaf": pec.Invalid,
		} {
			if err := p.Faults().Set(name, "on"); err != nil {
				t.Fatal(err)
			}
			before := len(p.Emitted())
			if r := sendTo(t, p.SMTPAddr(), x509Pool(t, p.CAPEM()), boxA, "provider-a", boxA, []string{boxB}, mail(boxA, boxB, "uno", "m1@alfa.example")); r.Class != submit.HandedOver {
				t.Fatalf("%+v", r)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := p.Settle(ctx)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Faults().Set(name, "off"); err != nil {
				t.Fatal(err)
			}
			want := verdict
			if want == good {
				want = genuine
			}
			for _, e := range p.Emitted()[before:] {
				if e.Mailbox == p.ServiceAddress() {
					continue
				}
				r := readTwelve(t, reader, e.Raw)
				id, believed := "m1@alfa.example", verdict == good && name != "relayed"
				if name == "no-msgid" {
					id = ""
				}
				if r.Verdict != want || r.Believed() != believed || string(r.Kind) != string(e.Kind) || pec.NormalizeID(r.MsgID) != id {
					t.Errorf("%s, style %s, kind %d: %s %s, believed %v, id %q: %s; want %s", name, style, e.Number, r.Kind, r.Verdict, r.Believed(), r.MsgID, r.Reason, want)
				}
			}
		}
	}
}

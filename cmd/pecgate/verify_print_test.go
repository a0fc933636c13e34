package main

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/pec"
)

var update = flag.Bool("update", false, "write testdata/verify anew; read the difference before it is kept")

// sentenceCases are reports by the name of their file.
func sentenceCases() map[string]*pec.Report {
	at := time.Date(2026, 7, 3, 7, 15, 42, 0, time.UTC)
	base := pec.Report{
		Verdict: pec.Valid, Issuer: "Gestore Alfa S.p.A. <posta-certificata@pec.gestore-alfa.example>", SignedAt: at,
		MsgID: "<pg.01J1ZK8T@pec.alfa.example>", Identifier: "gw77.1@pec.gestore-alfa.example", Subject: "Diffida n. 7/2026 – sollecito",
		Sender:     "ufficio@pec.alfa.example",
		Recipients: []pec.Recipient{{Address: "protocollo@pec.beta.example", Type: pec.Certified}, {Address: "info@gamma.example", Type: pec.External}},
	}
	cases := map[string]*pec.Report{}
	add := func(name string, change func(*pec.Report)) {
		r := base
		change(&r)
		cases[name] = &r
	}
	about := func(r *pec.Report) { r.Recipient = "protocollo@pec.beta.example" }
	add("01-transport.eml", func(r *pec.Report) { r.Kind, r.Inner = pec.Transport, &pec.Inner{Agrees: true} })
	add("01-transport-not-compared.eml", func(r *pec.Report) { r.Kind, r.Inner = pec.Transport, &pec.Inner{} })
	add("02-acceptance-with-message.eml", func(r *pec.Report) { r.Kind, r.Inner = pec.Acceptance, &pec.Inner{} })
	add("02-acceptance.eml", func(r *pec.Report) { r.Kind = pec.Acceptance })
	add("03-non-acceptance.eml", func(r *pec.Report) {
		r.Kind, r.Error, r.ErrorText = pec.NonAcceptance, "altro", "Bcc presente nel messaggio"
	})
	add("04-non-acceptance-virus.eml", func(r *pec.Report) { r.Kind, r.Error = pec.NonAcceptance, "virus" })
	add("05-taken-in-charge.eml", func(r *pec.Report) { r.Kind = pec.TakenInCharge })
	add("06-anomaly.eml", func(r *pec.Report) {
		r.Kind, r.Recipients, r.MsgID, r.Inner = pec.Anomaly, []pec.Recipient{}, "", &pec.Inner{}
	})
	add("07-virus-detected.eml", func(r *pec.Report) { r.Kind, r.Error = pec.VirusDetected, "virus"; about(r) })
	add("08-delivery-error-virus.eml", func(r *pec.Report) { r.Kind, r.Error = pec.DeliveryError, "virus"; about(r) })
	add("09-delivery-brief.eml", func(r *pec.Report) { r.Kind, r.Receipt = pec.Delivery, pec.Brief; about(r) })
	add("09-delivery-inner-odd.eml", func(r *pec.Report) {
		r.Kind, r.Receipt, r.Inner, r.Reason = pec.Delivery, pec.Complete, &pec.Inner{}, "inner: the subject is another"
		about(r)
	})
	add("10-delivery-error.eml", func(r *pec.Report) {
		r.Kind, r.Error, r.ErrorCode, r.ErrorText = pec.DeliveryError, "no-dest", "5.1.1", "5.1.1 - Gestore Beta S.r.l. - indirizzo non valido"
		about(r)
	})
	add("11-delivery-warning.eml", func(r *pec.Report) { r.Kind = pec.DeliveryWarning; about(r) })
	add("12-delivery-warning-final.eml", func(r *pec.Report) { r.Kind, r.Final = pec.DeliveryWarning, true; about(r) })
	add("13-historic.eml", func(r *pec.Report) {
		r.Kind, r.Verdict, r.Reason = pec.Acceptance, pec.ValidHistoric, "algorithm: signed with SHA-1"
	})
	add("14-invalid.eml", func(r *pec.Report) {
		r.Kind, r.Verdict, r.Reason = pec.Delivery, pec.Invalid, "digest: the signed content was changed"
		about(r)
	})
	add("15-unverifiable.eml", func(r *pec.Report) {
		r.Kind, r.Verdict, r.Reason = pec.Acceptance, pec.Unverifiable, "chain: unknown CA: CN=Somebody"
	})
	add("16-not-signed.eml", func(r *pec.Report) {
		r.Kind, r.Verdict, r.Reason = pec.Acceptance, pec.NotSigned, "structure: no S/MIME signature round the message"
		r.Issuer, r.SignedAt = "", time.Time{}
	})
	add("17-ordinary.eml", func(r *pec.Report) {
		r.Kind, r.Verdict, r.Reason = pec.Ordinary, pec.NotSigned, "structure: no S/MIME signature round the message"
		r.Issuer, r.SignedAt, r.Recipients, r.MsgID = "", time.Time{}, []pec.Recipient{}, ""
	})
	add("18-unknown.eml", func(r *pec.Report) {
		r.Kind, r.Reason = pec.Unknown, "daticert: tipo ricevuta-di-domani is not a kind that is known"
	})
	add("19-inconsistent.eml", func(r *pec.Report) {
		r.Kind, r.Reason = pec.Inconsistent, "daticert: tipo accettazione with errore virus"
	})
	add("20-many.eml", func(r *pec.Report) {
		r.Kind, r.Subject = pec.Transport, strings.Repeat("x", maxShownValue+1)
		r.Recipients = slices.Repeat(r.Recipients, 20)
	})
	add("21-evil\x1b[31m.eml", func(r *pec.Report) {
		r.Kind = pec.Acceptance
		for _, s := range []*string{&r.Reason, &r.Issuer, &r.Subject, &r.Sender, &r.MsgID, &r.Error} {
			*s = "\x1b[2J\u009b31m\u202e\r\nvalid \xff"
		}
		r.Recipients = []pec.Recipient{{Address: "\x1b[2J@x", Type: pec.External}}
	})
	cases["22-file.eml"] = unreadable(os.ErrPermission)
	return cases
}

// The lines for people, one for each kind and verdict.
func TestVerifySentences(t *testing.T) {
	const golden = "../../testdata/verify/sentences.txt"
	cases := sentenceCases()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		b.WriteString(sentence(verified{file: name, Report: cases[name]}) + "\n")
	}
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(readFile(t, golden)); b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if strings.ContainsFunc(strings.ReplaceAll(b.String(), "\n", ""), dangerous) {
		t.Error("what a terminal obeys is in it")
	}
}

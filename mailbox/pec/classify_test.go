package pec

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/mime"
)

func clock() time.Time { return testNow }

// sample is one of the twelve types.
type sample struct {
	name string
	l    letter
	want Report
}

// twelve lists the types of pec-format section 1 in its order, and their
// variants.
func twelve() []sample {
	virus := []string{"X-VerificaSicurezza: errore"}
	fromAlfa := cmsSpec{by: alfaLeaf()}
	onBehalf := "\"Per conto di: " + ourBox + "\"\r\n <" + alfa + ">"
	errXML := func(tipo, errore, esteso string) string {
		return cert{tipo: tipo, errore: errore, tail: consegna + "<errore-esteso>" + esteso + "</errore-esteso>"}.String()
	}
	return []sample{
		{"01-transport", letter{mark: "X-Trasporto: posta-certificata", subject: "POSTA CERTIFICATA: Diffida n. 7/2026", from: onBehalf,
			header: []string{"X-Tiporicevuta: completa", "Reply-To: " + ourBox}, xml: transportXML, inner: postacert, msgID: pecID, cms: fromAlfa},
			Report{Kind: Transport, Receipt: Complete}},
		{"02-acceptance", letter{mark: "X-Ricevuta: accettazione", subject: "ACCETTAZIONE: Diffida n. 7/2026", from: alfa, xml: acceptanceXML, cms: fromAlfa},
			Report{Kind: Acceptance}},
		{"03-non-acceptance", letter{mark: "X-Ricevuta: non-accettazione", subject: "AVVISO DI NON ACCETTAZIONE: Diffida n. 7/2026", from: alfa, cms: fromAlfa,
			xml: cert{tipo: "non-accettazione", errore: "altro", tail: "<errore-esteso>Bcc presente nel messaggio</errore-esteso>"}.String()},
			Report{Kind: NonAcceptance, Error: "altro", ErrorText: "Bcc presente nel messaggio"}},
		{"04-non-acceptance-virus", letter{mark: "X-Ricevuta: non-accettazione", header: virus, subject: "AVVISO DI NON ACCETTAZIONE PER VIRUS: Diffida", from: alfa, cms: fromAlfa,
			xml: cert{tipo: "non-accettazione", errore: "virus", tail: "<errore-esteso>5.5.1 - Gestore - virus</errore-esteso>"}.String()},
			Report{Kind: NonAcceptance, Error: "virus", ErrorCode: "5.5.1", ErrorText: "5.5.1 - Gestore - virus"}},
		{"05-taken-in-charge", letter{mark: "X-Ricevuta: presa-in-carico", subject: "PRESA IN CARICO: Diffida n. 7/2026",
			xml: cert{tipo: "presa-in-carico", tail: "<ricezione>" + theirBox + "</ricezione>"}.String()},
			Report{Kind: TakenInCharge}},
		{"06-anomaly", letter{mark: "X-Trasporto: errore", subject: "ANOMALIA MESSAGGIO: offerta", xml: "-", inner: postacert, riferim: "-",
			from: "\"Per conto di: x@esempio.example\" <" + beta + ">", header: []string{"Reply-To: x@esempio.example"}},
			Report{Kind: Anomaly}},
		{"07-virus-detected", letter{mark: "X-Ricevuta: rilevazione-virus", header: []string{"X-Mittente: " + ourBox}, subject: "PROBLEMA DI SICUREZZA: Diffida",
			xml: errXML("rilevazione-virus", "virus", "5.5.1 - Gestore - EICAR")},
			Report{Kind: VirusDetected, Recipient: theirBox, Error: "virus", ErrorCode: "5.5.1", ErrorText: "5.5.1 - Gestore - EICAR"}},
		{"08-delivery-error-virus", letter{mark: "X-Ricevuta: errore-consegna", header: virus, subject: "AVVISO DI MANCATA CONSEGNA PER VIRUS: Diffida", from: alfa, cms: fromAlfa,
			xml: errXML("errore-consegna", "virus", "5.5.1, Gestore, virus nel messaggio")},
			Report{Kind: DeliveryError, Recipient: theirBox, Error: "virus", ErrorCode: "5.5.1", ErrorText: "5.5.1, Gestore, virus nel messaggio"}},
		{"09-delivery-complete", letter{inner: postacert}, Report{Kind: Delivery, Receipt: Complete, Recipient: theirBox}},
		{"09-delivery-brief", letter{inner: postacert, xml: cert{tipo: "avvenuta-consegna", tail: `<ricevuta tipo="breve"/>` + consegna}.String()},
			Report{Kind: Delivery, Receipt: Brief, Recipient: theirBox}},
		{"09-delivery-synthetic", letter{xml: cert{tipo: "avvenuta-consegna", tail: `<ricevuta tipo="sintetica"/>` + consegna}.String()},
			Report{Kind: Delivery, Receipt: Synthetic, Recipient: theirBox}},
		{"10-delivery-error", letter{mark: "X-Ricevuta: errore-consegna", subject: "AVVISO DI MANCATA CONSEGNA: Diffida",
			xml: errXML("errore-consegna", "no-dest", "5.1.1 - Gestore Beta S.r.l. - indirizzo non valido")},
			Report{Kind: DeliveryError, Recipient: theirBox, Error: "no-dest", ErrorCode: "5.1.1", ErrorText: "5.1.1 - Gestore Beta S.r.l. - indirizzo non valido"}},
		{"10-delivery-error-alias", letter{mark: "X-Ricevuta: mancata-consegna", subject: "AVVISO DI MANCATA CONSEGNA: Diffida",
			xml: errXML("mancata-consegna", "altro", "5.1.1 - Gestore - indirizzo non valido")},
			Report{Kind: DeliveryError, Recipient: theirBox, Error: "altro", ErrorCode: "5.1.1", ErrorText: "5.1.1 - Gestore - indirizzo non valido"}},
		{"11-delivery-warning-12h", letter{mark: "X-Ricevuta: preavviso-errore-consegna", subject: "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: Diffida", from: alfa, cms: fromAlfa,
			xml: errXML("preavviso-errore-consegna", "altro", "4.4.1 - Gestore - nessuna consegna entro 12 ore")},
			Report{Kind: DeliveryWarning, Recipient: theirBox, Error: "altro", ErrorCode: "4.4.1", ErrorText: "4.4.1 - Gestore - nessuna consegna entro 12 ore"}},
		{"11-delivery-warning-no-code", letter{mark: "X-Ricevuta: preavviso-errore-consegna", subject: "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: Diffida", from: alfa, cms: fromAlfa,
			xml: cert{tipo: "preavviso-errore-consegna", tail: consegna}.String()},
			Report{Kind: DeliveryWarning, Recipient: theirBox}},
		{"12-delivery-warning-24h", letter{mark: "X-Ricevuta: preavviso-errore-consegna", subject: "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: Diffida", from: alfa, cms: fromAlfa,
			xml: errXML("preavviso-errore-consegna", "altro", "5.4.1 - Gestore Alfa S.p.A. - nessuna consegna entro 24 ore")},
			Report{Kind: DeliveryWarning, Recipient: theirBox, Error: "altro", ErrorCode: "5.4.1", Final: true, ErrorText: "5.4.1 - Gestore Alfa S.p.A. - nessuna consegna entro 24 ore"}},
	}
}

// styled gives a sample the shape of one of the two engines.
func styled(s sample, old bool) letter {
	l := s.l
	l.old = old
	if l.cms.by == nil {
		l.cms.by = betaLeaf()
	}
	l.cms.ber = !old
	if old {
		l.cms.hash = crypto.SHA1
	} else {
		l.cms.sigOID = oidRSASHA256
	}
	return l
}

// TestTwelveKinds reads each type in both engine styles.
func TestTwelveKinds(t *testing.T) {
	for _, old := range []bool{true, false} {
		for _, s := range twelve() {
			t.Run(fmt.Sprintf("%s/old=%v", s.name, old), func(t *testing.T) {
				msg := styled(s, old).build()
				rep := read(t, msg)
				want := s.want
				want.Verdict = Valid
				if old {
					want.Verdict, want.Reason = ValidHistoric, "algorithm: signed with SHA-1"
				}
				want.SignedAt = signTime
				want.Signer = beta
				if strings.Contains(s.l.from, alfa) {
					want.Signer = alfa
				}
				want.Issuer = "Gestore di prova S.p.A. <" + want.Signer + ">"
				if want.Kind == Anomaly {
					want.Subject, want.Sender, want.Recipients = "Diffida n. 7/2026 – sollecito", ourBox, []Recipient{}
				} else {
					want.At, want.MsgID, want.Identifier = signTime, ourID, pecID
					want.Subject, want.Sender = "Diffida n. 7/2026 – sollecito", ourBox
					want.Recipients = []Recipient{{theirBox, Certified}, {"info@gamma.example", External}}
					want.Zone, want.Provider, want.ReplyTo = "+0200", "Gestore di prova S.p.A.", ourBox
				}
				if want.Kind == TakenInCharge {
					want.TakenInCharge = []string{theirBox}
				}
				if (rep.Inner != nil) != (s.l.inner != "") {
					t.Errorf("inner: %+v", rep.Inner)
				} else if in := rep.Inner; in != nil && string(msg[in.Off:in.Off+in.Size]) != s.l.inner {
					t.Errorf("inner: %q", msg[in.Off:in.Off+in.Size])
				}
				want.Inner = rep.Inner
				got, exp := must(json.Marshal(rep)), must(json.Marshal(want))
				if !bytes.Equal(got, exp) {
					t.Errorf("got  %s\nwant %s", got, exp)
				}
				if rep.Believed() != (want.Kind != Anomaly) {
					t.Errorf("believed: %v", rep.Believed())
				}
				var again Report
				if err := json.Unmarshal(got, &again); err != nil || again.Believed() != rep.Believed() {
					t.Errorf("after JSON: %v, %v", again.Believed(), err)
				}
			})
		}
	}
}

// TestNotPEC: ordinary mail, unknown words, and XML that contradicts itself.
func TestNotPEC(t *testing.T) {
	plain := []byte("From: mario@esempio.example\r\nSubject: CONSEGNA: pacco\r\n\r\nciao\r\n")
	if rep := read(t, plain); rep.Kind != Ordinary || rep.Verdict != NotSigned || rep.Sender != "mario@esempio.example" || rep.Recipients == nil {
		t.Errorf("plain: %+v", rep)
	}
	for _, c := range []struct {
		name    string
		l       letter
		kind    Kind
		verdict string
	}{
		{"unknown tipo", letter{mark: "X-Ricevuta: nuova", xml: cert{tipo: "nuova"}.String()}, Unknown, Valid},
		{"unknown X-Trasporto", letter{mark: "X-Trasporto: boh", xml: "-"}, Unknown, Unverifiable},
		{"no PEC header, no XML, signed by a provider", letter{mark: "-", xml: "-"}, Ordinary, Valid},
		{"a receipt's header, no XML, signed by a provider", letter{xml: "-"}, Delivery, Unverifiable},
		{"delivery with the code of a failure", letter{xml: cert{tipo: "avvenuta-consegna", tail: consegna + "<errore-esteso>5.1.1 - x - y</errore-esteso>"}.String()}, Inconsistent, Valid},
		{"delivery without consegna", letter{xml: cert{tipo: "avvenuta-consegna"}.String()}, Inconsistent, Valid},
		{"delivery with an empty consegna", letter{xml: cert{tipo: "avvenuta-consegna", tail: "<consegna> </consegna>"}.String()}, Inconsistent, Valid},
		{"delivery with an error", letter{xml: cert{tipo: "avvenuta-consegna", errore: "no-dest", tail: consegna}.String()}, Inconsistent, Valid},
		{"acceptance with an error", letter{xml: cert{tipo: "accettazione", errore: "altro"}.String()}, Inconsistent, Valid},
		{"envelope with an error", letter{xml: cert{tipo: "posta-certificata", errore: "virus"}.String()}, Inconsistent, Valid},
		{"refusal without an error", letter{xml: cert{tipo: "non-accettazione"}.String()}, Inconsistent, Valid},
		{"error without an error", letter{xml: cert{tipo: "errore-consegna", tail: consegna}.String()}, Inconsistent, Valid},
		{"error without consegna", letter{xml: cert{tipo: "errore-consegna", errore: "altro"}.String()}, Inconsistent, Valid},
		{"warning without consegna", letter{xml: cert{tipo: "preavviso-errore-consegna", errore: "altro"}.String()}, Inconsistent, Valid},
		{"charge without ricezione", letter{xml: cert{tipo: "presa-in-carico"}.String()}, Inconsistent, Valid},
		{"unknown CA keeps the kind", letter{mark: "X-Trasporto: posta-certificata", xml: transportXML, cms: cmsSpec{by: issue(leafTemplate(beta), evilKey(), nil)}}, Transport, Unverifiable},
		{"unknown CA, no header: the XML's word", letter{mark: "-", cms: cmsSpec{by: issue(leafTemplate(beta), evilKey(), nil)}}, Delivery, Unverifiable},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := read(t, c.l.build())
			if rep.Kind != c.kind || rep.Verdict != c.verdict || rep.Believed() {
				t.Errorf("kind %q, verdict %q, believed %v (%s)", rep.Kind, rep.Verdict, rep.Believed(), rep.Reason)
			}
		})
	}
}

// TestDigestStream: any cut of the stream gives the same digest.
func TestDigestStream(t *testing.T) {
	text := "a\r\n\nb\n\r\nc\rd\r\n\n"
	want := sumOf(crypto.SHA256, []byte("a\r\n\r\nb\r\n\r\nc\rd\r\n\r\n"))
	for n := 1; n <= len(text); n++ {
		got, err := digestPart(context.Background(), strings.NewReader(text), 0, int64(len(text)), crypto.SHA256, make([]byte, n))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("blocks of %d: wrong digest (%v)", n, err)
		}
	}
}

// brokenReader fails below an offset; a cancelled context fails too.
type brokenReader struct {
	io.ReaderAt
	from int64
}

var errDisk = errors.New("disk is gone")

func (b brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.from {
		return 0, errDisk
	}
	return b.ReaderAt.ReadAt(p, off)
}

// TestIOErrors: an I/O error is an error, never a verdict.
func TestIOErrors(t *testing.T) {
	msg := letter{inner: postacert}.build()
	r := bytes.NewReader(msg)
	ix := must(mime.Parse(r, int64(len(msg)), mime.Limits{}))
	rd := testReader(t)
	for _, p := range []int{0, bytes.Index(msg, []byte("multipart/mixed")), bytes.Index(msg, []byte("smime.p7s"))} {
		rep, err := rd.Read(context.Background(), brokenReader{r, int64(p)}, int64(len(msg)), ix)
		if rep != nil || !errors.Is(err, errDisk) {
			t.Errorf("broken from %d: %v, %v", p, rep, err)
		}
	}
	if rep, err := rd.Read(context.Background(), bytes.NewReader(msg[:2000]), int64(len(msg)), ix); rep != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short file: %v, %v", rep, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if rep, err := rd.Read(ctx, r, int64(len(msg)), ix); rep != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", rep, err)
	}
}

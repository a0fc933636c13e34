package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"            // a mail program's view of the provider
	"github.com/emersion/go-imap/v2/imapclient" // as above

	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

const twelveService = "servizio"

// twelveProvider is a provider of one style, with an address for each thing that
// can happen to a message. Its hours are short, so that 24 of them pass at once.
func twelveProvider(t *testing.T, style providersim.Style) *providersim.Provider {
	t.Helper()
	p, err := providersim.Start(providersim.Options{
		Domain: "pec.gestore.example", Style: style, Digest: style.Digest(), Hour: time.Millisecond,
		Mailboxes: []providersim.Mailbox{
			{Address: boxA, Username: boxA, Password: "provider-a"}, {Address: boxB, Username: boxB, Password: "provider-b"},
		},
		Service:  providersim.ServiceLogin{Username: twelveService, Password: "provider-s"},
		External: []string{"copia@pec.delta.example"},
		Behaviour: map[string]providersim.Behaviour{
			"ignoto@pec.delta.example": providersim.UnknownTo, "piena@pec.delta.example": providersim.Full, "dominio@pec.assente.example": providersim.NoDomain,
			"virus@pec.delta.example": providersim.Virus, "muto@pec.delta.example": providersim.Silent, "info@gamma.example": providersim.Bounce,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// twelveSubmissions makes a provider emit all twelve kinds, the receipt of
// delivery in its three forms and the error receipt with its reasons.
func twelveSubmissions(t *testing.T, p *providersim.Provider) {
	t.Helper()
	roots := x509Pool(t, p.CAPEM())
	send := func(id string, to []string, header, body string) {
		t.Helper()
		text := "From: <" + boxA + ">\r\nSubject: Perché la n. " + id + "\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <" + id + "@alfa.example>\r\nMIME-Version: 1.0\r\n" + header + body
		if r := sendTo(t, p.SMTPAddr(), roots, boxA, "provider-a", boxA, to, text); r.Class != submit.HandedOver {
			t.Fatalf("message %s: %+v", id, r)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.Settle(ctx); err != nil {
			t.Fatal(err)
		}
	}
	const plain = "Content-Type: text/plain\r\n\r\nSi trasmette.\r\n"
	parts := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nciao\r\n--b\r\n" +
		"Content-Type: application/pdf; name=atto.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n--b--\r\n"
	virus := `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + "EICAR-STANDARD-" + "ANTIVIRUS-TEST-FILE!$H+H*"

	send("completa", []string{boxB}, "To: "+boxB+"\r\n", parts)
	send("breve", []string{boxB, "copia@pec.delta.example"}, "To: "+boxB+"\r\nCc: copia@pec.delta.example\r\nX-TipoRicevuta: breve\r\n", parts)
	send("formale", []string{boxB}, "To: altri@pec.delta.example\r\n", plain)
	send("infetta", []string{boxB}, "To: "+boxB+"\r\n", plain+virus+"\r\n")
	bad := []string{"ignoto@pec.delta.example", "piena@pec.delta.example", "dominio@pec.assente.example", "virus@pec.delta.example", "muto@pec.delta.example", "info@gamma.example"}
	send("varia", bad, "To: "+strings.Join(bad, ", ")+"\r\n", plain)
	if err := p.Ordinary(boxB, []byte("From: mario@gamma.example\r\nTo: "+boxB+"\r\nSubject: saluti\r\nMessage-ID: <o1@gamma.example>\r\n\r\nciao\r\n")); err != nil {
		t.Fatal(err)
	}
}

// twelveInbox reads a mailbox over IMAP, with a client that is not ours.
func twelveInbox(t *testing.T, p *providersim.Provider, user, password string) [][]byte {
	t.Helper()
	c, err := imapclient.DialTLS(p.IMAPAddr(), &imapclient.Options{TLSConfig: &tls.Config{RootCAs: x509Pool(t, p.CAPEM()), ServerName: "localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login(user, password).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		t.Fatal(err)
	}
	body := &imap.FetchItemBodySection{Peek: true}
	list, err := c.Fetch(imap.UIDSet{imap.UIDRange{Start: 1}}, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{body}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, m := range list {
		out = append(out, m.FindBodySection(body))
	}
	return out
}

// twelveMessages is every message of the three mailboxes as IMAP gives it; each
// must be one that the provider lists, and none may be missing.
func twelveMessages(t *testing.T, p *providersim.Provider) []providersim.Emitted {
	t.Helper()
	left := map[string][]providersim.Emitted{}
	for _, e := range p.Emitted() {
		left[e.SHA256] = append(left[e.SHA256], e)
	}
	var out []providersim.Emitted
	for user, password := range map[string]string{boxA: "provider-a", boxB: "provider-b", twelveService: "provider-s"} {
		for _, raw := range twelveInbox(t, p, user, password) {
			sum := hex256(raw)
			if len(left[sum]) == 0 {
				t.Fatalf("%s: bytes that the provider did not emit", user)
			}
			e := left[sum][0]
			left[sum] = left[sum][1:]
			e.Raw = raw
			out = append(out, e)
		}
	}
	if len(out) != len(p.Emitted()) {
		t.Fatalf("%d messages over IMAP, %d emitted", len(out), len(p.Emitted()))
	}
	return out
}

// twelveRows is what the reader must say of each, one line a message, without
// the verdict: number, kind, form of receipt, error and its code, finality,
// recipient, msgid.
func twelveRows() []string {
	return []string{
		"1 transport complete - - - - completa", "1 transport brief - - - - breve",
		"2 acceptance - - - - - completa", "2 acceptance - - - - - breve", "2 acceptance - - - - - varia",
		"3 non-acceptance - altro 5.6.0 - - formale",
		"4 non-acceptance - virus 5.5.1 - - infetta",
		"5 taken-in-charge - - - - - breve", "5 taken-in-charge - - - - - breve", "5 taken-in-charge - - - - - completa", "5 taken-in-charge - - - - - varia",
		"6 anomaly - - - - - -", "6 anomaly - - - - - -",
		"7 virus-detected - virus 5.5.1 - virus@pec.delta.example varia",
		"8 delivery-error - virus 5.5.1 - virus@pec.delta.example varia",
		"9 delivery brief - - - " + boxB + " breve",
		"9 delivery complete - - - " + boxB + " completa",
		"9 delivery synthetic - - - copia@pec.delta.example breve",
		"10 delivery-error - altro 5.2.2 - piena@pec.delta.example varia",
		"10 delivery-error - no-dominio 5.1.2 - dominio@pec.assente.example varia",
		"10 delivery-error - UNKNOWN 5.1.1 - ignoto@pec.delta.example varia",
		"11 delivery-warning - altro 4.4.1 - muto@pec.delta.example varia",
		"12 delivery-warning - altro 5.4.1 final muto@pec.delta.example varia",
	}
}

func twelveStyles() []providersim.Style {
	return []providersim.Style{providersim.StyleOld, providersim.StyleNew}
}

// TestTwelveKinds lets a running provider of each engine style emit all twelve
// kinds by itself, reads them back over IMAP and has them judged.
func TestTwelveKinds(t *testing.T) {
	for _, style := range twelveStyles() {
		t.Run(style.String(), func(t *testing.T) {
			p := twelveProvider(t, style)
			twelveSubmissions(t, p)
			trust, err := pec.NewTrust(p.CAPEM())
			if err != nil {
				t.Fatal(err)
			}
			reader := pec.NewReader(pec.Options{Trust: trust})
			// SHA-1 was what real engines of the old style signed with.
			verdict, unknown := pec.ValidHistoric, "no-dest"
			if style == providersim.StyleNew {
				verdict, unknown = pec.Valid, "altro"
			}
			var got []string
			for _, e := range twelveMessages(t, p) {
				r := readTwelve(t, reader, e.Raw)
				if r.Verdict != verdict {
					t.Errorf("kind %d: %s (%s), want %s", e.Number, r.Verdict, r.Reason, verdict)
				}
				if r.Believed() != (e.Number != 6) {
					t.Errorf("kind %d: believed is %v", e.Number, r.Believed())
				}
				if e.Number != 6 && (r.Sender != boxA || !strings.HasPrefix(r.Subject, "Perché la n. ")) {
					t.Errorf("kind %d: sender %q, subject %q", e.Number, r.Sender, r.Subject)
				}
				got = append(got, twelveRow(e.Number, r))
			}
			var want []string
			for _, row := range twelveRows() {
				want = append(want, strings.Replace(row, "UNKNOWN", unknown, 1))
			}
			slices.Sort(got)
			slices.Sort(want)
			if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
				t.Errorf("read\n%s\nwant\n%s", a, b)
			}
		})
	}
}

func readTwelve(t *testing.T, reader *pec.Reader, raw []byte) *pec.Report {
	t.Helper()
	ix, err := mime.Parse(bytes.NewReader(raw), int64(len(raw)), mime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := reader.Read(t.Context(), bytes.NewReader(raw), int64(len(raw)), ix)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func twelveRow(number int, r *pec.Report) string {
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	final := ""
	if r.Final {
		final = "final"
	}
	id := strings.TrimSuffix(pec.NormalizeID(r.MsgID), "@alfa.example")
	return fmt.Sprint(number, " ", r.Kind, " ", dash(r.Receipt), " ", dash(r.Error), " ", dash(r.ErrorCode), " ", dash(final), " ", dash(r.Recipient), " ", dash(id))
}

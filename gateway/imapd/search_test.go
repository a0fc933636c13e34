package imapd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/kv/badger"
)

// searched are messages, each with what is told about it in its header or body.
var searched = []string{
	1: crlf(`From: =?iso-8859-1?Q?Nicol=F2_Pap=E0?= <nicolo@pec.example.net>
To: "Ufficio, Protocollo" <protocollo@pec.example.org>
Cc: altri@pec.example.net, undisclosed: nascosto@pec.example.net;
Subject: =?utf-8?b?w4ggdXJnZW50ZTogcGVyY2jDqQ==?=
 =?utf-8?q?_cos=C3=AC?=
Date: Mon, 2 Mar 2026 23:30:00 -0800
Message-ID: <uno@pec.example.net>
MIME-Version: 1.0
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

La societ=E0 =E8 gi=E0 costituita: seguir=
=E0 copia dell'atto. Canone: 10 =80.
`),
	2: crlf(`From: due@pec.example.net
To: protocollo@pec.example.org
Bcc: occulto@pec.example.net
Subject: Windows
Date: Tue, 3 Mar 2026 09:00:00 +0100
Message-ID: <due@pec.example.net>
Content-Type: text/plain; charset="windows-1252"
Content-Transfer-Encoding: base64

SWwgY2Fub25lIOggZGkgMTAgim5pdOAggCDi8uLy
`),
	3: crlf(`From: tre@pec.example.net
To: protocollo@pec.example.org
Subject: =?utf-8?q?allegati?=
Message-ID: <tre@pec.example.net>
Content-Type: multipart/mixed; boundary="x"

--x
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: 8bit

<p>Dichiarazione di conformit&agrave; &amp; progetto&nbsp;esecutivo</p>
--x
Content-Type: application/pdf
Content-Disposition: attachment; filename*0*=utf-8'it'perizia%20pi%C3%B9;
 filename*1*=%20recente.pdf
Content-Transfer-Encoding: base64

JVBERi0=
--x
Content-Type: application/pdf; name="=?iso-8859-1?Q?bolletta_d=92accompagnamento.pdf?="
Content-Transfer-Encoding: base64

Y29udGVudXRvIGNvZGlmaWNhdG8=
--x--
`),
	4: crlf(`From: "Per conto di: quattro@pec.example.net" <posta-certificata@gestore.example.net>
To: protocollo@pec.example.org
Subject: POSTA CERTIFICATA: prova
Date: Thu, 05 Mar 2026 11:00:00 +0100
Message-ID: <quattro@gestore.example.net>
X-Trasporto: posta-certificata
MIME-Version: 1.0
Content-Type: multipart/signed; protocol="application/x-pkcs7-signature"; boundary="s"

--s
Content-Type: multipart/mixed; boundary="m"

--m
Content-Type: text/plain; charset=utf-8

Messaggio di posta certificata
--m
Content-Type: message/rfc822; name="postacert.eml"

From: interno@pec.example.net
Subject: =?utf-8?q?La_diffida_ad_adempiere_=C3=A8_allegata?=
Content-Type: multipart/mixed; boundary="i"

--i
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

SWwgY3JlZGl0b3JlIMOIIGluIG1vcmEsIGlsIGRlYml0b3JlIG5vLg==
--i
Content-Type: application/octet-stream; name="planimetria catastale.dwg"
Content-Transfer-Encoding: base64

AAAA
--i--
--m--
--s
Content-Type: application/x-pkcs7-signature; name="smime.p7s"
Content-Transfer-Encoding: base64

AAAA
--s--
`),
	// Broken in several ways, with a NUL, 8-bit bytes in the header, no end.
	5: "From: cinque@pec.example.net\r\nSubject: citt\xe0 \x00 vecchia\r\nrotto\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n" +
		"--b\r\nContent-Type: text/plain; charset=nessuno\r\nContent-Transfer-Encoding: base64\r\n\r\nbWFu\x00Y2FudGU*=\r\n--b\r\n\r\nsenza fine\x00 qui \xe8 tutto",
	6: "Subject: profondo\r\n" + strings.Repeat("Content-Type: multipart/mixed; boundary=\"n\"\r\n\r\n--n\r\n", 1000) + "\r\nabissale\r\n",
	// A letter and its accent in two characters, as some systems write file names.
	7: "From: sette@pec.example.net\r\nSubject: Unita\u0300 locale\r\nSubject: secondo oggetto\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nPerche\u0301 ST\u00c0 COSI\u0300\r\n",
	8: "From: otto@pec.example.net\r\nSubject: grande\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
		strings.Repeat("à", 64<<10-1) + " confine " + strings.Repeat("e", 64<<10) + "oltre il blocco\r\n",
}

func TestSearchKeys(t *testing.T) {
	h := newHouse(t)
	for _, raw := range searched[1:] {
		h.deliver(shared1(mailbox.RoleInbox), raw, mailbox.Filing{})
	}
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	c.ok(`STORE 1,4 +FLAGS.SILENT (\Seen)`)
	c.ok(`STORE 2 +FLAGS.SILENT (\Flagged \Answered pratica)`)
	c.ok(`STORE 3 +FLAGS.SILENT (\Deleted)`)
	inner := h.login("mario/" + protocollo)
	inner.ok("SELECT Contenuti")
	for _, q := range searchQuestions {
		question(t, c, q.ask, q.want)
		// What is asked the other way round has the other answer.
		if !strings.HasPrefix(q.ask, "CHARSET") {
			var other []string
			for i := 1; i < len(searched); i++ {
				if n := fmt.Sprint(i); !slices.Contains(strings.Fields(q.want), n) {
					other = append(other, n)
				}
			}
			question(t, c, "NOT ("+q.ask+")", strings.Join(other, " "))
		}
	}
	archive := h.login("mario/" + protocollo)
	archive.ok("SELECT Archivio/2026/03")
	question(t, archive, "TEXT mora", "4")
	question(t, archive, "SUBJECT windows", "2")
	question(t, archive, "FROM "+lit("nicolò"), "1")
	question(t, archive, "TEXT inesistente", "")
	question(t, inner, "SUBJECT diffida", "4")
	question(t, inner, "SUBJECT certificata", "")
	question(t, inner, "TEXT Messaggio", "")
	question(t, inner, "BODY mora", "4")
	question(t, inner, "FROM interno", "4")
	question(t, inner, "BODY perizia", "3")
}

// question asks and compares; the strings go as literals where they must.
func question(t *testing.T, c *client, ask, want string) {
	t.Helper()
	if lines := c.ok("SEARCH " + ask); strings.TrimSpace(strings.TrimPrefix(lines[0], "* SEARCH")) != want {
		t.Errorf("%s: %s, want %q", ask, lines[0], want)
	}
}

func lit(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }

var searchQuestions = []struct{ ask, want string }{
	{"ALL", "1 2 3 4 5 6 7 8"},
	{"2:3", "2 3"},
	{"UID 2,4", "2 4"},
	{"SEEN", "1 4"}, {"UNSEEN", "2 3 5 6 7 8"},
	{"FLAGGED", "2"}, {"UNFLAGGED", "1 3 4 5 6 7 8"},
	{"ANSWERED", "2"}, {"UNANSWERED", "1 3 4 5 6 7 8"},
	{"DELETED", "3"}, {"UNDELETED", "1 2 4 5 6 7 8"},
	{"DRAFT", ""}, {"UNDRAFT", "1 2 3 4 5 6 7 8"},
	{"RECENT", ""}, {"OLD", "1 2 3 4 5 6 7 8"}, {"NEW", ""},
	{"KEYWORD PRATICA", "2"}, {"UNKEYWORD pratica", "1 3 4 5 6 7 8"},
	{"LARGER 100000", "8"}, {"SMALLER 300", "5 7"},
	{"ON 5-Mar-2026", "1 2 3 4 5 6 7 8"}, {"SINCE 6-Mar-2026", ""}, {"BEFORE 5-Mar-2026", ""},
	{"OLDER 10", "1 2 3 4 5 6 7 8"}, {"YOUNGER 10", ""},
	{"SENTON 2-Mar-2026", "1"}, {"SENTSINCE 3-Mar-2026", "2 4"}, {"SENTBEFORE 3-Mar-2026", "1"},
	// Addresses and fields, decoded.
	{"FROM " + lit("nicolò"), "1"}, {"FROM " + lit("NICOLÒ PAPÀ <nicolo@pec"), "1"}, {`FROM "papa"`, "1"},
	{`TO "ufficio, protocollo"`, "1"}, {"TO protocollo@pec.example.org", "1 2 3 4"},
	{"CC nascosto", "1"}, {"CC undisclosed", "1"}, {"BCC occulto", "2"}, {"BCC altri", ""},
	{"SUBJECT " + lit("è urgente: perché così"), "1"}, {"SUBJECT " + lit("È URGENTE"), "1"}, {"SUBJECT utf-8", ""},
	{"SUBJECT " + lit("città"), "5"}, {"SUBJECT vecchia", "5"}, {"SUBJECT " + lit("unità locale"), "7"},
	{`SUBJECT "secondo"`, "7"}, {`SUBJECT ""`, "1 2 3 4 5 6 7 8"},
	{`HEADER Message-ID "<tre@"`, "3"}, {`HEADER message-id quattro`, "4"}, {`HEADER X-Trasporto ""`, "4"}, {`HEADER Date ""`, "1 2 4"},
	{`HEADER Content-Type signed`, "4"}, {`HEADER X-Trasporto certificata`, "4"}, {`HEADER X-Niente ""`, ""},
	// Bodies in their character sets and transfer encodings.
	{"BODY " + lit("società è già"), "1"}, {"BODY " + lit("SOCIETÀ"), "1"}, {"BODY " + lit("seguirà copia"), "1"}, {"BODY " + lit("10 €"), "1"},
	{"BODY " + lit("10 Šnità € "), "2"}, {"BODY canone", "1 2"}, {"TEXT urgente", "1"}, {"BODY urgente", ""},
	{"BODY " + lit("conformità & progetto esecutivo"), "3"}, {"BODY agrave", "3"},
	{"BODY codificato", ""}, {"BODY contenuto", ""},
	{"BODY " + lit("perché stà così"), "7"}, {"BODY " + lit("PERCHÉ"), "7"}, {"BODY confine", "8"}, {"BODY " + lit("à confine e"), "8"}, {"BODY " + lit("eoltre il"), "8"},
	// Names of attachments, the message inside an envelope.
	{"BODY " + lit("perizia più recente.pdf"), "3"}, {"TEXT " + lit("PERIZIA PIÙ"), "3"}, {"BODY " + lit("bolletta d’accompagnamento"), "3"},
	{"TEXT planimetria", "4"}, {"BODY catastale.dwg", "4"}, {"BODY " + lit("diffida ad adempiere è"), "4"}, {"TEXT interno@pec", "4"},
	{"BODY " + lit("creditore è in mora"), "4"}, {"BODY " + lit("posta certificata"), "4"}, {"SUBJECT diffida", ""}, {"FROM interno", ""},
	// What is broken. Beyond so many levels there are no texts any more.
	{"BODY mancante", "5"}, {"BODY " + lit("qui è tutto"), "5"}, {"TEXT rotto", "5"}, {"BODY abissale", ""}, {"TEXT profondo", "6"},
	// Together.
	{"SEEN TEXT mora", "4"}, {"UNSEEN TEXT mora", ""}, {"OR SUBJECT windows BODY mora", "2 4"}, {"OR FROM due (OR TO nessuno FROM tre)", "2 3"},
	{"TEXT creditore TEXT debitore", "4"}, {"TEXT creditore NOT TEXT debitore", ""}, {"NOT TEXT a", ""}, {`TEXT ""`, "1 2 3 4 5 6 7 8"},
	{"CHARSET UTF-8 SUBJECT windows", "2"}, {"CHARSET us-ascii SUBJECT windows", "2"}, {"BODY " + lit("societ\xe0"), "1"},
	{"TEXT " + strings.Repeat("x", 999), ""},
}

func TestSearchAnswers(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	for _, q := range []struct{ ask, untagged, answer string }{
		{"SEARCH CHARSET ISO-8859-1 ALL", "", "NO [BADCHARSET] "},
		{`SEARCH CHARSET "x y" ALL`, "", "NO [BADCHARSET] "},
		{"SEARCH QUALUNQUE", "", "BAD [CLIENTBUG] "},
		{"UID SEARCH NOT PROVA ALL", "", "BAD [CLIENTBUG] "},
		{"SEARCH FROM", "", "BAD "},
		{"SEARCH MODSEQ 5", "", "BAD "},
		{"SEARCH 99", "* SEARCH", "OK "},
		{"SEARCH UID 99", "* SEARCH", "OK "},
		{"SEARCH FROM SUBJECT", "* SEARCH", "OK "},
		{"SEARCH RETURN (MIN) TEXT papavero", `* ESEARCH (TAG "t%d") MIN 3`, "OK "},
		{"UID SEARCH RETURN (COUNT ALL) TEXT testo", `* ESEARCH (TAG "t%d") UID ALL 1 COUNT 1`, "OK "},
		{"SEARCH RETURN (SAVE) TEXT papavero", `* ESEARCH (TAG "t%d") ALL 3`, "OK "},
		{"SEARCH $", "* SEARCH 3", "OK "},
		{"SEARCH NOT $ SUBJECT prima", "* SEARCH 1", "OK "},
		{"SEARCH RETURN (SAVE) TEXT " + strings.Repeat("x", 1001), "", "NO [LIMIT] "},
		{"SEARCH $", "* SEARCH", "OK "},
	} {
		lines, answer := c.cmd(q.ask)
		want := strings.Replace(q.untagged, "%d", fmt.Sprint(c.n), 1)
		if strings.Join(lines, "\n") != want || !strings.HasPrefix(answer, q.answer) {
			t.Errorf("%s: %q %s", q.ask, lines, answer)
		}
	}
}

// D3: whatever is stored can be searched, and what one search may read has an
// end.
func TestD3_SearchOfHostileMail(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Join("..", "..", "testdata", "hostile", "mime")
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		h.deliver(shared1(mailbox.RoleInbox), string(raw), mailbox.Filing{})
	}
	h.deliver(shared1(mailbox.RoleInbox), mail("<fine@pec.example.net>", "in fondo"), mailbox.Filing{})
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	last := fmt.Sprint(len(list) + 1)
	question(t, c, `TEXT "testo di prova"`, last)
	question(t, c, `SUBJECT "in fondo" FROM a@pec`, last)
	var or strings.Builder
	for i := range 300 {
		fmt.Fprintf(&or, "OR TEXT nessuno%d ", i)
	}
	question(t, c, or.String()+`TEXT "testo di prova"`, last)
	listed := 0
	for _, l := range c.ok("FETCH 1:* (UID BODYSTRUCTURE)") {
		if strings.HasPrefix(l, "* ") {
			listed++
		}
	}
	if listed != len(list)+1 {
		t.Errorf("%d messages are listed", listed)
	}
}

func TestD3_SearchReadsNoMoreThanItMay(t *testing.T) {
	h := newHouse(t)
	h.deliver(shared1(mailbox.RoleInbox), searched[8], mailbox.Filing{})
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	h.srv.searchBytes = 200 << 10
	if _, answer := c.cmd("SEARCH TEXT eee"); !strings.HasPrefix(answer, "OK") {
		t.Error(answer)
	}
	h.srv.searchBytes = 50 << 10
	if _, answer := c.cmd(`SEARCH TEXT oltre`); !strings.HasPrefix(answer, "NO [LIMIT]") {
		t.Error(answer)
	}
	c.ok("SEARCH SUBJECT grande")
	c.ok("SEARCH TEXT inesistente") // nothing is read for it
}

// A search that waits for others tells so, and ends with its client.
func TestSearchEndsWithItsClient(t *testing.T) {
	h := newHouse(t, func(*Options) {})
	h.furnish()
	h.srv.searchSign = time.Millisecond
	for range cap(h.srv.searches) {
		h.srv.searches <- struct{}{}
	}
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	c.send("a SEARCH TEXT papavero\r\n")
	if line := c.read(); line != "* OK The search goes on" {
		t.Fatal(line)
	}
	_ = c.conn.Close()
	// Whoever stays is told until there is room.
	d := h.login("mario/" + protocollo)
	d.ok("SELECT INBOX")
	d.send("b SEARCH TEXT papavero\r\n")
	for range 3 {
		if line := d.read(); line != "* OK The search goes on" {
			t.Fatal(line)
		}
	}
	<-h.srv.searches
	lines, answer := d.until("b")
	if lines[len(lines)-1] != "* SEARCH 3" || !strings.HasPrefix(answer, "OK") {
		t.Error(lines, answer)
	}
	_ = d.conn.Close()
	for range cap(h.srv.searches) - 1 {
		<-h.srv.searches
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := h.srv.Shutdown(ctx); err != nil {
		t.Errorf("the search of a client that has gone goes on: %v", err)
	}
}

// Mail that was stored before there were signatures is found all the same, and
// has one after the search that read it.
func TestSearchOfMailWithoutSignatures(t *testing.T) {
	h := newHouse(t)
	for _, raw := range searched[1:] {
		h.deliver(shared1(mailbox.RoleInbox), raw, mailbox.Filing{})
	}
	h.shut()
	ctx := context.Background()
	records, err := badger.Open(badger.Options{Dir: filepath.Join(h.dir, "records")})
	if err != nil {
		t.Fatal(err)
	}
	err = records.Update(ctx, func(tx kv.Txn) error {
		return tx.Scan([]byte("xw/"), nil, func(k, _ []byte) (bool, error) { return true, tx.Delete(slices.Clone(k)) })
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := records.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	folder, err := h.store.EnsureFolder(ctx, shared1(mailbox.RoleInbox))
	if err != nil {
		t.Fatal(err)
	}
	var all []mailbox.Place
	for uid := 1; uid < len(searched); uid++ {
		all = append(all, mailbox.Place{Folder: folder, UID: mailbox.UID(uid)})
	}
	signed := func() (n int) {
		if err := h.store.Signatures(ctx, all, func(int, mailbox.Signature) { n++ }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := signed(); n != 0 {
		t.Fatalf("%d signatures are there still", n)
	}
	c := h.login("mario/" + protocollo)
	c.ok("EXAMINE INBOX")
	question(t, c, "2 SUBJECT windows", "2")
	question(t, c, "TEXT mora", "4")
	if n := signed(); n != len(all) {
		t.Errorf("%d signatures of %d", n, len(all))
	}
	for _, q := range searchQuestions[24:] {
		if !strings.Contains(q.ask, "SEEN") {
			question(t, c, q.ask, q.want)
		}
	}
}

package imapd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pecgate/mailbox"
)

var (
	searchDir = flag.String("searchdir", "", "store of the benchmark of searches, kept for the next run; made when it is empty")
	searchN   = flag.Int("searchn", 20_000, "messages in it")
)

// The words of the benchmark, and how often they stand in a message.
const (
	rareWord   = "clausolarescissoria" // in the text of one of a thousand
	commonWord = "ufficio"             // in the text of nearly all
	absentWord = "zanzibariano"
	urgentWord = "URGENTISSIMO" // in the subject of one of a hundred
)

// office makes messages that look like the traffic of an office: transport
// envelopes of 10 to 40 KB with a letter and an attachment inside.
type office struct {
	words []string
}

func newOffice() *office {
	rng := rand.New(rand.NewPCG(7, 7))
	begin := strings.Split("b,c,d,f,g,l,m,n,p,r,s,t,v,z,st,tr,pr,gr,sc,br,ch,gl,qu,fr,", ",")
	middle := strings.Split("a,e,i,o,u,a,e,i,o,ia,io,ie,à", ",")
	end := strings.Split(",,,,n,r,l,s,t,m", ",")
	o := &office{words: []string{"di", "e", "il", "la", "che", commonWord, "per", "della", "in", "protocollo"}}
	for range 5000 {
		w := ""
		for range 2 + rng.IntN(3) {
			w += begin[rng.IntN(len(begin))] + middle[rng.IntN(len(middle))] + end[rng.IntN(len(end))]
		}
		o.words = append(o.words, w)
	}
	return o
}

func (o *office) text(rng *rand.Rand, words int) string {
	zipf := rand.NewZipf(rng, 1.1, 3, uint64(len(o.words)-1))
	var s strings.Builder
	for i := range words {
		s.WriteString(o.words[zipf.Uint64()])
		s.WriteString([]string{" ", "\r\n"}[(i%12)/11])
	}
	return s.String()
}

func wrapped(rng *rand.Rand, n int) string {
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	code := base64.StdEncoding.EncodeToString(raw)
	var s strings.Builder
	for len(code) > 76 {
		s.WriteString(code[:76] + "\r\n")
		code = code[76:]
	}
	return s.String() + code + "\r\n"
}

// message is the i-th.
func (o *office) message(i int) []byte {
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	date := time.Date(2025, 1, 7, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * 7 * time.Minute)
	subject := fmt.Sprintf("pratica n. %06d %s", i, strings.TrimSpace(o.text(rng, 5)))
	if i%100 == 7 {
		subject = urgentWord + " " + subject
	}
	from := fmt.Sprintf("mittente%d@pec.azienda%d.example", i%500, i%70)
	letter := o.text(rng, 40+rng.IntN(300)) + "\r\n"
	if i%1000 == 13 {
		letter += "Si richiama la " + rareWord + " del contratto.\r\n"
	}
	var b bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&b, crlf(f), a...) }
	p("Received: from smtp%d.gestore.example (smtp%d.gestore.example [192.0.2.%d])\n\tby mx.pec.example with ESMTPS id %08X; %s\n", i%9, i%9, i%250, i*7919, date.Format(time.RFC1123Z))
	p("Date: %s\nFrom: \"Per conto di: %s\" <posta-certificata@gestore.example>\nReply-To: %s\nTo: %s\n", date.Format(time.RFC1123Z), from, from, protocollo)
	p("Subject: POSTA CERTIFICATA: %s\nX-Trasporto: posta-certificata\nMessage-ID: <opec%d.%d@gestore.example>\nX-Riferimento-Message-ID: <%d@azienda.example>\n", subject, i*31, date.Unix(), i)
	p("MIME-Version: 1.0\nContent-Type: multipart/signed; protocol=\"application/x-pkcs7-signature\"; micalg=\"sha-256\"; boundary=\"s\"\n\n")
	p("--s\nContent-Type: multipart/mixed; boundary=\"m\"\n\n--m\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n")
	p("Messaggio di posta certificata\n\nIl giorno %s alle ore %s il messaggio \"%s\" è stato inviato da %s indirizzato a: %s\n", date.Format("02/01/2006"), date.Format("15:04:05"), subject, from, protocollo)
	p("--m\nContent-Type: application/xml; name=\"daticert.xml\"\nContent-Transfer-Encoding: base64\n\n%s", wrapped(rng, 1200))
	p("--m\nContent-Type: message/rfc822; name=\"postacert.eml\"\n\nFrom: %s\nTo: %s\nSubject: %s\nMessage-ID: <%d@azienda.example>\nContent-Type: multipart/mixed; boundary=\"i\"\n\n", from, protocollo, subject, i)
	p("--i\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n%s", letter)
	p("--i\nContent-Type: application/pdf; name=\"allegato%d.pdf\"\nContent-Transfer-Encoding: base64\n\n%s--i--\n", i, wrapped(rng, 2000+rng.IntN(18000)))
	p("--m--\n--s\nContent-Type: application/x-pkcs7-signature; name=\"smime.p7s\"\nContent-Transfer-Encoding: base64\n\n%s--s--\n", wrapped(rng, 4200))
	return b.Bytes()
}

// fillOffice files n messages, several at a time.
func fillOffice(b *testing.B, h *house, n int) {
	b.Helper()
	ctx := context.Background()
	o := newOffice()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := file(ctx, h.store, o.message(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func file(ctx context.Context, store *mailbox.Store, raw []byte) error {
	in, err := store.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := in.Write(raw); err != nil {
		return err
	}
	st, err := in.Store(ctx, mailbox.Origin{Box: protocollo, Direction: mailbox.In})
	if err != nil {
		return err
	}
	_, err = store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		_, _, err := tx.File(shared1(mailbox.RoleInbox), m, mailbox.Filing{})
		return err
	})
	_ = st.Close()
	return err
}

// processorTime is what this process has used: of a busy machine it says more
// than the clock.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSearch asks a folder of PEC messages; see -searchn and -searchdir.
func BenchmarkSearch(b *testing.B) {
	h := &house{t: b, dir: *searchDir, log: &logBuffer{}, people: map[string]mailbox.Person{}}
	if h.dir == "" {
		h.dir = b.TempDir()
	}
	h.policy.Store(testPolicy())
	h.open()
	b.Cleanup(h.close)
	k := shared1(mailbox.RoleInbox)
	st, err := h.store.Status(context.Background(), k, mailbox.Viewer{Person: h.people["mario"]})
	if err != nil {
		b.Fatal(err)
	}
	if st.Messages == 0 {
		fillOffice(b, h, *searchN)
	}
	conn, err := h.ln.dial()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	r := bufio.NewReaderSize(conn, 256<<10)
	if _, err := r.ReadString('\n'); err != nil {
		b.Fatal(err)
	}
	run := func(cmd string) (found int) {
		go io.WriteString(conn, "tag1 "+cmd+"\r\n")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			switch {
			case strings.HasPrefix(line, "* SEARCH"):
				found = len(strings.Fields(line)) - 2
			case strings.HasPrefix(line, "tag1 OK"):
				return found
			case strings.HasPrefix(line, "tag1 "):
				b.Fatalf("%s: %s", cmd, line)
			}
		}
	}
	run("LOGIN mario/" + protocollo + " secret")
	run("SELECT INBOX")
	for _, q := range []struct{ name, cmd string }{
		{"TEXT rare", "TEXT " + rareWord},
		{"BODY rare", "BODY " + rareWord},
		{"TEXT absent", "TEXT " + absentWord},
		{"TEXT two words", "TEXT " + rareWord + " TEXT contratto"},
		{"SUBJECT one of 100", "SUBJECT " + urgentWord},
		{"SUBJECT all", "SUBJECT pratica"},
		{"SUBJECT absent", "SUBJECT " + absentWord},
		{"FROM some", "FROM azienda33"},
		{"SENTSINCE", "SENTSINCE 10-Jan-2025"},
		{"UNSEEN", "UNSEEN"},
		{"ALL", "ALL"},
		{"TEXT common", "TEXT " + commonWord},
		{"BODY common", "BODY " + commonWord},
	} {
		b.Run(q.name, func(b *testing.B) {
			n := 0
			spent := processorTime(b)
			for b.Loop() {
				n = run("UID SEARCH " + q.cmd)
			}
			b.ReportMetric(float64(n), "found")
			b.ReportMetric(float64((processorTime(b)-spent).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

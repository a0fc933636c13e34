package imapd

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"            // the words of the client below
	"github.com/emersion/go-imap/v2/imapclient" // an independent client for round trips

	"pecgate/gateway/gate"
	"pecgate/gateway/gate/gatetest"
	"pecgate/mailbox"
	"pecgate/mailbox/events"
)

// secured serves the house on 127.0.0.1 behind the gate and gives the address
// and a client's configuration.
func (h *house) secured(t testing.TB) (string, *tls.Config) {
	t.Helper()
	chain, key := gatetest.PEM(t)
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure := tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	served := make(chan error, 1)
	go func() { served <- h.srv.Serve(secure) }()
	t.Cleanup(func() {
		_ = ln.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	return ln.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

func TestIndependentClient(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	addr, conf := h.secured(t)
	expunged := make(chan uint32, 10)
	exists := make(chan uint32, 10)
	c, err := imapclient.DialTLS(addr, &imapclient.Options{TLSConfig: conf, UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Expunge: func(n uint32) { expunged <- n },
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				exists <- *d.NumMessages
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Login("mario", "secret").Wait())
	if !c.Caps().Has(imap.CapIMAP4rev2) || !c.Caps().Has(imap.CapID) || !c.Caps().Has(imap.CapMove) {
		t.Errorf("capabilities: %v", c.Caps())
	}
	id, err := c.ID(&imap.IDData{Name: "test"}).Wait()
	must(err)
	if id.Name != "pecgate" {
		t.Errorf("ID: %v", id)
	}
	ns, err := c.Namespace().Wait()
	must(err)
	if len(ns.Personal) != 1 || ns.Personal[0].Delim != '/' {
		t.Errorf("NAMESPACE: %v", ns)
	}
	boxes, err := c.List("", "*", &imap.ListOptions{ReturnStatus: &imap.StatusOptions{NumMessages: true, NumUnseen: true}}).Collect()
	must(err)
	if len(boxes) != 20 {
		t.Errorf("%d names are listed", len(boxes))
	}

	inbox := "PEC/" + protocollo + "/Posta in arrivo"
	sel, err := c.Select(inbox, nil).Wait()
	must(err)
	if sel.NumMessages != 3 || sel.UIDNext != 4 {
		t.Errorf("SELECT: %+v", sel)
	}
	msgs, err := c.Fetch(imap.SeqSetNum(1, 2, 3), &imap.FetchOptions{
		UID: true, Flags: true, Envelope: true, InternalDate: true, RFC822Size: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true},
		BodySection:   []*imap.FetchItemBodySection{{Peek: true}},
	}).Collect()
	must(err)
	for i, raw := range []string{plainMail, mixedMail, pecMail} {
		if got := msgs[i].FindBodySection(&imap.FetchItemBodySection{Peek: true}); sha256.Sum256(got) != sha256.Sum256([]byte(raw)) {
			t.Errorf("message %d differs", i+1)
		}
	}
	if e := msgs[1].Envelope; e.Subject != "Fattura per qualità" || e.From[0].Addr() != "rossi@pec.example.org" || e.Cc[0].Name != "Società" {
		t.Errorf("ENVELOPE: %+v", e)
	}
	depth := 0
	msgs[2].BodyStructure.Walk(func(path []int, part imap.BodyStructure) bool { depth = max(depth, len(path)); return true })
	if depth != 1 || msgs[2].BodyStructure.MediaType() != "multipart/mixed" {
		t.Errorf("BODYSTRUCTURE: %v", msgs[2].BodyStructure)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Text: []string{"papavero"}}, &imap.SearchOptions{ReturnAll: true}).Wait()
	must(err)
	if !slices.Equal(found.AllUIDs(), []imap.UID{3}) {
		t.Errorf("SEARCH: %v", found.AllUIDs())
	}

	must(c.Create("Lavoro/Società", nil).Wait())
	copied, err := c.Copy(imap.SeqSetNum(1, 3), "Lavoro/Società").Wait()
	must(err)
	if copied.SourceUIDs.String() != "1,3" || copied.DestUIDs.String() != "1:2" {
		t.Errorf("COPY: %+v", copied)
	}
	app := c.Append("Bozze", int64(len(mixedMail)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagDraft, imap.FlagSeen}, Time: time.Unix(1_700_000_000, 0)})
	_, err = io.WriteString(app, mixedMail)
	must(err)
	must(app.Close())
	put, err := app.Wait()
	must(err)
	if put.UID != 1 {
		t.Errorf("APPEND: %+v", put)
	}
	flags, err := c.Store(imap.SeqSetNum(2), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Collect()
	must(err)
	if len(flags) != 1 || !slices.Equal(flags[0].Flags, []imap.Flag{imap.FlagFlagged}) {
		t.Errorf("STORE: %v", flags)
	}
	moved, err := c.Move(imap.SeqSetNum(2), "Cestino").Wait()
	must(err)
	if moved.SourceUIDs.String() != "2" || <-expunged != 2 {
		t.Errorf("MOVE: %+v", moved)
	}
	for len(exists) > 0 {
		<-exists
	}
	idle, err := c.Idle()
	must(err)
	h.deliver(shared1(mailbox.RoleInbox), plainMail, mailbox.Filing{})
	if n := <-exists; n != 3 {
		t.Errorf("IDLE: %d", n)
	}
	must(idle.Close())
	must(idle.Wait())
	must(c.Unselect().Wait())
	st, err := c.Status("Bozze", &imap.StatusOptions{NumMessages: true, Size: true, UIDNext: true}).Wait()
	must(err)
	if *st.NumMessages != 1 || *st.Size != int64(len(mixedMail)) || st.UIDNext != 2 {
		t.Errorf("STATUS: %+v", st)
	}
	must(c.Logout().Wait())
}

// The service behind the real gate: implicit TLS, the drain of the gate.
func TestBehindTheGate(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	cert, root := gatetest.Certificate(t)
	ln, err := gate.Listen(context.Background(), gate.Options{Name: "imaps", Address: "127.0.0.1:0", Certificate: cert, Events: events.Discard(), ALPN: []string{"imap"}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- h.srv.Serve(ln) }()
	c, err := imapclient.DialTLS(ln.Addr().String(), &imapclient.Options{TLSConfig: &tls.Config{RootCAs: root, ServerName: "127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login("mario/"+protocollo, "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if cut := ln.Drain(ctx); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
	<-c.Closed()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// D8: many sessions on one folder, each changing it, see at the end what the
// store holds, and never a number that they cannot know.
func TestD8_ManySessionsAgree(t *testing.T) {
	h := newHouse(t)
	for range 30 {
		h.deliver(shared1(mailbox.RoleInbox), plainMail, mailbox.Filing{})
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			c := h.login("mario/" + protocollo)
			m := mirror{c: c}
			m.run("SELECT INBOX")
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for range 60 {
				if m.n == 0 {
					break
				}
				switch at := rng.IntN(m.n) + 1; rng.IntN(6) {
				case 0:
					m.run(fmt.Sprintf(`STORE %d +FLAGS (\Flagged)`, at))
				case 1:
					m.run(fmt.Sprintf(`STORE %d +FLAGS.SILENT (\Deleted)`, at))
				case 2:
					m.run("EXPUNGE")
				case 3:
					m.run(fmt.Sprintf("MOVE %d Cestino", at))
				case 4:
					m.run("FETCH 1:* (UID FLAGS)")
				default:
					c.send("i IDLE\r\n")
					c.send("DONE\r\n")
					m.read("i")
				}
			}
			m.run("NOOP")
			m.run("NOOP")
		})
	}
	for range 20 {
		h.deliver(shared1(mailbox.RoleInbox), plainMail, mailbox.Filing{})
	}
	wg.Wait()
	// Whoever looks now sees the same in an open folder and in a new one.
	a, b := h.login("mario/"+protocollo), h.login("mario/"+protocollo)
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	if x, y := strings.Join(a.ok("FETCH 1:* (UID FLAGS)"), "\n"), strings.Join(b.ok("FETCH 1:* (UID FLAGS)"), "\n"); x != y {
		t.Errorf("%s\n%s", x, y)
	}
}

// mirror follows a folder as a client must.
type mirror struct {
	c *client
	n int // messages
}

func (m *mirror) run(cmd string) {
	m.c.n++
	tag := fmt.Sprintf("t%d", m.c.n)
	m.c.send(tag + " " + cmd + "\r\n")
	m.read(tag)
}

func (m *mirror) read(tag string) {
	lines, answer := m.c.until(tag)
	if strings.HasPrefix(answer, "BAD") {
		m.c.t.Errorf("%s: %s", tag, answer)
	}
	for _, l := range lines {
		var n int
		var word string
		if k, _ := fmt.Sscanf(l, "* %d %s", &n, &word); k != 2 {
			continue
		}
		switch word {
		case "EXPUNGE":
			if n < 1 || n > m.n {
				m.c.t.Errorf("EXPUNGE %d of %d", n, m.n)
			}
			m.n--
		case "EXISTS":
			if n < m.n {
				m.c.t.Errorf("EXISTS %d after %d", n, m.n)
			}
			m.n = n
		case "FETCH":
			if n < 1 || n > m.n {
				m.c.t.Errorf("FETCH %d of %d", n, m.n)
			}
		}
	}
}

// A session that is further behind than the feed reaches compares with the
// folder as it is.
func TestViewFarBehind(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	a, b := h.login("mario/"+protocollo), h.login("mario/"+protocollo)
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	ctx := context.Background()
	v := mailbox.Viewer{Person: h.people["mario"]}
	b.ok(`STORE 1 +FLAGS (\Deleted)`)
	b.ok("EXPUNGE")
	h.deliver(shared1(mailbox.RoleInbox), plainMail, mailbox.Filing{})
	folder, err := h.store.EnsureFolder(ctx, shared1(mailbox.RoleInbox))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4200 {
		op := []mailbox.FlagOp{mailbox.FlagsAdd, mailbox.FlagsRemove}[i%2]
		if _, err := h.store.SetFlags(ctx, folder, v, []mailbox.UID{3}, op, []string{`\Flagged`}); err != nil {
			t.Fatal(err)
		}
	}
	b.ok(`STORE 2 +FLAGS (\Answered)`)
	got := strings.Join(a.ok("NOOP"), "\n")
	want := "* 1 EXPUNGE\n* 3 EXISTS\n* 2 FETCH (UID 3 FLAGS (\\Answered))"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What any client sends, cut off at its end. Sessions run beside the fuzzer, so
// that coverage differs from run to run: use -fuzzminimizetime=1x.
func FuzzInput(f *testing.F) {
	for _, name := range dialogs(f) {
		var s strings.Builder
		for _, l := range readDialog(f, name) {
			if l.client {
				s.WriteString(l.text + "\r\n")
			}
		}
		f.Add(s.String())
	}
	f.Add("a LOGIN {5+}\r\nmario {6}\r\nsecret\r\nb APPEND {5+}\r\nBozze (\\Seen) {3+}\r\na:b\r\nc UID FETCH 1:* (BODY[HEADER.FIELDS ({1+}\r\nx)]<0.1> RFC822.PEEK)\r\n")
	h := newHouse(f)
	h.furnish()
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 10_000 {
			return
		}
		h.cut(t, s)
		if log := h.log.String(); strings.Contains(log, "connection panic") {
			t.Fatalf("panic after %q", s)
		}
	})
}

package providersim

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"            // client types
	"github.com/emersion/go-imap/v2/imapclient" // the client that the gateway's fetch uses
)

func tlsFor(t *testing.T, p *Provider) *tls.Config {
	return &tls.Config{RootCAs: roots(t, p.CAPEM()), ServerName: "localhost"}
}

func imapDial(t *testing.T, p *Provider, o *imapclient.Options) *imapclient.Client {
	t.Helper()
	if o == nil {
		o = &imapclient.Options{}
	}
	o.TLSConfig = tlsFor(t, p)
	c, err := imapclient.DialTLS(p.IMAPAddr(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func imapLogin(t *testing.T, p *Provider, o *imapclient.Options) *imapclient.Client {
	t.Helper()
	c := imapDial(t, p, o)
	if err := c.Login(alice, "segreta-a").Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

func selectFolder(t *testing.T, c *imapclient.Client, name string, readOnly bool) *imap.SelectData {
	t.Helper()
	d, err := c.Select(name, &imap.SelectOptions{ReadOnly: readOnly}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func all() imap.UIDSet { return imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}} }

func fetchBodies(t *testing.T, c *imapclient.Client, set imap.NumSet, section *imap.FetchItemBodySection) [][]byte {
	t.Helper()
	list, err := c.Fetch(set, &imap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, m := range list {
		out = append(out, m.FindBodySection(section))
		if section.Partial == nil && section.Specifier == "" && section.Part == nil && m.RFC822Size != int64(len(out[len(out)-1])) {
			t.Errorf("RFC822.SIZE %d, body %d", m.RFC822Size, len(out[len(out)-1]))
		}
		if m.InternalDate.IsZero() {
			t.Error("no INTERNALDATE")
		}
	}
	return out
}

// Every emitted message is served by its very bytes, also hostile ones, and
// reading with PEEK or after EXAMINE changes nothing.
func TestBytesServed(t *testing.T) {
	for name, style := range map[string]Style{"old": StyleOld, "new": StyleNew} {
		t.Run(name, func(t *testing.T) {
			p := start(t, func(o *Options) { o.Style = style })
			submit(t, p, ordinary(alice+", "+ghost), alice, ghost)
			for _, raw := range []string{"a\nb\n\nlf only\n", "no header at all", ": empty\r\n\r\nx", "From x\r\nSubject: y\r\n\r\n", "\r\n\r\n\x00\xff", ".", strings.Repeat("l", 70000)} {
				if err := p.Inject(alice, []byte(raw)); err != nil {
					t.Fatal(err)
				}
			}
			want := map[string]bool{}
			emitted := inbox(p.Emitted(), alice)
			for _, e := range emitted {
				want[e.SHA256] = true
			}
			c := imapLogin(t, p, nil)
			d := selectFolder(t, c, "INBOX", true)
			if n := len(inMailbox(p, alice)); int(d.NumMessages) != n {
				t.Fatalf("%d messages, %d emitted", d.NumMessages, n)
			}
			for _, s := range []*imap.FetchItemBodySection{{Peek: true}, {}} {
				for _, b := range fetchBodies(t, c, all(), s) {
					if !want[sum(b)] {
						t.Errorf("served bytes that were not emitted: %.60q", b)
					}
				}
			}
			list, err := p.Folder(alice, "INBOX")
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list {
				if len(m.Flags) > 0 {
					t.Errorf("flags %v after EXAMINE", m.Flags)
				}
			}
		})
	}
}

func TestSections(t *testing.T) {
	p := start(t, nil)
	raw := "Subject: uno\r\nX-A: 1\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nciao\r\n" +
		"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: due\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\ndentro\r\n--c--\r\n\r\n--b--\r\n"
	if err := p.Inject(alice, []byte(raw)); err != nil {
		t.Fatal(err)
	}
	c := imapLogin(t, p, nil)
	selectFolder(t, c, "INBOX", true)
	head, text, _ := strings.Cut(raw, "\r\n\r\n")
	for _, s := range []struct {
		section imap.FetchItemBodySection
		want    string
	}{
		{imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader}, head + "\r\n\r\n"},
		{imap.FetchItemBodySection{Specifier: imap.PartSpecifierText}, text},
		{imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"x-a", "subject"}}, "Subject: uno\r\nX-A: 1\r\n\r\n"},
		{imap.FetchItemBodySection{Part: []int{1}}, "ciao"},
		{imap.FetchItemBodySection{Part: []int{1}, Specifier: imap.PartSpecifierMIME}, "Content-Type: text/plain\r\n\r\n"},
		{imap.FetchItemBodySection{Part: []int{2}, Specifier: imap.PartSpecifierHeader}, "Subject: due\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"},
		{imap.FetchItemBodySection{Part: []int{2, 1}}, "dentro"},
		{imap.FetchItemBodySection{Part: []int{7}}, ""},
		{imap.FetchItemBodySection{Partial: &imap.SectionPartial{Offset: 3, Size: 5}}, raw[3:8]},
		{imap.FetchItemBodySection{Partial: &imap.SectionPartial{Offset: int64(len(raw)) - 2, Size: 1 << 62}}, "\r\n"},
		{imap.FetchItemBodySection{Partial: &imap.SectionPartial{Offset: 1 << 40, Size: 1}}, ""},
	} {
		s.section.Peek = true
		got := fetchBodies(t, c, all(), &s.section)
		if len(got) != 1 || string(got[0]) != s.want {
			t.Errorf("%+v: %q, want %q", s.section, got, s.want)
		}
	}
}

func TestFolders(t *testing.T) {
	p := start(t, nil)
	c := imapDial(t, p, nil)
	if err := c.Login(alice, "wrong").Wait(); err == nil {
		t.Fatal("wrong password taken")
	}
	if err := c.Login(alice, "segreta-a").Wait(); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]string{"*": "INBOX INBOX.Inviata", "%": "INBOX", "inbox.%": "INBOX.Inviata", "INBOX": "INBOX", "x*": ""} {
		list, err := c.List("", pattern, nil).Collect()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, l := range list {
			names = append(names, l.Mailbox)
			if l.Delim != '.' {
				t.Errorf("delimiter %q", l.Delim)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("LIST %s: %q, want %q", pattern, got, want)
		}
	}
	raw := ordinary(bob)
	cmd := c.Append(SentFolder, int64(len(raw)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen}, Time: time.Unix(1e9, 0)})
	io.WriteString(cmd, raw)
	cmd.Close()
	data, err := cmd.Wait()
	if err != nil || data.UID != 1 {
		t.Fatalf("APPEND: %+v, %v", data, err)
	}
	st, err := c.Status(SentFolder, &imap.StatusOptions{NumMessages: true, UIDNext: true, UIDValidity: true, NumUnseen: true, NumDeleted: true, Size: true}).Wait()
	if err != nil || *st.NumMessages != 1 || st.UIDNext != 2 || *st.NumUnseen != 0 || *st.Size != int64(len(raw)) {
		t.Errorf("STATUS: %+v, %v", st, err)
	}
	list, err := p.Folder(alice, SentFolder)
	if err != nil || len(list) != 1 || string(list[0].Raw) != raw || list[0].At.Unix() != 1e9 {
		t.Errorf("sent folder: %+v, %v", list, err)
	}
	for _, err := range []error{c.Create("x", nil).Wait(), c.Delete("INBOX").Wait()} {
		if err == nil {
			t.Error("a fixed folder was changed")
		}
	}
	if _, err := c.Select("Altro", nil).Wait(); err == nil {
		t.Error("selected what is not there")
	}
}

func TestSearchStoreExpunge(t *testing.T) {
	p := start(t, nil)
	for i := range 5 {
		if err := p.Inject(alice, fmt.Appendf(nil, "Message-ID: <%d@x>\r\nX-Riferimento-Message-ID: <pg.%d@y>\r\nSubject: n %d\r\n\r\ntesto %d\r\n", i, i, i, i)); err != nil {
			t.Fatal(err)
		}
	}
	c := imapLogin(t, p, nil)
	selectFolder(t, c, "INBOX", false)
	search := func(want string, criteria *imap.SearchCriteria) {
		t.Helper()
		d, err := c.UIDSearch(criteria, nil).Wait()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(d.AllUIDs()); got != want {
			t.Errorf("%+v: %s, want %s", criteria, got, want)
		}
	}
	search("[1 2 3 4 5]", &imap.SearchCriteria{})
	search("[3]", &imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Message-ID", Value: "<2@x>"}}})
	search("[4]", &imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "X-Riferimento-Message-ID", Value: "pg.3@"}}})
	search("[2 3]", &imap.SearchCriteria{UID: []imap.UIDSet{{{Start: 2, Stop: 3}}}})
	search("[5]", &imap.SearchCriteria{UID: []imap.UIDSet{{{Start: 900, Stop: 0}}}}) // 900:* holds the last
	search("[]", &imap.SearchCriteria{UID: []imap.UIDSet{imap.UIDSetNum(99)}})
	search("[5]", &imap.SearchCriteria{Text: []string{"TESTO 4"}})
	search("[1 2 3 4 5]", &imap.SearchCriteria{Since: time.Now().AddDate(0, 0, -2)})
	search("[]", &imap.SearchCriteria{Before: time.Now().AddDate(0, 0, -2)})
	search("[1 3 4 5]", &imap.SearchCriteria{Not: []imap.SearchCriteria{{UID: []imap.UIDSet{imap.UIDSetNum(2)}}}})

	if err := c.Store(imap.UIDSetNum(2, 4), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted, imap.FlagSeen}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	search("[2 4]", &imap.SearchCriteria{Flag: []imap.Flag{imap.FlagDeleted}})
	if got, err := c.UIDExpunge(imap.UIDSetNum(4)).Collect(); err != nil || fmt.Sprint(got) != "[4]" {
		t.Errorf("UID EXPUNGE: %v, %v", got, err)
	}
	if err := c.Store(imap.UIDSetNum(2), &imap.StoreFlags{Op: imap.StoreFlagsDel, Flags: []imap.Flag{imap.FlagDeleted}, Silent: true}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Expunge().Collect(); err != nil || len(got) != 0 {
		t.Errorf("EXPUNGE: %v, %v", got, err)
	}
	if d, err := c.Copy(imap.UIDSetNum(1, 2), SentFolder).Wait(); err != nil || d.DestUIDs.String() != "1:2" {
		t.Errorf("COPY: %+v, %v", d, err)
	}
	fetchBodies(t, c, imap.UIDSetNum(1), &imap.FetchItemBodySection{})
	search("[1 2]", &imap.SearchCriteria{Flag: []imap.Flag{imap.FlagSeen}})

	selectFolder(t, c, "INBOX", true)
	if err := c.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err == nil {
		t.Error("STORE after EXAMINE")
	}
	list, err := p.Folder(alice, "INBOX")
	if err != nil || len(list) != 4 {
		t.Errorf("%d left, %v", len(list), err)
	}
	if err := p.Renumber(alice, "INBOX"); err != nil {
		t.Fatal(err)
	}
	if err := c.Noop().Wait(); err == nil {
		t.Error("the session lived on after its UIDVALIDITY changed")
	}
	c2 := imapLogin(t, p, nil)
	if d := selectFolder(t, c2, "INBOX", true); d.UIDNext != 5 || d.NumMessages != 4 {
		t.Errorf("after renumbering: %+v", d)
	}
}

// IDLE announces what comes, and what came just before it.
func TestIdle(t *testing.T) {
	p := start(t, nil)
	news := make(chan uint32, 16)
	gone := make(chan uint32, 16)
	c := imapLogin(t, p, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				news <- *d.NumMessages
			}
		},
		Expunge: func(n uint32) { gone <- n },
	}})
	selectFolder(t, c, "INBOX", false)
	if err := p.Inject(alice, []byte("Subject: prima\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	expect := func(ch chan uint32, want uint32) {
		t.Helper()
		for reached := false; !reached; {
			select {
			case n := <-ch:
				if n > want {
					t.Errorf("announced %d, want %d", n, want)
				}
				reached = n == want
			case <-deadline(t).Done():
				t.Fatal("nothing announced")
			}
		}
	}
	expect(news, 1)
	submit(t, p, ordinary(bob), bob)
	expect(news, 3) // acceptance and delivery, together or one by one
	other := imapLogin(t, p, nil)
	selectFolder(t, other, "INBOX", false)
	if err := other.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := other.UnselectAndExpunge().Wait(); err != nil {
		t.Fatal(err)
	}
	expect(gone, 1)
	if err := idle.Close(); err != nil {
		t.Error(err)
	}
	if err := idle.Wait(); err != nil {
		t.Error(err)
	}
	// A second IDLE is open when the provider closes: goleak is the judge.
	if _, err := c.Idle(); err != nil {
		t.Fatal(err)
	}
}

func TestCutFetch(t *testing.T) {
	p := start(t, nil)
	raw := []byte("Subject: lungo\r\n\r\n" + strings.Repeat("riga\r\n", 50000))
	if err := p.Inject(alice, raw); err != nil {
		t.Fatal(err)
	}
	// By hand: the library's client reads on behind a literal that was cut off
	// while its caller still drains it.
	conn, err := tls.Dial("tcp", p.IMAPAddr(), tlsFor(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.Faults().CutFetch.Set(20000)
	fmt.Fprintf(conn, "a LOGIN %q %q\r\nb EXAMINE INBOX\r\nc UID FETCH 1 BODY.PEEK[]\r\n", alice, "segreta-a")
	got, _ := io.ReadAll(conn)
	if i := bytes.Index(got, []byte("\r\nSubject: lungo")); i < 0 || len(got)-i > 20000 || len(got)-i < 10000 || bytes.Contains(got, []byte("c OK")) {
		t.Errorf("cut at %d of %d bytes", i, len(got))
	}
	c := imapLogin(t, p, nil)
	selectFolder(t, c, "INBOX", true)
	if got := fetchBodies(t, c, all(), &imap.FetchItemBodySection{Peek: true}); len(got) != 1 || !bytes.Equal(got[0], raw) {
		t.Error("the second fetch is not whole")
	}
}

func TestGlobMatch(t *testing.T) {
	for _, c := range []struct {
		name, pattern string
		want          bool
	}{
		{"INBOX.Inviata", "*", true}, {"INBOX.Inviata", "%", false}, {"INBOX.Inviata", "%.%", true}, {"INBOX", "inb*", false},
		{"INBOX", "inbox", true}, {"INBOX.Inviata", "INBOX.*a", true}, {"INBOX.Inviata", "INBOX.*b", false}, {"", "*", true}, {"a", "", false},
		{strings.Repeat("a", 60), strings.Repeat("*a", 30) + "b", false},
	} {
		if got := globMatch(c.name, c.pattern, '.'); got != c.want {
			t.Errorf("%q against %q: %v", c.name, c.pattern, got)
		}
	}
}

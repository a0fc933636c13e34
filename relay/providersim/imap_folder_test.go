package providersim

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"            // client types
	"github.com/emersion/go-imap/v2/imapclient" // the client that the gateway's fetch uses
)

// listed is what LIST shows, each as name with its attributes.
func listed(t *testing.T, c *imapclient.Client, pattern string, o *imap.ListOptions) string {
	t.Helper()
	list, err := c.List("", pattern, o).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range list {
		s := l.Mailbox
		for _, a := range l.Attrs {
			s += string(a)
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// Each layout is as the provider's it is named for: names, separator, namespace.
func TestFolderLayouts(t *testing.T) {
	for _, c := range []struct {
		layout                Folders
		extra                 string
		list, sent, namespace string
		special               bool
	}{
		{FoldersAruba, "INBOX.Clienti.Alfa", `INBOX.Clienti.Alfa\HasNoChildren INBOX.Clienti\HasChildren INBOX.Inviata\HasNoChildren INBOX\HasChildren`, "INBOX.Inviata", "[{INBOX. 46}]", false},
		{FoldersLegalmail, "INBOX/Perché", `INBOX/Perché\HasNoChildren INBOX/Spedite\HasNoChildren INBOX\HasChildren`, "INBOX/Spedite", "[{INBOX/ 47}]", false},
		{FoldersSpecialUse, "Archivio/2026", `Archivio/2026\HasNoChildren Archivio\HasChildren INBOX\HasNoChildren Sent\HasNoChildren\Sent`, "Sent", "[{ 47}]", true},
	} {
		t.Run(string(c.layout), func(t *testing.T) {
			p := start(t, func(o *Options) { o.Folders, o.Mailboxes[0].Folders = c.layout, []string{c.extra} })
			if p.SentFolder() != c.sent {
				t.Errorf("sent folder %s", p.SentFolder())
			}
			cl := imapLogin(t, p, nil)
			if got := listed(t, cl, "*", nil); got != c.list {
				t.Errorf("LIST\n%s, want\n%s", got, c.list)
			}
			if got := cl.Caps().Has(imap.CapSpecialUse); got != c.special {
				t.Errorf("SPECIAL-USE is %v", got)
			}
			if c.special {
				if got := listed(t, cl, "*", &imap.ListOptions{SelectSpecialUse: true}); got != `Sent\HasNoChildren\Sent` {
					t.Errorf("LIST (SPECIAL-USE): %s", got)
				}
			}
			ns, err := cl.Namespace().Wait()
			if err != nil || fmt.Sprint(ns.Personal) != c.namespace || ns.Other != nil || ns.Shared != nil {
				t.Errorf("NAMESPACE %+v, %v", ns, err)
			}
			for _, name := range []string{"inbox", c.sent, c.extra} {
				if _, err := cl.Status(name, &imap.StatusOptions{NumMessages: true}).Wait(); err != nil {
					t.Errorf("STATUS %s: %v", name, err)
				}
			}
			delim, err := cl.List("", "", nil).Collect()
			if err != nil || len(delim) != 1 || delim[0].Delim != rune(p.layout.separator) || delim[0].Mailbox != "" {
				t.Errorf("LIST of the delimiter: %+v, %v", delim, err)
			}
		})
	}
	for _, o := range []Options{{Folders: "gmail"}, {Mailboxes: []Mailbox{{Address: alice, Folders: []string{"Fuori"}}}}} {
		o.Domain = "pec.gestore.example"
		if p, err := Start(o); err == nil {
			p.Close()
			t.Errorf("started with %+v", o)
		}
	}
}

func TestFolderCommands(t *testing.T) {
	p := start(t, func(o *Options) { o.Folders = FoldersLegalmail })
	c := imapLogin(t, p, nil)
	good := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bad := func(code imap.ResponseCode, err error) {
		t.Helper()
		e, ok := err.(*imap.Error)
		if !ok || e.Code != code {
			t.Errorf("%v, want %s", err, code)
		}
	}
	good(c.Create("INBOX/a/b/c", nil).Wait())
	good(c.Create("inbox/d/", nil).Wait())
	bad(imap.ResponseCodeAlreadyExists, c.Create("INBOX/a", nil).Wait())
	for _, name := range []string{"a", "INBOX//x", "INBOX/x*", "INBOX/" + strings.Repeat("x", 300), "/INBOX"} {
		bad(imap.ResponseCodeCannot, c.Create(name, nil).Wait())
	}
	bad(imap.ResponseCodeHasChildren, c.Delete("INBOX/a/b").Wait())
	bad(imap.ResponseCodeCannot, c.Delete("INBOX").Wait())
	bad(imap.ResponseCodeCannot, c.Delete("INBOX/Spedite").Wait())
	bad(imap.ResponseCodeNonExistent, c.Delete("INBOX/x").Wait())
	bad(imap.ResponseCodeCannot, c.Rename("INBOX/Spedite", "INBOX/x", nil).Wait())
	bad(imap.ResponseCodeCannot, c.Rename("INBOX/a", "INBOX/a/b/x", nil).Wait())
	bad(imap.ResponseCodeAlreadyExists, c.Rename("INBOX/a", "INBOX/d", nil).Wait())
	bad(imap.ResponseCodeNonExistent, c.Rename("INBOX/x", "INBOX/y", nil).Wait())
	good(c.Rename("INBOX/a", "INBOX/e/f", nil).Wait())
	if got := listed(t, c, "INBOX/*", nil); got != `INBOX/Spedite\HasNoChildren INBOX/d\HasNoChildren INBOX/e/f/b/c\HasNoChildren INBOX/e/f/b\HasChildren INBOX/e/f\HasChildren INBOX/e\HasChildren` {
		t.Errorf("after RENAME: %s", got)
	}
	// A name that comes back has another UIDVALIDITY.
	validity := selectFolder(t, c, "INBOX/d", true).UIDValidity
	good(c.Unselect().Wait())
	good(c.Delete("INBOX/d").Wait())
	good(c.Create("INBOX/d", nil).Wait())
	if again := selectFolder(t, c, "INBOX/d", true).UIDValidity; again <= validity {
		t.Errorf("UIDVALIDITY %d after %d", again, validity)
	}
	// INBOX stays when it is renamed; its messages go.
	inject(t, p, "Subject: a\r\n\r\n", "Subject: b\r\n\r\n")
	good(c.Rename("INBOX", "INBOX/vecchia", nil).Wait())
	for name, want := range map[string]uint32{"INBOX": 0, "INBOX/vecchia": 2} {
		if st, err := c.Status(name, &imap.StatusOptions{NumMessages: true}).Wait(); err != nil || *st.NumMessages != want {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
	// Whoever looks at a folder when it goes is told.
	other := imapLogin(t, p, nil)
	selectFolder(t, other, "INBOX/d", false)
	good(c.Unselect().Wait())
	good(c.Delete("INBOX/d").Wait())
	if err := other.Noop().Wait(); err == nil {
		t.Error("the session lived on in a deleted folder")
	}
}

// Subscriptions are of names and outlive folders; '%' shows parents of the
// subscribed that are not subscribed themselves.
func TestSubscriptions(t *testing.T) {
	p := start(t, nil)
	c := imapLogin(t, p, nil)
	if err := c.Create("INBOX.a.b", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	o := &imap.ListOptions{SelectSubscribed: true}
	check := func(pattern, want string) {
		t.Helper()
		if got := listed(t, c, pattern, o); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
	check("*", `INBOX.Inviata\HasNoChildren\Subscribed INBOX\HasChildren\Subscribed`)
	for _, err := range []error{c.Subscribe("INBOX.a.b").Wait(), c.Unsubscribe("INBOX.Inviata").Wait()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Subscribe("INBOX.x").Wait(); err == nil {
		t.Error("subscribed to what is not there")
	}
	check("*", `INBOX.a.b\HasNoChildren\Subscribed INBOX\HasChildren\Subscribed`)
	check("INBOX.%", `INBOX.a\Noselect`)
	if err := c.Delete("INBOX.a.b").Wait(); err != nil {
		t.Fatal(err)
	}
	check("INBOX.a.*", `INBOX.a.b\NonExistent\Subscribed`)
}

func TestMove(t *testing.T) {
	p := start(t, nil)
	inject(t, p, "Subject: a\r\n\r\n", "Subject: b\r\n\r\n", "Subject: c\r\n\r\n")
	c := imapLogin(t, p, nil)
	if !c.Caps().Has(imap.CapMove) {
		t.Fatal("no MOVE")
	}
	if err := c.Create("INBOX.Ricevute", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	selectFolder(t, c, "INBOX", false)
	if err := c.Store(imap.UIDSetNum(3), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	d, err := c.Move(imap.UIDSetNum(1, 3), "INBOX.Ricevute").Wait()
	if err != nil || d.SourceUIDs.String() != "1,3" || d.DestUIDs.String() != "1:2" {
		t.Fatalf("MOVE: %+v, %v", d, err)
	}
	if _, err := c.Move(imap.UIDSetNum(9), "INBOX.Ricevute").Wait(); err != nil {
		t.Errorf("MOVE of nothing: %v", err)
	}
	if _, err := c.Move(imap.UIDSetNum(2), "INBOX.Altro").Wait(); err == nil || err.(*imap.Error).Code != imap.ResponseCodeTryCreate {
		t.Errorf("MOVE to nowhere: %v", err)
	}
	list, err := p.Folder(alice, "INBOX.Ricevute")
	if err != nil || len(list) != 2 || string(list[1].Raw) != "Subject: c\r\n\r\n" || !hasFlag(list[1].Flags, `\Flagged`) {
		t.Errorf("moved: %+v, %v", list, err)
	}
	if list, err := p.Folder(alice, "INBOX"); err != nil || len(list) != 1 || list[0].UID != 2 {
		t.Errorf("left: %+v, %v", list, err)
	}
	// Into the same folder: a new UID.
	if d, err := c.Move(imap.UIDSetNum(2), "INBOX").Wait(); err != nil || d.DestUIDs.String() != "4" {
		t.Errorf("MOVE in place: %+v, %v", d, err)
	}
	selectFolder(t, c, "INBOX", true)
	if _, err := c.Move(imap.UIDSetNum(4), "INBOX.Ricevute").Wait(); err == nil {
		t.Error("MOVE after EXAMINE")
	}
}
